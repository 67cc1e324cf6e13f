//! The wait of the API for consumers, which a request can ask for.
//!
//! A consumer may never come. So the outbox limits the wait, and requests with a long one get a part of the server's window.

use std::time::Duration;

use super::plan::BatchKey;

/// How long the API waits if a request names consumers and no time.
const DEFAULT: Duration = Duration::from_secs(30);

/// A longer wait holds a request for so long that others must not wait for it.
const LONG: Duration = Duration::from_secs(5);

/// The `timeout_ms` to send: the record's, or the longest that the server's option `max_await_ms` allows. `None` leaves it
/// to the API.
pub fn limited(key: &BatchKey, max_await: Duration) -> Option<i32> {
    let most = i32::try_from(max_await.as_millis()).unwrap_or(i32::MAX);
    match key.timeout_ms {
        Some(timeout) => Some(timeout.min(most)),
        None if awaits(key) && max_await < DEFAULT => Some(most),
        None => None,
    }
}

/// Whether the request may take long because the API waits for consumers.
pub fn is_long(key: &BatchKey, max_await: Duration) -> bool {
    let wait = match limited(key, max_await) {
        Some(timeout) => Duration::from_millis(u64::try_from(timeout).unwrap_or_default()),
        None => DEFAULT,
    };
    awaits(key) && wait > LONG
}

fn awaits(key: &BatchKey) -> bool {
    key.await_consumers.as_ref().is_some_and(|consumers| !consumers.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(consumers: &[&str], timeout_ms: Option<i32>) -> BatchKey {
        BatchKey {
            role: 1,
            sync_id: "s".into(),
            collection_id: "c".into(),
            await_consumers: Some(consumers.iter().map(|id| (*id).to_owned()).collect()),
            timeout_ms,
        }
    }

    #[test]
    fn no_wait_is_longer_than_the_option() {
        for (timeout_ms, max_await_ms, expected) in [
            (None, 300_000, None),
            (None, 30_000, None),
            (None, 29_999, Some(29_999)),
            (Some(0), 300_000, Some(0)),
            (Some(300_001), 300_000, Some(300_000)),
            (Some(i32::MAX), 86_400_000, Some(86_400_000)),
            (Some(7), u64::MAX, Some(7)),
        ] {
            let max_await = Duration::from_millis(max_await_ms);
            assert_eq!(limited(&key(&["a"], timeout_ms), max_await), expected, "{timeout_ms:?} {max_await_ms}");
        }
    }

    #[test]
    fn a_request_that_awaits_nothing_gets_no_time() {
        assert_eq!(limited(&key(&[], None), Duration::from_millis(1)), None);
    }

    #[test]
    fn only_a_wait_for_consumers_is_long() {
        for (consumers, timeout_ms, max_await_ms, expected) in [
            (&[][..], Some(60_000), 300_000, false),
            (&["a"], Some(60_000), 300_000, true),
            (&["a"], Some(5_000), 300_000, false),
            (&["a"], None, 300_000, true),
            (&["a"], None, 5_000, false),
            (&["a"], Some(60_000), 5_000, false),
        ] {
            let key = key(consumers, timeout_ms);
            assert_eq!(is_long(&key, Duration::from_millis(max_await_ms)), expected, "{key:?} {max_await_ms}");
        }
    }
}
