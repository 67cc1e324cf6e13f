//! The lock of a server's queue, of the one session that claims its records, or changes them by a function of the outbox,
//! until its transaction ends.
//!
//! It is the lock of an object that no other code locks, so no statement on a table waits for it.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::pg::lock::{Mode, Object};
use crate::pg::relation;

fn object(server: &str) -> Object {
    let mut hasher = DefaultHasher::new();
    server.hash(&mut hasher);
    // Two servers with one number only wait for each other.
    Object::part_of_relation(relation::of_outbox(c"claims"), hasher.finish() as u16)
}

/// Waits for the lock.
pub fn acquire(server: &str) {
    object(server).lock(Mode::Exclusive);
}

/// Takes the lock unless another session has it. A worker does not wait: a session that has called a function of the
/// outbox may keep its transaction open for hours. Meanwhile the worker serves other servers.
pub fn try_acquire(server: &str) -> bool {
    object(server).try_lock(Mode::Exclusive)
}
