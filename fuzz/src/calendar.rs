//! Computes dates from counted days, to check how the code under test reads a date.

/// A moment in UTC: year, month, day, hour, minute, second.
pub type Moment = (i64, u32, u32, u32, u32, u32);

/// The moment `seconds` after 1970-01-01 00:00:00.
pub fn moment(seconds: i64) -> Moment {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
    let (year, month, day) = date(days);
    (year, month, day, second / 3_600, second / 60 % 60, second % 60)
}

/// The moment `micros` microseconds after 1970 as `YYYY-MM-DDTHH:MM:SS.ffffffZ`. `None` for a year beyond 0001 to 9999.
pub fn in_utc(micros: i64) -> Option<String> {
    let (year, month, day, hour, minute, second) = moment(micros.div_euclid(1_000_000));
    let fraction = micros.rem_euclid(1_000_000);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z");
    (1..=9999).contains(&year).then_some(text)
}

/// Whether `text`, a time with its zone, is `micros` microseconds after 1970. It accepts any result for a rounded fraction,
/// a second 60 and an hour 24.
pub fn is_written_as(micros: i64, text: &str) -> bool {
    let (clock, rest) = text.split_at(19);
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        None => ("", rest),
    };
    if clock.ends_with(":60") || clock[11..].starts_with("24") || fraction.len() > 6 {
        return true;
    }
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let number = |range| digits.get(range).and_then(|digits: &str| digits.parse::<i64>().ok()).unwrap_or(0);
    let minutes = 60 * number(0..2) + number(2..4);
    let offset = if zone.starts_with('-') { -minutes } else { minutes };
    let Some(expected) = in_utc(micros + offset * 60_000_000) else { return false };
    expected == format!("{}T{}.{fraction:0<6}Z", &clock[..10], &clock[11..])
}

/// Counts years and months, so that it shares no formula with the code under test.
fn date(days_since_1970: i64) -> (i64, u32, u32) {
    const CYCLE: i64 = 400 * 365 + 97;
    // 1600 begins a cycle of 400 years. From then to 1970 there are 370 years, 90 of them leap years.
    let since_1600 = days_since_1970 + 370 * 365 + 90;
    let mut year = 1600 + 400 * since_1600.div_euclid(CYCLE);
    let mut days = since_1600.rem_euclid(CYCLE);
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as u32 + 1, days as u32 + 1)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}
