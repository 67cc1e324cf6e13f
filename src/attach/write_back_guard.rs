//! The UPDATE that writes upstream ids into their rows is no change of the user's.

use std::sync::{Mutex, PoisonError};

use pgrx::pg_sys;

use crate::pg::trigger;

/// The UPDATE that runs, and what becomes of the changes that its triggers make.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Running {
    table: u32,
    /// How deep the trigger is that captures it: one deeper than what runs it.
    depth: i32,
    after: Afterwards,
}

/// What becomes of the changes that other triggers make while ids are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// They are sent when the UPDATE ends.
    Sent,
    /// They wait for the caller that has the ids written, which sends them.
    Waiting,
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

fn running() -> std::sync::MutexGuard<'static, Option<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, the UPDATE that writes upstream ids into a table is not captured, whatever the triggers before the row
/// make of it. What other statements within it write, in this table or another, is captured.
pub struct WriteBackGuard {
    before: Option<Running>,
}

impl WriteBackGuard {
    pub fn begin(table: pg_sys::Oid, after: Afterwards) -> Self {
        let own = Running { table: table.to_u32(), depth: trigger::depth() + 1, after };
        WriteBackGuard { before: running().replace(own) }
    }

    /// Whether the trigger that runs is one of that UPDATE, or of a statement within it, and what they change waits.
    pub fn keeps_waiting() -> bool {
        let depth = trigger::depth();
        running().is_some_and(|running| running.after == Afterwards::Waiting && depth >= running.depth)
    }

    /// Whether the statement that ends, on `table`, is that UPDATE.
    pub fn is_ending(table: pg_sys::Oid) -> bool {
        let depth = trigger::depth();
        running().is_some_and(|running| running.table == table.to_u32() && running.depth == depth)
    }
}

impl Drop for WriteBackGuard {
    fn drop(&mut self) {
        *running() = self.before;
    }
}
