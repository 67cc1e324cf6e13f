//! The worker registry: a structure in shared memory where workers can be found, and where commits leave signals for them.
//!
//! A commit must reach the worker in microseconds and must not fail, so it runs no query, takes no lock and allocates
//! nothing. Each worker has a slot of atomic numbers. A commit writes into the slots of its database and sets their
//! latches. A crash of the server empties the registry and ends all workers.

use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::pg::shared_memory::{SharedStruct, shared_struct};
use crate::pg::{bgworker, latch, session};

/// More than most servers have background workers. A worker that finds no free slot exits.
const SLOTS: usize = 64;

static REGISTRY: SharedStruct<Registry> = SharedStruct::new(c"sequin_mutations worker registry 1");

shared_struct! {
    struct SlotFields {
        /// The process, 0 in a free slot. It is set first and cleared last.
        pid: AtomicI32,
        /// 0 until the slot is complete.
        database: AtomicU32,
        /// Its place in Postgres' array of processes, where its latch is.
        process: AtomicU32,
        /// 1 if a transaction with queued records was prepared, whose COMMIT PREPARED signals no worker.
        is_prepared: AtomicU32,
        /// The owner number of its claims. Unlike a pid it is never reused.
        owner: AtomicI64,
        /// The lowest id that was queued since the worker's last scan, `i64::MAX` if none was.
        lowest: AtomicI64,
        /// The lowest id that a prepared transaction has queued; an unknown one counts as below all others.
        prepared_lowest: AtomicI64,
    }
}

shared_struct! {
    struct Registry {
        slots: [SlotFields; SLOTS],
        /// Starts in progress, so that concurrent commits start one worker together.
        starts: [Start; SLOTS],
    }
}

shared_struct! {
    /// A worker that was started and has not taken its slot yet.
    struct Start {
        database: AtomicU32,
        /// Microseconds since 2000. After a while it counts as failed.
        since: AtomicU64,
    }
}

/// Creates the registry. This may raise an error; the calls during a commit must not.
pub fn prepare() {
    REGISTRY.get();
}

fn slots_of_database() -> impl Iterator<Item = &'static SlotFields> {
    let here = session::database();
    REGISTRY.get().slots.iter().filter(move |slot| slot.database.load(Ordering::Acquire) == here)
}

/// The process ids of this database's workers.
pub fn pids() -> Vec<i32> {
    slots_of_database().map(|slot| slot.pid.load(Ordering::Relaxed)).collect()
}

/// The owner numbers of this database's workers.
pub fn owners() -> Vec<i64> {
    slots_of_database().map(|slot| slot.owner.load(Ordering::Relaxed)).collect()
}

/// Wakes this database's workers: records from the id `lowest` on were committed, or are free again. It cannot fail.
pub fn wake_workers(lowest: i64) {
    for slot in slots_of_database() {
        slot.lowest.fetch_min(lowest, Ordering::AcqRel);
        latch::wake(slot.process.load(Ordering::Relaxed));
    }
}

/// Wakes this database's workers for a full scan. It cannot fail.
pub fn wake_all() {
    wake_workers(i64::MIN);
}

/// Wakes this database's workers: a transaction with records queued from the id `lowest` on was prepared. It cannot fail.
pub fn signal_prepared(lowest: i64) {
    for slot in slots_of_database() {
        slot.prepared_lowest.fetch_min(lowest, Ordering::AcqRel);
        slot.is_prepared.store(1, Ordering::Release);
        latch::wake(slot.process.load(Ordering::Relaxed));
    }
}

/// Whether the caller has to start a worker: none exists, and none was started a moment ago. If so, this counts as a
/// start.
pub fn claim_start() -> bool {
    /// A worker takes its slot within milliseconds. On an overloaded server it takes longer; a second worker does no harm.
    const START_TIMEOUT: Duration = Duration::from_secs(5);
    if slots_of_database().next().is_some() {
        return false;
    }
    let (here, now) = (session::database(), session::now() as u64);
    let starts = &REGISTRY.get().starts;
    let is_over = |since: u64| u128::from(now.saturating_sub(since)) > START_TIMEOUT.as_micros();
    let take = |start: &Start, from: u32| {
        start.database.compare_exchange(from, here, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    let known = starts.iter().find(|start| start.database.load(Ordering::Acquire) == here);
    let Some(start) = known.or_else(|| starts.iter().find(|start| take(start, 0))) else {
        // All slots are taken, some by databases that were dropped before their worker could start.
        let mut failed = starts.iter().filter(|start| is_over(start.since.load(Ordering::Acquire)));
        if let Some(start) = failed.find(|start| take(start, start.database.load(Ordering::Acquire))) {
            start.since.store(now, Ordering::Release);
        }
        return true;
    };
    let since = start.since.load(Ordering::Acquire);
    let is_first = || start.since.compare_exchange(since, now, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let is_lost = || start.database.load(Ordering::Acquire) != here;
    is_over(since) && (is_first() || is_lost())
}

/// Notes that the worker that was started has taken its slot, or has exited.
pub fn end_start() {
    let here = session::database();
    for start in REGISTRY.get().starts.iter().filter(|start| start.database.load(Ordering::Acquire) == here) {
        start.since.store(0, Ordering::Relaxed);
        start.database.store(0, Ordering::Release);
    }
}

impl SlotFields {
    fn is_signalled(&self) -> bool {
        self.lowest.load(Ordering::Acquire) != i64::MAX
    }
}

fn own_pid() -> i32 {
    std::process::id() as i32
}

/// The slot of this process.
pub struct Slot(&'static SlotFields);

impl Slot {
    /// Takes a slot for this worker; None if all are taken. The process gives it back when it ends, unless it crashes:
    /// then Postgres empties the whole registry.
    pub fn take(owner: i64) -> Option<Slot> {
        let pid = own_pid();
        let is_taken =
            |slot: &&SlotFields| slot.pid.compare_exchange(0, pid, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let slot = REGISTRY.get().slots.iter().find(is_taken)?;
        slot.process.store(latch::own_process_number(), Ordering::Relaxed);
        slot.owner.store(owner, Ordering::Relaxed);
        slot.lowest.store(i64::MIN, Ordering::Relaxed);
        slot.is_prepared.store(1, Ordering::Relaxed);
        slot.prepared_lowest.store(i64::MIN, Ordering::Relaxed);
        slot.database.store(session::database(), Ordering::Release);
        bgworker::at_exit(give_back);
        end_start();
        Some(Slot(slot))
    }

    /// Takes the signals since the last call: the lowest id that was queued.
    pub fn take_signals(&self) -> Option<i64> {
        let lowest = self.0.lowest.swap(i64::MAX, Ordering::AcqRel);
        (lowest != i64::MAX).then_some(lowest)
    }

    /// Whether a commit has signalled this worker since its last scan.
    pub fn is_signalled(&self) -> bool {
        self.0.is_signalled()
    }

    /// Whether a transaction with queued records may be prepared.
    pub fn is_prepared(&self) -> bool {
        self.0.is_prepared.load(Ordering::Acquire) != 0
    }

    /// Takes the note that a transaction is prepared, before the caller looks for one: a note that another session
    /// makes meanwhile stays. Returns the lowest id that such transactions have queued.
    pub fn take_prepared(&self) -> i64 {
        self.0.is_prepared.store(0, Ordering::Release);
        self.0.prepared_lowest.swap(i64::MAX, Ordering::AcqRel)
    }

    /// Puts the note back, because a transaction is still prepared.
    pub fn note_prepared(&self, lowest: i64) {
        self.0.prepared_lowest.fetch_min(lowest, Ordering::AcqRel);
        self.0.is_prepared.store(1, Ordering::Release);
    }

    /// Whether this is the first of its database's workers, which stays when there is nothing to do.
    pub fn is_first(&self) -> bool {
        slots_of_database().next().is_some_and(|first| std::ptr::eq(first, self.0))
    }
}

/// Gives the slot of this process back.
pub fn give_back() {
    let pid = own_pid();
    for slot in REGISTRY.get().slots.iter().filter(|slot| slot.pid.load(Ordering::Relaxed) == pid) {
        slot.database.store(0, Ordering::Release);
        slot.pid.store(0, Ordering::Release);
    }
}
