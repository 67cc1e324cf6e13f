//! The state of the session's transaction: its number, its statement, and the block that the client has put it in.

use pgrx::pg_sys;

/// The number of the transaction among those of this backend.
pub fn local_transaction_number() -> u32 {
    // SAFETY: a backend has its entry in the array of processes until its end. Only the backend writes this field.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return (*pg_sys::MyProc).lxid;
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        return (*pg_sys::MyProc).vxid.lxid;
    }
}

/// When the statement began whose rows the client fetches now, in Postgres' microseconds since 2000. A client may fetch
/// them by several messages.
pub fn portal_start() -> Option<i64> {
    // SAFETY: null, or the portal that Postgres runs, which is there while it runs.
    unsafe { pg_sys::ActivePortal.as_ref() }.map(|portal| portal.creation_time)
}

/// How deep subtransactions are nested: 1 if none is open.
pub fn nest_level() -> i32 {
    // SAFETY: copies a variable of the backend.
    unsafe { pg_sys::GetCurrentTransactionNestLevel() }
}

/// The block that the client has put the transaction in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// None, or an implicit one: the transaction ends when the client sends Sync.
    Implicit,
    /// BEGIN.
    Explicit,
    /// Postgres does not show it while a subtransaction is open.
    Hidden,
}

pub fn block() -> Block {
    // SAFETY: reads the state of the transaction.
    if !unsafe { pg_sys::IsTransactionBlock() } {
        return Block::Implicit;
    }
    if nest_level() > 1 {
        return Block::Hidden;
    }
    // Newer minor releases begin an implicit block with the second statement before a Sync, which looks like any.
    // SAFETY: the first call turns an implicit block into none, and does nothing to a block of another kind. Nothing runs
    // before the last call turns it back.
    unsafe {
        pg_sys::EndImplicitTransactionBlock();
        if pg_sys::IsTransactionBlock() {
            return Block::Explicit;
        }
        pg_sys::BeginImplicitTransactionBlock();
    }
    Block::Implicit
}
