//! Input: the first line is the clock, in seconds since 1970, the rest is the value of the header.
//!
//! - No wait is longer than a day.
//! - Digits are seconds. Any other accepted value is a date, and prints as the same text.

use std::time::Duration;

use crate::calendar;
use crate::input::Input;
use contract::retry_after::{MAX_WAIT, parse};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let now: i64 = input.line().trim().parse().unwrap_or(1_763_752_800);
    let header = input.text();
    let Some(wait) = parse(&header, now) else {
        let digits = header.trim();
        assert!(digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()), "{header:?}");
        return;
    };
    assert!(wait <= MAX_WAIT && wait.subsec_nanos() == 0);
    let value = header.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.trim_start_matches('0');
        let expected = if seconds.len() > 6 { u64::MAX } else { seconds.parse().unwrap_or(0) };
        assert_eq!(wait, Duration::from_secs(expected).min(MAX_WAIT));
        return;
    }
    let (_, written) = value.split_once(", ").expect("a date has the day's name");
    // The date must be the same for every clock.
    let date = exact(&header).unwrap_or_else(|| panic!("{header:?} is a date now and then only"));
    let (year, month, day, hour, minute, second) = calendar::moment(date);
    let month = MONTHS[month as usize - 1];
    let again = format!("{day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT");
    assert!(again == written || written.ends_with(":60 GMT"), "{header:?} is read as {again:?}");
    let expected = i128::from(date) - i128::from(now);
    assert_eq!(i128::from(wait.as_secs()), expected.clamp(0, i128::from(MAX_WAIT.as_secs())));
}

/// The date in the header: the earliest clock for which the wait is zero.
fn exact(header: &str) -> Option<i64> {
    let (mut low, mut high) = (-100_000_000_000_i64, 1_000_000_000_000_i64);
    while low < high {
        let middle = low + (high - low) / 2;
        if parse(header, middle)?.is_zero() { high = middle } else { low = middle + 1 }
    }
    Some(low)
}
