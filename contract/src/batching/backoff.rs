//! Decides how long to wait before a retry: of a record that failed, and of a server that keeps failing.
//!
//! The caller passes the random numbers, and reads the clock.

use std::time::Duration;

/// The shortest wait. A latch of Postgres waits in whole milliseconds, so a worker that waited for less would spin.
const LEAST: Duration = Duration::from_millis(1);

/// The failures of a server before its first backoff. A record that makes the API fail is retried alone, and must not
/// delay the other records.
const ALLOWED_FAILURES: u32 = 2;

/// The limits for the wait before a record's first retry and before all later ones. Short outages of a provider last
/// seconds. After a long outage, delivery should resume within minutes.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The limits for a server's first backoff and for all later ones. Most outages are short, and no backoff may be so long
/// that an administrator has to end it.
const SERVER: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

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

/// What a request shows of its server, whatever it says about its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerState {
    /// It works, though it may have refused records.
    Answers,
    /// It could be reached, but gave no usable answer: a 5xx, a cut connection. One of the records may be the cause.
    Fails {
        /// The message of the outcome.
        error: String,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// No connection could be made, which is no record's fault.
    Unreachable {
        /// The message of the outcome.
        error: String,
    },
    /// It asks for a pause.
    NotNow {
        /// The message of the outcome.
        error: String,
        /// How long, if it says so.
        retry_after: Option<Duration>,
    },
    /// It refuses the caller until a person changes the server or the user mapping.
    Refuses {
        /// The message of the outcome.
        error: String,
    },
}

/// The failures of a server since it last worked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerBackoff {
    failures: u32,
    /// The number of backoffs since the server last worked.
    waits: u32,
}

impl ServerBackoff {
    /// The state after one more request. Only an answer resets it: a server that is reachable by turns and always fails
    /// would otherwise never get a backoff.
    #[must_use]
    pub fn after(self, state: &ServerState) -> ServerBackoff {
        let ServerBackoff { failures, waits } = self;
        match state {
            ServerState::Answers | ServerState::Refuses { .. } => ServerBackoff::default(),
            ServerState::Fails { .. } if failures < ALLOWED_FAILURES => ServerBackoff { failures: failures + 1, waits },
            ServerState::Fails { .. } | ServerState::Unreachable { .. } | ServerState::NotNow { .. } => {
                ServerBackoff { failures, waits: waits.saturating_add(1) }
            }
        }
    }

    /// How long requests to this server wait.
    pub fn wait(self, random: f64) -> Option<Duration> {
        let (first, most) = SERVER;
        self.delay(first, most, random)
    }

    /// How long to wait before the next request to this server; `None`: not at all.
    pub fn delay(self, first: Duration, most: Duration, random: f64) -> Option<Duration> {
        (self.waits > 0).then(|| delay(self.waits, first, most, random))
    }
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

    /// W: it works, F: it fails, U: it cannot be reached.
    fn state(letter: char) -> ServerState {
        match letter {
            'W' => ServerState::Answers,
            'F' => ServerState::Fails { error: String::new(), retry_after: None },
            _ => ServerState::Unreachable { error: String::new() },
        }
    }

    #[test]
    fn a_server_is_left_alone_when_it_keeps_failing() {
        // The states, and the longest wait after each of them.
        let table: &[(&str, &[u64])] = &[
            ("WW", &[0, 0]),
            ("FFFFFFFF", &[0, 0, 100, 200, 400, 800, 1_000, 1_000]),
            ("UUUUUU", &[100, 200, 400, 800, 1_000, 1_000]),
            ("FFWFFFWF", &[0, 0, 0, 0, 0, 100, 0, 0]),
            ("UWU", &[100, 0, 100]),
            ("UFUFUF", &[100, 100, 200, 200, 400, 800]),
            ("FFUF", &[0, 0, 100, 200]),
        ];
        for (states, waits) in table {
            let mut backoff = ServerBackoff::default();
            for (turn, (letter, &wait)) in states.chars().zip(*waits).enumerate() {
                backoff = backoff.after(&state(letter));
                let expected = (wait > 0).then(|| ms(wait));
                assert_eq!(backoff.delay(ms(100), ms(1_000), 1.0), expected, "{states}, state {turn}");
            }
        }
    }

    #[test]
    fn the_wait_for_a_server_is_jittered_too() {
        let backoff = ServerBackoff::default().after(&state('U')).after(&state('U'));
        assert_eq!(backoff.delay(ms(100), ms(1_000), 0.25), Some(ms(50)));
        assert_eq!(backoff.delay(ms(100), ms(1_000), 0.0), Some(ms(1)));
    }
}
