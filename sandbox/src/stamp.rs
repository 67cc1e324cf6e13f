//! Times: microseconds since the epoch inside, ISO 8601 on the wire.

use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, PartialEq)]
pub struct Stamp(pub u64);

impl Stamp {
    pub fn now() -> Stamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp(since.as_micros() as u64)
    }

    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH + std::time::Duration::from_micros(self.0)
    }

    /// `2024-11-10T18:39:00.070453Z`
    pub fn iso(self) -> [u8; 27] {
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let (days, time) = (seconds / 86_400, seconds % 86_400);
        // Days to date, after Howard Hinnant's `civil_from_days`; eras before 1970 cannot occur.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);

        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: std::ops::Range<usize>, mut value: u64| {
            for digit in text[at].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        put(0..4, year);
        put(5..7, month);
        put(8..10, day);
        put(11..13, time / 3_600);
        put(14..16, time / 60 % 60);
        put(17..19, time % 60);
        put(20..26, micros);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Stamp;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_731_263_940_070_453, "2024-11-10T18:39:00.070453Z"),
            (1_735_689_599_999_999, "2024-12-31T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(str::from_utf8(&Stamp(micros).iso()), Ok(text));
        }
    }
}
