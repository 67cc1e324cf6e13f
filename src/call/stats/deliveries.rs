//! What the worker of a database does now, by server. The worker alone writes it, so it counts only while there is a
//! worker.

use std::sync::atomic::Ordering;

use pgrx::pg_sys::Oid;

use crate::pg::session;

use super::table;

/// The deliveries of the outbox to a server.
#[derive(Clone, Copy, Debug)]
pub struct Deliveries {
    pub in_flight: u64,
    /// All records in the queue have this id or a higher one.
    pub queue_from: i64,
    pub records_per_second: f64,
}

impl Deliveries {
    /// Those of a server that no worker has said anything of.
    pub const NONE: Deliveries = Deliveries { in_flight: 0, queue_from: i64::MIN, records_per_second: 0.0 };
}

/// Notes the requests in flight to a server, and the lowest id that may be in its queue.
pub fn note_deliveries(server: Oid, in_flight: usize, queue_from: i64) {
    if let Some(slot) = table::slot_of(server).filter(|slot| slot.key().is_some()) {
        slot.in_flight.store(in_flight as u64, Ordering::Relaxed);
        slot.queue_from.store(queue_from, Ordering::Relaxed);
    }
}

/// Forgets what an earlier worker of this database has noted.
pub fn clear_deliveries() {
    table::slots_of_database().for_each(|(_, slot)| slot.forget_worker());
}

/// Counts records of a server that are delivered, after the commit.
pub fn note_delivered(server: Oid, records: usize) {
    if let Some(slot) = table::slot_of(server) {
        slot.delivered.add(unix_seconds(), records as u64);
    }
}

/// The deliveries to a server of this database.
pub fn deliveries(server: Oid) -> Deliveries {
    let mut found = Deliveries::NONE;
    for (_, slot) in table::slots_of_database().filter(|(owner, _)| *owner == server.to_u32()) {
        found.in_flight += slot.in_flight.load(Ordering::Relaxed);
        found.queue_from = found.queue_from.max(slot.queue_from.load(Ordering::Relaxed));
        found.records_per_second += slot.delivered.per_second(unix_seconds());
    }
    found
}

fn unix_seconds() -> u64 {
    session::unix_now().max(0) as u64
}
