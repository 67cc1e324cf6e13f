//! The backoffs of one server: of the server itself, of its creates, and of a role's syncs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::batching::backoff::{self, create_delay};

/// The limits for the first backoff of a server and for all later ones. Most outages are short, and no backoff may be so
/// long that an administrator has to end it.
const SERVER: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// The same for a role's sync. An API that limits rates counts the requests of a second or more.
const CALLER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The longest backoff that a server can ask for. A wrong value could otherwise stop the queue for a day, and one request
/// in an hour costs the server nothing.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// The longest wait for the next create.
const MAX_FOR_CREATES: Duration = Duration::from_secs(300);

/// The role and the sync of a request. APIs limit the rate of a token, of a sync, or of all requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller {
    /// The oid of the role.
    pub role: u32,
    /// The sync.
    pub sync_id: String,
}

/// The requests that a backoff is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All requests of the server.
    Server,
    /// Its creates. Each create that fails is work for a person.
    Creates,
    /// The requests of one role for one sync.
    Caller(Caller),
}

impl Scope {
    /// The longest backoff. A stored one that ends later is due: the clock was set back.
    pub fn longest(&self) -> Duration {
        match self {
            Scope::Server | Scope::Caller(_) => MAX_RETRY_AFTER,
            Scope::Creates => MAX_FOR_CREATES,
        }
    }

    /// The backoff number `attempts`, from 1.
    fn delay(&self, attempts: u32, random: f64) -> Duration {
        let (first, most) = match self {
            Scope::Server => SERVER,
            Scope::Caller(_) => CALLER,
            Scope::Creates => return create_delay(attempts, random),
        };
        backoff::delay(attempts, first, most, random)
    }
}

/// A backoff as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The requests that it is for.
    pub scope: Scope,
    /// The number of backoffs in a row.
    pub attempts: u32,
    /// The time that is left. Zero: it is over, and requests are sent one at a time until one is answered.
    pub left: Duration,
}

/// A backoff that begins or ends, to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It begins, or becomes longer.
    Begin {
        /// The backoff.
        backoff: Stored,
        /// Why it begins.
        error: String,
    },
    /// It is over.
    End(Scope),
}

/// The backoffs of one server.
#[derive(Debug, Default)]
pub struct Backoffs {
    active: HashMap<Scope, Active>,
}

#[derive(Debug)]
struct Active {
    attempts: u32,
    /// The first request that began after it. Earlier ones show nothing new.
    since: u64,
    until: Instant,
    /// Records failed that may themselves be the cause, so that any answer shows the contrary.
    by_records: bool,
}

/// Why a backoff begins.
pub struct Cause<'a> {
    /// The message to show.
    pub error: &'a str,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// See [`Active::by_records`].
    pub by_records: bool,
}

/// The present of one server: the number that its next request gets, and the time.
#[derive(Clone, Copy)]
pub struct Present {
    pub next_request: u64,
    pub now: Instant,
    /// In [0, 1).
    pub random: f64,
}

impl Backoffs {
    /// Takes over what is stored. A backoff that is known keeps its end, which no change of the clock moves, unless a person
    /// has ended it.
    pub fn load(&mut self, stored: &[Stored], next_request: u64, now: Instant) {
        self.active.retain(|scope, _| stored.iter().any(|stored| stored.scope == *scope));
        for Stored { scope, attempts, left } in stored {
            let left = if *left > scope.longest() { Duration::ZERO } else { *left };
            let active = self.active.entry(scope.clone()).or_insert(Active {
                attempts: *attempts,
                since: next_request,
                until: now + left,
                by_records: false,
            });
            if left.is_zero() {
                active.until = active.until.min(now);
            }
        }
    }

    /// Begins a backoff because of a request, or makes it longer. A second failure of requests that were in flight together
    /// does not count as another attempt.
    pub fn begin(&mut self, scope: Scope, cause: &Cause<'_>, request: u64, present: Present) -> Option<Change> {
        let Present { next_request, now, random } = present;
        let retry_after = cause.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        let known = self.active.get(&scope);
        let (attempts, since, delay) = match known {
            Some(known) if request < known.since => {
                if now + retry_after <= known.until {
                    return None;
                }
                (known.attempts, known.since, retry_after)
            }
            _ => {
                let attempts = known.map_or(0, |known| known.attempts).saturating_add(1);
                (attempts, next_request, scope.delay(attempts, random).max(retry_after))
            }
        };
        let by_records = cause.by_records && known.is_none_or(|known| known.by_records);
        self.active.insert(scope.clone(), Active { attempts, since, until: now + delay, by_records });
        Some(Change::Begin { backoff: Stored { scope, attempts, left: delay }, error: cause.error.to_owned() })
    }

    /// Ends a backoff because a request was answered.
    pub fn end(&mut self, scope: Scope, request: u64) -> Option<Change> {
        let is_over = self.active.get(&scope).is_some_and(|known| known.by_records || known.since <= request);
        is_over.then(|| {
            self.active.remove(&scope);
            Change::End(scope)
        })
    }

    /// The first request since a backoff began. It may be over, without an answer yet.
    pub fn since(&self, scope: &Scope) -> Option<u64> {
        self.active.get(scope).map(|known| known.since)
    }

    /// The number of backoffs in a row.
    pub fn attempts(&self, scope: &Scope) -> u32 {
        self.active.get(scope).map_or(0, |known| known.attempts)
    }

    /// Whether requests wait now.
    pub fn is_waiting(&self, scope: &Scope, now: Instant) -> bool {
        self.active.get(scope).is_some_and(|known| known.until > now)
    }

    /// The scopes with a backoff that has not ended, in order.
    pub fn scopes(&self) -> Vec<&Scope> {
        let mut scopes: Vec<&Scope> = self.active.keys().collect();
        scopes.sort_unstable();
        scopes
    }

    /// When the first backoff after `now` is over.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        self.active.values().map(|known| known.until).filter(|until| *until > now).min()
    }
}
