//! Checks the body of `POST /v1/mutations/run` field by field, so that a refusal names every wrong field. Fields that
//! the contract does not give to this kind are errors. The service behind the contract is gone, so its treatment of
//! such a field is unknown.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{Fields, Text, is_object};
use crate::memory::{Change, Mutation};
use crate::reply::Faulty;

pub struct Request<'a> {
    pub mutation: Mutation<'a>,
    pub await_consumers: Vec<String>,
    pub await_timeout: Duration,
}

const DEFAULT_AWAIT: Duration = Duration::from_millis(30_000);

const COMMON: [&str; 5] = ["kind", "sync_id", "collection_id", "await_consumer_ids", "await_consumers_timeout"];

pub fn parse(body: &[u8]) -> Result<Request<'_>, Faulty> {
    let mut wrong = Wrong::default();
    let body: Fields = match str::from_utf8(body) {
        Ok(text) => match serde_json::from_str(text) {
            Ok(body) => body,
            Err(error) => return Err(wrong.with("body", format!("is not a JSON object: {error}"))),
        },
        Err(error) => return Err(wrong.with("body", error.to_string())),
    };
    for (at, (name, _)) in body.0.iter().enumerate() {
        if body.0[..at].iter().any(|(earlier, _)| earlier == name) {
            wrong.add(name, "is sent twice");
        }
    }
    let field = |name: &str| body.get(name);

    let kind = wrong.text("kind", field("kind"));
    let sync_id = wrong.text("sync_id", field("sync_id"));
    let collection_id = wrong.text("collection_id", field("collection_id"));
    match collection_id.split_once(':') {
        _ if collection_id.is_empty() => {}
        Some((provider, collection)) if !provider.is_empty() && !collection.is_empty() => {}
        _ => wrong.add("collection_id", "must be provider:collection"),
    }
    let list = match &*kind {
        "delete" => "upstream_ids",
        _ => "records",
    };
    let change = match &*kind {
        "create" => Change::Create(wrong.records(field(list), create_record)),
        "update" => Change::Update(wrong.records(field(list), update_record)),
        "delete" => {
            let ids: Vec<Text> = wrong.list(list, field(list));
            Change::Delete(ids.into_iter().map(|id| id.0).collect())
        }
        _ => {
            wrong.add("kind", "must be create, update or delete");
            return Err(wrong.0);
        }
    };
    for (name, _) in &body.0 {
        if !COMMON.contains(&&**name) && name != list {
            wrong.add(name, format!("is not a field of kind {kind:?}"));
        }
    }
    let await_consumers = match field("await_consumer_ids") {
        Some(raw) => wrong.typed("await_consumer_ids", raw, "an array of strings"),
        None => Some(Vec::new()),
    };
    let await_timeout = match field("await_consumers_timeout") {
        Some(raw) => {
            let millis = wrong.typed("await_consumers_timeout", raw, "an integer of milliseconds");
            millis.map(Duration::from_millis)
        }
        None => Some(DEFAULT_AWAIT),
    };
    wrong.none()?;
    Ok(Request {
        mutation: Mutation { sync_id: sync_id.into(), collection_id: collection_id.into(), change },
        await_consumers: await_consumers.unwrap_or_default(),
        await_timeout: await_timeout.unwrap_or_default(),
    })
}

fn create_record(record: &RawValue) -> Result<&RawValue, String> {
    match Fields::parse(record).as_ref().map(|fields| fields.0.as_slice()) {
        Some([(name, data)]) if name == "data" && is_object(data) => Ok(data),
        _ => Err(r#"must be {"data": {...}}, and nothing else"#.into()),
    }
}

fn update_record(record: &RawValue) -> Result<(Cow<'_, str>, &RawValue), String> {
    let fields = Fields::parse(record).filter(|fields| fields.0.len() == 2);
    let parts = fields.and_then(|fields| {
        let id: Text = serde_json::from_str(fields.get("upstream_id")?.get()).ok()?;
        Some((id.0, fields.get("data").filter(|data| is_object(data))?))
    });
    parts.ok_or_else(|| r#"must be {"upstream_id": "...", "data": {...}}, and nothing else"#.into())
}

/// The collected errors.
#[derive(Default)]
struct Wrong(Faulty);

impl Wrong {
    fn add(&mut self, field: &str, text: impl Into<String>) {
        self.0.entry(field.into()).or_default().push(text.into());
    }

    fn with(mut self, field: &str, text: String) -> Faulty {
        self.add(field, text);
        self.0
    }

    fn none(self) -> Result<(), Faulty> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }

    fn typed<'a, T: Deserialize<'a>>(&mut self, field: &str, raw: &'a RawValue, what: &str) -> Option<T> {
        let value = serde_json::from_str(raw.get()).ok();
        if value.is_none() {
            self.add(field, format!("must be {what}"));
        }
        value
    }

    /// A required string that is not empty.
    fn text(&mut self, field: &str, raw: Option<&RawValue>) -> String {
        let Some(raw) = raw else {
            self.add(field, "is missing");
            return String::new();
        };
        let text: Option<String> = self.typed(field, raw, "a string");
        if text.as_deref() == Some("") {
            self.add(field, "must not be empty");
        }
        text.unwrap_or_default()
    }

    /// A required array with at least one element.
    fn list<'a, T: Deserialize<'a>>(&mut self, field: &str, raw: Option<&'a RawValue>) -> Vec<T> {
        let Some(raw) = raw else {
            self.add(field, "is missing");
            return Vec::new();
        };
        let list: Option<Vec<T>> = self.typed(field, raw, "an array");
        if list.as_ref().is_some_and(Vec::is_empty) {
            self.add(field, "must have at least one element");
        }
        list.unwrap_or_default()
    }

    /// A list in which each element is checked.
    fn records<'a, T>(&mut self, raw: Option<&'a RawValue>, check: fn(&'a RawValue) -> Result<T, String>) -> Vec<T> {
        let mut records = Vec::new();
        for (at, element) in self.list("records", raw).into_iter().enumerate() {
            match check(element) {
                Ok(record) => records.push(record),
                Err(error) => self.add(&format!("records[{at}]"), error),
            }
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faulty(body: &str) -> Vec<String> {
        match parse(body.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(faulty) => faulty.into_keys().collect(),
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        let good = r#""sync_id":"s","collection_id":"salesforce:contact""#;
        for (body, want) in [
            (format!(r#"{{"kind":"create",{good},"records":[{{"data":{{}}}}]}}"#), ""),
            (format!(r#"{{"kind":"update",{good},"records":[{{"upstream_id":"\u0041","data":{{}}}}]}}"#), ""),
            (format!(r#"{{"kind":"delete",{good},"upstream_ids":["a"]}}"#), ""),
            ("not json".into(), "body"),
            ("[]".into(), "body"),
            ("{}".into(), "collection_id kind sync_id"),
            (format!(r#"{{"kind":"upsert",{good},"records":[]}}"#), "kind"),
            (format!(r#"{{"kind":"create",{good},"records":[]}}"#), "records"),
            (format!(r#"{{"kind":"create",{good},"records":{{}}}}"#), "records"),
            (
                format!(r#"{{"kind":"create",{good},"records":[{{"data":{{}}}},{{"data":[]}},7]}}"#),
                "records[1] records[2]",
            ),
            (format!(r#"{{"kind":"create",{good},"records":[{{"upstream_id":"x","data":{{}}}}]}}"#), "records[0]"),
            (format!(r#"{{"kind":"update",{good},"records":[{{"data":{{}}}}]}}"#), "records[0]"),
            (format!(r#"{{"kind":"delete",{good},"upstream_ids":[1]}}"#), "upstream_ids"),
            (format!(r#"{{"kind":"delete",{good},"upstream_ids":["a"],"records":[]}}"#), "records"),
            (format!(r#"{{"kind":"delete",{good},"upstream_ids":["a"],"nonsense":1}}"#), "nonsense"),
            (
                format!(r#"{{"kind":"delete",{good},"upstream_ids":["a"],"await_consumer_ids":"x"}}"#),
                "await_consumer_ids",
            ),
            (
                format!(r#"{{"kind":"delete",{good},"upstream_ids":["a"],"await_consumers_timeout":1.5}}"#),
                "await_consumers_timeout",
            ),
            (format!(r#"{{"kind":"delete","kind":"delete",{good},"upstream_ids":["a"]}}"#), "kind"),
            (
                r#"{"kind":"delete","sync_id":"","collection_id":"contact","upstream_ids":["a"]}"#.into(),
                "collection_id sync_id",
            ),
        ] {
            assert_eq!(faulty(&body).join(" "), want, "{body}");
        }
    }
}
