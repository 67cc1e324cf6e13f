//! Tests of [`Window`], by what they show: its size, its backoffs, the choice of requests, and whole histories.

use std::rc::Rc;

use super::*;
use crate::batching::plan::Operation;

mod backoff;
mod choice;
mod histories;
mod size;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The greatest random number: waits are as long as they can be.
const LONGEST: f64 = 1.0 - f64::EPSILON / 2.0;

fn window(max_in_flight: u32) -> Window {
    Window::new(limits(max_in_flight))
}

fn limits(max_in_flight: u32) -> WindowLimits {
    WindowLimits { max_in_flight, max_requests_per_second: None, max_await: 300 * SECOND }
}

pub(super) fn batch_key(role: u32, sync_id: &str) -> BatchKey {
    BatchKey {
        role,
        sync_id: sync_id.to_owned(),
        collection_id: "crm:contact".to_owned(),
        await_consumers: None,
        timeout_ms: None,
    }
}

/// A request of role 1 with one record.
fn request(kind: Kind, id: i64, attempts: u32) -> Planned {
    request_of(batch_key(1, "s"), kind, &[id], attempts)
}

fn update(id: i64) -> Planned {
    request(Kind::Update, id, 0)
}

fn request_of(key: BatchKey, kind: Kind, ids: &[i64], attempts: u32) -> Planned {
    let operation = |id: &i64| Operation {
        id: *id,
        merged: Vec::new(),
        ordering_key: None,
        idempotency_key: String::new(),
        upstream_id: None,
        data: None,
        attempts,
    };
    Planned { batch_key: Rc::new(key), kind, operations: ids.iter().map(operation).collect() }
}

/// A request that waits for consumers for a minute.
fn long(id: i64) -> Planned {
    let key = BatchKey { await_consumers: Some(vec!["c".into()]), timeout_ms: Some(60_000), ..batch_key(1, "s") };
    request_of(key, Kind::Update, &[id], 0)
}

fn ids(planned: &[Planned]) -> Vec<i64> {
    planned.iter().map(|planned| planned.operations[0].id).collect()
}

fn fails() -> ServerState {
    ServerState::Fails { error: "500".into(), timed_out: false }
}

fn times_out() -> ServerState {
    ServerState::Fails { error: "504".into(), timed_out: true }
}

fn unavailable(retry_after: Option<Duration>) -> ServerState {
    ServerState::Unavailable { error: "503".into(), retry_after }
}

fn limits_rate(retry_after: Option<Duration>) -> ServerState {
    ServerState::LimitsRate { error: "429".into(), retry_after }
}

/// Sends a request that ends at once.
fn send(window: &mut Window, planned: &Planned, state: &ServerState, now: Instant) -> Vec<Change> {
    let ticket = window.start(planned, now);
    let is_lost =
        planned.kind == Kind::Create && matches!(state, ServerState::Fails { .. } | ServerState::Unavailable { .. });
    window.end(ticket, Some(state), is_lost, now, LONGEST)
}

/// The scope and the time of each backoff that begins.
fn begun(changes: &[Change]) -> Vec<(Scope, Duration)> {
    let begun = |change: &Change| match change {
        Change::Begin { backoff, .. } => Some((backoff.scope.clone(), round(backoff.left))),
        Change::End(_) => None,
    };
    changes.iter().filter_map(begun).collect()
}

fn ended(changes: &[Change]) -> Vec<Scope> {
    let ended = |change: &Change| match change {
        Change::End(scope) => Some(scope.clone()),
        Change::Begin { .. } => None,
    };
    changes.iter().filter_map(ended).collect()
}

/// The longest random wait is a nanosecond below its limit.
fn round(time: Duration) -> Duration {
    Duration::from_millis((time + Duration::from_micros(500)).as_millis() as u64)
}

fn of_caller(role: u32, sync_id: &str) -> Scope {
    Scope::Caller(Caller { role, sync_id: sync_id.to_owned() })
}

/// Whether a scan steps over these records.
fn waits(window: &Window, role: u32, sync_id: &str, kind: Kind, now: Instant) -> bool {
    let mut stepping = Stepping::default();
    let _ = stepping.begin(window.waiting(now));
    stepping.waits(role, sync_id, kind == Kind::Create)
}
