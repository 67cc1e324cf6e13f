//! What the launcher does with the worker registry.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::pg::{bgworker, latch, shared_memory};

use super::{ENTRIES, End, EntryFields, FAILED, LEFT, REGISTRY, UNNEEDED, WORKED, own_pid, want};

/// Makes this process the launcher, until it ends. False if there is another one.
pub fn take() -> bool {
    let registry = REGISTRY.get();
    let is_taken = registry.launcher_pid.compare_exchange(0, own_pid(), Ordering::SeqCst, Ordering::Relaxed).is_ok();
    if is_taken {
        registry.missing_since.store(0, Ordering::Release);
        registry.launcher_process.store(latch::own_process_number(), Ordering::SeqCst);
        bgworker::at_exit(give_back);
    }
    is_taken
}

fn give_back() {
    let registry = REGISTRY.get();
    registry.launcher_started.store(0, Ordering::Release);
    registry.launcher_pid.store(0, Ordering::SeqCst);
}

/// The entry of one database.
#[derive(Clone, Copy)]
pub struct Entry(&'static EntryFields);

/// Gives a database an entry, or finds the one that it has. None if all are taken.
pub fn enter(database: u32) -> Option<Entry> {
    super::enter(database).map(Entry)
}

/// The entries that databases have.
pub fn entries() -> impl Iterator<Item = (u32, Entry)> {
    let entries = REGISTRY.get().entries.iter();
    entries.map(|entry| (entry.database.load(Ordering::Acquire), Entry(entry))).filter(|(database, _)| *database != 0)
}

/// Whether no entry is free.
pub fn is_full() -> bool {
    entries().count() == ENTRIES
}

/// Takes the databases without an entry that want a worker.
pub fn take_wanted() -> impl Iterator<Item = u32> {
    let wanted = REGISTRY.get().wanted.iter();
    wanted.map(|place| place.swap(0, Ordering::SeqCst)).filter(|database| *database != 0)
}

/// Takes the note that there were too many of them.
pub fn take_overfull() -> bool {
    REGISTRY.get().is_overfull.swap(0, Ordering::SeqCst) != 0
}

/// Says how many workers should leave for other databases, and whether no worker is there that could.
pub fn set_waiting(count: u32, is_starved: bool) {
    let registry = REGISTRY.get();
    registry.is_starved.store(u32::from(is_starved), Ordering::Relaxed);
    registry.waiting.store(count, Ordering::SeqCst);
    if count > 0 {
        for (_, entry) in entries().filter(|(_, entry)| entry.has_worker()) {
            latch::wake(entry.0.process.load(Ordering::Relaxed));
        }
    }
}

impl Entry {
    pub fn has_worker(self) -> bool {
        self.0.pid.load(Ordering::SeqCst) != 0
    }

    /// Whether its worker is about to end.
    pub fn is_leaving(self) -> bool {
        self.has_worker() && !matches!(self.end(), End::Failed { .. })
    }

    /// Whether a commit has asked for a worker.
    pub fn is_signalled(self) -> bool {
        self.0.is_signalled()
    }

    /// Takes the note that the database wants a worker soon.
    pub fn take_urgent(self) -> bool {
        self.0.is_urgent.swap(0, Ordering::AcqRel) != 0
    }

    /// Before a start: how the last worker has ended is history.
    pub fn begin(self) {
        self.0.end.store(FAILED, Ordering::Release);
    }

    /// How the worker has ended, or is about to end.
    pub fn end(self) -> End {
        match self.0.end.load(Ordering::Acquire) {
            LEFT => End::Left(Duration::from_micros(self.0.due_in.load(Ordering::Relaxed).max(0) as u64)),
            UNNEEDED => End::Unneeded,
            end => End::Failed { has_worked: end == WORKED },
        }
    }

    /// Notes whether the last worker has failed.
    pub fn note_failing(self, is_failing: bool) {
        self.0.is_failing.store(u32::from(is_failing), Ordering::Relaxed);
    }

    /// Frees the entry.
    pub fn free(self) {
        let database = shared_memory::exclusively(|| self.0.database.swap(0, Ordering::SeqCst));
        // A commit that has signalled before it could see this.
        if self.0.is_signalled() {
            want(database);
        }
    }
}
