//! A worker's position in the queues, between two claims.

use std::collections::{HashMap, HashSet};

/// A worker's memory between two claims. All of it can be dropped: the next scan reads everything then.
#[derive(Default)]
pub struct Cursors {
    /// The id from which each server's queue is read.
    pub positions: HashMap<String, i64>,
    /// Claims of workers that are gone which could not be ended: their records stay in flight.
    pub stuck_claims: HashSet<i64>,
    /// The oldest claim that may still exist.
    pub claims_from: i64,
    /// How many records to read from servers to which creates went: few creates are sent at once.
    pub narrow: HashMap<String, usize>,
    /// The server that was served last.
    pub last: String,
    /// Server names in records for which no foreign server exists.
    pub dropped: Vec<String>,
}

impl Cursors {
    /// Goes back to records that were committed or freed below.
    pub fn go_back(&mut self, lowest: i64) {
        for position in self.positions.values_mut() {
            *position = (*position).min(lowest);
        }
    }

    /// Lets the next scan read everything.
    pub fn reset(&mut self) {
        let last = std::mem::take(&mut self.last);
        *self = Cursors { last, ..Cursors::default() };
    }
}
