//! Checks that a reply has its records in the order of the request, as the server's option `ordered_replies` declares.
//!
//! The write-back stores the ids of creates in rows. A wrong pair would send all later changes of a row to another record.
//! So the declared order counts only while the replied data does not contradict it: a contradiction is a value that was
//! sent at one position and replied at another. A provider that rewrites values (trims a name, formats a number) does not
//! contradict the order, because the request did not hold its new values.

use std::collections::{BTreeMap, HashSet};

use serde_json::value::RawValue;

use super::canonical::canonical;

/// Whether the replied data contradicts the order of the request. Both slices hold the `data` of records as JSON text and
/// have the same length. A replied record without data is `None`.
pub fn contradicts(sent: &[&str], replied: &[Option<&str>]) -> bool {
    let sent: Vec<CanonicalFields> = sent.iter().map(|data| CanonicalFields::of(Some(data))).collect();
    let replied: Vec<CanonicalFields> = replied.iter().map(|data| CanonicalFields::of(*data)).collect();
    let not_in =
        |other: &CanonicalFields, name: &str, value: &str| other.0.get(name).is_none_or(|other| other != value);
    let mut displaced = HashSet::new();
    for (sent, replied) in sent.iter().zip(&replied) {
        displaced.extend(replied.iter().filter(|(name, value)| not_in(sent, name, value)));
    }
    let mut records = sent.iter().zip(&replied);
    records
        .any(|(sent, replied)| sent.iter().any(|field| not_in(replied, field.0, field.1) && displaced.contains(&field)))
}

/// The fields of one record by name, with values in [`canonical`] form. Data that is not an object has no fields.
struct CanonicalFields(BTreeMap<String, String>);

impl CanonicalFields {
    fn of(data: Option<&str>) -> Self {
        let parsed: Option<BTreeMap<String, &RawValue>> = data.and_then(|data| serde_json::from_str(data).ok());
        let fields = parsed.unwrap_or_default();
        CanonicalFields(fields.into_iter().map(|(name, value)| (name, canonical(value.get()))).collect())
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_contradicted(sent: &[&str], replied: &[&str]) -> bool {
        contradicts(sent, &replied.iter().map(|data| Some(*data)).collect::<Vec<_>>())
    }

    #[test]
    fn a_value_that_was_not_sent_does_not_contradict() {
        let sent = [r#"{"n":1}"#, r#"{"n":2}"#];
        for replied in [
            [r#"{"n":1,"id":"a"}"#, r#"{"n":2}"#],
            // Rewritten, omitted and unknown values.
            [r#"{"n":"one"}"#, r#"{"n":"two"}"#],
            ["{}", "{}"],
            [r#"{"m":2}"#, r#"{"m":1}"#],
            ["[1]", "null"],
        ] {
            assert!(!is_contradicted(&sent, &replied), "{replied:?}");
        }
        assert!(!contradicts(&sent, &[None, None]));
        // Equal records have no order.
        assert!(!is_contradicted(&[r#"{"n":1}"#, r#"{"n":1}"#], &[r#"{"n":1.0}"#, r#"{"n":1}"#]));
    }

    #[test]
    fn a_value_that_was_sent_at_another_position_contradicts() {
        for (first, second) in
            [("1", "2"), ("\"a\"", "\"b\""), ("\"a\"", "null"), ("[1, 2]", "[2, 1]"), ("{\"x\": 1}", "{\"x\": 2}")]
        {
            let record = |value: &str| format!(r#"{{"n":{value},"same":0}}"#);
            let (first, second) = (record(first), record(second));
            assert!(is_contradicted(&[&first, &second], &[&second, &first]), "{first} {second}");
            assert!(is_contradicted(&[&first, &second], &[&second, "{}"]), "{first} {second}");
        }
    }

    #[test]
    fn values_that_are_written_otherwise_contradict_as_well() {
        for (sent, replied) in [
            (["1.10", "2.20"], ["1.1", "2.2"]),
            (["100", "-0.5"], ["1e2", "-5E-1"]),
            (
                ["12345678901234567890.10", "12345678901234567891.10"],
                ["12345678901234567890.1", "12345678901234567891.1"],
            ),
            (
                ["\"2024-05-01T10:00:00+00:00\"", "\"2024-05-02T10:00:00+00:00\""],
                ["\"2024-05-01T10:00:00Z\"", "\"2024-05-02T10:00:00.000Z\""],
            ),
            (
                ["\"2024-05-01T10:00:00+02:00\"", "\"2024-05-02T10:00:00\""],
                ["\"2024-05-01T08:00:00Z\"", "\"2024-05-02T10:00:00.0\""],
            ),
            (["\"a/b\"", "\"\u{e9}\""], ["\"a\\/b\"", "\"\\u00e9\""]),
            (["[1.0, {\"a\": \"x\"}]", "[2]"], ["[1,{\"a\":\"\\u0078\"}]", "[2.0]"]),
        ] {
            let record = |value: &str| format!(r#"{{"v":{value}}}"#);
            let [a, b] = sent.map(record);
            let [c, d] = replied.map(record);
            assert!(!is_contradicted(&[&a, &b], &[&c, &d]), "{sent:?}");
            assert!(is_contradicted(&[&a, &b], &[&d, &c]), "{sent:?}");
        }
    }

    /// A comparison of each record with each other one would take minutes.
    #[test]
    fn the_time_is_linear_in_the_number_of_records() {
        let sent: Vec<String> = (0..20_000).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
        let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
        let mut replied = sent.clone();
        assert!(!is_contradicted(&sent, &replied));
        replied.swap(1, 19_999);
        assert!(is_contradicted(&sent, &replied));
    }
}
