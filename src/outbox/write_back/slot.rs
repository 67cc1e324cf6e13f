//! The write-back process of each database, in shared memory: whether it runs, and which ids it has to look for.
//!
//! A delivery worker reserves a slot before it starts the process, so that one process is started for a database. The
//! process takes the slot, and gives it back when it ends. A crash of the server empties all slots.

use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::pg::shared_memory::{SharedStruct, shared_struct};
use crate::pg::{bgworker, latch, session};

/// As many as there are slots for delivery workers.
const SLOTS: usize = 64;

/// A process takes its slot within milliseconds. After this time its start has failed.
const START_TIMEOUT: Duration = Duration::from_secs(5);

static SLOTS_OF_PROCESSES: SharedStruct<Slots> = SharedStruct::new(c"sequin_mutations write-back processes 1");

shared_struct! {
    struct SlotFields {
        /// 0 in a free slot.
        database: AtomicU32,
        /// The process, 0 until it has started.
        pid: AtomicI32,
        /// Its place in Postgres' array of processes, where its latch is.
        process: AtomicU32,
        /// The lowest create that was noted since the process last looked, `i64::MAX` if none was.
        lowest: AtomicI64,
        /// When the start began, in microseconds since 2000.
        started_at: AtomicU64,
    }
}

shared_struct! {
    struct Slots {
        slots: [SlotFields; SLOTS],
    }
}

/// How much shared memory the slots take, in bytes.
pub fn memory() -> usize {
    SLOTS_OF_PROCESSES.size()
}

/// Creates the slots if there is room for them.
pub fn try_prepare() {
    SLOTS_OF_PROCESSES.try_find();
}

fn slots() -> &'static [SlotFields; SLOTS] {
    &SLOTS_OF_PROCESSES.get().slots
}

fn of_database() -> Option<&'static SlotFields> {
    let here = session::database();
    slots().iter().find(|slot| slot.database.load(Ordering::Acquire) == here)
}

impl SlotFields {
    fn is_starting(&self, now: u64) -> bool {
        // The clock may have been set back since.
        let since = now.checked_sub(self.started_at.load(Ordering::Acquire));
        since.is_some_and(|since| u128::from(since) <= START_TIMEOUT.as_micros())
    }

    /// Whether the process runs, or has not taken its slot yet.
    fn is_live(&self, now: u64) -> bool {
        self.pid.load(Ordering::Acquire) != 0 || self.is_starting(now)
    }

    /// Makes this the slot of a process that starts, unless another session has done so since `started_at` was read.
    fn begin_start(&self, started_at: u64, now: u64) -> bool {
        let begun = self.started_at.compare_exchange(started_at, now, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if begun {
            self.lowest.store(i64::MIN, Ordering::Release);
        }
        begun
    }
}

/// Whether this database has a write-back process, or one is starting.
pub fn is_running() -> bool {
    of_database().is_some_and(|slot| slot.is_live(session::now() as u64))
}

/// Tells the process that creates from the id `lowest` on are noted. Returns false if there is none.
pub fn wake(lowest: i64) -> bool {
    let Some(slot) = of_database().filter(|slot| slot.is_live(session::now() as u64)) else { return false };
    slot.lowest.fetch_min(lowest, Ordering::AcqRel);
    if slot.pid.load(Ordering::Acquire) != 0 {
        latch::wake(slot.process.load(Ordering::Acquire));
    }
    true
}

/// Reserves the slot for a process that the caller starts now. Returns false if one runs or starts already, or no slot
/// is free.
pub fn reserve() -> bool {
    let (here, now) = (session::database(), session::now() as u64);
    if let Some(slot) = of_database() {
        let started_at = slot.started_at.load(Ordering::Acquire);
        return !slot.is_live(now) && slot.begin_start(started_at, now);
    }
    let take = |slot: &&SlotFields| {
        let taken = slot.database.compare_exchange(0, here, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        taken && slot.begin_start(slot.started_at.load(Ordering::Acquire), now)
    };
    // A slot whose process has never started may be of a database that was dropped.
    let inherit = |slot: &&SlotFields| {
        let started_at = slot.started_at.load(Ordering::Acquire);
        let is_inherited = !slot.is_live(now) && slot.begin_start(started_at, now);
        if is_inherited {
            slot.database.store(here, Ordering::Release);
        }
        is_inherited
    };
    slots().iter().find(take).or_else(|| slots().iter().find(inherit)).is_some()
}

/// Gives back the slot that was reserved, because the process could not be started.
pub fn cancel_reservation() {
    if let Some(slot) = of_database().filter(|slot| slot.pid.load(Ordering::Acquire) == 0) {
        free(slot);
    }
}

fn free(slot: &SlotFields) {
    slot.started_at.store(0, Ordering::Release);
    slot.database.store(0, Ordering::Release);
    slot.pid.store(0, Ordering::Release);
}

/// The slot of this process.
pub struct Slot(&'static SlotFields);

impl Slot {
    /// Takes the slot that was reserved for this process. None if another process has taken it.
    pub fn take() -> Option<Slot> {
        let slot = of_database()?;
        slot.pid.compare_exchange(0, own_pid(), Ordering::AcqRel, Ordering::Relaxed).ok()?;
        slot.process.store(latch::own_process_number(), Ordering::Release);
        bgworker::at_exit(give_back);
        Some(Slot(slot))
    }

    /// The lowest create that was noted since the last call.
    pub fn take_lowest(&self) -> Option<i64> {
        let lowest = self.0.lowest.swap(i64::MAX, Ordering::AcqRel);
        (lowest != i64::MAX).then_some(lowest)
    }

    /// Puts a create back, because it could not be looked for.
    pub fn put_back(&self, lowest: i64) {
        self.0.lowest.fetch_min(lowest, Ordering::AcqRel);
    }

    /// Whether a create was noted since the last look.
    pub fn is_signalled(&self) -> bool {
        self.0.lowest.load(Ordering::Acquire) != i64::MAX
    }
}

fn own_pid() -> i32 {
    std::process::id() as i32
}

/// Gives the slot of this process back.
fn give_back() {
    let pid = own_pid();
    slots().iter().filter(|slot| slot.pid.load(Ordering::Relaxed) == pid).for_each(free);
}
