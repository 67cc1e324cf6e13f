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

pub use deliveries::{Deliveries, clear_deliveries, deliveries, note_deliveries, note_settled};
pub use request::OpenRequest;
pub use rows::{Statistics, reset, statistics};
pub use table::prepare;
use table::{Counter, slot_of};

use super::http::Traffic;

/// The way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A statement waited for it.
    Call,
    /// A worker sent it.
    Outbox,
}

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
    let Some(slot) = slot_of(server) else { return };
    let EndedRequest { via, records, outcome, is_cancelled, traffic, elapsed } = ended;
    let outcome = match outcome {
        None => Counter::Applied,
        Some(OutcomeKind::AppliedReplyLost) => Counter::AppliedReplyLost,
        Some(OutcomeKind::AppliedNotConfirmed) => Counter::AppliedNotConfirmed,
        Some(OutcomeKind::Rejected) => Counter::Rejected,
        Some(OutcomeKind::Refused) => Counter::Refused,
        Some(OutcomeKind::RefusedForNow) => Counter::RefusedForNow,
        Some(OutcomeKind::NotSent) => Counter::NotSent,
        Some(OutcomeKind::Unknown) => Counter::Unknown,
    };
    slot.add(*via, Counter::Requests, 1);
    slot.add(*via, outcome, 1);
    slot.add(*via, Counter::Records, *records as u64);
    slot.add(*via, Counter::BytesSent, traffic.bytes_sent);
    slot.add(*via, Counter::BytesReceived, traffic.bytes_received);
    slot.add(*via, Counter::Connections, u64::from(traffic.connections_opened));
    slot.add(*via, Counter::Cancels, u64::from(*is_cancelled));
    slot.add_wait(*via, elapsed.as_micros() as u64);
}
