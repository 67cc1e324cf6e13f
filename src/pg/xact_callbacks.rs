//! Functions that Postgres calls when a transaction ends, and when a subtransaction begins or ends.

use std::ffi::c_void;
use std::mem;

use pgrx::{pg_guard, pg_sys};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionEvent {
    /// An error ends the transaction.
    BeforeCommit,
    /// Before PREPARE TRANSACTION. An error ends the transaction.
    BeforePrepare,
    Committed,
    Prepared,
    Aborted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubtransactionEvent {
    /// It is the current one already.
    Begun,
    /// All its work is undone, and the work of the subtransactions within it.
    Undone,
}

/// The number of a subtransaction. Later ones have higher numbers.
pub type SubtransactionNumber = u32;

type OnTransaction = fn(TransactionEvent);
type OnSubtransaction = fn(SubtransactionEvent, SubtransactionNumber);

/// Has `f` called at the end of each transaction from now on. A function that was registered later is called earlier.
/// After `Committed`, `Prepared` and `Aborted` an error would end the server, so `f` must not raise one there.
pub fn on_transaction_event(f: OnTransaction) {
    // SAFETY: Postgres keeps both pointers for the life of the process, in which this library is never unloaded. The
    // argument is a `fn(TransactionEvent)`, as `at_transaction_event` takes it.
    unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_event), f as *mut c_void) };
}

/// Has `f` called for each subtransaction from now on. It must not raise an error.
pub fn on_subtransaction_event(f: OnSubtransaction) {
    // SAFETY: as in `on_transaction_event`.
    unsafe { pg_sys::RegisterSubXactCallback(Some(at_subtransaction_event), f as *mut c_void) };
}

#[pg_guard]
unsafe extern "C-unwind" fn at_transaction_event(event: pg_sys::XactEvent::Type, f: *mut c_void) {
    let event = match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT => TransactionEvent::BeforeCommit,
        pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => TransactionEvent::BeforePrepare,
        pg_sys::XactEvent::XACT_EVENT_COMMIT => TransactionEvent::Committed,
        pg_sys::XactEvent::XACT_EVENT_PREPARE => TransactionEvent::Prepared,
        pg_sys::XactEvent::XACT_EVENT_ABORT => TransactionEvent::Aborted,
        _ => return,
    };
    // SAFETY: Postgres passes the argument of the registration: a function of this type.
    let f = unsafe { mem::transmute::<*mut c_void, OnTransaction>(f) };
    f(event);
}

#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    number: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    f: *mut c_void,
) {
    let event = match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_START_SUB => SubtransactionEvent::Begun,
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => SubtransactionEvent::Undone,
        _ => return,
    };
    // SAFETY: as in `at_transaction_event`.
    let f = unsafe { mem::transmute::<*mut c_void, OnSubtransaction>(f) };
    f(event, number);
}

/// The number of the subtransaction that runs.
pub fn current_subtransaction() -> SubtransactionNumber {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// Runs `f` with a snapshot, as a query needs one. Before a commit Postgres has taken its own away.
pub fn with_snapshot<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: in a transaction, whose end drops the snapshot if `f` raises. Otherwise `f` leaves the stack of snapshots as
    // it was, as all functions here do.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let result = f();
        pg_sys::PopActiveSnapshot();
        result
    }
}
