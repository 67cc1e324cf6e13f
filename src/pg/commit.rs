//! What happens when a transaction that has queued records ends: the worker is told, and started if there is none.
//!
//! A worker is asked for before the commit, where a warning can still be given, and told after it, where nothing may
//! fail: an error in that callback would take the whole server down.

use std::ffi::c_void;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use pgrx::{pg_guard, pg_sys};

use super::{board, worker};
use crate::ereport;

/// The lowest id that this transaction has queued. What a savepoint's rollback took back is told as well: the worker
/// looks once more than it must.
static LOWEST: AtomicI64 = AtomicI64::new(i64::MAX);

/// Whether this transaction has changed what workers do in another way: they look at everything then.
static CHANGED: AtomicBool = AtomicBool::new(false);

/// Whether this transaction keeps the workers away.
static LOCKED: AtomicBool = AtomicBool::new(false);

/// Notes that the current transaction has queued records from `id` on.
pub fn note_queued(id: i64) {
    watch();
    LOWEST.fetch_min(id, Ordering::Relaxed);
}

/// Notes that the current transaction has changed records, or the pauses of a server.
pub fn note_changed() {
    watch();
    CHANGED.store(true, Ordering::Relaxed);
}

/// Notes that the current transaction keeps the workers away until it ends.
pub fn note_locked() {
    watch();
    LOCKED.store(true, Ordering::Relaxed);
}

fn watch() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        board::prepare();
        // SAFETY: a function that lives as long as the library, which Postgres never unloads.
        unsafe { pg_sys::RegisterXactCallback(Some(at_end), ptr::null_mut()) };
    });
}

/// The lowest id that the current transaction has queued; `i64::MAX` if it has queued none.
pub fn lowest_queued() -> i64 {
    LOWEST.load(Ordering::Relaxed)
}

/// Whether the current transaction has queued `id`, so that nobody else can see it yet.
pub fn has_queued(id: i64) -> bool {
    LOWEST.load(Ordering::Relaxed) <= id
}

/// Called by Postgres at each step of each transaction's end. It must be quick, and after the commit it must not fail.
#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    let (lowest, has_changed) = (LOWEST.load(Ordering::Relaxed), CHANGED.load(Ordering::Relaxed));
    let is_locked = LOCKED.load(Ordering::Relaxed);
    if lowest == i64::MAX && !has_changed && !is_locked {
        return;
    }
    let forget = || {
        LOCKED.store(false, Ordering::Relaxed);
        LOWEST.store(i64::MAX, Ordering::Relaxed);
        CHANGED.store(false, Ordering::Relaxed);
    };
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE if is_locked => ereport::refuse_prepare(),
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT | pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE
            if lowest != i64::MAX || has_changed =>
        {
            start_worker();
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            forget();
            if has_changed {
                board::call_all();
            } else if lowest != i64::MAX {
                board::announce(lowest);
            }
        }
        pg_sys::XactEvent::XACT_EVENT_PREPARE => {
            forget();
            board::announce_prepared(lowest);
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => forget(),
        _ => {}
    }
}

fn start_worker() {
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    if board::claim_start(now as u64) && !worker::start(worker::Life::Lasting) {
        ereport::warn_of_no_worker();
    }
}
