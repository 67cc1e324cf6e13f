//! Spells JSON values canonically, to compare what an API replied with what was sent.
//!
//! Numbers stay decimal digits. A double keeps only 17 of them, and ids may have more.

use super::timestamp;
use crate::json::{self, Cursor};

/// The canonical spelling of a JSON value: one for all spellings of a number (`1.10`, `1.1`), of an instant (`Z`,
/// `+00:00`) and of a character, and no white space. It keeps the order of an object's fields. The result is not JSON.
pub fn canonical(value: &str) -> String {
    let mut cursor = Cursor::new(value);
    let mut out = String::with_capacity(value.len());
    // Not recursive, because the depth of a value is unlimited.
    while let Some(token) = cursor.token() {
        match token.as_bytes()[0] {
            b'"' => push_text(&mut out, token),
            b'-' | b'0'..=b'9' => out.push_str(&number(token).unwrap_or_else(|| token.to_owned())),
            _ => out.push_str(token),
        }
    }
    out
}

fn push_text(out: &mut String, token: &str) {
    let Some(text) = json::unquote(token) else { return out.push_str(token) };
    match instant(&text) {
        Some(microseconds) => out.push_str(&format!("@{microseconds}")),
        None => out.push_str(&serde_json::to_string(&text).expect("a string can be written")),
    }
}

/// The microseconds of a timestamp. A time without a zone counts as UTC.
fn instant(text: &str) -> Option<i64> {
    const SHORTEST: usize = "2000-01-01T00:00:00".len();
    if text.len() < SHORTEST || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    timestamp::parse(text).or_else(|| timestamp::parse(&format!("{text}Z"))).map(|instant| instant.0)
}

/// A number as its digits, without zeros at either end, and an exponent. `None` if the exponent overflows an i64.
fn number(text: &str) -> Option<String> {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let digits = all.trim_end_matches('0');
    let zeros = all.len() - digits.len();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    let exponent = exponent.parse::<i64>().ok()?.checked_add(zeros as i64)?.checked_sub(fraction.len() as i64)?;
    Some(format!("{sign}{digits}e{exponent}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_form() {
        for alike in [
            &["1.10", "1.1", "11e-1", "0.11E+1", "110e-2"][..],
            &["100", "1e2", "1E+2", "100.0", "1000e-1"],
            &["0", "-0", "0.0", "0e9", "-0.00E-3"],
            &["12345678901234567890123.10", "12345678901234567890123.1"],
            &[
                "\"2024-05-01T10:00:00Z\"",
                "\"2024-05-01T12:00:00+02:00\"",
                "\"2024-05-01 10:00:00.000\"",
                "\"2024-05-01T10:00:00+00\"",
            ],
            &["\"a/b\"", "\"a\\/b\"", "\"\\u0061/b\""],
            &["{ \"a\" : [ 1.0 , null ] }", "{\"\\u0061\":[1,null]}"],
        ] {
            for value in alike {
                assert_eq!(canonical(value), canonical(alike[0]), "{value}");
            }
        }
    }

    #[test]
    fn different_values_have_different_forms() {
        let values = [
            "1",
            "-1",
            "10",
            "1e1000",
            "1e99999999999999999999",
            "1e99999999999999999998",
            "12345678901234567890123",
            "12345678901234567890124",
            "\"1\"",
            "true",
            "\"true\"",
            "null",
            "[]",
            "{}",
            "[1]",
            "[[1]]",
            "\"\"",
            "\"2024-05-01T10:00:00Z\"",
            "\"2024-05-01T10:00:01Z\"",
            "\"2024-05-01\"",
            "\"2024-05-01T10:00:00 or so\"",
            "\"\\ud800\"",
            "\"\\ud801\"",
            "\"@767872800000000\"",
        ];
        for (i, one) in values.iter().enumerate() {
            for (j, other) in values.iter().enumerate() {
                assert_eq!(canonical(one) == canonical(other), i == j, "{one} {other}");
            }
        }
    }
}
