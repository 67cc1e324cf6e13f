//! The record stream: every version of every record, in the order of the changes, never rewritten.
//!
//! One lock covers the provider's change and its entry in the stream. With two locks, the stream could hold two changes
//! of a record in the wrong order. A consumer would then end on the older one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::memory::{self, Marks, Memory, Refusal};
use crate::record::Record;
use crate::request::Mutation;

/// A provider in memory with the stream of its changes.
pub struct Stream {
    versions: Mutex<Versions>,
    /// The last `updated_idx`, for waiters.
    end: watch::Sender<u64>,
}

struct Versions {
    present: Memory,
    /// `all[i]` has the `updated_idx` `first + i`.
    all: Vec<Arc<Record>>,
    first: u64,
    marks: Marks,
}

impl Default for Stream {
    fn default() -> Stream {
        Stream::new()
    }
}

impl Stream {
    /// An empty stream, whose first version is numbered by the clock.
    pub fn new() -> Stream {
        // The clock's microseconds are above 2^32, below 2^53, and rise from one process to the next. A consumer's
        // table that outlives a process keeps the row with the higher `updated_idx`. It must not take new records for
        // old ones.
        let now = SystemTime::now();
        let first = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let marks = Marks { now, next: first };
        let versions = Versions { present: Memory::default(), all: Vec::new(), first, marks };
        Stream { versions: Mutex::new(versions), end: watch::Sender::new(first - 1) }
    }

    /// Applies the mutation and appends the new versions. The result is in the order of the request.
    ///
    /// # Errors
    /// The provider's reason. Nothing was applied.
    pub fn mutate(&self, mutation: &Mutation) -> Result<Vec<Arc<Record>>, Refusal> {
        memory::check(mutation)?;
        let mut versions = self.lock();
        let Versions { present, all, marks, .. } = &mut *versions;
        marks.now = SystemTime::now();
        let records = present.apply(mutation, marks)?;
        all.extend(records.iter().cloned());
        self.end.send_replace(marks.next - 1);
        Ok(records)
    }

    /// Up to `limit` versions after `position` that are `wanted`, and the next position.
    pub fn read(&self, position: u64, limit: usize, wanted: impl Fn(&Record) -> bool) -> (Vec<Arc<Record>>, u64) {
        let versions = self.lock();
        let end = versions.marks.next - 1;
        // Versions that `clear` removed are skipped.
        let skip = (position + 1).saturating_sub(versions.first) as usize;
        let mut found = Vec::new();
        for record in versions.all.iter().skip(skip) {
            if wanted(record) {
                if found.len() == limit {
                    return (found, record.updated_idx - 1);
                }
                found.push(record.clone());
            }
        }
        (found, end.max(position))
    }

    /// The position before the first kept version.
    pub fn start(&self) -> u64 {
        self.lock().first - 1
    }

    /// The `updated_idx` of the last version.
    pub fn end(&self) -> u64 {
        *self.end.borrow()
    }

    /// Receives [`Stream::end`] whenever it rises.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// The current version of each wanted record, deleted ones included, in order of creation.
    pub fn present(&self, wanted: impl Fn(&Record) -> bool) -> Vec<Arc<Record>> {
        self.lock().present.present(wanted)
    }

    /// Drops records and versions. `updated_idx` continues.
    pub fn clear(&self) {
        let mut versions = self.lock();
        versions.present = Memory::default();
        versions.first = versions.marks.next;
        versions.all.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
