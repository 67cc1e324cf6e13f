//! How many records the client's statement, or its transaction, has had applied.
//!
//! A statement may make several requests: it calls functions in a CTE or a DO block, or fires the triggers of attached
//! tables by ON CONFLICT, MERGE, cascades and functions. When one of them fails, the others stay applied, and the error
//! has to say so. A subtransaction that is rolled back takes nothing back upstream, so the numbers do not follow it.
//!
//! Outside a transaction block, a failure rolls back everything since the start of the transaction. This is more than a
//! statement if a driver sends several before one Sync, as executemany and addBatch do. Postgres calls such a
//! transaction an implicit block. Within BEGIN and COMMIT the client sees the end of each statement, so each is counted
//! by itself.

use std::sync::Once;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use crate::pg::session::statement_start;
use crate::pg::transaction_state::{Block, block, local_transaction_number, nest_level, portal_start};
use crate::pg::xact_callbacks::{SubtransactionEvent, on_subtransaction_event};
use contract::outcome::{Earlier, Scope};

/// Records that the current transaction has had applied, and those of its current statement.
static OF_TRANSACTION: AtomicUsize = AtomicUsize::new(0);
static OF_STATEMENT: AtomicUsize = AtomicUsize::new(0);

/// The transaction's number in this backend, and when the client sent the statement.
static TRANSACTION: AtomicU32 = AtomicU32::new(0);
static SENT_AT: AtomicI64 = AtomicI64::new(0);

/// The transaction's block: one of the constants below.
static BLOCK: AtomicU8 = AtomicU8::new(UNKNOWN);

/// All calls so far came from a subtransaction, where Postgres hides it.
const UNKNOWN: u8 = 0;
const IMPLICIT: u8 = 1;
const EXPLICIT: u8 = 2;

/// When the client sent the statement that began the outermost open subtransaction.
static OUTERMOST_SENT_AT: AtomicI64 = AtomicI64::new(0);

/// Begins at zero if transaction or statement are not those of the last call.
pub fn begin() {
    let (transaction, sent_at) = (local_transaction_number(), statement_start());
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
    // Kept for the transaction: its subtransactions hide it.
    if BLOCK.load(Ordering::Relaxed) == UNKNOWN {
        BLOCK.store(known_block(sent_at), Ordering::Relaxed);
    }
}

/// Whether the statement was running at `time`: a client may fetch the rows of one statement by several messages.
fn was_running_at(time: i64) -> bool {
    portal_start().is_some_and(|start| start <= time)
}

fn known_block(sent_at: i64) -> u8 {
    match block() {
        Block::Implicit => IMPLICIT,
        Block::Explicit => EXPLICIT,
        Block::Hidden => {
            // A subtransaction of an earlier statement is a savepoint, which requires a BEGIN. A subtransaction of this
            // statement may belong to a function.
            let began = OUTERMOST_SENT_AT.load(Ordering::Relaxed);
            if began != 0 && began != sent_at { EXPLICIT } else { UNKNOWN }
        }
    }
}

fn watch_subtransactions() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        on_subtransaction_event(|event, _| {
            if event == SubtransactionEvent::Begun && nest_level() == 2 {
                OUTERMOST_SENT_AT.store(statement_start(), Ordering::Relaxed);
            }
        });
    });
}

/// Counts records that a request has had applied.
pub fn add(records: usize) {
    OF_STATEMENT.fetch_add(records, Ordering::Relaxed);
    OF_TRANSACTION.fetch_add(records, Ordering::Relaxed);
}

/// The records that were applied before a request, of which `own` are counted already. It only reads numbers, so it can run
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

/// The records that were applied so far.
pub fn so_far() -> Earlier {
    begin();
    before(0)
}
