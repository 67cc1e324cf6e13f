//! Keeps the UPDATE that writes upstream ids from being captured.

use std::sync::{Mutex, PoisonError};

use pgrx::pg_sys;

use crate::pg::trigger;

/// The UPDATE in progress.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Running {
    table: u32,
    /// The depth of the trigger that would capture it: one more than the current depth.
    depth: i32,
    after: Afterwards,
}

/// When the changes of other triggers are sent that fire while ids are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// When the UPDATE ends.
    Sent,
    /// Later: the caller of the UPDATE sends them.
    Waiting,
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

fn running() -> std::sync::MutexGuard<'static, Option<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it exists, the UPDATE that writes upstream ids into a table is not captured, even if triggers change its rows. The
/// changes of other statements within it are captured.
pub struct WriteBackGuard {
    before: Option<Running>,
}

impl WriteBackGuard {
    pub fn begin(table: pg_sys::Oid, after: Afterwards) -> Self {
        let own = Running { table: table.to_u32(), depth: trigger::depth() + 1, after };
        WriteBackGuard { before: running().replace(own) }
    }

    /// Whether the current trigger belongs to that UPDATE, or to a statement within it, and its changes are sent later.
    pub fn keeps_waiting() -> bool {
        let depth = trigger::depth();
        running().is_some_and(|running| running.after == Afterwards::Waiting && depth >= running.depth)
    }

    /// Whether the statement on `table` that ends is that UPDATE.
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
