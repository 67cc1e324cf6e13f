//! Whether a reply has its records in the order of the request, where the server's option `ordered_replies` says so.
//!
//! The ids of creates are written back into rows: a wrong pair would send one row's changes to another's record for ever.
//! So the declared order is believed as long as the replied data does not contradict it. It contradicts when it has, at
//! one place, what was sent at another. A provider that rewrites values (trims a name, formats a number) does not
//! contradict, since its values were sent nowhere.

use std::collections::{BTreeMap, HashSet};

use serde_json::value::RawValue;

use super::canonical::canonical;

/// Whether the replied data says that its order is not that of the request. Both are the records' `data` as JSON text,
/// and equally many; a replied record without data is None.
pub fn contradicts(sent: &[&str], replied: &[Option<&str>]) -> bool {
    let sent: Vec<Fields> = sent.iter().map(|data| Fields::of(Some(data))).collect();
    let replied: Vec<Fields> = replied.iter().map(|data| Fields::of(*data)).collect();
    let not_in = |other: &Fields, name: &str, value: &str| other.0.get(name).is_none_or(|other| other != value);
    let mut displaced = HashSet::new();
    for (sent, replied) in sent.iter().zip(&replied) {
        displaced.extend(replied.iter().filter(|(name, value)| not_in(sent, name, value)));
    }
    let mut records = sent.iter().zip(&replied);
    records
        .any(|(sent, replied)| sent.iter().any(|field| not_in(replied, field.0, field.1) && displaced.contains(&field)))
}

/// The fields of one record, by name, in the form of [`same::canonical`].
struct Fields(BTreeMap<String, String>);

impl Fields {
    fn of(data: Option<&str>) -> Self {
        let parsed: Option<BTreeMap<String, &RawValue>> = data.and_then(|data| serde_json::from_str(data).ok());
        let fields = parsed.unwrap_or_default();
        Fields(fields.into_iter().map(|(name, value)| (name, canonical(value.get()))).collect())
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
    fn what_was_sent_nowhere_contradicts_nothing() {
        let sent = [r#"{"n":1}"#, r#"{"n":2}"#];
        for replied in [
            [r#"{"n":1,"id":"a"}"#, r#"{"n":2}"#],
            // Rewritten, left out, unknown.
            [r#"{"n":"one"}"#, r#"{"n":"two"}"#],
            ["{}", "{}"],
            [r#"{"m":2}"#, r#"{"m":1}"#],
            ["[1]", "null"],
        ] {
            assert!(!is_contradicted(&sent, &replied), "{replied:?}");
        }
        assert!(!contradicts(&sent, &[None, None]));
        // Records that were sent alike.
        assert!(!is_contradicted(&[r#"{"n":1}"#, r#"{"n":1}"#], &[r#"{"n":1.0}"#, r#"{"n":1}"#]));
    }

    #[test]
    fn what_was_sent_elsewhere_contradicts() {
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

    /// Were each compared with each, this would take minutes.
    #[test]
    fn very_many_records_are_looked_at_at_once() {
        let sent: Vec<String> = (0..20_000).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
        let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
        let mut replied = sent.clone();
        assert!(!is_contradicted(&sent, &replied));
        replied.swap(1, 19_999);
        assert!(is_contradicted(&sent, &replied));
    }
}
