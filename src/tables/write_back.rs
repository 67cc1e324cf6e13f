//! The UPDATE that writes upstream ids into their rows is no change of the user's.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use pgrx::pg_sys;

use crate::pg::trigger;

static TABLE: AtomicU32 = AtomicU32::new(0);
static DEPTH: AtomicI32 = AtomicI32::new(0);

/// While it lives, the UPDATE that writes upstream ids into a table is not captured, whatever the triggers before the row
/// make of it. What other statements within it write, in this table or another, is captured.
pub struct WritingBack {
    before: (u32, i32),
}

impl WritingBack {
    pub fn begin(table: pg_sys::Oid) -> Self {
        // The trigger that captures the UPDATE is one deeper than what runs now; what the UPDATE's own triggers run is
        // deeper than that.
        let before =
            (TABLE.swap(table.to_u32(), Ordering::Relaxed), DEPTH.swap(trigger::depth() + 1, Ordering::Relaxed));
        WritingBack { before }
    }

    /// Whether the statement that ends, on `table`, is that UPDATE.
    pub fn is_ending(table: pg_sys::Oid) -> bool {
        TABLE.load(Ordering::Relaxed) == table.to_u32() && DEPTH.load(Ordering::Relaxed) == trigger::depth()
    }
}

impl Drop for WritingBack {
    fn drop(&mut self) {
        TABLE.store(self.before.0, Ordering::Relaxed);
        DEPTH.store(self.before.1, Ordering::Relaxed);
    }
}
