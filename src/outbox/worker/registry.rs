//! The worker registry: a structure in shared memory with an entry for each database that has a worker or wants one.
//!
//! A commit must reach the worker in microseconds and must not fail, so it runs no query, takes no lock and allocates
//! nothing. It writes into the entry of its database, and sets the latch of the worker. If there is no worker, it sets
//! the latch of the launcher, which starts one. A crash of the server empties the registry and ends all workers.

use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use crate::pg::shared_memory::{self, SharedStruct, shared_struct};
use crate::pg::{bgworker, latch, session};

pub mod roster;

/// The databases that may have an entry at one time. The memory that Postgres keeps to spare is small.
const ENTRIES: usize = 64;

/// The databases without an entry that may want a worker at one time. If more do, the launcher looks at all databases.
const WANTED: usize = 256;

static REGISTRY: SharedStruct<Registry> = SharedStruct::new(c"sequin_mutations worker registry 2");

shared_struct! {
    struct Registry {
        /// The process of the launcher, 0 if there is none.
        launcher_pid: AtomicI32,
        /// Its place in Postgres' array of processes.
        launcher_process: AtomicU32,
        /// When a commit has last failed to start the launcher, in microseconds since 2000. 0 if none has.
        missing_since: AtomicI64,
        /// When a commit has started a launcher that is not there yet, in microseconds since 2000.
        launcher_started: AtomicI64,
        /// 1 if a commit has found neither an entry for its database nor a place below.
        is_overfull: AtomicU32,
        /// How many databases wait for a worker to leave, because no background worker is free.
        waiting: AtomicU32,
        /// 1 if databases wait, and no worker is there that could leave.
        is_starved: AtomicU32,
        /// 1 if a transaction with queued records may be prepared, in some database.
        has_prepared: AtomicU32,
        /// Databases whose commits have found no entry.
        wanted: [AtomicU32; WANTED],
        entries: [EntryFields; ENTRIES],
    }
}

shared_struct! {
    struct EntryFields {
        /// 0 in a free entry.
        database: AtomicU32,
        /// The worker's process, 0 if there is none.
        pid: AtomicI32,
        /// Its place in Postgres' array of processes, where its latch is.
        process: AtomicU32,
        /// Changes with each transaction with queued records that is prepared. 0 if none is.
        prepared: AtomicU32,
        /// How the last worker has ended, see [`End`].
        end: AtomicU32,
        /// 1 if the last worker has failed.
        is_failing: AtomicU32,
        /// 1 if a person has changed something by a verb: a worker that has failed is started again soon.
        is_urgent: AtomicU32,
        /// The owner number of the worker's claims, 0 if there is none. Unlike a pid it is never reused.
        owner: AtomicI64,
        /// The lowest id that was queued since the worker's last scan, `i64::MAX` if none was.
        lowest: AtomicI64,
        /// The lowest id that prepared transactions have queued; an unknown one counts as below all others.
        prepared_lowest: AtomicI64,
        /// When the database needs a worker again, in microseconds after the end of the last one.
        due_in: AtomicI64,
    }
}

/// How a worker has ended. The default is an error, which no worker can announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Failed {
        /// Whether a round of it went well before.
        has_worked: bool,
    },
    /// It has left, and its database needs a worker again after this time.
    Left(Duration),
    /// Its database lacks the extension.
    Unneeded,
}

const FAILED: u32 = 0;
const LEFT: u32 = 1;
const UNNEEDED: u32 = 2;
/// Of a worker that goes on, or has failed later.
const WORKED: u32 = 3;

/// How much shared memory the registry takes, in bytes.
pub fn memory() -> usize {
    REGISTRY.size()
}

/// Creates the registry. This may raise an error; the calls during a commit must not.
pub fn prepare() {
    REGISTRY.get();
}

/// Creates the registry if there is room for it.
pub fn try_prepare() {
    REGISTRY.try_find();
}

/// The entry of this database.
fn own() -> Option<&'static EntryFields> {
    static PLACE: AtomicUsize = AtomicUsize::new(0);
    let here = session::database();
    let entries = &REGISTRY.get().entries;
    let is_own = |entry: &EntryFields| here != 0 && entry.database.load(Ordering::Acquire) == here;
    let last = &entries[PLACE.load(Ordering::Relaxed)];
    if is_own(last) {
        return Some(last);
    }
    let place = entries.iter().position(is_own)?;
    PLACE.store(place, Ordering::Relaxed);
    Some(&entries[place])
}

/// The process id of this database's worker, if there is one.
pub fn pids() -> Vec<i32> {
    own().map(|entry| entry.pid.load(Ordering::Acquire)).into_iter().filter(|pid| *pid != 0).collect()
}

/// The owner number of this database's worker, if there is one.
pub fn owners() -> Vec<i64> {
    own().map(|entry| entry.owner.load(Ordering::Acquire)).into_iter().filter(|owner| *owner != 0).collect()
}

/// Whether this database has a worker, or the launcher starts one when there is work.
pub fn is_served() -> bool {
    let registry = REGISTRY.get();
    let is_failing = || own().is_some_and(|entry| entry.is_failing.load(Ordering::Relaxed) != 0);
    let has_launcher = registry.launcher_pid.load(Ordering::Relaxed) != 0;
    !pids().is_empty() || has_launcher && registry.is_starved.load(Ordering::Relaxed) == 0 && !is_failing()
}

/// Gives a database an entry, if one is free. Not during a commit: it takes a lock, though for a moment only.
fn enter(database: u32) -> Option<&'static EntryFields> {
    let entries = &REGISTRY.get().entries;
    let find = |database: u32| entries.iter().find(|entry| entry.database.load(Ordering::Acquire) == database);
    shared_memory::exclusively(|| {
        find(database).or_else(|| {
            let entry = find(0)?;
            for field in [&entry.prepared, &entry.end, &entry.is_failing, &entry.is_urgent] {
                field.store(0, Ordering::Relaxed);
            }
            entry.prepared_lowest.store(i64::MAX, Ordering::Relaxed);
            entry.lowest.store(i64::MAX, Ordering::Relaxed);
            entry.database.store(database, Ordering::Release);
            Some(entry)
        })
    })
}

/// Prepares a commit that will wake the worker. Returns whether the caller has to start the launcher: there is none, and
/// none was started a moment ago. If so, this counts as a start.
pub fn must_start_launcher() -> bool {
    /// A launcher takes its place within milliseconds. On an overloaded server it takes longer; a second one does no harm.
    const START_TIMEOUT: Duration = Duration::from_secs(5);
    if own().is_none() {
        enter(session::database());
    }
    let registry = REGISTRY.get();
    if registry.launcher_pid.load(Ordering::Acquire) != 0 {
        return false;
    }
    let (now, since) = (session::now(), registry.launcher_started.load(Ordering::Acquire));
    // The clock may have been set back.
    let is_over = since > now || u128::from(now.abs_diff(since)) > START_TIMEOUT.as_micros();
    is_over && registry.launcher_started.compare_exchange(since, now, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Notes that the launcher could not be started. The next commit that queues records tries again at once, any other one
/// after some time.
pub fn launcher_has_not_started() {
    let registry = REGISTRY.get();
    registry.launcher_started.store(0, Ordering::Release);
    registry.missing_since.store(session::now(), Ordering::Release);
}

/// Whether a launcher is missing, and no commit has tried to start it for some time. If so, the caller tries.
pub fn is_launcher_missing() -> bool {
    const RETRY_INTERVAL: Duration = Duration::from_secs(1);
    let Some(registry) = REGISTRY.found() else { return false };
    let since = registry.missing_since.load(Ordering::Relaxed);
    if since == 0 {
        return false;
    }
    let now = session::now();
    let is_over = since > now || u128::from(now.abs_diff(since)) > RETRY_INTERVAL.as_micros();
    is_over && registry.missing_since.compare_exchange(since, now, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Whether the server has no background worker for any database that wants one.
pub fn is_starved() -> bool {
    REGISTRY.get().is_starved.load(Ordering::Relaxed) != 0
}

/// Wakes this database's worker, or has one started: records from the id `lowest` on were committed, or are free again.
/// It cannot fail.
pub fn wake_workers(lowest: i64) {
    if lowest == i64::MAX {
        return;
    }
    let here = session::database();
    let signalled = own().map(|entry| (entry, entry.lowest.fetch_min(lowest, Ordering::SeqCst)));
    // The launcher may have freed the entry meanwhile: it looks for signals after that, as this looks at the entry after its
    // signal.
    match signalled.filter(|(entry, _)| entry.database.load(Ordering::SeqCst) == here) {
        Some((entry, before)) => match entry.pid.load(Ordering::SeqCst) {
            // The launcher knows of a signal that was there before, and may wait until a failed worker may start again.
            0 if before == i64::MAX => wake_launcher(),
            0 => {}
            _ => latch::wake(entry.process.load(Ordering::Relaxed)),
        },
        None => {
            want(here);
            wake_launcher();
        }
    }
}

/// Wakes this database's worker for a full scan, or has one started soon, even if the last one has failed. It cannot fail.
pub fn wake_all() {
    let entry = own().inspect(|entry| entry.is_urgent.store(1, Ordering::Release));
    wake_workers(i64::MIN);
    if entry.is_some_and(|entry| entry.pid.load(Ordering::SeqCst) == 0) {
        wake_launcher();
    }
}

/// Wakes this database's worker: a transaction with records queued from the id `lowest` on was prepared. It cannot fail.
pub fn signal_prepared(lowest: i64) {
    let Some(entry) = own() else { return wake_workers(i64::MIN) };
    entry.note_prepared(lowest);
    wake_workers(lowest);
}

/// Wakes this database's worker if a transaction with queued records may be prepared. The transaction that commits may be
/// that of a COMMIT PREPARED, which says nothing about the records. It cannot fail.
pub fn wake_for_prepared() {
    let Some(registry) = REGISTRY.found() else { return };
    if registry.has_prepared.load(Ordering::Acquire) == 0 {
        return;
    }
    // The worker's own commits say nothing: it would wake itself for ever.
    let is_waited_for = |entry: &&EntryFields| {
        entry.prepared.load(Ordering::Acquire) != 0 && entry.pid.load(Ordering::Relaxed) != own_pid()
    };
    if let Some(entry) = own().filter(is_waited_for) {
        wake_workers(entry.prepared_lowest.load(Ordering::Acquire));
    }
}

/// Notes that a database without an entry wants a worker.
fn want(database: u32) {
    let registry = REGISTRY.get();
    let is_noted = |from: u32| {
        let swap =
            |place: &AtomicU32| place.compare_exchange(from, database, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        registry.wanted.iter().any(swap)
    };
    if !is_noted(database) && !is_noted(0) {
        registry.is_overfull.store(1, Ordering::SeqCst);
    }
}

fn wake_launcher() {
    let registry = REGISTRY.get();
    if registry.launcher_pid.load(Ordering::SeqCst) != 0 {
        latch::wake(registry.launcher_process.load(Ordering::Relaxed));
    }
}

impl EntryFields {
    fn is_signalled(&self) -> bool {
        self.lowest.load(Ordering::SeqCst) != i64::MAX
    }

    fn note_prepared(&self, lowest: i64) {
        // Twice: a worker that looks between the two must not forget the id.
        for _ in 0..2 {
            self.prepared.fetch_add(2, Ordering::SeqCst);
            self.prepared.fetch_or(1, Ordering::SeqCst);
            self.prepared_lowest.fetch_min(lowest, Ordering::SeqCst);
        }
        REGISTRY.get().has_prepared.store(1, Ordering::SeqCst);
    }
}

fn own_pid() -> i32 {
    std::process::id() as i32
}

/// The entry of this process' database, while this process is its worker.
pub struct Slot(&'static EntryFields);

impl Slot {
    /// Makes this process the worker of its database; None if another one is, or the launcher has not started this one.
    /// The process gives the slot back when it ends, unless it crashes: then Postgres empties the whole registry.
    pub fn take(owner: i64) -> Option<Slot> {
        let entry = own()?;
        entry.pid.compare_exchange(0, own_pid(), Ordering::SeqCst, Ordering::Relaxed).ok()?;
        bgworker::at_exit(give_back);
        entry.process.store(latch::own_process_number(), Ordering::SeqCst);
        entry.owner.store(owner, Ordering::Release);
        entry.is_urgent.store(0, Ordering::Release);
        entry.lowest.store(i64::MIN, Ordering::SeqCst);
        entry.note_prepared(i64::MIN);
        Some(Slot(entry))
    }

    /// Notes that a round went well.
    pub fn note_worked(&self) {
        self.0.end.store(WORKED, Ordering::Release);
    }

    /// Takes the signals since the last call: the lowest id that was queued.
    pub fn take_signals(&self) -> Option<i64> {
        let lowest = self.0.lowest.swap(i64::MAX, Ordering::SeqCst);
        (lowest != i64::MAX).then_some(lowest)
    }

    /// Whether a commit has signalled this worker since its last scan.
    pub fn is_signalled(&self) -> bool {
        self.0.is_signalled()
    }

    /// Whether a transaction with queued records may be prepared.
    pub fn is_prepared(&self) -> bool {
        self.0.prepared.load(Ordering::SeqCst) != 0
    }

    /// The transactions that may be prepared; None if none is.
    pub fn prepared(&self) -> Option<Prepared> {
        let seen = self.0.prepared.load(Ordering::SeqCst);
        (seen != 0).then(|| Prepared { seen, lowest: self.0.prepared_lowest.load(Ordering::SeqCst) })
    }

    /// Notes that none is prepared any more, unless another session has prepared one since `prepared` was seen.
    pub fn forget_prepared(&self, prepared: &Prepared) {
        let lowest = self.0.prepared_lowest.swap(i64::MAX, Ordering::SeqCst);
        if self.0.prepared.compare_exchange(prepared.seen, 0, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            self.0.prepared_lowest.fetch_min(lowest, Ordering::SeqCst);
        }
        let registry = REGISTRY.get();
        registry.has_prepared.store(0, Ordering::SeqCst);
        if registry.entries.iter().any(|entry| entry.prepared.load(Ordering::SeqCst) != 0) {
            registry.has_prepared.store(1, Ordering::SeqCst);
        }
    }
}

/// Transactions with queued records that were prepared, as far as a worker knows.
#[derive(Clone, Copy)]
pub struct Prepared {
    seen: u32,
    /// The lowest id that they have queued.
    pub lowest: i64,
}

/// Takes one of the places that waiting databases ask for: the caller must leave.
pub fn take_request_to_leave() -> bool {
    let waiting = &REGISTRY.get().waiting;
    waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1)).is_ok()
}

/// Whether a waiting database asks for the place of a worker.
pub fn is_asked_to_leave() -> bool {
    REGISTRY.get().waiting.load(Ordering::Acquire) > 0
}

/// Says how this worker ends. Without it, its end is a failure.
pub fn note_end(end: End) {
    if let Some(entry) = own().filter(|entry| entry.pid.load(Ordering::Relaxed) == own_pid()) {
        let (end, due_in) = match end {
            End::Failed { .. } => (FAILED, Duration::ZERO),
            End::Left(due_in) => (LEFT, due_in),
            End::Unneeded => (UNNEEDED, Duration::ZERO),
        };
        entry.due_in.store(i64::try_from(due_in.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
        entry.end.store(end, Ordering::Release);
    }
}

fn give_back() {
    if let Some(entry) = own().filter(|entry| entry.pid.load(Ordering::Relaxed) == own_pid()) {
        entry.owner.store(0, Ordering::Release);
        entry.pid.store(0, Ordering::SeqCst);
        wake_launcher();
    }
}
