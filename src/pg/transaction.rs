//! The transactions of a background worker, their subtransactions, and the limits of their time.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use pgrx::pg_sys::panic::{CaughtError, ErrorReport, ErrorReportWithLevel};
use pgrx::{PgSqlErrorCode, pg_sys};

use super::bgworker::is_shutdown_requested;
use super::elog;

/// Runs `f` in a transaction of its own, and commits it. A panic of `f`, that is an error of Postgres, goes on.
pub fn transaction<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: a background worker calls this outside of a transaction; inside of one Postgres raises. An error of `f` goes
    // on, to `try_transaction`, which aborts the transaction, or to the end of the process, which does so too.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        let millis = SHUTDOWN_CHECK_INTERVAL.as_millis() as c_int;
        let first = pg_sys::GetCurrentTimestamp() + i64::from(millis) * 1_000;
        enable_timeout_every(shutdown_check(), first, millis);
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let result = f();
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
        disable_timeout(shutdown_check(), false);
        pg_sys::pgstat_report_stat(true);
        // Back to where it was before: the memory of the transaction is gone.
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        result
    }
}

/// Runs `f` in a transaction of its own and commits it. If it raises, the transaction is undone and the error is given.
/// A cancel goes on and ends the process, and so does any error in a process that was asked to end.
pub fn try_transaction<T>(f: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(|| transaction(f))).map_err(|payload| {
        let failure = Failure::of(&*payload);
        let stays =
            |failure: &Failure| !is_shutdown_requested() && failure.code != PgSqlErrorCode::ERRCODE_QUERY_CANCELED;
        let Some(failure) = failure.filter(stays) else { resume_unwind(payload) };
        abort();
        failure
    })
}

/// Undoes the transaction of a background worker that an error has left open. The panic of the error was caught, and ends
/// here.
pub fn abort() {
    // SAFETY: the guard of pgrx has caught the jump and copied the error, which Postgres can drop now. The panic has left the
    // frames of Rust within the transaction. Postgres aborts a transaction in any state, and ignores that there is none.
    unsafe {
        pg_sys::FlushErrorState();
        pg_sys::AbortCurrentTransaction();
        disable_timeout(shutdown_check(), false);
        pg_sys::pgstat_report_stat(true);
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
    }
}

/// Runs `f` with no transaction open. If it raises or panics, the error is given. In a process that was asked to end, the
/// error goes on and ends it.
pub fn try_without_transaction<T>(f: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let failure = Failure::of(&*payload);
        let failure = failure.filter(|_| !is_shutdown_requested()).unwrap_or_else(|| resume_unwind(payload));
        // SAFETY: the error was copied, and this function handles it: Postgres must not keep it as an open one.
        unsafe { pg_sys::FlushErrorState() };
        failure
    })
}

/// An error that was raised, or a panic.
#[derive(Debug, Clone)]
pub struct Failure {
    pub message: String,
    code: PgSqlErrorCode,
}

/// Where the cause of an error lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// In the record: a further attempt fails too.
    Content,
    /// In the record or in the server: damaged data, or too little memory. The record must not be given up.
    Doubtful,
    /// In the server, for any record: a full disk, a lock, a cancel, a read-only server.
    Surroundings,
}

impl Failure {
    /// None for a panic that carries no text.
    fn of(payload: &(dyn std::any::Any + Send)) -> Option<Failure> {
        let of = |report: &ErrorReportWithLevel| Failure {
            message: report.message().to_owned(),
            code: report.sql_error_code(),
        };
        if let Some(report) = payload.downcast_ref::<ErrorReportWithLevel>() {
            return Some(of(report));
        }
        if let Some(caught) = payload.downcast_ref::<CaughtError>() {
            return Some(match caught {
                CaughtError::PostgresError(report)
                | CaughtError::ErrorReport(report)
                | CaughtError::RustPanic { ereport: report, .. } => of(report),
            });
        }
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message = text.or_else(|| payload.downcast_ref::<&str>().copied())?.to_owned();
        Some(Failure { message, code: PgSqlErrorCode::ERRCODE_INTERNAL_ERROR })
    }

    pub fn cause(&self) -> Cause {
        use PgSqlErrorCode as Code;
        match self.code {
            Code::ERRCODE_DATA_CORRUPTED | Code::ERRCODE_INDEX_CORRUPTED | Code::ERRCODE_OUT_OF_MEMORY => {
                return Cause::Doubtful;
            }
            Code::ERRCODE_LOCK_NOT_AVAILABLE | Code::ERRCODE_OBJECT_IN_USE => return Cause::Surroundings,
            _ => {}
        }
        // As MAKE_SQLSTATE packs them: six bits a character, the first one lowest.
        let code = self.code as isize;
        let character = |place: isize| (code >> (6 * place) & 0x3f) as u8 + b'0';
        match [character(0), character(1)] {
            // Connections, the transaction's state, deadlocks, resources, cancels, and the system's own errors.
            [b'0', b'8'] | [b'2', b'5'] | [b'4', b'0'] | [b'5', b'3' | b'7' | b'8'] => Cause::Surroundings,
            _ => Cause::Content,
        }
    }

    /// Raises the error again.
    pub fn raise(self) -> ! {
        elog::raise(ErrorReport::new(self.code, self.message, "sequin_mutations"))
    }
}

/// Runs `f` in a subtransaction. If it raises, all that it did is undone, and the error is given as its message.
pub fn attempt<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    try_to(f).map_err(|failure| failure.message)
}

/// Runs `f` in a subtransaction. If it raises or panics, all that it did is undone, and the error is given.
pub fn try_to<T>(f: impl FnOnce() -> T) -> Result<T, Failure> {
    // SAFETY: in a transaction. The subtransaction is released or rolled back, and memory context and resource owner are
    // put back, as PL/pgSQL's EXCEPTION does it. After a panic of another kind the process' end does all that.
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
                let failure = Failure::of(&*payload);
                let Some(failure) = failure else { resume_unwind(payload) };
                // The error was copied. Postgres has room for five unfinished ones, and the sixth is a PANIC.
                pg_sys::FlushErrorState();
                pg_sys::RollbackAndReleaseCurrentSubTransaction();
                pg_sys::CurrentMemoryContext = context;
                pg_sys::CurrentResourceOwner = owner;
                Err(failure)
            }
        }
    }
}

/// A limit for the rest of the transaction that runs now. When it is reached, an error cancels the transaction. If code of
/// a table catches that error and goes on, the process ends a little later.
pub struct Deadline(());

// Not in pgrx's bindings. None of them raises an ERROR; without room for a timeout the process ends by a FATAL. SetLatch is
// called in signal handlers, where pgrx's guard has no place.
unsafe extern "C-unwind" {
    fn SetLatch(latch: *mut pg_sys::Latch);
    fn enable_timeout_after(id: c_int, millis: c_int);
    fn enable_timeout_every(id: c_int, first: pg_sys::TimestampTz, millis: c_int);
    fn disable_timeout(id: c_int, keep_indicator: bool);
    fn RegisterTimeout(id: c_int, handler: unsafe extern "C" fn()) -> c_int;
}

/// The number of statement_timeout in timeout.h.
const STATEMENT_TIMEOUT: c_int = 3;

/// The first number there that is free for others.
const USER_TIMEOUT: c_int = if cfg!(any(feature = "pg15", feature = "pg16")) { 12 } else { 13 };

/// How long after its cancel an operation may go on before the process ends.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(2);

/// The timeout that ends the process.
fn terminate_timeout() -> c_int {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    // SAFETY: once in a process, with a handler that stays and only does what a signal handler may do.
    *REGISTERED.get_or_init(|| unsafe { RegisterTimeout(USER_TIMEOUT, end_process) })
}

/// Called in a signal handler: what SIGTERM does to a session.
unsafe extern "C" fn end_process() {
    // SAFETY: two flags of the type sig_atomic_t, written volatile, and a function that Postgres calls in signal handlers.
    unsafe {
        (&raw mut pg_sys::ProcDiePending).write_volatile(1);
        (&raw mut pg_sys::InterruptPending).write_volatile(1);
        SetLatch(pg_sys::MyLatch);
    }
}

/// How often a long transaction checks whether the process was asked to end. It may wait for another session's lock, or
/// for a standby that is gone, and a shutdown waits for it.
const SHUTDOWN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The timeout that checks.
fn shutdown_check() -> c_int {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    // SAFETY: once in a process, with a handler that stays and only does what a signal handler may do.
    *REGISTERED.get_or_init(|| unsafe { RegisterTimeout(USER_TIMEOUT, cancel_if_shutdown_requested) })
}

/// Called in a signal handler. A wait for a lock ends by an error then, and one for a standby by a warning.
unsafe extern "C" fn cancel_if_shutdown_requested() {
    if is_shutdown_requested() {
        // SAFETY: two flags and a function as in `end_process`.
        unsafe {
            (&raw mut pg_sys::QueryCancelPending).write_volatile(1);
            (&raw mut pg_sys::InterruptPending).write_volatile(1);
            SetLatch(pg_sys::MyLatch);
        }
    }
}

impl Deadline {
    pub fn after(most: Duration) -> Deadline {
        // SAFETY: a process that is connected has set timeouts up, and registered STATEMENT_TIMEOUT.
        unsafe {
            enable_timeout_after(STATEMENT_TIMEOUT, most.as_millis().max(1) as c_int);
            enable_timeout_after(terminate_timeout(), (most + TERMINATE_TIMEOUT).as_millis() as c_int);
        }
        Deadline(())
    }

    /// Lifts the limit, after an error too: it would cancel a later transaction.
    pub fn lift(self) {
        // SAFETY: both timeouts were enabled by `after`. One may have fired after all was done, so its cancel is forgotten,
        // as Postgres does it after a statement.
        unsafe {
            disable_timeout(STATEMENT_TIMEOUT, false);
            disable_timeout(terminate_timeout(), false);
            (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
        }
    }
}

/// Makes the transaction's commit wait for the disk, whatever synchronous_commit says by then: a crash must not undo a claim
/// whose request was sent.
pub fn commit_to_disk() {
    // SAFETY: sets a variable of the backend, which the end of the transaction sets back.
    unsafe { pg_sys::ForceSyncCommit() };
}
