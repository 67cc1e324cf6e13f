//! Spaces the beginnings of requests: at most so many in any second, evenly spread.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// The part of a second whose requests may begin together. A worker that looks seldom still reaches the rate.
const BURST: u32 = 20;

/// The beginnings of requests to one server.
#[derive(Debug, Default)]
pub struct Pacing {
    /// The most in one second. `None`: no limit.
    limit: Option<u32>,
    /// When requests began in the last second, and how many.
    begun: VecDeque<(Instant, u32)>,
    /// The sum of `begun`.
    count: u32,
    /// How many may begin now if the last second allows it, as of `filled_at`.
    tokens: f64,
    filled_at: Option<Instant>,
}

impl Pacing {
    /// Sets the most requests in one second.
    pub fn set_limit(&mut self, limit: Option<u32>) {
        if self.limit != limit {
            *self = Pacing { limit, ..Pacing::default() };
        }
    }

    /// How many requests may begin now.
    pub fn room(&self, now: Instant) -> usize {
        let Some(limit) = self.limit else { return usize::MAX };
        let past = self.begun.iter().take_while(|(at, _)| is_past(*at, now)).map(|(_, count)| count).sum::<u32>();
        let of_second = limit.saturating_sub(self.count - past);
        // Conversion to an integer rounds down and makes negative numbers 0.
        of_second.min(self.tokens(limit, now) as u32) as usize
    }

    /// Notes that requests begin. More than [`room`](Pacing::room) delay the next ones.
    pub fn begin(&mut self, requests: u32, now: Instant) {
        let Some(limit) = self.limit else { return };
        while let Some((at, count)) = self.begun.front()
            && is_past(*at, now)
        {
            self.count -= count;
            self.begun.pop_front();
        }
        self.tokens = self.tokens(limit, now) - f64::from(requests);
        self.filled_at = Some(now);
        self.begun.push_back((now, requests));
        self.count += requests;
    }

    /// When the next request may begin. `None`: there is no limit.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let limit = self.limit?;
        let missing = (1.0 - self.tokens(limit, now)).max(0.0);
        // Rounded up: at this time a whole token must be there.
        let filled = now + Duration::from_secs_f64(missing / f64::from(limit)) + Duration::from_micros(1);
        let mut left = self.count;
        let over = self.begun.iter().find(|(_, count)| {
            let is_over = left >= limit;
            left -= count;
            is_over && left < limit
        });
        let free = over.map_or(now, |(at, _)| *at + SECOND);
        Some(if missing > 0.0 { filled.max(free) } else { free.max(now) })
    }

    fn tokens(&self, limit: u32, now: Instant) -> f64 {
        // One more keeps the fraction of a token that is over when a whole one is taken late.
        let most = f64::from((limit / BURST).max(1) + 1);
        let Some(at) = self.filled_at else { return most };
        let new = now.saturating_duration_since(at).as_secs_f64() * f64::from(limit);
        (self.tokens + new).min(most)
    }
}

fn is_past(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) >= SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts what it may, looking as `gaps` says, for `seconds`. Returns the beginnings, in order.
    fn run(limit: u32, seconds: u64, mut gap: impl FnMut(&Pacing, Instant) -> Duration) -> Vec<Duration> {
        let begin = Instant::now();
        let mut pacing = Pacing::default();
        pacing.set_limit(Some(limit));
        let (mut now, mut begun) = (begin, Vec::new());
        while now - begin < Duration::from_secs(seconds) {
            let room = pacing.room(now);
            if room > 0 {
                pacing.begin(room as u32, now);
                begun.extend(vec![now - begin; room]);
            }
            now += gap(&pacing, now);
        }
        begun
    }

    fn most_in_a_second(begun: &[Duration]) -> usize {
        let mut from = 0;
        let within = |(place, at): (usize, &Duration)| {
            while *at - begun[from] >= SECOND {
                from += 1;
            }
            place + 1 - from
        };
        begun.iter().enumerate().map(within).max().unwrap_or(0)
    }

    #[test]
    fn no_second_has_more_and_none_is_wasted() {
        for limit in [1, 2, 3, 7, 20, 100, 999] {
            for gap in [1, 3, 10, 40] {
                let begun = run(limit, 10, |_, _| Duration::from_millis(gap));
                assert!(most_in_a_second(&begun) <= limit as usize, "{limit} {gap}");
                // A look every 40 ms sees one request at a time of a low rate.
                let least = (limit.min(1_000 / gap as u32) as f64 * 9.0) as usize;
                assert!(begun.len() >= least, "{limit} {gap}: {}", begun.len());
            }
        }
    }

    #[test]
    fn a_worker_that_looks_at_the_named_time_finds_room() {
        for limit in [1, 3, 19, 20, 1_000] {
            let begun = run(limit, 5, |pacing, now| {
                let next = pacing.next(now).unwrap();
                assert!(pacing.room(next) > 0, "{limit}");
                next.saturating_duration_since(now)
            });
            assert!(most_in_a_second(&begun) <= limit as usize, "{limit}");
            assert!(begun.len() >= limit as usize * 4, "{limit}: {}", begun.len());
        }
    }

    #[test]
    fn they_are_spread_over_the_second() {
        let begun = run(100, 3, |_, _| Duration::from_millis(1));
        for tenth in 1..29 {
            let (from, to) = (Duration::from_millis(tenth * 100), Duration::from_millis(tenth * 100 + 100));
            let count = begun.iter().filter(|at| **at >= from && **at < to).count();
            assert!((5..=15).contains(&count), "{count} in the tenth {tenth}");
        }
    }

    #[test]
    fn after_a_break_no_burst_follows() {
        let begin = Instant::now();
        let mut pacing = Pacing::default();
        pacing.set_limit(Some(100));
        pacing.begin(1, begin);
        assert_eq!(pacing.room(begin + Duration::from_secs(3_600)), 6);
    }

    #[test]
    fn requests_beyond_the_room_delay_the_next_ones() {
        let begin = Instant::now();
        let mut pacing = Pacing::default();
        pacing.set_limit(Some(10));
        pacing.begin(5, begin);
        assert_eq!(pacing.room(begin + Duration::from_millis(300)), 0);
        assert_eq!(pacing.room(begin + Duration::from_millis(401)), 1);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut pacing = Pacing::default();
        pacing.begin(1_000, Instant::now());
        assert_eq!((pacing.room(Instant::now()), pacing.next(Instant::now())), (usize::MAX, None));
    }
}
