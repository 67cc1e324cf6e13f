//! A worker's position in the queues, between two claims.

use std::collections::{HashMap, HashSet};

use contract::batching::window::Stepping;

use pgrx::pg_sys::Oid;

/// A worker's memory between two claims. All of it can be dropped: the next scan reads everything then.
#[derive(Default)]
pub struct Cursors {
    /// The id from which each server's queue is read.
    pub positions: HashMap<String, i64>,
    /// How many records to read for each request, from servers to which creates went.
    pub narrow: HashMap<String, usize>,
    /// By how much the next scans are wider than usual.
    pub widening: HashMap<String, usize>,
    /// The foreign servers of the last scan.
    pub servers: Vec<(String, Oid)>,
    /// The records of each server's queue that scans step over, because they wait and others do not.
    pub stepping: HashMap<String, Stepping>,
    /// The servers in backoff to which only creates can be sent.
    pub creates_only: HashSet<String>,
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
