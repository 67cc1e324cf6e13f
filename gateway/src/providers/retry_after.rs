//! The header Retry-After: seconds, or a date.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// The longest wait that is believed.
pub const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait that a reply asks for. A date is compared with the reply's own `date`, so that no two clocks are.
pub fn wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let now = text(DATE).and_then(|date| httpdate::parse_http_date(date.trim()).ok());
    parse(text(RETRY_AFTER)?, now)
}

/// The wait that a value asks for, at most [`MAX_WAIT`]. A part of a second counts as a whole one. None: the value
/// cannot be read, or it is a date and `now` is not known.
pub fn parse(value: &str, now: Option<SystemTime>) -> Option<Duration> {
    let value = value.trim();
    let (whole, part) = value.split_once('.').unwrap_or((value, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits(whole) && is_digits(part) {
        let seconds =
            whole.parse().unwrap_or(u64::MAX).saturating_add(u64::from(part.bytes().any(|byte| byte != b'0')));
        return Some(Duration::from_secs(seconds).min(MAX_WAIT));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now?).unwrap_or_default().min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_waits() {
        let now = "Wed, 21 Oct 2026 07:28:00 GMT";
        for (value, want) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("0.5", Some(1)),
            ("2.0", Some(2)),
            ("99999999999999999999999", Some(86_400)),
            ("Wed, 21 Oct 2026 07:28:30 GMT", Some(30)),
            ("Wednesday, 21-Oct-26 07:28:30 GMT", Some(30)),
            ("Wed Oct 21 07:28:30 2026", Some(30)),
            ("Wed, 21 Oct 2026 07:27:00 GMT", Some(0)),
            ("Wed, 21 Oct 2099 07:28:00 GMT", Some(86_400)),
            ("-1", None),
            ("1.", None),
            (".5", None),
            ("1e3", None),
            ("soon", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            headers.insert(DATE, now.parse().unwrap());
            assert_eq!(wait(&headers), want.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn a_date_without_a_clock_is_no_wait() {
        let mut headers = HeaderMap::new();
        assert_eq!(wait(&headers), None);
        headers.insert(RETRY_AFTER, "Wed, 21 Oct 2026 07:28:30 GMT".parse().unwrap());
        assert_eq!(wait(&headers), None);
        headers.insert(RETRY_AFTER, "3".parse().unwrap());
        assert_eq!(wait(&headers), Some(Duration::from_secs(3)));
    }
}
