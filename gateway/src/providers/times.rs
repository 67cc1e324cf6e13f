//! Times of providers as ISO 8601 text. What is no time, or none that a reader could place, is None.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::value::RawValue;

/// What a number of a time counts, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

/// The end of the year 9999, in seconds since 1970.
const END: u64 = 253_402_300_800;

/// The time that a whole number counts.
pub fn epoch(value: &RawValue, unit: Unit) -> Option<String> {
    let count: u64 = value.get().parse().ok()?;
    let (since, fraction) = match unit {
        Unit::Seconds => (Duration::from_secs(count), false),
        Unit::Milliseconds => (Duration::from_millis(count), true),
    };
    let time = UNIX_EPOCH.checked_add(since).filter(|_| since.as_secs() < END)?;
    Some(match fraction {
        true => humantime::format_rfc3339_millis(time).to_string(),
        false => humantime::format_rfc3339_seconds(time).to_string(),
    })
}

/// A date and a time with its offset, with `T` between them: `2024-11-10 18:39:00Z` too.
pub fn iso(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let number = |from: usize, length: usize, range: std::ops::RangeInclusive<u32>| {
        let digits = text.get(from..from + length).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok().filter(|number| range.contains(number))
    };
    let mark = |at: usize, marks: &[u8]| bytes.get(at).filter(|byte| marks.contains(byte)).map(|_| ());
    let (year, month) = (number(0, 4, 1..=9999)?, number(5, 2, 1..=12)?);
    number(8, 2, 1..=days(year, month))?;
    number(11, 2, 0..=23)?;
    number(14, 2, 0..=59)?;
    number(17, 2, 0..=60)?;
    for (at, marks) in [(4, b"-" as &[u8]), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")] {
        mark(at, marks)?;
    }
    let mut offset = 19;
    if mark(offset, b".").is_some() {
        let digits = bytes[20..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        offset = (1..=9).contains(&digits).then_some(20 + digits)?;
    }
    let zone = text.get(offset..)?;
    let zone = match zone.as_bytes() {
        [b'Z' | b'z'] => "Z".to_owned(),
        [b'+' | b'-', _, _, b':', _, _] => {
            number(offset + 1, 2, 0..=15)?;
            number(offset + 4, 2, 0..=59)?;
            zone.to_owned()
        }
        [b'+' | b'-', _, _, _, _] => {
            number(offset + 1, 2, 0..=15)?;
            number(offset + 3, 2, 0..=59)?;
            format!("{}:{}", &zone[..3], &zone[3..])
        }
        _ => return None,
    };
    Some(format!("{}T{}{zone}", &text[..10], &text[11..offset]))
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_a_time() {
        let time = |text: &str, unit| epoch(&RawValue::from_string(text.into()).unwrap(), unit);
        for (text, unit, want) in [
            ("1738006596", Unit::Seconds, Some("2025-01-27T19:36:36Z")),
            ("0", Unit::Seconds, Some("1970-01-01T00:00:00Z")),
            ("253402300799", Unit::Seconds, Some("9999-12-31T23:59:59Z")),
            ("253402300800", Unit::Seconds, None),
            ("1738006596007", Unit::Milliseconds, Some("2025-01-27T19:36:36.007Z")),
            ("18446744073709551615", Unit::Milliseconds, None),
            ("99999999999999999999", Unit::Seconds, None),
            ("-1", Unit::Seconds, None),
            ("1.5", Unit::Seconds, None),
            ("1e9", Unit::Seconds, None),
            (r#""1738006596""#, Unit::Seconds, None),
            ("null", Unit::Seconds, None),
        ] {
            assert_eq!(time(text, unit).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_time_has_a_date_and_an_offset() {
        for (text, want) in [
            ("2024-11-10T18:39:00.070453Z", Some("2024-11-10T18:39:00.070453Z")),
            ("2024-11-10 18:39:00.070Z", Some("2024-11-10T18:39:00.070Z")),
            ("2024-02-29t23:59:60z", Some("2024-02-29T23:59:60Z")),
            ("2024-11-10T18:39:00+00:00", Some("2024-11-10T18:39:00+00:00")),
            ("2024-11-10T18:39:00.5-0330", Some("2024-11-10T18:39:00.5-03:30")),
            ("2024-11-10T18:39:00", None),
            ("2024-11-10", None),
            ("2023-02-29T00:00:00Z", None),
            ("1900-02-29T00:00:00Z", None),
            ("2024-13-10T18:39:00Z", None),
            ("2024-11-10T24:00:00Z", None),
            ("2024-11-10T18:39:00.Z", None),
            ("2024-11-10T18:39:00+1:00", None),
            ("2024-11-10T18:39:00+99:00", None),
            ("2024-11-10T18:39:00Zé", None),
            ("2024-11-1éT18:39:00Z", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(iso(text).as_deref(), want, "{text}");
        }
    }
}
