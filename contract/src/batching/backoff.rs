//! How long to wait before a retry: of a record that failed, or of a create to a server that keeps failing.
//!
//! The caller passes the random numbers, and reads the clock.

use std::time::Duration;

/// The shortest wait. A latch of Postgres waits in whole milliseconds, so a worker that waited for less would spin.
const LEAST: Duration = Duration::from_millis(1);

/// The limits for the wait before a record's first retry and before all later ones. Short outages of a provider last
/// seconds. After a long outage, delivery should resume within minutes.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The first and the longest wait before the next create to a failing server. Each wait is four times the previous one. Each
/// failure leaves an unknown create, which a person must look for: four in the first minute, then one in five minutes.
const CREATES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How long to send no create to a server after the failure number `lost`, from 1, that made creates unknown. `random` is
/// in [0, 1).
pub fn create_delay(lost: u32, random: f64) -> Duration {
    /// The random part of the wait. Full jitter would halve the average wait.
    const JITTER: f64 = 0.2;
    let (first, most) = CREATES;
    let limit = first.saturating_mul(4_u32.saturating_pow(lost.saturating_sub(1))).min(most);
    limit.mul_f64(1.0 - JITTER * random.clamp(0.0, 1.0))
}

/// How long a record waits after its attempt number `attempts`, from 1, failed. `random` is in [0, 1).
pub fn retry_delay(attempts: u32, random: f64) -> Duration {
    let (first, most) = RETRY;
    delay(attempts, first, most, random)
}

/// How long to wait after failure number `attempts`, from 1. The limit begins at `first` and doubles up to `most`; the wait
/// is the fraction `random`, in [0, 1), of the limit.
///
/// Waits use full jitter: when a server goes down many records fail at once, and they must not retry at once. Arguments out
/// of range give the whole limit.
pub fn delay(attempts: u32, first: Duration, most: Duration, random: f64) -> Duration {
    let doublings = attempts.saturating_sub(1);
    let limit = first.saturating_mul(2_u32.saturating_pow(doublings)).min(most);
    let jittered = Duration::try_from_secs_f64(limit.as_secs_f64() * random).unwrap_or(limit);
    jittered.clamp(LEAST, limit.max(LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest number below 1.
    const ALMOST_ONE: f64 = 1.0 - f64::EPSILON / 2.0;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_limit_doubles_up_to_the_most() {
        let table = [
            (0, 100),
            (1, 100),
            (2, 200),
            (3, 400),
            (7, 6_400),
            (8, 10_000),
            (9, 10_000),
            (33, 10_000),
            (1_000, 10_000),
            (u32::MAX, 10_000),
        ];
        for (attempts, limit) in table {
            for random in [0.0, 0.25, 0.5, 0.75, ALMOST_ONE] {
                let expected = ms(limit).mul_f64(random).max(ms(1));
                assert_eq!(delay(attempts, ms(100), ms(10_000), random), expected, "attempt {attempts}, {random}");
            }
        }
    }

    #[test]
    fn a_server_that_fails_costs_four_creates_in_the_first_minute() {
        for random in [0.0, 0.5, ALMOST_ONE] {
            let mut at = Duration::ZERO;
            let mut lost = 1;
            while at <= Duration::from_secs(60) {
                at += create_delay(lost, random);
                lost += 1;
            }
            assert_eq!(lost - 1, 4, "{random}");
        }
        assert_eq!(create_delay(u32::MAX, 0.0), Duration::from_secs(300));
    }

    #[test]
    fn a_record_waits_seconds_then_minutes() {
        let limits = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
        for (attempts, limit) in (1..).zip(limits) {
            assert_eq!(retry_delay(attempts, 0.5), Duration::from_secs(limit) / 2, "attempt {attempts}");
        }
    }

    #[test]
    fn odd_numbers_neither_panic_nor_spin() {
        let table = [
            // first, most, random, expected
            (ms(100), ms(1_000), 1.0, ms(100)),
            (ms(100), ms(1_000), 2.0, ms(100)),
            (ms(100), ms(1_000), -1.0, ms(100)),
            (ms(100), ms(1_000), f64::NAN, ms(100)),
            (ms(100), ms(1_000), f64::INFINITY, ms(100)),
            (ms(100), ms(50), ALMOST_ONE, ms(50).mul_f64(ALMOST_ONE)),
            (ms(100), Duration::ZERO, 0.5, ms(1)),
            (Duration::ZERO, ms(100), 0.5, ms(1)),
            (Duration::MAX, Duration::MAX, 1.0, Duration::MAX),
        ];
        for (first, most, random, expected) in table {
            assert_eq!(delay(1, first, most, random), expected, "{first:?} {most:?} {random}");
        }
        assert_eq!(delay(u32::MAX, ms(1), Duration::MAX, 1.0), ms(1).saturating_mul(u32::MAX));
    }
}
