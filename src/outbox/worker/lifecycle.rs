//! How the extension's background workers start, and how they end.

use std::ffi::CStr;
use std::time::Duration;

use pgrx::pg_sys::Oid;

use crate::pg::bgworker::{self, Registration};
use crate::pg::{guc, session};

use super::registry;

/// Postgres' reaction when a worker ends by an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Postgres starts the worker again, at most a second later.
    Respawn,
    /// Postgres does not. For a successor, which starts a worker that respawns as soon as it is connected. It cannot
    /// connect while its database is being dropped; a worker that respawns would try every second, for ever.
    Once,
}

impl RestartPolicy {
    const fn restart_after(self) -> Option<Duration> {
        match self {
            RestartPolicy::Respawn => Some(Duration::from_secs(1)),
            RestartPolicy::Once => None,
        }
    }
}

/// Settings that an administrator makes for a database's sessions do not apply to its worker, which must write.
///
/// The worker finds rows by indexes alone. Its plans live long, and one that reads a whole table because it was empty
/// once would read it later, when it is large. Postgres up to 17 takes such a plan for one that JIT is worth.
const OWN_SETTINGS: [(&CStr, &CStr); 9] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_isolation", c"read committed"),
    (c"statement_timeout", c"0"),
    (c"lock_timeout", c"0"),
    (c"row_security", c"on"),
    (c"enable_seqscan", c"off"),
    (c"jit", c"off"),
    (c"application_name", c"sequin worker"),
];

/// Starts a worker in this database. Returns false if the server cannot have more background workers.
pub fn start(policy: RestartPolicy) -> bool {
    start_in(Oid::from(session::database()), policy)
}

/// Starts a worker in any database.
pub fn start_in(database: Oid, policy: RestartPolicy) -> bool {
    let registration = Registration {
        name: c"sequin worker",
        kind: c"sequin worker",
        symbol: c"sequin_worker_main",
        argument: u64::from(database.to_u32()) << 1 | u64::from(policy == RestartPolicy::Once),
        restart_after: policy.restart_after(),
    };
    registration.start()
}

/// Registers the launcher, which starts with the server, while Postgres preloads the library.
pub fn register_launcher() {
    let registration = Registration {
        name: c"sequin launcher",
        kind: c"sequin launcher",
        symbol: c"sequin_launcher_main",
        argument: 0,
        restart_after: RestartPolicy::Respawn.restart_after(),
    };
    registration.start_with_server();
}

/// Connects a worker to its database. `argument` is from [`start_in`].
pub fn connect(argument: u64) -> RestartPolicy {
    bgworker::connect(Some(Oid::from((argument >> 1) as u32)));
    for (name, value) in OWN_SETTINGS {
        guc::set_for_process(name, value);
    }
    if argument & 1 == 1 { RestartPolicy::Once } else { RestartPolicy::Respawn }
}

/// Ends this worker, so that other sessions can drop its database. The last worker to leave starts a successor, which waits
/// until they have finished, and goes on if the database is still there.
pub fn exit_and_respawn() -> ! {
    // Before the successor starts: otherwise the successor would see this worker as one that stays.
    registry::give_back();
    if registry::claim_start() {
        start(RestartPolicy::Once);
    }
    bgworker::exit(0)
}
