//! Cumulative counters of requests: a table of slots of atomic numbers, one for each server.
//!
//! Processes share the table in memory whose bytes are 0 at first. A request must not wait for its statistics, so a slot is
//! found, claimed and changed without a lock, and nothing is allocated. The table has a fixed size: servers that find no
//! slot share the overflow slot.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::outcome::OutcomeKind;

#[cfg(test)]
mod tests;

/// The way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A statement waited for it.
    Call,
    /// A worker sent it.
    Outbox,
}

/// The counters of a server for one way of its requests.
#[derive(Clone, Copy, Debug)]
pub enum Counter {
    /// Requests.
    Requests,
    /// Their records.
    Records,
    /// Requests that were applied.
    Applied,
    /// Requests that were applied, without a usable reply.
    AppliedReplyLost,
    /// Requests that were applied, and whose consumers did not confirm in time.
    AppliedNotConfirmed,
    /// Requests of which the API refused a record.
    Rejected,
    /// Requests whose token or address the API refused.
    Refused,
    /// Requests that the API asked to repeat later.
    RefusedForNow,
    /// Requests of which no byte was sent.
    NotSent,
    /// Requests that may have been applied.
    Unknown,
    /// Bytes of the requests.
    BytesSent,
    /// Bytes of the replies.
    BytesReceived,
    /// The sum of the waits, in microseconds.
    Wait,
    /// The longest wait, in microseconds.
    MaxWait,
    /// Connections that were opened.
    Connections,
    /// Requests that were interrupted.
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

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedRequest {
    /// Its way.
    pub via: Via,
    /// The records that it was for.
    pub records: usize,
    /// `None`: applied, and its reply was usable.
    pub outcome: Option<OutcomeKind>,
    /// A cancel, a time-out of the statement or the end of the process has ended it.
    pub is_cancelled: bool,
    /// Bytes of the request.
    pub bytes_sent: u64,
    /// Bytes of the reply.
    pub bytes_received: u64,
    /// Connections that it opened.
    pub connections_opened: u32,
    /// From the begin of the request to the end of its reply.
    pub wait: Duration,
}

/// The seconds of a [`Rate`]. More than are read, so that a second that is read is not the next one to be overwritten.
const SECONDS: usize = 16;

/// The time over which a [`Rate`] is given.
pub const RATE_SECONDS: u64 = 10;

/// A number for each of the last seconds.
#[repr(C)]
#[derive(Debug)]
pub struct Rate {
    /// Each the lower half of a second since 1970, and the number of that second.
    seconds: [AtomicU64; SECONDS],
}

const LOWER_HALF: u64 = 0xFFFF_FFFF;

impl Rate {
    const fn new() -> Rate {
        Rate { seconds: [const { AtomicU64::new(0) }; SECONDS] }
    }

    /// Adds to the second `now`.
    pub fn add(&self, now: u64, number: u64) {
        let second = now & LOWER_HALF;
        let add = |bucket: u64| {
            let before = if bucket >> 32 == second { bucket & LOWER_HALF } else { 0 };
            Some(second << 32 | (before + number).min(LOWER_HALF))
        };
        let bucket = &self.seconds[(now % SECONDS as u64) as usize];
        let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// The number per second, over the second `now` and those before it.
    pub fn per_second(&self, now: u64) -> f64 {
        let is_late = |bucket: &u64| ((now & LOWER_HALF).wrapping_sub(bucket >> 32) & LOWER_HALF) < RATE_SECONDS;
        let buckets = self.seconds.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let sum: u64 = buckets.filter(is_late).map(|bucket| bucket & LOWER_HALF).sum();
        sum as f64 / RATE_SECONDS as f64
    }
}

/// The numbers of one server.
#[repr(C)]
#[derive(Debug)]
pub struct Slot {
    /// The server, [`FREE`] or [`BEING_FREED`].
    key: AtomicU64,
    /// Since when the slot counts. 0: it never has.
    reset_at: AtomicI64,
    calls: [AtomicU64; COUNTERS],
    outbox: [AtomicU64; COUNTERS],
    call_waits: [AtomicU64; BUCKETS],
    outbox_waits: [AtomicU64; BUCKETS],
    /// Requests of the outbox in flight, as the worker has last said.
    pub in_flight: AtomicU64,
    /// All records in the queue have this id or a higher one, as the worker has last said.
    pub queue_from: AtomicI64,
    /// The records that the worker has delivered.
    pub delivered: Rate,
}

const FREE: u64 = 0;
const BEING_FREED: u64 = u64::MAX;

impl Slot {
    const fn new() -> Slot {
        Slot {
            key: AtomicU64::new(FREE),
            reset_at: AtomicI64::new(0),
            calls: [const { AtomicU64::new(0) }; COUNTERS],
            outbox: [const { AtomicU64::new(0) }; COUNTERS],
            call_waits: [const { AtomicU64::new(0) }; BUCKETS],
            outbox_waits: [const { AtomicU64::new(0) }; BUCKETS],
            in_flight: AtomicU64::new(0),
            queue_from: AtomicI64::new(0),
            delivered: Rate::new(),
        }
    }

    /// The server; `None` for the overflow slot, and for a free one.
    pub fn key(&self) -> Option<u64> {
        let key = self.key.load(Ordering::Acquire);
        (!matches!(key, FREE | BEING_FREED)).then_some(key)
    }

    /// Since when it counts.
    pub fn reset_at(&self) -> i64 {
        self.reset_at.load(Ordering::Relaxed)
    }

    /// Whether it has counted.
    pub fn counts(&self) -> bool {
        self.reset_at() != 0
    }

    /// The counters, by [`Counter`].
    pub fn counters(&self, via: Via) -> &[AtomicU64; COUNTERS] {
        match via {
            Via::Call => &self.calls,
            Via::Outbox => &self.outbox,
        }
    }

    /// The histogram of waits, by [`bucket`].
    pub fn waits(&self, via: Via) -> &[AtomicU64; BUCKETS] {
        match via {
            Via::Call => &self.call_waits,
            Via::Outbox => &self.outbox_waits,
        }
    }

    /// Counts a request.
    pub fn note(&self, ended: &EndedRequest) {
        let counters = self.counters(ended.via);
        let add = |counter: Counter, number: u64| {
            if number > 0 {
                counters[counter as usize].fetch_add(number, Ordering::Relaxed);
            }
        };
        let outcome = match ended.outcome {
            None => Counter::Applied,
            Some(OutcomeKind::AppliedReplyLost) => Counter::AppliedReplyLost,
            Some(OutcomeKind::AppliedNotConfirmed) => Counter::AppliedNotConfirmed,
            Some(OutcomeKind::Rejected) => Counter::Rejected,
            Some(OutcomeKind::Refused) => Counter::Refused,
            Some(OutcomeKind::RefusedForNow) => Counter::RefusedForNow,
            Some(OutcomeKind::NotSent) => Counter::NotSent,
            Some(OutcomeKind::Unknown) => Counter::Unknown,
        };
        let wait = ended.wait.as_micros() as u64;
        add(Counter::Requests, 1);
        add(outcome, 1);
        add(Counter::Records, ended.records as u64);
        add(Counter::BytesSent, ended.bytes_sent);
        add(Counter::BytesReceived, ended.bytes_received);
        add(Counter::Wait, wait);
        add(Counter::Connections, ended.connections_opened.into());
        add(Counter::Cancels, ended.is_cancelled.into());
        counters[Counter::MaxWait as usize].fetch_max(wait, Ordering::Relaxed);
        self.waits(ended.via)[bucket(wait)].fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the counters to zero, as of `now`. A request that is noted meanwhile may count in part.
    pub fn reset(&self, now: i64) {
        for via in [Via::Call, Via::Outbox] {
            self.counters(via).iter().chain(self.waits(via)).for_each(|counter| counter.store(0, Ordering::Relaxed));
        }
        self.reset_at.store(now, Ordering::Relaxed);
    }

    /// Forgets what a worker has said.
    pub fn forget_worker(&self) {
        self.in_flight.store(0, Ordering::Relaxed);
        self.queue_from.store(i64::MIN, Ordering::Relaxed);
    }
}

/// The slots of a Postgres server, and the overflow slot.
#[repr(C)]
#[derive(Debug)]
pub struct Slots<const N: usize> {
    slots: [Slot; N],
    overflow: Slot,
}

impl<const N: usize> Slots<N> {
    /// Free slots.
    pub const fn new() -> Slots<N> {
        Slots { slots: [const { Slot::new() }; N], overflow: Slot::new() }
    }

    /// The slot of a server, which is claimed as of `now` if there is none yet; or the overflow slot.
    pub fn of(&self, key: u64, now: impl Fn() -> i64) -> &Slot {
        let start = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % N;
        let (before, after) = self.slots.split_at(start);
        loop {
            // In one pass, which a server without a slot makes for each request.
            let mut free = None;
            for slot in after.iter().chain(before) {
                match slot.key.load(Ordering::Acquire) {
                    found if found == key => return slot,
                    FREE if free.is_none() => free = Some(slot),
                    _ => {}
                }
            }
            let Some(free) = free else {
                let reset_at = &self.overflow.reset_at;
                if !self.overflow.counts() {
                    let _ = reset_at.compare_exchange(0, now(), Ordering::Relaxed, Ordering::Relaxed);
                }
                return &self.overflow;
            };
            free.reset_at.store(now(), Ordering::Relaxed);
            free.forget_worker();
            // Another process that takes this slot may take it for the same server.
            if free.key.compare_exchange(FREE, key, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return free;
            }
        }
    }

    /// The slots of servers.
    pub fn in_use(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.key().is_some())
    }

    /// The slot of all servers that found none.
    pub fn overflow(&self) -> &Slot {
        &self.overflow
    }

    /// Whether all slots are taken.
    pub fn is_full(&self) -> bool {
        self.slots.iter().all(|slot| slot.key.load(Ordering::Relaxed) != FREE)
    }

    /// Frees the slots of servers that are gone.
    pub fn free(&self, is_gone: impl Fn(u64) -> bool) {
        for slot in &self.slots {
            let Some(key) = slot.key().filter(|key| is_gone(*key)) else { continue };
            if slot.key.compare_exchange(key, BEING_FREED, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                slot.reset(0);
                slot.forget_worker();
                slot.delivered.seconds.iter().for_each(|second| second.store(0, Ordering::Relaxed));
                slot.key.store(FREE, Ordering::Release);
            }
        }
    }
}

impl<const N: usize> Default for Slots<N> {
    fn default() -> Slots<N> {
        Slots::new()
    }
}
