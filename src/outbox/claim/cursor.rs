//! Where a worker goes on reading, between two claims.

use std::collections::{HashMap, HashSet};

/// What a worker knows between two claims. All of it can be forgotten: then it looks at everything.
#[derive(Default)]
pub struct Cursors {
    /// Where to go on reading in each server's queue.
    pub positions: HashMap<String, i64>,
    /// Claims of workers that are gone, which cannot be ended: what is claimed so stays under way.
    pub stuck_claims: HashSet<i64>,
    /// The oldest claim that may still be there.
    pub claims_from: i64,
    /// How many records to look at, for servers to which creates went, of which few travel at once.
    pub narrow: HashMap<String, usize>,
    /// The server that was served last; the others come first.
    pub last: String,
    /// Servers with records that are not foreign servers any more.
    pub lost: Vec<String>,
}

impl Cursors {
    /// Goes back, to see what was committed or set free below.
    pub fn go_back(&mut self, lowest: i64) {
        for position in self.positions.values_mut() {
            *position = (*position).min(lowest);
        }
    }

    /// Looks at everything again.
    pub fn forget(&mut self) {
        let last = std::mem::take(&mut self.last);
        *self = Cursors { last, ..Cursors::default() };
    }
}
