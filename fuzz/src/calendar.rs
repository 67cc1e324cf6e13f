//! Dates from days: the way back from what the code under test makes of a date.

/// A moment in UTC: year, month, day, hour, minute, second.
pub type Moment = (i64, u32, u32, u32, u32, u32);

/// The moment so many seconds after 1970.
pub fn moment(seconds: i64) -> Moment {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
    let (year, month, day) = date(days);
    (year, month, day, second / 3_600, second / 60 % 60, second % 60)
}

/// The text `YYYY-MM-DDTHH:MM:SS.ffffffZ` of so many microseconds after 1970, if the year has four digits.
pub fn in_utc(micros: i64) -> Option<String> {
    let (year, month, day, hour, minute, second) = moment(micros.div_euclid(1_000_000));
    let fraction = micros.rem_euclid(1_000_000);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z");
    (1..=9999).contains(&year).then_some(text)
}

/// Whether `text`, a time with its zone, is so many microseconds after 1970. What is rounded, and what counts on beyond
/// its minute or day, is taken as right.
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

/// By counting, so that it has nothing in common with a formula.
fn date(days_since_1970: i64) -> (i64, u32, u32) {
    const CYCLE: i64 = 400 * 365 + 97;
    // 1970 is 370 years after a cycle's first, and 90 of those were leap years.
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
