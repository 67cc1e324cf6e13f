//! Wakes the worker when a transaction that has queued records ends.
//!
//! It starts the launcher, if there is none, before the commit, where it can still warn the client. It wakes the worker,
//! or the launcher, after the commit, where an error would take the whole server down.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::ereport;
use crate::pg::xact_callbacks::{TransactionEvent, on_transaction_event};

use super::{lifecycle, registry};

/// The lowest id that this transaction has queued. A savepoint's rollback does not reset it, at the cost of one extra
/// scan.
static LOWEST: AtomicI64 = AtomicI64::new(i64::MAX);

/// Whether this transaction has changed the worker's work in another way, which requires a full scan.
static HAS_CHANGED: AtomicBool = AtomicBool::new(false);

/// Whether this transaction keeps the worker away.
static IS_LOCKED: AtomicBool = AtomicBool::new(false);

/// Notes that the current transaction has queued records from `id` on.
pub fn note_queued(id: i64) {
    registry::prepare();
    LOWEST.fetch_min(id, Ordering::Relaxed);
}

/// Notes that the current transaction has changed records, or the backoff of a server.
pub fn note_changed() {
    registry::prepare();
    HAS_CHANGED.store(true, Ordering::Relaxed);
}

/// Notes that the current transaction keeps the worker away until it ends.
pub fn note_locked() {
    registry::prepare();
    IS_LOCKED.store(true, Ordering::Relaxed);
}

/// Called once, when the library is loaded.
pub fn register() {
    on_transaction_event(at_transaction_event);
}

/// The lowest id that the current transaction has queued; `i64::MAX` if it has queued none.
pub fn lowest_queued() -> i64 {
    LOWEST.load(Ordering::Relaxed)
}

/// Whether the current transaction has queued `id`, so that no other session sees the record yet.
pub fn has_queued(id: i64) -> bool {
    LOWEST.load(Ordering::Relaxed) <= id
}

/// Runs at the end of each transaction, so it must be quick.
fn at_transaction_event(event: TransactionEvent) {
    let (lowest, has_changed) = (LOWEST.load(Ordering::Relaxed), HAS_CHANGED.load(Ordering::Relaxed));
    let is_locked = IS_LOCKED.load(Ordering::Relaxed);
    if lowest == i64::MAX && !has_changed && !is_locked {
        return at_other_event(event);
    }
    match event {
        TransactionEvent::BeforePrepare if is_locked => ereport::refuse_prepare(),
        TransactionEvent::BeforeCommit | TransactionEvent::BeforePrepare => {
            if lowest != i64::MAX || has_changed {
                start_launcher();
            }
        }
        TransactionEvent::Committed => {
            forget();
            if has_changed {
                registry::wake_all();
            } else if lowest != i64::MAX {
                registry::wake_workers(lowest);
            }
        }
        TransactionEvent::Prepared => {
            forget();
            registry::signal_prepared(lowest);
        }
        TransactionEvent::Aborted => forget(),
    }
}

fn forget() {
    IS_LOCKED.store(false, Ordering::Relaxed);
    LOWEST.store(i64::MAX, Ordering::Relaxed);
    HAS_CHANGED.store(false, Ordering::Relaxed);
}

/// The end of a transaction that has queued nothing. It may be that of a COMMIT PREPARED. It also starts a launcher that
/// an earlier commit could not start.
fn at_other_event(event: TransactionEvent) {
    match event {
        TransactionEvent::BeforeCommit => {
            registry::try_prepare();
            if registry::is_launcher_missing() {
                lifecycle::start_launcher();
            }
        }
        TransactionEvent::Committed => registry::wake_for_prepared(),
        _ => {}
    }
}

fn start_launcher() {
    if registry::must_start_launcher() && !lifecycle::start_launcher() {
        registry::launcher_has_not_started();
        ereport::warn_of_no_worker();
    } else if registry::is_starved() {
        ereport::warn_of_no_worker();
    }
}
