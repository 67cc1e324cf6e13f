//! The body of `POST /v1/mutations/run`, taken apart field by field, so that a refusal names every field that is wrong and
//! not the first one. Strict: a field that the contract does not give to this kind is an error, since the service behind the
//! contract is gone and nobody can tell what it would have made of it.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::body::{Body, Element, Elements};
use crate::json::{Text, is_object};
use crate::provider::{Change, Mutation};
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
    let body: Body = match str::from_utf8(body) {
        Ok(text) => match serde_json::from_str(text) {
            Ok(body) => body,
            Err(error) => return Err(wrong.with("body", format!("is not a JSON object: {error}"))),
        },
        Err(error) => return Err(wrong.with("body", error.to_string())),
    };
    for (at, name) in body.names.iter().enumerate() {
        if body.names[..at].contains(name) {
            wrong.add(name, "is sent twice");
        }
    }
    let field = |name: &str| body.fields.iter().find(|(key, _)| key == name).map(|(_, raw)| *raw);

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
        "create" => Change::Create(records(&mut wrong, body.records, create_record)),
        "update" => Change::Update(records(&mut wrong, body.records, update_record)),
        "delete" => {
            let ids: Vec<Text> = wrong.list(list, field(list));
            Change::Delete(ids.into_iter().map(|id| id.0).collect())
        }
        _ => {
            wrong.add("kind", "must be create, update or delete");
            return Err(wrong.0);
        }
    };
    for name in &body.names {
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

fn records<'a, T>(
    wrong: &mut Wrong,
    sent: Option<Elements<'a>>,
    check: fn(Element<'a>) -> Result<T, String>,
) -> Vec<T> {
    let mut records = Vec::new();
    match sent {
        None => wrong.add("records", "is missing"),
        Some(Elements(None)) => wrong.add("records", "must be an array"),
        Some(Elements(Some(sent))) if sent.is_empty() => wrong.add("records", "must have at least one element"),
        Some(Elements(Some(sent))) => {
            records.reserve(sent.len());
            for (at, element) in sent.into_iter().enumerate() {
                match check(element) {
                    Ok(record) => records.push(record),
                    Err(error) => wrong.add(&format!("records[{at}]"), error),
                }
            }
        }
    }
    records
}

fn create_record(element: Element<'_>) -> Result<&RawValue, String> {
    match element {
        Element::Object { data: Some(data), upstream_id: None, stray: None } if is_object(data) => Ok(data),
        _ => Err(r#"must be {"data": {...}}, and nothing else"#.into()),
    }
}

fn update_record<'a>(element: Element<'a>) -> Result<(Cow<'a, str>, &'a RawValue), String> {
    let shape = || r#"must be {"upstream_id": "...", "data": {...}}, and nothing else"#.to_owned();
    match element {
        Element::Object { data: Some(data), upstream_id: Some(id), stray: None } if is_object(data) => {
            let id: Text = serde_json::from_str(id.get()).map_err(|_| shape())?;
            Ok((id.0, data))
        }
        _ => Err(shape()),
    }
}

/// What is wrong, gathered.
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
