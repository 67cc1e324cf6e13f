//! A background worker: how it is started, waits and ends.

use std::ffi::{CStr, CString, c_char, c_int, c_long};
use std::ptr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pgrx::pg_sys::{self, Datum, Oid};

pub use super::transaction::{
    Cause, Deadline, Failure, attempt, commit_to_disk, transaction, try_to, try_transaction, try_without_transaction,
};
use super::wait_event::WaitEvent;
pub use super::wanted::{Extension, database_is_wanted, extension};
use super::{board, guc};

/// Its `backend_type` in pg_stat_activity.
const TYPE: &CStr = c"sequin worker";

/// What becomes of a worker that ends by an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Postgres starts it again, a second later at most.
    Lasting,
    /// It is not started again. An heir: it starts a lasting one as soon as it is connected, which it cannot be while
    /// its database is being dropped. A lasting one would try that every second for ever.
    Once,
}

/// Asks Postgres for a worker in this database. False if there is no room for one.
pub fn start(life: Life) -> bool {
    // SAFETY: a variable of the backend.
    start_in(unsafe { pg_sys::MyDatabaseId }, life)
}

/// The same in any database.
pub fn start_in(database: Oid, life: Life) -> bool {
    let mut worker = describe(c"sequin worker", TYPE, c"sequin_worker_main", life);
    worker.bgw_main_arg = Datum::from(u64::from(database.to_u32()) << 1 | u64::from(life == Life::Once));
    // SAFETY: a whole description, which Postgres copies.
    unsafe { pg_sys::RegisterDynamicBackgroundWorker(&mut worker, ptr::null_mut()) }
}

/// Registers the launcher, while the library is being preloaded.
pub fn register_launcher() {
    let mut worker = describe(c"sequin launcher", c"sequin launcher", c"sequin_launcher_main", Life::Lasting);
    // SAFETY: as above; called from _PG_init in the postmaster.
    unsafe { pg_sys::RegisterBackgroundWorker(&mut worker) };
}

/// Whether the postmaster is loading the library, and not for pg_upgrade, which wants no sessions but its own.
pub fn is_preloading() -> bool {
    // SAFETY: variables of the process.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress && !pg_sys::IsBinaryUpgrade }
}

fn describe(name: &CStr, kind: &CStr, function: &CStr, life: Life) -> pg_sys::BackgroundWorker {
    let mut worker = pg_sys::BackgroundWorker {
        bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as c_int,
        // On a standby it waits for the promotion.
        bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
        bgw_restart_time: match life {
            Life::Lasting => 1,
            Life::Once => pg_sys::BGW_NEVER_RESTART,
        },
        ..Default::default()
    };
    copy(&mut worker.bgw_name, name);
    copy(&mut worker.bgw_type, kind);
    copy(&mut worker.bgw_library_name, c"sequin_mutations");
    copy(&mut worker.bgw_function_name, function);
    worker
}

fn copy(to: &mut [c_char], from: &CStr) {
    for (to, from) in to.iter_mut().zip(from.to_bytes()) {
        *to = *from as c_char;
    }
}

/// Begins the life of a worker of one database. The argument is [`start_in`]'s.
pub fn begin(argument: Datum) -> Life {
    let argument = argument.value() as u64;
    catch_signals();
    // SAFETY: the process has just been made and is connected to nothing. Raises if the database is gone.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(Oid::from((argument >> 1) as u32), Oid::INVALID, 0) };
    set_own_settings();
    if argument & 1 == 1 { Life::Once } else { Life::Lasting }
}

/// Begins the life of a worker that sees only what all databases share.
pub fn begin_without_database() {
    catch_signals();
    // SAFETY: as above.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(Oid::INVALID, Oid::INVALID, 0) };
}

// pgrx's own bindings are Rust functions, which Postgres cannot be given to call.
unsafe extern "C-unwind" {
    #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
    fn SignalHandlerForConfigReload(signal: c_int);
    #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
    fn SignalHandlerForConfigReload(signal: c_int, sender: *const pg_sys::pg_signal_info);
    #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
    fn SignalHandlerForShutdownRequest(signal: c_int);
    #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
    fn SignalHandlerForShutdownRequest(signal: c_int, sender: *const pg_sys::pg_signal_info);
}

/// What an administrator sets for a database's sessions is not meant for its worker, which must be able to write.
fn set_own_settings() {
    const OWN: [(&CStr, &CStr); 7] = [
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"default_transaction_read_only", c"off"),
        (c"default_transaction_isolation", c"read committed"),
        (c"statement_timeout", c"0"),
        (c"lock_timeout", c"0"),
        (c"row_security", c"on"),
        (c"application_name", c"sequin worker"),
    ];
    for (name, value) in OWN {
        guc::set_for_process(name, value);
    }
}

fn catch_signals() {
    #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
    use pg_sys::pqsignal;
    #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
    use pg_sys::pqsignal_be as pqsignal;
    // SAFETY: handlers of Postgres' own, which set a flag and the latch. Cancelling (SIGINT) is Postgres' default.
    unsafe {
        pqsignal(libc::SIGHUP, Some(SignalHandlerForConfigReload));
        pqsignal(libc::SIGTERM, Some(SignalHandlerForShutdownRequest));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Whether the process was asked to end. It then ends in order, with what it knows settled.
pub fn is_leaving() -> bool {
    // SAFETY: a flag that a signal handler sets; read volatile, because the compiler cannot see that handler.
    unsafe { (&raw const pg_sys::ShutdownRequestPending).read_volatile() != 0 }
}

/// How long a request that is under way may still take when the process is asked to end: most are answered by then, and
/// an unanswered create is work for a person. Postgres waits five seconds for the sessions of a database that is dropped.
const GRACE: Duration = Duration::from_secs(3);

/// How long a request may still take; None if nobody asked the process to end.
pub fn grace() -> Option<Duration> {
    static ASKED: OnceLock<Instant> = OnceLock::new();
    is_leaving().then(|| GRACE.saturating_sub(ASKED.get_or_init(Instant::now).elapsed()))
}

/// Ends the process. With a code of 0 Postgres forgets the worker, with 1 it starts a lasting one again.
pub fn leave(code: c_int) -> ! {
    // SAFETY: runs Postgres' own callbacks and does not return.
    unsafe { pg_sys::proc_exit(code) }
    // In PostgreSQL 18's headers it is marked in a way that bindgen does not see.
    #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
    unreachable!("proc_exit returned")
}

/// Waits for the latch, at most `most`, and does what Postgres asks of every process in the meantime. True if it was
/// the latch.
pub fn wait(most: Duration, event: WaitEvent) -> bool {
    let millis = most.as_millis().min(i32::MAX as u128) as c_long;
    // SAFETY: the process' own latch. Both functions may end the process or raise, and hold nothing of ours.
    unsafe {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        let fired = pg_sys::WaitLatch(pg_sys::MyLatch, events as c_int, millis, event.id());
        pg_sys::ResetLatch(pg_sys::MyLatch);
        pgrx::check_for_interrupts!();
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 {
            (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
        fired as u32 & pg_sys::WL_LATCH_SET != 0
    }
}

static WHEN_WOKEN: OnceLock<fn()> = OnceLock::new();

/// Has `f` called whenever somebody sets the latch while a request is under way. It may raise, and must be quick.
pub fn when_woken_in_a_request(f: fn()) {
    let _ = WHEN_WOKEN.set(f);
}

/// Somebody has set the latch while a request is under way.
pub fn woken_in_a_request() {
    if let Some(f) = WHEN_WOKEN.get() {
        f();
    }
}

/// What the process is doing, for pg_stat_activity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Idle,
    Running,
}

pub fn report(activity: Activity, what: &str) {
    let state = match activity {
        Activity::Idle => pg_sys::BackendState::STATE_IDLE,
        Activity::Running => pg_sys::BackendState::STATE_RUNNING,
    };
    let what = CString::new(what.replace('\0', "")).expect("no NUL is left");
    // SAFETY: Postgres copies the text, up to track_activity_query_size.
    unsafe { pg_sys::pgstat_report_activity(state, what.as_ptr()) };
}

/// Leaves this database to whoever wants it. The last worker to do so leaves an heir, which waits until that is done,
/// and goes on if the database is still there.
pub fn leave_to_heir() -> ! {
    // Before the heir is there: it would take this worker for one that stays.
    board::leave();
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    if board::claim_start(now as u64) {
        start(Life::Once);
    }
    leave(0)
}

/// This cluster's own number, and the database's.
pub fn home() -> (i64, u32) {
    // SAFETY: a constant of the cluster and a variable of the process.
    unsafe { (pg_sys::GetSystemIdentifier() as i64, pg_sys::MyDatabaseId.to_u32()) }
}

/// A number that nobody else has.
pub fn unique_number() -> i64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: as many bytes as said.
    unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) };
    i64::from_ne_bytes(bytes) & i64::MAX
}

/// A number in [0, 1), for waits that shall not all end at once.
pub fn random() -> f64 {
    /// As many bits as a double has for a fraction.
    const BITS: u32 = 53;
    (unique_number() >> (63 - BITS)) as f64 / (1_u64 << BITS) as f64
}
