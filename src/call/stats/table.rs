//! The table of counters in shared memory: a slot for each server of each database.
//!
//! A request must not wait for its statistics, so a slot is found and claimed without a lock, and each counter is an atomic
//! number. The table has a fixed size, because shared memory cannot grow: servers that find no slot share the overflow slot.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use pgrx::pg_sys::Oid;

use crate::ereport;
use crate::pg::shared_memory::{SharedStruct, shared_struct};
use crate::pg::{catalog, session, transaction};

use super::Via;

/// The servers of a cluster that have slots. Together they take 90 KiB of the memory that Postgres keeps to spare.
pub const SLOTS: usize = 128;

/// The counters of a server for one way of its requests.
#[derive(Clone, Copy)]
pub enum Counter {
    Requests,
    Records,
    Applied,
    AppliedReplyLost,
    AppliedNotConfirmed,
    Rejected,
    Refused,
    RefusedForNow,
    NotSent,
    Unknown,
    BytesSent,
    BytesReceived,
    /// Microseconds.
    Wait,
    /// Microseconds. It keeps the largest value.
    MaxWait,
    Connections,
    Cancels,
}

/// The number of [`Counter`]s.
pub const COUNTERS: usize = Counter::Cancels as usize + 1;

/// The buckets of the histogram of waits: each bound is twice the one before.
pub const BUCKETS: usize = 20;

/// Waits below this time are in the first bucket.
const FIRST_BOUND_MICROS: u64 = 125;

/// The bucket of a wait: below 125 us, 250 us and so on up to 32,768 ms, and longer.
pub fn bucket(micros: u64) -> usize {
    let bucket = (micros / FIRST_BOUND_MICROS).checked_ilog2().map_or(0, |log| log as usize + 1);
    bucket.min(BUCKETS - 1)
}

/// A second's bucket of settled records holds the second and their number. More than the seconds that are read, so that a
/// bucket that is read is not the next one to be overwritten.
const SECONDS: usize = 16;

/// The time over which the rate of settled records is given.
pub const RATE_SECONDS: u64 = 10;

static TABLE: SharedStruct<Table> = SharedStruct::new(c"sequin_mutations server statistics 1");

shared_struct! {
    struct SlotFields {
        /// Database and server, [`FREE`] or [`BEING_FREED`].
        key: AtomicU64,
        /// Since when the slot counts, in Postgres' microseconds since 2000.
        reset_at: AtomicI64,
        calls: [AtomicU64; COUNTERS],
        outbox: [AtomicU64; COUNTERS],
        call_waits: [AtomicU64; BUCKETS],
        outbox_waits: [AtomicU64; BUCKETS],
        /// Requests of the outbox in flight, as the worker has last said.
        in_flight: AtomicU64,
        /// All records in the queue have this id or a higher one, as the worker has last said.
        queue_from: AtomicI64,
        /// Each the lower half of a second since 1970, and the records that were settled in it.
        settled: [AtomicU64; SECONDS],
    }
}

shared_struct! {
    struct Table {
        slots: [SlotFields; SLOTS],
        overflow: SlotFields,
    }
}

const FREE: u64 = 0;
const BEING_FREED: u64 = u64::MAX;

/// Creates or finds the table, once in a process, and frees slots of dropped servers if none is free. In a transaction.
/// Without room in shared memory this process counts nothing: no request may fail for its statistics.
pub fn prepare() {
    static HAS_FAILED: AtomicBool = AtomicBool::new(false);
    if TABLE.found().is_none() && !HAS_FAILED.load(Ordering::Relaxed) {
        // The error would release the lock of shared memory only with its (sub)transaction.
        let found = transaction::attempt(|| {
            TABLE.get();
        });
        if let Err(error) = found {
            HAS_FAILED.store(true, Ordering::Relaxed);
            ereport::log(&format!("this process counts no requests for sequin.stat_servers: {error}"));
        }
    }
    if let Some(table) = TABLE.found()
        && table.slots.iter().all(|slot| slot.key.load(Ordering::Relaxed) != FREE)
    {
        table.slots.iter().for_each(|slot| slot.free_if_dropped());
    }
}

/// A slot.
#[derive(Clone, Copy)]
pub struct Slot(&'static SlotFields);

/// The slot of a server of this database, or the overflow slot; None without a table.
pub fn slot_of(server: Oid) -> Option<Slot> {
    let table = TABLE.found()?;
    let key = key_of(session::database(), server);
    let start = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % SLOTS;
    let (before, after) = table.slots.split_at(start);
    let in_order = || after.iter().chain(before);
    loop {
        if let Some(slot) = in_order().find(|slot| slot.key.load(Ordering::Acquire) == key) {
            return Some(Slot(slot));
        }
        let Some(free) = in_order().find(|slot| slot.key.load(Ordering::Acquire) == FREE) else {
            let _ = table.overflow.reset_at.compare_exchange(0, session::now(), Ordering::Relaxed, Ordering::Relaxed);
            return Some(Slot(&table.overflow));
        };
        free.reset_at.store(session::now(), Ordering::Relaxed);
        free.queue_from.store(i64::MIN, Ordering::Relaxed);
        // If another process takes this slot, it may take it for the same server.
        if free.key.compare_exchange(FREE, key, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return Some(Slot(free));
        }
    }
}

fn key_of(database: u32, server: Oid) -> u64 {
    u64::from(database) << 32 | u64::from(server.to_u32())
}

/// The slots of servers of this database, without the overflow slot. None without a table.
pub fn slots_of_database() -> impl Iterator<Item = Slot> {
    let is_of_database = |slot: &Slot| slot.owner().is_some_and(|(database, _)| database == session::database());
    TABLE.found().into_iter().flat_map(|table| &table.slots).map(Slot).filter(is_of_database)
}

/// The slots in use, and the overflow slot last. Raises if there is no room for the table.
pub fn slots() -> impl Iterator<Item = Slot> {
    let table = TABLE.get();
    let is_in_use = |slot: &&SlotFields| !matches!(slot.key.load(Ordering::Acquire), FREE | BEING_FREED);
    table.slots.iter().filter(is_in_use).chain([&table.overflow]).map(Slot)
}

impl Slot {
    /// The oids of database and server; None for the overflow slot.
    pub fn owner(self) -> Option<(u32, u32)> {
        let key = self.0.key.load(Ordering::Acquire);
        (key != FREE).then_some(((key >> 32) as u32, key as u32))
    }

    /// Whether it has counted. The overflow slot may have not.
    pub fn counts(self) -> bool {
        self.reset_at() != 0
    }

    /// Since when it counts.
    pub fn reset_at(self) -> i64 {
        self.0.reset_at.load(Ordering::Relaxed)
    }

    /// Adds to a counter.
    pub fn add(self, via: Via, counter: Counter, number: u64) {
        if number > 0 {
            self.counters(via)[counter as usize].fetch_add(number, Ordering::Relaxed);
        }
    }

    /// Counts a wait.
    pub fn add_wait(self, via: Via, micros: u64) {
        let counters = self.counters(via);
        counters[Counter::Wait as usize].fetch_add(micros, Ordering::Relaxed);
        counters[Counter::MaxWait as usize].fetch_max(micros, Ordering::Relaxed);
        self.waits(via)[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    pub fn counters(self, via: Via) -> &'static [AtomicU64; COUNTERS] {
        match via {
            Via::Call => &self.0.calls,
            Via::Outbox => &self.0.outbox,
        }
    }

    pub fn waits(self, via: Via) -> &'static [AtomicU64; BUCKETS] {
        match via {
            Via::Call => &self.0.call_waits,
            Via::Outbox => &self.0.outbox_waits,
        }
    }

    /// Sets all counters to zero, as of now. A request that ends meanwhile may count in part.
    pub fn reset(self) {
        for via in [Via::Call, Via::Outbox] {
            self.counters(via).iter().chain(self.waits(via)).for_each(|counter| counter.store(0, Ordering::Relaxed));
        }
        self.0.reset_at.store(session::now(), Ordering::Relaxed);
    }

    /// Replaces what the worker says about its deliveries.
    pub fn set_deliveries(self, in_flight: u64, queue_from: i64) {
        self.0.in_flight.store(in_flight, Ordering::Relaxed);
        self.0.queue_from.store(queue_from, Ordering::Relaxed);
    }

    /// What the worker has said: the requests in flight, and the lowest id that the queue may have.
    pub fn deliveries(self) -> (u64, i64) {
        (self.0.in_flight.load(Ordering::Relaxed), self.0.queue_from.load(Ordering::Relaxed))
    }

    /// Counts records that were settled in the second `now`.
    pub fn add_settled(self, now: u64, records: u64) {
        let (second, records) = (now & 0xFFFF_FFFF, records & 0xFFFF_FFFF);
        let add = |bucket: u64| Some(if bucket >> 32 == second { bucket + records } else { second << 32 | records });
        let bucket = &self.0.settled[(now % SECONDS as u64) as usize];
        let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// The records that were settled in the second `now` and the nine seconds before it.
    pub fn settled_lately(self, now: u64) -> u64 {
        let is_late = |second: u64| ((now & 0xFFFF_FFFF).wrapping_sub(second) & 0xFFFF_FFFF) < RATE_SECONDS;
        let buckets = self.0.settled.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        buckets.filter(|bucket| is_late(bucket >> 32)).map(|bucket| bucket & 0xFFFF_FFFF).sum()
    }
}

impl SlotFields {
    /// Frees the slot of a server or a database that was dropped. Only a database itself knows its servers.
    fn free_if_dropped(&'static self) {
        let key = self.key.load(Ordering::Acquire);
        let (database, server) = (Oid::from((key >> 32) as u32), Oid::from(key as u32));
        let is_there = if database.to_u32() == session::database() {
            catalog::has_server(server)
        } else {
            catalog::has_database(database)
        };
        if key == FREE
            || is_there
            || self.key.compare_exchange(key, BEING_FREED, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return;
        }
        Slot(self).reset();
        self.settled.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
        Slot(self).set_deliveries(0, i64::MIN);
        self.key.store(FREE, Ordering::Release);
    }
}
