//! Counts days. Two readers need it: timestamps in replies, and the header `Retry-After`. No crate that the extension
//! depends on has a calendar.

/// The days from 1970-01-01 to a date in the proleptic Gregorian calendar, which Postgres uses. `month` and `day` count
/// from 1. `None` if the month or the day does not exist.
pub fn days_since_1970(year: i64, month: u32, day: u32) -> Option<i64> {
    if day == 0 || day > days_in_month(year, month)? {
        return None;
    }
    // Counts years from March, so the leap day is the last day of its year and no month before it needs a correction.
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let days_to_year = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(days_to_year + day_of_year - 719_468)
}

fn days_in_month(year: i64, month: u32) -> Option<u32> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => Some(if is_leap { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_two_cycles_follows_the_one_before() {
        let mut expected = days_since_1970(1600, 1, 1).unwrap();
        assert_eq!(expected, -135_140);
        for year in 1600..2400 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(days) = days_since_1970(year, month, day) {
                        assert_eq!(days, expected, "{year}-{month}-{day}");
                        expected += 1;
                    }
                }
            }
        }
        // A cycle of 400 years has 146,097 days.
        assert_eq!(expected, -135_140 + 2 * 146_097);
    }

    #[test]
    fn known_days() {
        for (date, days) in [((1970, 1, 1), 0), ((2000, 1, 1), 10_957), ((2000, 2, 29), 11_016), ((1, 1, 1), -719_162)]
        {
            assert_eq!(days_since_1970(date.0, date.1, date.2), Some(days), "{date:?}");
        }
    }

    #[test]
    fn days_that_do_not_exist() {
        for (year, month, day) in
            [(2023, 2, 29), (1900, 2, 29), (2024, 2, 30), (2024, 4, 31), (2024, 0, 1), (2024, 13, 1), (2024, 1, 0)]
        {
            assert_eq!(days_since_1970(year, month, day), None, "{year}-{month}-{day}");
        }
    }
}
