//! The settings under `sequin.`. Each default is justified where it stands.

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::pg::{guc, text};

/// The name the documentation uses, so that the first example works without a word about settings.
static SERVER: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"sequin"));

/// Empty: no file is read until an administrator has said where the secrets are.
static SECRETS_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// On: what an application writes is sent. The role of a sync switches it off, so that its changes do not echo back.
static CAPTURE: GucSetting<bool> = GucSetting::<bool>::new(true);

/// Seconds. Long enough for the pauses of an application, short enough that many databases share a few background workers.
static WORKER_IDLE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60);

/// Seconds. A day: long enough to see tomorrow what happened today, short enough for a disk.
static RETENTION: GucSetting<i32> = GucSetting::<i32>::new(86_400);

/// Called once, when the library is loaded.
pub fn register() {
    GucRegistry::define_string_guc(
        c"sequin.server",
        c"Foreign server that mutations go to when a call names none.",
        c"A server of the foreign-data wrapper sequin_mutations.",
        &SERVER,
        GucContext::Userset,
        GucFlags::default(),
    );
    // A setting of the server's administrator: a user who chose it could read any file of the server's account as a token.
    GucRegistry::define_string_guc(
        c"sequin.secrets_directory",
        c"Directory with the files that user mappings name as token_file.",
        c"Absolute path. Empty: the option token_file is refused.",
        &SECRETS_DIRECTORY,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_bool_guc(
        c"sequin.capture",
        c"Whether changes of attached tables are sent.",
        c"Off for the role that a sync writes as: ALTER ROLE ... SET sequin.capture = off.",
        &CAPTURE,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"sequin.worker_idle_timeout",
        c"How long the worker of a database stays without work.",
        c"0 ends it at once. The next commit that queues records starts one.",
        &WORKER_IDLE_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"sequin.retention",
        c"How long sequin.delivered keeps a record.",
        c"0 keeps it only until a worker looks next, half a minute later at most.",
        &RETENTION,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    // So that a misspelt setting is an error, and not a silent placeholder.
    guc::reserve_prefix(c"sequin");
}

/// The setting `sequin.server`, in UTF-8.
pub fn default_server() -> String {
    let value = SERVER.get().unwrap_or_default();
    text::from_server(value.to_bytes()).into_owned()
}

/// The setting `sequin.worker_idle_timeout`.
pub fn worker_idle_timeout() -> Duration {
    Duration::from_secs(WORKER_IDLE_TIMEOUT.get() as u64)
}

/// The setting `sequin.retention`.
pub fn retention() -> Duration {
    Duration::from_secs(RETENTION.get() as u64)
}

/// The setting `sequin.capture`.
pub fn capture() -> bool {
    CAPTURE.get()
}

/// The setting `sequin.secrets_directory`; None when it is empty.
pub fn secrets_directory() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let value = SECRETS_DIRECTORY.get().unwrap_or_default().into_bytes();
    (!value.is_empty()).then(|| PathBuf::from(std::ffi::OsString::from_vec(value)))
}
