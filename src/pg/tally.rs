//! How many records the captures of one statement of the client have had applied.
//!
//! Such a statement may fire the triggers of several attached tables, or of one several times: ON CONFLICT, MERGE,
//! cascades, functions and DO blocks do. When one of them fails, what the others have sent stays applied, and the error
//! has to say so. A subtransaction that is rolled back takes nothing back upstream, so nothing here follows it: the number
//! grows until the next statement, or until a COMMIT within this one.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};

use pgrx::pg_sys;

static RECORDS: AtomicUsize = AtomicUsize::new(0);

/// The statement that they are of: its transaction in this backend, and when the client sent it.
static TRANSACTION: AtomicU32 = AtomicU32::new(0);
static SENT_AT: AtomicI64 = AtomicI64::new(0);

/// Begins at zero if the statement is not the one of the last call.
pub(super) fn begin() {
    // SAFETY: a backend in a transaction has its entry among the processes; the other is a plain variable.
    let (transaction, sent_at) = unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        let transaction = (*pg_sys::MyProc).lxid;
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        let transaction = (*pg_sys::MyProc).vxid.lxid;
        (transaction, pg_sys::GetCurrentStatementStartTimestamp())
    };
    let is_same_transaction = TRANSACTION.swap(transaction, Ordering::Relaxed) == transaction;
    let is_same_time = SENT_AT.swap(sent_at, Ordering::Relaxed) == sent_at;
    if !(is_same_transaction && is_same_time) {
        RECORDS.store(0, Ordering::Relaxed);
    }
}

pub(super) fn add(records: usize) {
    RECORDS.fetch_add(records, Ordering::Relaxed);
}

/// It calls nothing, so that it can be asked while an error is reported.
pub(super) fn records() -> usize {
    RECORDS.load(Ordering::Relaxed)
}
