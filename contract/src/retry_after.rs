//! The header `Retry-After`: how long an API asks its clients to wait.

use std::time::Duration;

use super::calendar::days_since_1970;

/// The longest wait that is honoured. A wrong date could otherwise stop a queue for years.
pub const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads the header's value: a number of seconds, or a date in HTTP's preferred form, `Fri, 21 Nov 2025 19:20:00 GMT`
/// (RFC 9110, section 5.6.7). The two obsolete forms are not read.
///
/// `now` is in seconds since 1970-01-01 00:00:00 UTC. A date in the past gives zero; a longer wait than [`MAX_WAIT`] gives
/// `MAX_WAIT`. Any other value gives `None`, as if the header were absent.
pub fn parse(header: &str, now: i64) -> Option<Duration> {
    let header = header.trim();
    let seconds = if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that overflows u64 is a very long wait. It is cut to MAX_WAIT below.
        header.parse().unwrap_or(u64::MAX)
    } else {
        u64::try_from(http_date(header)?.saturating_sub(now)).unwrap_or(0)
    };
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

/// The seconds since 1970 of a date such as `Fri, 21 Nov 2025 19:20:00 GMT`. The name of the weekday is not checked.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

    let (_, date) = text.split_once(", ")?;
    let mut parts = date.split(' ');
    let day = number(parts.next()?, 2)?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let year = number(parts.next()?, 4)?;
    let mut time = parts.next()?.split(':');
    let hour = number(time.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = number(time.next()?, 2).filter(|minute| *minute < 60)?;
    let second = number(time.next()?, 2).filter(|second| *second <= 60)?;
    if time.next().is_some() || parts.next() != Some("GMT") || parts.next().is_some() {
        return None;
    }
    let days = days_since_1970(year.into(), u32::try_from(month).ok()?, day)?;
    Some(days * 86_400 + i64::from(hour * 3_600 + minute * 60 + second))
}

/// A number of exactly `digits` digits.
fn number(text: &str, digits: usize) -> Option<u32> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2025-11-21 19:20:00 UTC.
    const NOW: i64 = 1_763_752_800;

    #[test]
    fn waits_that_are_honoured() {
        for (header, seconds) in [
            ("0", 0),
            ("1", 1),
            (" 120 ", 120),
            ("007", 7),
            ("86400", 86_400),
            ("86401", 86_400),
            ("99999999999999999999999999", 86_400),
            ("Fri, 21 Nov 2025 19:20:00 GMT", 0),
            ("Fri, 21 Nov 2025 19:20:01 GMT", 1),
            ("Fri, 21 Nov 2025 19:59:60 GMT", 2_400),
            ("Fri, 21 Nov 2025 19:19:59 GMT", 0),
            ("Sat, 22 Nov 2025 01:20:00 GMT", 21_600),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 21 Nov 2055 19:20:00 GMT", 86_400),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ] {
            assert_eq!(parse(header, NOW), Some(Duration::from_secs(seconds)), "{header}");
        }
    }

    #[test]
    fn values_that_are_ignored() {
        for header in [
            "",
            " ",
            "-1",
            "+1",
            "1.5",
            "1e3",
            "soon",
            "1, 2",
            "Fri, 21 Nov 2025 19:20:00",
            "Fri, 21 Nov 2025 19:20:00 UTC",
            "Fri, 21 Nov 2025 19:20:00 GMT GMT",
            "Fri, 31 Nov 2025 19:20:00 GMT",
            "Fri, 21 nov 2025 19:20:00 GMT",
            "Fri, 21 Nov 25 19:20:00 GMT",
            "Fri, 21 Nov 2025 24:00:00 GMT",
            "Fri, 21 Nov 2025 19:60:00 GMT",
            "Fri, 21 Nov 2025 19:20:61 GMT",
            "Fri, 21 Nov 2025 19:20 GMT",
            "Fri, 21 Nov 2025 19:20:00:00 GMT",
            "Friday, 21-Nov-25 19:20:00 GMT",
            "2025-11-21T19:20:00Z",
        ] {
            assert_eq!(parse(header, NOW), None, "{header}");
        }
    }
}
