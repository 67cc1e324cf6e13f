//! What the requests to a server show together: whether a failure is the server's or a record's, and whether a limit of
//! the rate is one caller's or everybody's.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::backoffs::Caller;

/// The failures of different records, without an answer between them, that are not yet the server's.
const ALLOWED_FAILURES: usize = 2;

/// How long an answer shows that a caller is served.
const RECENT: Duration = Duration::from_secs(60);

/// The most ids of failing records that are kept.
const MAX_IDS: usize = 20_000;

/// What the last requests have shown.
#[derive(Debug, Default)]
pub struct Evidence {
    /// The requests that have failed since the last answer, no two with a record in common: of those with a common record,
    /// the last one. Each has its records.
    failures: HashMap<u64, Vec<i64>>,
    /// The failure that each record is part of.
    failure_of: HashMap<i64, u64>,
    last_failure: u64,
    /// When each caller was answered, unless it has met its limit since.
    answered: HashMap<Caller, Instant>,
}

impl Evidence {
    /// Notes an answer.
    pub fn answer(&mut self, caller: &Caller, now: Instant) {
        self.forget_failures();
        match self.answered.get_mut(caller) {
            Some(at) => *at = now,
            None => {
                self.answered.retain(|_, at| is_recent(*at, now));
                self.answered.insert(caller.clone(), now);
            }
        }
    }

    /// Forgets the failures of records.
    pub fn forget_failures(&mut self) {
        self.failures.clear();
        self.failure_of.clear();
    }

    /// Notes that a request with these records has failed. Returns true if it says something new about the server.
    ///
    /// A record that fails again and again says nothing, and neither do a batch and one of its halves.
    pub fn failure(&mut self, records: &[i64]) -> bool {
        if self.failure_of.len() >= MAX_IDS {
            self.forget_failures();
        }
        let before = self.failures.len();
        for id in records {
            let earlier = self.failure_of.get(id).and_then(|failure| self.failures.remove(failure));
            for id in earlier.into_iter().flatten() {
                self.failure_of.remove(&id);
            }
        }
        self.last_failure += 1;
        self.failure_of.extend(records.iter().map(|id| (*id, self.last_failure)));
        self.failures.insert(self.last_failure, records.to_vec());
        self.failures.len() > before
    }

    /// Whether so many different records have failed that it is the server's fault.
    pub fn has_failed(&self) -> bool {
        self.failures.len() > ALLOWED_FAILURES
    }

    /// Notes that a caller has met a limit of the rate. Returns true if it is the server's limit: no other caller was
    /// answered lately without meeting it too.
    pub fn limit(&mut self, caller: &Caller, now: Instant) -> bool {
        self.answered.remove(caller);
        !self.answered.values().any(|at| is_recent(*at, now))
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < RECENT
}
