//! The window of a server: how many requests may begin now, and which.
//!
//! A window has the size of the server's option `max_in_flight`. It shrinks by half when the server is overloaded, and grows
//! by one with each window of answers. While the server is in backoff nothing is sent. Afterwards one request at a time
//! finds out whether it works again.
//!
//! A failure may be the fault of a record, of a caller, or of the server. Only what is the server's stops all others:
//! - no connection, a 503, and a failure with Retry-After;
//! - failures of different records without an answer between them;
//! - 429, if no other caller was answered lately. Otherwise only the caller waits, which is a role with a sync.
//!
//! Creates that are lost make only later creates wait.
//!
//! The window is in the memory of one worker. Backoffs are also stored: the caller writes each [`Change`], and [`load`]s
//! what is stored. A person ends a backoff by deleting it there.
//!
//! [`load`]: Window::load

mod backoffs;
mod choice;
mod evidence;
mod pacing;
mod stepping;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::awaiting;
use super::plan::{BatchKey, Planned};
use super::server_state::ServerState;
use crate::kind::Kind;
use backoffs::{Backoffs, Cause, Present};
pub use backoffs::{Caller, Change, MAX_RETRY_AFTER, Scope, Stored};
use evidence::Evidence;
use pacing::Pacing;
pub use stepping::Stepping;

/// The server options that a window obeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// The most requests in flight.
    pub max_in_flight: u32,
    /// The most requests that begin in one second.
    pub max_requests_per_second: Option<u32>,
    /// The longest wait for consumers.
    pub max_await: Duration,
}

/// The window of one server.
#[derive(Debug)]
pub struct Window {
    limits: WindowLimits,
    /// The most requests in flight now.
    size: u32,
    /// Answers since the size has changed.
    answers: u32,
    /// The first request after the window has shrunk.
    shrunk_at: u64,
    /// By the number of the request.
    in_flight: HashMap<u64, InFlight>,
    next_request: u64,
    /// The last request had records that have failed before.
    was_retry: bool,
    pacing: Pacing,
    backoffs: Backoffs,
    evidence: Evidence,
}

/// A request in flight. Give it back to the window when the request has ended.
#[derive(Debug)]
#[must_use]
pub struct Ticket(u64);

#[derive(Debug)]
struct InFlight {
    caller: Caller,
    kind: Kind,
    is_long: bool,
    is_retry: bool,
    records: Vec<i64>,
}

impl Window {
    /// A window of full size.
    pub fn new(limits: WindowLimits) -> Window {
        let mut pacing = Pacing::default();
        pacing.set_limit(limits.max_requests_per_second);
        Window {
            limits,
            size: limits.max_in_flight,
            answers: 0,
            shrunk_at: 0,
            in_flight: HashMap::new(),
            next_request: 0,
            was_retry: false,
            pacing,
            backoffs: Backoffs::default(),
            evidence: Evidence::default(),
        }
    }

    /// Takes over the server's options, which may have changed.
    pub fn set_limits(&mut self, limits: WindowLimits) {
        let is_full = self.size == self.limits.max_in_flight;
        self.size = if is_full { limits.max_in_flight } else { self.size.min(limits.max_in_flight) };
        self.pacing.set_limit(limits.max_requests_per_second);
        self.limits = limits;
    }

    /// Takes over the stored backoffs.
    pub fn load(&mut self, stored: &[Stored], now: Instant) {
        let was_in_backoff = self.backoffs.since(&Scope::Server).is_some();
        self.backoffs.load(stored, self.next_request, now);
        if was_in_backoff && self.backoffs.since(&Scope::Server).is_none() {
            self.evidence.forget_failures();
        }
    }

    /// The number of requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many requests may begin now. If it is 0, the queue need not be read.
    pub fn room(&self, now: Instant) -> usize {
        if self.backoffs.is_waiting(&Scope::Server, now) {
            return 0;
        }
        let room = match self.backoffs.since(&Scope::Server) {
            Some(since) => usize::from(self.count(|request, _| request >= since) == 0),
            None => self.free(),
        };
        room.min(self.pacing.room(now))
    }

    /// When the room may grow although no request ends.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        let paced = self.pacing.next(now).filter(|next| *next > now);
        self.backoffs.next(now).into_iter().chain(paced).min()
    }

    /// Whether one request at a time finds out if the server works again.
    pub fn is_probing(&self, now: Instant) -> bool {
        self.backoffs.since(&Scope::Server).is_some() && !self.backoffs.is_waiting(&Scope::Server, now)
    }

    /// The scopes whose requests cannot begin now although the server has room: they are in backoff, or their probe is
    /// in flight. A scan of the queue steps over their records.
    pub fn waiting(&self, now: Instant) -> Vec<Scope> {
        let waits = |scope: &Scope| match scope {
            Scope::Server => false,
            Scope::Creates => self.room_of(scope, now, |flight| flight.kind == Kind::Create) == 0,
            Scope::Caller(caller) => self.room_of(scope, now, |flight| flight.caller == *caller) == 0,
        };
        self.backoffs.scopes().into_iter().filter(|scope| waits(scope)).cloned().collect()
    }

    /// Notes that a request begins.
    pub fn start(&mut self, planned: &Planned, now: Instant) -> Ticket {
        let is_retry = attempts(planned) > 0;
        let flight = InFlight {
            caller: caller(&planned.batch_key),
            kind: planned.kind,
            is_long: self.is_long(&planned.batch_key),
            is_retry,
            records: planned.operations.iter().map(|operation| operation.id).collect(),
        };
        let request = self.next_request;
        self.next_request += 1;
        self.in_flight.insert(request, flight);
        self.was_retry = is_retry;
        self.pacing.begin(1, now);
        Ticket(request)
    }

    /// Notes that further parts of a divided request have begun.
    pub fn note_parts(&mut self, parts: u32, now: Instant) {
        self.pacing.begin(parts, now);
    }

    /// Notes that a request has ended. `state` is `None` if it was not made. `has_lost_creates`: creates of it
    /// are unknown. Returns the backoffs that begin or end. `random` is in [0, 1).
    pub fn end(
        &mut self,
        ticket: Ticket,
        state: Option<&ServerState>,
        has_lost_creates: bool,
        now: Instant,
        random: f64,
    ) -> Vec<Change> {
        let request = ticket.0;
        let Some(flight) = self.in_flight.remove(&request) else { return Vec::new() };
        let is_probe = self.backoffs.since(&Scope::Server).is_some_and(|since| since <= request);
        let present = Present { next_request: self.next_request, now, random };
        let mut changes = Vec::new();
        let mut begin = |backoffs: &mut Backoffs, scope: Scope, cause: &Cause<'_>| {
            changes.extend(backoffs.begin(scope, cause, request, present));
        };
        match state {
            None | Some(ServerState::Refuses { .. }) => {}
            Some(ServerState::Answers) => {
                self.evidence.answer(&flight.caller, now);
                self.grow(request);
                let creates = (flight.kind == Kind::Create).then_some(Scope::Creates);
                let scopes = [Scope::Server, Scope::Caller(flight.caller)].into_iter().chain(creates);
                changes.extend(scopes.filter_map(|scope| self.backoffs.end(scope, request)));
            }
            Some(ServerState::Fails { error, timed_out }) => {
                // A record that failed before may be the cause.
                if *timed_out && !flight.is_retry && !is_probe {
                    self.shrink(request);
                }
                let is_new = self.evidence.failure(&flight.records);
                if is_new && (is_probe || self.evidence.has_failed()) {
                    let error = format!("requests with different records fail; the last error: {error}");
                    let cause = Cause { error: &error, retry_after: None, by_records: true };
                    begin(&mut self.backoffs, Scope::Server, &cause);
                }
                if has_lost_creates {
                    let cause = Cause { error, retry_after: None, by_records: false };
                    begin(&mut self.backoffs, Scope::Creates, &cause);
                }
            }
            Some(ServerState::Unavailable { error, retry_after }) => {
                if !is_probe {
                    self.shrink(request);
                }
                let cause = Cause { error, retry_after: *retry_after, by_records: false };
                begin(&mut self.backoffs, Scope::Server, &cause);
                if has_lost_creates {
                    begin(&mut self.backoffs, Scope::Creates, &Cause { retry_after: None, ..cause });
                }
            }
            Some(ServerState::LimitsRate { error, retry_after }) => {
                let is_of_server = self.evidence.limit(&flight.caller, now);
                let cause = Cause { error, retry_after: *retry_after, by_records: false };
                begin(&mut self.backoffs, Scope::Caller(flight.caller), &cause);
                if is_of_server {
                    // The caller waits as long as it is asked to. Others try after the server's own backoff.
                    begin(&mut self.backoffs, Scope::Server, &Cause { retry_after: None, ..cause });
                    if !is_probe {
                        self.shrink(request);
                    }
                }
            }
        }
        changes
    }

    /// Requests that were in flight together shrink the window once.
    fn shrink(&mut self, request: u64) {
        if self.shrunk_at <= request {
            self.size = (self.size / 2).max(1);
            self.answers = 0;
            self.shrunk_at = self.next_request;
        }
    }

    fn grow(&mut self, request: u64) {
        if self.size >= self.limits.max_in_flight || self.shrunk_at > request {
            return;
        }
        self.answers += 1;
        if self.answers >= self.size {
            self.answers = 0;
            self.size += 1;
        }
    }

    /// The free part of the window. If all requests in flight are long, one other may begin beyond a window that has shrunk.
    fn free(&self) -> usize {
        let in_flight = self.in_flight.len();
        let free = (self.size as usize).saturating_sub(in_flight);
        let may_exceed =
            in_flight < self.limits.max_in_flight as usize && self.in_flight.values().all(|one| one.is_long);
        free.max(usize::from(may_exceed))
    }

    fn is_long(&self, key: &BatchKey) -> bool {
        awaiting::is_long(key, self.limits.max_await)
    }

    fn count(&self, is_counted: impl Fn(u64, &InFlight) -> bool) -> usize {
        self.in_flight.iter().filter(|(request, flight)| is_counted(**request, flight)).count()
    }

    /// How many requests of a scope may begin now, apart from the limits of the others.
    fn room_of(&self, scope: &Scope, now: Instant, is_of_scope: impl Fn(&InFlight) -> bool) -> usize {
        match self.backoffs.since(scope) {
            None => usize::MAX,
            Some(_) if self.backoffs.is_waiting(scope, now) => 0,
            Some(since) => usize::from(self.count(|request, flight| request >= since && is_of_scope(flight)) == 0),
        }
    }
}

fn caller(key: &BatchKey) -> Caller {
    Caller { role: key.role, sync_id: key.sync_id.clone() }
}

/// How often the records of a request have failed, at most.
fn attempts(planned: &Planned) -> u32 {
    planned.operations.iter().map(|operation| operation.attempts).max().unwrap_or_default()
}

#[cfg(test)]
mod tests;
