//! Cumulative counters of requests, for `sequin.stat_servers`, and what the worker does now, for `sequin.status`.
//!
//! They are in shared memory, so a crash of the Postgres server sets them to zero. All functions run on the main thread
//! of a process. [`note`] takes no lock, allocates nothing and raises nothing.

mod deliveries;
mod request;
mod rows;
mod table;

use std::time::Duration;

use pgrx::pg_sys::Oid;

use contract::outcome::OutcomeKind;
use contract::statistics;

pub use contract::statistics::Via;
pub use deliveries::{Deliveries, clear_deliveries, deliveries, note_delivered, note_deliveries};
pub use request::OpenRequest;
pub use rows::{Statistics, reset, statistics};
pub use table::{memory, prepare};

use super::http::Traffic;

/// A request that has ended.
pub struct EndedRequest {
    pub via: Via,
    /// The records that it was for.
    pub records: usize,
    /// None: applied, and its reply was usable.
    pub outcome: Option<OutcomeKind>,
    /// A cancel, a time-out of the statement or the end of the process has ended it.
    pub is_cancelled: bool,
    pub traffic: Traffic,
    /// From the begin of the request to the end of its reply.
    pub elapsed: Duration,
}

/// Counts a request to a server of this database.
pub fn note(server: Oid, ended: &EndedRequest) {
    let Some(slot) = table::slot_of(server) else { return };
    let EndedRequest { via, records, outcome, is_cancelled, traffic, elapsed } = *ended;
    let Traffic { bytes_sent, bytes_received, connections_opened } = traffic;
    slot.note(&statistics::EndedRequest {
        via,
        records,
        outcome,
        is_cancelled,
        bytes_sent,
        bytes_received,
        connections_opened,
        wait: elapsed,
    });
}
