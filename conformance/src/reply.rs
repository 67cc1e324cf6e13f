//! The records in a reply. Values stay text, so that digits can be compared.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The fields of an object, by name.
pub type Object = BTreeMap<String, Box<RawValue>>;

/// A record of a reply or of the stream.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Record(Object);

impl Record {
    /// The first field that does not have the type of the contract, in words. Any field may be missing.
    pub fn wrong_type(&self) -> Option<String> {
        let is_wrong = |name: &&str, is: fn(&Value) -> bool| {
            let value = self.0.get(*name).map(|raw| serde_json::from_str(raw.get()).unwrap_or(Value::Null));
            value.is_some_and(|value| !is(&value))
        };
        let texts = ["id", "sync_id", "collection_id", "upstream_id", "provider", "stream_id"];
        if let Some(name) = texts.iter().find(|name| is_wrong(name, Value::is_string)) {
            return Some(format!("{name} is a string"));
        }
        // Numbers beyond the range of a float make `data` unreadable as a Value: its first byte is enough.
        if self.0.get("data").is_some_and(|data| !data.get().starts_with('{')) {
            return Some("data is an object".into());
        }
        let times = ["upstream_created_at", "upstream_updated_at", "inserted_at"];
        if let Some(name) = times.iter().find(|name| is_wrong(name, is_time)) {
            return Some(format!("{name} is an ISO 8601 time"));
        }
        let others: [(&str, fn(&Value) -> bool, &str); 3] = [
            ("updated_idx", Value::is_u64, "an integer"),
            ("deleted", Value::is_boolean, "a boolean"),
            ("sync", Value::is_object, "an object"),
        ];
        let wrong = others.iter().find(|(name, is, _)| is_wrong(name, *is));
        wrong.map(|(name, _, what)| format!("{name} is {what}"))
    }

    pub fn upstream_id(&self) -> Option<String> {
        self.read("upstream_id")
    }

    pub fn deleted(&self) -> Option<bool> {
        self.read("deleted")
    }

    pub fn updated_idx(&self) -> Option<u64> {
        self.read("updated_idx")
    }

    /// None: the record does not show it.
    pub fn data(&self) -> Option<Object> {
        self.read("data")
    }

    /// Whether `text` is anywhere in it.
    pub fn contains(&self, text: &str) -> bool {
        self.0.values().any(|value| value.get().contains(text))
    }

    fn read<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }
}

/// `2024-11-10T18:39:00`, with more behind it.
fn is_time(value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        // A time that the server does not know.
        return value.is_null();
    };
    let shape = "dddd-dd-ddTdd:dd:dd";
    text.len() > shape.len()
        && shape.bytes().zip(text.bytes()).all(|(wanted, found)| match wanted {
            b'd' => found.is_ascii_digit(),
            wanted => wanted == found,
        })
}

/// The first field of `sent` that is not in `shown` with its value: numbers digit for digit, the rest by meaning.
pub fn first_difference<'a>(sent: &'a Object, shown: &Object) -> Option<(&'a str, String)> {
    sent.iter().find_map(|(name, sent)| match shown.get(name) {
        None => Some((name.as_str(), "nothing".into())),
        Some(shown) if is_same(sent, shown) => None,
        Some(shown) => Some((name.as_str(), shown.get().to_owned())),
    })
}

fn is_same(one: &RawValue, other: &RawValue) -> bool {
    if one.get() == other.get() {
        return true;
    }
    let is_text = |raw: &RawValue| raw.get().starts_with(['"', '{', '[']);
    let value = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
    is_text(one) && is_text(other) && value(one).is_some_and(|one| Some(one) == value(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn numbers_differ_by_a_digit_and_texts_by_their_meaning() {
        for (sent, shown, differs) in [
            (r#"{"a": 1.10}"#, r#"{"a":1.10,"b":2}"#, None),
            (r#"{"a": 1.10}"#, r#"{"a":1.1}"#, Some("a")),
            (r#"{"a": 1e400}"#, r#"{"a":1e400}"#, None),
            (r#"{"a": 9007199254740993}"#, r#"{"a":9007199254740992}"#, Some("a")),
            (r#"{"a": "é"}"#, r#"{"a":"\u00e9"}"#, None),
            (r#"{"a": "é"}"#, r#"{"a":"e"}"#, Some("a")),
            (r#"{"a": {"b": [1]}}"#, r#"{"a":{"b":[1]}}"#, None),
            (r#"{"a": null}"#, r#"{}"#, Some("a")),
            (r#"{"a": "1"}"#, r#"{"a":1}"#, Some("a")),
        ] {
            let (sent, shown) = (object(sent), object(shown));
            assert_eq!(first_difference(&sent, &shown).map(|(name, _)| name), differs, "{sent:?} {shown:?}");
        }
    }

    #[test]
    fn a_field_of_a_wrong_type_is_named_and_a_missing_one_is_not() {
        for (record, wrong) in [
            (r#"{}"#, None),
            (r#"{"data":{"a":1e400},"updated_idx":1731263940070453,"deleted":false}"#, None),
            (r#"{"upstream_id":7}"#, Some("upstream_id is a string")),
            (r#"{"updated_idx":"7"}"#, Some("updated_idx is an integer")),
            (r#"{"updated_idx":1.5}"#, Some("updated_idx is an integer")),
            (r#"{"deleted":0}"#, Some("deleted is a boolean")),
            (r#"{"data":[]}"#, Some("data is an object")),
            (r#"{"inserted_at":"2024-11-10T18:39:00.07Z"}"#, None),
            (r#"{"inserted_at":"yesterday, at noon or so"}"#, Some("inserted_at is an ISO 8601 time")),
            (r#"{"inserted_at":1731263940}"#, Some("inserted_at is an ISO 8601 time")),
        ] {
            let record: Record = serde_json::from_str(record).unwrap();
            assert_eq!(record.wrong_type().as_deref(), wrong);
        }
    }
}
