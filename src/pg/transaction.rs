//! The transactions of a background worker, and what keeps one from lasting.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};

use super::worker::is_leaving;

/// Runs `f` in a transaction of its own, and commits it. A panic of `f`, that is an error of Postgres, goes on.
pub fn transaction<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: outside of any transaction. An error leaves the transaction to the end of the process, which aborts it.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        let look = PARTING.as_millis() as c_int;
        enable_timeout_every(parting(), pg_sys::GetCurrentTimestamp() + i64::from(look) * 1_000, look);
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let result = f();
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
        disable_timeout(parting(), false);
        pg_sys::pgstat_report_stat(true);
        // Back to where it was before: the memory of the transaction is gone.
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        result
    }
}

/// Runs `f` in a subtransaction. If it raises, all that it did is undone, and the error is given as its message. A
/// request to end the process goes on.
pub fn attempt<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    // SAFETY: within a transaction; context and resource owner are put back, as PL/pgSQL's EXCEPTION does it.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(ptr::null());
        pg_sys::CurrentMemoryContext = context;
        let result = catch_unwind(AssertUnwindSafe(f));
        match result {
            Ok(value) => {
                pg_sys::ReleaseCurrentSubTransaction();
                pg_sys::CurrentMemoryContext = context;
                pg_sys::CurrentResourceOwner = owner;
                Ok(value)
            }
            Err(payload) => {
                let message = message_of(&*payload);
                let Some(message) = message else { resume_unwind(payload) };
                pg_sys::RollbackAndReleaseCurrentSubTransaction();
                pg_sys::CurrentMemoryContext = context;
                pg_sys::CurrentResourceOwner = owner;
                Err(message)
            }
        }
    }
}

/// The message of an error that Postgres raised; None for a panic of another kind.
fn message_of(payload: &(dyn std::any::Any + Send)) -> Option<String> {
    if let Some(report) = payload.downcast_ref::<ErrorReportWithLevel>() {
        return Some(report.message().to_owned());
    }
    payload.downcast_ref::<CaughtError>().map(|caught| match caught {
        CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. } => report.message().to_owned(),
    })
}

/// Cancels what the process does in the transaction that runs now, by an error, after `most`; and ends the process if
/// that is of no use, since a function may catch such an error and go on for ever.
pub struct Deadline(());

// Not in pgrx's bindings.
unsafe extern "C-unwind" {
    fn enable_timeout_after(id: c_int, millis: c_int);
    fn enable_timeout_every(id: c_int, first: pg_sys::TimestampTz, millis: c_int);
    fn disable_timeout(id: c_int, keep_indicator: bool);
    fn RegisterTimeout(id: c_int, handler: unsafe extern "C" fn()) -> c_int;
}

/// The number of statement_timeout in timeout.h.
const STATEMENT_TIMEOUT: c_int = 3;

/// The first number there that is free for others.
const USER_TIMEOUT: c_int = if cfg!(any(feature = "pg15", feature = "pg16")) { 12 } else { 13 };

/// How long after the cancel the process ends.
const OBSTINATE: Duration = Duration::from_secs(2);

/// The timeout that ends the process.
fn last_timeout() -> c_int {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    // SAFETY: once in the process, with a function that stays.
    *REGISTERED.get_or_init(|| unsafe { RegisterTimeout(USER_TIMEOUT, end_process) })
}

/// Called in a signal handler: what SIGTERM does to a session.
unsafe extern "C" fn end_process() {
    // SAFETY: flags that are made for signal handlers, as is SetLatch.
    unsafe {
        (&raw mut pg_sys::ProcDiePending).write_volatile(1);
        (&raw mut pg_sys::InterruptPending).write_volatile(1);
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// How often a transaction that lasts looks whether the process was asked to end. It may wait for somebody's lock, or for
/// a standby that is gone, and a shutdown waits for it.
const PARTING: Duration = Duration::from_secs(5);

/// The timeout that looks.
fn parting() -> c_int {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    // SAFETY: once in the process, with a function that stays.
    *REGISTERED.get_or_init(|| unsafe { RegisterTimeout(USER_TIMEOUT, cancel_if_leaving) })
}

/// Called in a signal handler. A wait for a lock ends by an error then, and one for a standby by a warning.
unsafe extern "C" fn cancel_if_leaving() {
    if is_leaving() {
        // SAFETY: as in `end_process`.
        unsafe {
            (&raw mut pg_sys::QueryCancelPending).write_volatile(1);
            (&raw mut pg_sys::InterruptPending).write_volatile(1);
            pg_sys::SetLatch(pg_sys::MyLatch);
        }
    }
}

impl Deadline {
    pub fn after(most: Duration) -> Deadline {
        // SAFETY: a worker that is connected has these timeouts.
        unsafe {
            enable_timeout_after(STATEMENT_TIMEOUT, most.as_millis().max(1) as c_int);
            enable_timeout_after(last_timeout(), (most + OBSTINATE).as_millis() as c_int);
        }
        Deadline(())
    }

    /// It is to be lifted after an error too, or it would hit whatever the process does by then.
    pub fn lift(self) {
        // SAFETY: as above. It may have fired after all was done; Postgres forgets a cancel in the same way.
        unsafe {
            disable_timeout(STATEMENT_TIMEOUT, false);
            disable_timeout(last_timeout(), false);
            (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
        }
    }
}

/// Makes the transaction's commit wait for the disk, whatever synchronous_commit says by then: what is claimed must not
/// be forgotten in a crash after it was sent.
pub fn commit_to_disk() {
    // SAFETY: sets a variable for the transaction that runs.
    unsafe { pg_sys::ForceSyncCommit() };
}
