//! What the worker of a database does now, by server. The worker alone writes it, so it counts only while there is a
//! worker.

use std::time::{SystemTime, UNIX_EPOCH};

use pgrx::pg_sys::Oid;

use super::table::{self, RATE_SECONDS, slot_of};

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
    if let Some(slot) = slot_of(server).filter(|slot| slot.owner().is_some()) {
        slot.set_deliveries(in_flight as u64, queue_from);
    }
}

/// Forgets what an earlier worker of this database has noted.
pub fn clear_deliveries() {
    table::slots_of_database().for_each(|slot| slot.set_deliveries(0, i64::MIN));
}

/// Counts records of a server that are settled, after the commit.
pub fn note_settled(server: Oid, records: usize) {
    if let Some(slot) = slot_of(server) {
        slot.add_settled(unix_seconds(), records as u64);
    }
}

/// The deliveries to a server of this database.
pub fn deliveries(server: Oid) -> Deliveries {
    let is_of_server = |slot: &table::Slot| slot.owner().is_some_and(|(_, owner)| owner == server.to_u32());
    let (now, mut found) = (unix_seconds(), Deliveries::NONE);
    for slot in table::slots_of_database().filter(is_of_server) {
        let (in_flight, queue_from) = slot.deliveries();
        found.in_flight += in_flight;
        found.queue_from = found.queue_from.max(queue_from);
        found.records_per_second += slot.settled_lately(now) as f64 / RATE_SECONDS as f64;
    }
    found
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
