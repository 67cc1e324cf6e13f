//! Where workers say that they are there, and committing sessions leave word for them: a board in shared memory.
//!
//! A commit must reach the worker in microseconds and must not fail, so there is no query, no lock and no allocation:
//! each worker has a slot of atomic numbers, and a commit writes into the slots of its database and sets their latches.
//! Shared memory that is asked for at run time comes from what Postgres keeps to spare (probes.md 6), so the library
//! need not be preloaded. A crash of the server wipes the board together with all workers.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys::{self, Datum};

/// More than a server has background workers, for most servers; a worker without a slot leaves.
const SLOTS: usize = 64;

/// The lock of shared memory that libraries make, by its number in lwlocknames.h, the same from 15 to 18.
const ADDIN_SHMEM_INIT_LOCK: usize = 21;

/// With the number of the layout: after an upgrade of the library old and new ones may meet.
const NAME: &CStr = c"sequin_mutations board 1";

#[repr(C)]
struct Slot {
    /// The process, 0 in a free slot. It is taken first and given back last.
    pid: AtomicI32,
    /// 0 until the worker can be found under it.
    database: AtomicU32,
    /// Its place in Postgres' array of processes, where its latch is.
    process: AtomicU32,
    /// Unlike a pid it never comes again.
    owner: AtomicI64,
    /// The lowest id that was queued since the worker looked, `i64::MAX` if none was.
    lowest: AtomicI64,
    /// Whether a transaction with queued records was prepared, whose COMMIT PREPARED will tell nobody.
    is_prepared: AtomicBool,
    /// The lowest id that such a transaction has queued; unknown ones are below everything.
    prepared_lowest: AtomicI64,
}

#[repr(C)]
struct Board {
    slots: [Slot; SLOTS],
    /// Counts registrations of workers, so that one commit in a crowd starts a worker and not each.
    starting: [Starting; SLOTS],
}

/// A worker was asked for and has not come yet.
#[repr(C)]
struct Starting {
    database: AtomicU32,
    /// Microseconds since 2000; an older one has failed.
    since: AtomicU64,
}

fn board() -> &'static Board {
    static BOARD: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    let address = *BOARD.get_or_init(|| {
        let mut found = false;
        // SAFETY: called in a process that is attached to shared memory. Zeroes are a value of every field; Postgres does
        // not promise them, so the first one writes them under the lock that all others wait for.
        unsafe {
            let lock = &raw mut (*pg_sys::MainLWLockArray.add(ADDIN_SHMEM_INIT_LOCK)).lock;
            pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
            let memory = pg_sys::ShmemInitStruct(NAME.as_ptr(), size_of::<Board>(), &mut found);
            if !found {
                std::ptr::write_bytes(memory.cast::<u8>(), 0, size_of::<Board>());
            }
            pg_sys::LWLockRelease(lock);
            memory as usize
        }
    });
    // SAFETY: shared memory stays where it is for as long as the process is attached to it, which is to its end; all of
    // it is atomic.
    unsafe { &*(address as *const Board) }
}

/// Makes the board exist. It may raise, which later, in a commit, nothing may.
pub fn prepare() {
    board();
}

fn database() -> u32 {
    // SAFETY: a variable of the backend.
    unsafe { pg_sys::MyDatabaseId.to_u32() }
}

fn slots_here() -> impl Iterator<Item = &'static Slot> {
    let here = database();
    board().slots.iter().filter(move |slot| slot.database.load(Ordering::Acquire) == here)
}

/// The workers of this database.
pub fn pids() -> Vec<i32> {
    slots_here().map(|slot| slot.pid.load(Ordering::Relaxed)).collect()
}

/// The owners among the workers of this database.
pub fn owners() -> Vec<i64> {
    slots_here().map(|slot| slot.owner.load(Ordering::Relaxed)).collect()
}

fn wake(slot: &Slot) {
    let process = slot.process.load(Ordering::Relaxed) as usize;
    // SAFETY: the slot was published after its process number, which is below the array's length. SetLatch of a process
    // that has just gone wakes whoever has its place now, which every waiter in Postgres expects.
    unsafe {
        let proc = (*pg_sys::ProcGlobal).allProcs.add(process);
        pg_sys::SetLatch(&raw mut (*proc).procLatch);
    }
}

/// Tells this database's workers that records from `lowest` on were committed, or are free again. Nothing in it can fail.
pub fn announce(lowest: i64) {
    for slot in slots_here() {
        slot.lowest.fetch_min(lowest, Ordering::AcqRel);
        wake(slot);
    }
}

/// Wakes this database's workers, to look at everything.
pub fn call_all() {
    announce(i64::MIN);
}

/// Tells them that a transaction with records queued from `lowest` on was prepared.
pub fn announce_prepared(lowest: i64) {
    for slot in slots_here() {
        slot.prepared_lowest.fetch_min(lowest, Ordering::AcqRel);
        slot.is_prepared.store(true, Ordering::Release);
        wake(slot);
    }
}

/// Whether somebody must start a worker: there is none, and none was asked for in the last seconds. Says that one is now.
pub fn claim_start(now_us: u64) -> bool {
    /// A worker is there in milliseconds; on a machine in trouble it takes longer, and a second one does no harm.
    const PATIENCE_US: u64 = 5_000_000;
    if slots_here().next().is_some() {
        return false;
    }
    let here = database();
    let starting = &board().starting;
    let is_over = |since: u64| now_us.saturating_sub(since) > PATIENCE_US;
    let take =
        |s: &Starting, from: u32| s.database.compare_exchange(from, here, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let known = starting.iter().find(|s| s.database.load(Ordering::Acquire) == here);
    let free = || starting.iter().find(|s| take(s, 0));
    let Some(place) = known.or_else(free) else {
        // All are taken, some by databases that were dropped: whoever was to come there has nowhere to say that it has.
        let mut failed = starting.iter().filter(|s| is_over(s.since.load(Ordering::Acquire)));
        if let Some(place) = failed.find(|s| take(s, s.database.load(Ordering::Acquire))) {
            place.since.store(now_us, Ordering::Release);
        }
        return true;
    };
    let since = place.since.load(Ordering::Acquire);
    let is_first = || place.since.compare_exchange(since, now_us, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let is_lost = || place.database.load(Ordering::Acquire) != here;
    is_over(since) && (is_first() || is_lost())
}

/// Says that the worker that was asked for has come, or will not.
pub fn start_ended() {
    let here = database();
    for starting in board().starting.iter().filter(|s| s.database.load(Ordering::Acquire) == here) {
        starting.since.store(0, Ordering::Relaxed);
        starting.database.store(0, Ordering::Release);
    }
}

impl Slot {
    fn has_word(&self) -> bool {
        self.lowest.load(Ordering::Acquire) != i64::MAX
    }
}

/// Whether something was left for this process.
pub fn has_word() -> bool {
    let own = std::process::id() as i32;
    slots_here().any(|slot| slot.pid.load(Ordering::Relaxed) == own && slot.has_word())
}

/// The slot of this process.
pub struct Place(&'static Slot);

impl Place {
    /// Takes a slot for this worker; None if all are taken. It is given back when the process ends, however it ends: a
    /// crash wipes the board.
    pub fn take(owner: i64) -> Option<Place> {
        let pid = std::process::id() as i32;
        let free = |slot: &&Slot| slot.pid.compare_exchange(0, pid, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let slot = board().slots.iter().find(free)?;
        // SAFETY: both are set in a process that is connected to a database, and the one is an element of the other.
        let process = unsafe { pg_sys::MyProc.offset_from((*pg_sys::ProcGlobal).allProcs) };
        slot.process.store(process as u32, Ordering::Relaxed);
        slot.owner.store(owner, Ordering::Relaxed);
        slot.lowest.store(i64::MIN, Ordering::Relaxed);
        slot.is_prepared.store(true, Ordering::Relaxed);
        slot.prepared_lowest.store(i64::MIN, Ordering::Relaxed);
        slot.database.store(database(), Ordering::Release);
        // SAFETY: a function of this library, which stays loaded.
        unsafe { pg_sys::before_shmem_exit(Some(give_back), Datum::null()) };
        start_ended();
        Some(Place(slot))
    }

    /// What was left since the last time: the lowest id of what was queued.
    pub fn collect(&self) -> Option<i64> {
        let lowest = self.0.lowest.swap(i64::MAX, Ordering::AcqRel);
        (lowest != i64::MAX).then_some(lowest)
    }

    /// Whether something was left.
    pub fn has_word(&self) -> bool {
        self.0.has_word()
    }

    /// Whether a transaction with queued records may be prepared.
    pub fn is_prepared(&self) -> bool {
        self.0.is_prepared.load(Ordering::Acquire)
    }

    /// From where on such transactions have queued records, before it is looked whether there are any: the note is
    /// taken away, so that one that is made in the meantime stays.
    pub fn collect_prepared(&self) -> i64 {
        self.0.is_prepared.store(false, Ordering::Release);
        self.0.prepared_lowest.swap(i64::MAX, Ordering::AcqRel)
    }

    /// Puts the note back: there still is one.
    pub fn note_prepared(&self, lowest: i64) {
        self.0.prepared_lowest.fetch_min(lowest, Ordering::AcqRel);
        self.0.is_prepared.store(true, Ordering::Release);
    }

    /// Whether it is the first of its database's workers: the one that stays when there is nothing to do.
    pub fn is_first(&self) -> bool {
        slots_here().next().is_some_and(|first| std::ptr::eq(first, self.0))
    }
}

/// Called by Postgres when the process ends.
unsafe extern "C-unwind" fn give_back(_code: c_int, _arg: Datum) {
    leave();
}

/// Gives the slot of this process back.
pub fn leave() {
    let pid = std::process::id() as i32;
    for slot in board().slots.iter().filter(|slot| slot.pid.load(Ordering::Relaxed) == pid) {
        slot.database.store(0, Ordering::Release);
        slot.pid.store(0, Ordering::Release);
    }
}
