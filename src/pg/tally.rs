//! How many records the client's statement, or its transaction, has had applied.
//!
//! A statement may make several requests: it calls verbs in a CTE or a DO block, or fires the triggers of attached tables
//! by ON CONFLICT, MERGE, cascades and functions. When one of them fails, the others stay applied, and the error has to
//! say so. A subtransaction that is rolled back takes nothing back upstream, so the numbers do not follow it.
//!
//! Outside a transaction block, a failure takes back all that came since the start of the transaction. That is more than
//! a statement where a driver sends several before one Sync, as executemany and addBatch do. Postgres calls such a
//! transaction an implicit block. Within BEGIN and COMMIT the client sees the end of each statement, so each is counted
//! by itself.

use std::ffi::c_void;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use pgrx::{pg_guard, pg_sys};

use contract::outcome::{Earlier, Scope};

/// Records that the current transaction has had applied, and those of its current statement.
static OF_TRANSACTION: AtomicUsize = AtomicUsize::new(0);
static OF_STATEMENT: AtomicUsize = AtomicUsize::new(0);

/// The transaction's number in this backend, and when the client sent the statement.
static TRANSACTION: AtomicU32 = AtomicU32::new(0);
static SENT_AT: AtomicI64 = AtomicI64::new(0);

/// What the client has put the transaction in, one of the constants below.
static BLOCK: AtomicU8 = AtomicU8::new(UNKNOWN);

/// All calls so far came from a subtransaction, where Postgres does not show it.
const UNKNOWN: u8 = 0;
/// None, or an implicit one.
const IMPLICIT: u8 = 1;
/// BEGIN.
const EXPLICIT: u8 = 2;

/// When the client sent the statement that began the outermost subtransaction that is open.
static OUTERMOST_SENT_AT: AtomicI64 = AtomicI64::new(0);

/// Begins at zero if transaction or statement are not those of the last call.
pub fn begin() {
    // SAFETY: a backend in a transaction has its entry among the processes; the other is a plain variable.
    let (transaction, sent_at) = unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        let transaction = (*pg_sys::MyProc).lxid;
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        let transaction = (*pg_sys::MyProc).vxid.lxid;
        (transaction, pg_sys::GetCurrentStatementStartTimestamp())
    };
    watch_subtransactions();
    let is_same_transaction = TRANSACTION.swap(transaction, Ordering::Relaxed) == transaction;
    let last_sent_at = SENT_AT.swap(sent_at, Ordering::Relaxed);
    let is_same_statement = is_same_transaction && (last_sent_at == sent_at || was_running_at(last_sent_at));
    if !is_same_transaction {
        OF_TRANSACTION.store(0, Ordering::Relaxed);
        BLOCK.store(UNKNOWN, Ordering::Relaxed);
    }
    if !is_same_statement {
        OF_STATEMENT.store(0, Ordering::Relaxed);
    }
    // Kept for the transaction: in its subtransactions it could not be seen any more.
    if BLOCK.load(Ordering::Relaxed) == UNKNOWN {
        BLOCK.store(block(sent_at), Ordering::Relaxed);
    }
}

/// Whether the statement was running at `time`: a client may fetch the rows of one statement by several messages.
fn was_running_at(time: i64) -> bool {
    // SAFETY: null, or the portal that Postgres is running now.
    unsafe { pg_sys::ActivePortal.as_ref() }.is_some_and(|portal| portal.creation_time <= time)
}

/// The transaction's block, as far as it can be seen from here.
fn block(sent_at: i64) -> u8 {
    // SAFETY: reads the state of the transaction. The last pair takes an implicit block for no block for a moment, in
    // which nothing else runs, and does nothing to a block of another kind.
    unsafe {
        if !pg_sys::IsTransactionBlock() {
            return IMPLICIT;
        }
        if pg_sys::GetCurrentTransactionNestLevel() > 1 {
            // A subtransaction of an earlier statement is a savepoint, which takes a BEGIN. One of this statement may be
            // that of a function.
            let began = OUTERMOST_SENT_AT.load(Ordering::Relaxed);
            return if began != 0 && began != sent_at { EXPLICIT } else { UNKNOWN };
        }
        // Newer minor releases begin an implicit block with the second statement before a Sync, which looks like any.
        pg_sys::EndImplicitTransactionBlock();
        if pg_sys::IsTransactionBlock() {
            return EXPLICIT;
        }
        pg_sys::BeginImplicitTransactionBlock();
        IMPLICIT
    }
}

fn watch_subtransactions() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: a function that lives as long as the library, which Postgres never unloads.
        unsafe { pg_sys::RegisterSubXactCallback(Some(note_subtransaction), ptr::null_mut()) };
    });
}

/// Called by Postgres when a subtransaction begins or ends.
#[pg_guard]
unsafe extern "C-unwind" fn note_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    _id: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    // SAFETY: both read variables of the backend. A subtransaction that begins is on the stack already.
    unsafe {
        if event == pg_sys::SubXactEvent::SUBXACT_EVENT_START_SUB && pg_sys::GetCurrentTransactionNestLevel() == 2 {
            OUTERMOST_SENT_AT.store(pg_sys::GetCurrentStatementStartTimestamp(), Ordering::Relaxed);
        }
    }
}

pub fn add(records: usize) {
    OF_STATEMENT.fetch_add(records, Ordering::Relaxed);
    OF_TRANSACTION.fetch_add(records, Ordering::Relaxed);
}

/// What was applied before a request that has had `own` records applied itself. It calls nothing, so that it can be asked
/// while an error is reported.
pub fn before(own: usize) -> Earlier {
    let of_statement = OF_STATEMENT.load(Ordering::Relaxed).saturating_sub(own);
    let of_transaction = OF_TRANSACTION.load(Ordering::Relaxed).saturating_sub(own);
    let is_explicit = BLOCK.load(Ordering::Relaxed) == EXPLICIT;
    if is_explicit || of_statement == of_transaction {
        Earlier { records: of_statement, scope: Scope::Statement }
    } else {
        Earlier { records: of_transaction, scope: Scope::Transaction }
    }
}

/// What was applied so far.
pub fn so_far() -> Earlier {
    begin();
    before(0)
}
