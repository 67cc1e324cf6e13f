//! Reads ISO 8601 timestamps with the results of Postgres, but without an error.
//!
//! Postgres' input function raises on an unreadable text, accepts words such as `now`, and reads a time without a zone in
//! the session's zone. This reader accepts one format. The caller puts other values into `extra`.

use crate::calendar::days_since_1970;

/// A timestamptz as Postgres stores it: microseconds since 2000-01-01 00:00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const DAYS_1970_TO_2000: i64 = 10_957;

/// Reads a JSON string, with its quotes. `None` for every other value.
pub(super) fn from_json(value: &str) -> Option<Timestamp> {
    // A timestamp needs no escapes.
    parse(value.strip_prefix('"')?.strip_suffix('"')?)
}

/// Reads `YYYY-MM-DDTHH:MM:SS[.f](Z|±HH|±HHMM|±HH:MM)`.
///
/// A space or `t` may replace the `T`, and `z` the `Z`. The fraction has 1 to 9 digits. Years are 0001 to 9999, which a
/// timestamptz holds. As in Postgres, 24:00:00 is the next midnight, second 60 is the first second of the next minute but
/// never past 24:00:00, zones reach 15:59, and more than six digits round to the nearest microsecond, half to even.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let mut scanner = Scanner(text.as_bytes());
    let year = scanner.digits(4).filter(|year| *year >= 1)?;
    scanner.one_of(b"-")?;
    let month = scanner.digits(2)?;
    scanner.one_of(b"-")?;
    let day = scanner.digits(2)?;
    scanner.one_of(b"Tt ")?;
    let hour = scanner.digits(2)?;
    scanner.one_of(b":")?;
    let minute = scanner.digits(2).filter(|minute| *minute < 60)?;
    scanner.one_of(b":")?;
    let second = scanner.digits(2).filter(|second| *second <= 60)?;
    let fraction = if scanner.one_of(b".").is_some() { scanner.fraction()? } else { 0 };
    let time = i64::from(hour) * HOUR + i64::from(minute) * MINUTE + i64::from(second) * SECOND + fraction;
    if time > DAY {
        return None;
    }
    let offset = scanner.zone()?;
    if !scanner.0.is_empty() {
        return None;
    }
    let days = days_since_1970(year.into(), month, day)? - DAYS_1970_TO_2000;
    Some(Timestamp(days * DAY + time - offset))
}

/// The unread part of a timestamp.
struct Scanner<'a>(&'a [u8]);

impl Scanner<'_> {
    fn one_of(&mut self, wanted: &[u8]) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        if !wanted.contains(&first) {
            return None;
        }
        self.0 = rest;
        Some(first)
    }

    /// Reads a number of exactly `count` digits, at most nine.
    fn digits(&mut self, count: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let mut number = 0;
        for digit in digits {
            number = number * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        self.0 = rest;
        Some(number)
    }

    /// Reads the digits after the decimal point. Returns microseconds.
    fn fraction(&mut self) -> Option<i64> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&count) {
            return None;
        }
        let number = self.digits(count)?;
        if count <= 6 {
            return Some(i64::from(number) * 10_i64.pow(6 - count as u32));
        }
        // Postgres rounds a double, so a tie must be rounded from the same double.
        let seconds = f64::from(number) / f64::from(10_u32.pow(count as u32));
        Some((seconds * 1e6).round_ties_even() as i64)
    }

    /// Reads the zone. Returns its offset from UTC in microseconds.
    fn zone(&mut self) -> Option<i64> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.digits(2).filter(|hours| *hours <= 15)?;
        let minutes = if self.0.is_empty() {
            0
        } else {
            // ISO 8601's basic format has no colon.
            self.one_of(b":");
            self.digits(2).filter(|minutes| *minutes < 60)?
        };
        Some(sign * (i64::from(hours) * HOUR + i64::from(minutes) * MINUTE))
    }
}

#[cfg(test)]
mod tests;
