//! When a request to a provider may begin: the account's own limits, and the rests that the provider asks for.
//!
//! Each wait ends at the mutation's deadline. A rest that lasts longer ends the wait at once, so that the client can come
//! back later instead of waiting for nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::config::Limit;

/// The first rest that a provider asks for without a time. It doubles with each further one.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_UNTOLD_REST: Duration = Duration::from_secs(60);
/// A provider that asks for more is asked again after this time.
/// A provider that asks for no wait at all gets its requests no faster than this.
const SHORTEST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// The pace of one account.
pub struct Pace {
    limit: Limit,
    slots: Option<Arc<Semaphore>>,
    rate: Option<DefaultDirectRateLimiter>,
    /// Its holder is the next to begin: requests begin in the order in which they came.
    turn: tokio::sync::Mutex<()>,
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    until: Option<Instant>,
    /// Rests without a time in a row.
    untold: u32,
}

/// The right to have one request in flight.
pub struct Permit {
    _slot: Option<OwnedSemaphorePermit>,
}

/// There is no turn before the deadline.
#[derive(Debug, PartialEq, Eq)]
pub struct Late {
    /// After which another attempt makes sense.
    pub wait: Duration,
}

impl Pace {
    pub fn new(limit: Limit) -> Pace {
        let slots = limit.concurrent.map(|most| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))));
        let period = limit.per_second.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        // A burst of one: two bursts at the edge of a provider's window could be more than it allows.
        let rate = period.and_then(Quota::with_period).map(RateLimiter::direct);
        Pace { limit, slots, rate, turn: tokio::sync::Mutex::default(), rest: Mutex::default() }
    }

    /// The pace after a reload. A rest that the provider asked for remains.
    pub fn with_limit(self: &Arc<Pace>, limit: Limit) -> Arc<Pace> {
        let same = self.limit.concurrent == limit.concurrent && self.limit.per_second == limit.per_second;
        if same {
            return self.clone();
        }
        let rest = Rest { ..*self.lock() };
        Arc::new(Pace { rest: Mutex::new(rest), ..Pace::new(limit) })
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// There is none before the deadline.
    pub async fn enter(&self, deadline: Instant) -> Result<Permit, Late> {
        self.rest_ends_by(deadline)?;
        let entered = timeout_at(deadline, async {
            let slot = match &self.slots {
                // The semaphore is never closed.
                Some(slots) => slots.clone().acquire_owned().await.ok(),
                None => None,
            };
            let turn = self.turn.lock().await;
            while let Some(until) = self.rest_ends_by(deadline)? {
                sleep_until(until).await;
            }
            if let Some(rate) = &self.rate {
                while let Err(early) = rate.check() {
                    sleep(early.wait_time_from(DefaultClock::default().now())).await;
                }
            }
            drop(turn);
            Ok(Permit { _slot: slot })
        });
        entered.await.unwrap_or(Err(Late { wait: FIRST_REST }))
    }

    /// The provider wants fewer requests. `wait` is what it asked for. The result is how long to wait.
    pub fn limited(&self, wait: Option<Duration>) -> Duration {
        let now = Instant::now();
        let mut rest = self.lock();
        let left = rest.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero());
        let wait = match (wait, left) {
            (Some(wait), _) => wait.clamp(SHORTEST_REST, LONGEST_REST),
            // Replies to requests that were in flight together are one sign, not many.
            (None, Some(left)) => left,
            (None, None) => {
                rest.untold += 1;
                FIRST_REST.saturating_mul(1 << (rest.untold - 1).min(16)).min(LONGEST_UNTOLD_REST)
            }
        };
        rest.until = Some(rest.until.map_or(now + wait, |until| until.max(now + wait)));
        wait
    }

    /// The provider has taken a request.
    pub fn taken(&self) {
        self.lock().untold = 0;
    }

    /// When the rest ends. None: there is none.
    fn rest_ends_by(&self, deadline: Instant) -> Result<Option<Instant>, Late> {
        let now = Instant::now();
        match self.lock().until.filter(|until| *until > now) {
            Some(until) if until >= deadline => Err(Late { wait: until - now }),
            until => Ok(until),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_is_waited_for_or_told_at_once() {
        let pace = Pace::new(Limit::default());
        pace.limited(Some(Duration::from_secs(5)));
        let before = Instant::now();
        assert!(pace.enter(soon()).await.is_ok());
        assert!(before.elapsed() >= Duration::from_secs(5));

        pace.limited(Some(Duration::from_secs(20)));
        let before = Instant::now();
        let Err(late) = pace.enter(soon()).await else { panic!("no rest") };
        assert_eq!((late.wait, before.elapsed()), (Duration::from_secs(20), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn rests_without_a_time_double_and_count_once_for_requests_in_flight_together() {
        let pace = Pace::new(Limit::default());
        for want in [1, 2, 4, 8, 16, 32, 60, 60] {
            let want = Duration::from_secs(want);
            assert_eq!(pace.limited(None), want);
            assert_eq!(pace.limited(None), want);
            sleep(want + Duration::from_millis(1)).await;
        }
        pace.taken();
        assert_eq!(pace.limited(None), FIRST_REST);
        assert_eq!(pace.limited(Some(Duration::from_secs(u64::MAX))), LONGEST_REST);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_limit_are_in_flight() {
        let pace = Pace::new(Limit { concurrent: Some(2), per_second: None });
        let first = pace.enter(soon()).await;
        let _second = pace.enter(soon()).await;
        assert!(matches!(pace.enter(soon()).await, Err(Late { .. })));
        drop(first);
        assert!(pace.enter(soon()).await.is_ok());
    }

    #[tokio::test]
    async fn the_rate_gives_one_turn_at_a_time() {
        let pace = Pace::new(Limit { concurrent: None, per_second: Some(0.01) });
        assert!(pace.enter(soon()).await.is_ok());
        let deadline = Instant::now() + Duration::from_millis(20);
        assert!(matches!(pace.enter(deadline).await, Err(Late { .. })));
        let pace = Pace::new(Limit { concurrent: None, per_second: Some(10_000.0) });
        for _ in 0..20 {
            assert!(pace.enter(soon()).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_keeps_the_rest() {
        let pace = Arc::new(Pace::new(Limit::default()));
        pace.limited(Some(Duration::from_secs(20)));
        assert!(Arc::ptr_eq(&pace, &pace.with_limit(Limit::default())));
        let other = pace.with_limit(Limit { concurrent: Some(1), per_second: None });
        assert!(matches!(other.enter(soon()).await, Err(Late { .. })));
    }
}
