//! What a module has to do when a transaction, or a part of one, ends.

use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;

use pgrx::{pg_guard, pg_sys};

/// What to call, on the backend's main thread.
pub struct Callbacks {
    /// Just before the commit, or before PREPARE TRANSACTION. An error ends the transaction.
    pub before_commit: fn(),
    /// After the end, however it ended. It must not fail.
    pub ended: fn(),
    /// What the subtransaction with this number, and those within it, have done is undone. It must not fail.
    pub subtransaction_undone: fn(u32),
}

static CALLBACKS: OnceLock<Callbacks> = OnceLock::new();

/// Has these called from now on. Only the first call counts.
pub fn watch(callbacks: Callbacks) {
    CALLBACKS.get_or_init(|| {
        // SAFETY: functions that live as long as the library, which Postgres never unloads.
        unsafe {
            pg_sys::RegisterXactCallback(Some(at_end), ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), ptr::null_mut());
        }
        callbacks
    });
}

/// Runs `f` with a snapshot, as a query needs one. At a transaction's end there is none.
pub fn with_snapshot<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: within a transaction that is about to end. An error ends it, and the snapshot with it.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let result = f();
        pg_sys::PopActiveSnapshot();
        result
    }
}

/// The number of the subtransaction that runs; later ones have higher numbers.
pub fn current_subtransaction() -> u32 {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    let Some(callbacks) = CALLBACKS.get() else { return };
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT | pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => {
            (callbacks.before_commit)();
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT
        | pg_sys::XactEvent::XACT_EVENT_PREPARE
        | pg_sys::XactEvent::XACT_EVENT_ABORT => (callbacks.ended)(),
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB
        && let Some(callbacks) = CALLBACKS.get()
    {
        (callbacks.subtransaction_undone)(own);
    }
}
