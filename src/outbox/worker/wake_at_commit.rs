//! Starts and wakes the worker when a transaction that has queued records ends.
//!
//! It starts the worker before the commit, where it can still warn the client, and wakes it after the commit, where an
//! error would take the whole server down.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::ereport;
use crate::pg::xact_callbacks::{TransactionEvent, on_transaction_event};

use super::lifecycle::{self, RestartPolicy};
use super::registry;

/// The lowest id that this transaction has queued. A savepoint's rollback does not reset it, at the cost of one extra
/// scan.
static LOWEST: AtomicI64 = AtomicI64::new(i64::MAX);

/// Whether this transaction has changed the workers' work in another way, which requires a full scan.
static HAS_CHANGED: AtomicBool = AtomicBool::new(false);

/// Whether this transaction keeps the workers away.
static IS_LOCKED: AtomicBool = AtomicBool::new(false);

/// Notes that the current transaction has queued records from `id` on.
pub fn note_queued(id: i64) {
    register();
    LOWEST.fetch_min(id, Ordering::Relaxed);
}

/// Notes that the current transaction has changed records, or the backoff of a server.
pub fn note_changed() {
    register();
    HAS_CHANGED.store(true, Ordering::Relaxed);
}

/// Notes that the current transaction keeps the workers away until it ends.
pub fn note_locked() {
    register();
    IS_LOCKED.store(true, Ordering::Relaxed);
}

fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        registry::prepare();
        on_transaction_event(at_transaction_event);
    });
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
        return;
    }
    match event {
        TransactionEvent::BeforePrepare if is_locked => ereport::refuse_prepare(),
        TransactionEvent::BeforeCommit | TransactionEvent::BeforePrepare => {
            if lowest != i64::MAX || has_changed {
                start_worker();
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

fn start_worker() {
    if registry::claim_start() && !lifecycle::start(RestartPolicy::Respawn) {
        ereport::warn_of_no_worker();
    }
}
