//! The lock of the one session that claims records, or changes them by a function of the outbox, until its transaction
//! ends.
//!
//! It is the lock of an object that no other code locks, so no statement on a table waits for it.

use crate::pg::lock::{Mode, Object};
use crate::pg::relation;

fn object() -> Object {
    Object::relation(relation::of_outbox(c"claims"))
}

/// Waits for the lock.
pub fn acquire() {
    object().lock(Mode::Exclusive);
}

/// Takes the lock unless another session has it. A worker does not wait: a session that has called a function of the
/// outbox may keep its transaction open for hours.
pub fn try_acquire() -> bool {
    object().try_lock(Mode::Exclusive)
}
