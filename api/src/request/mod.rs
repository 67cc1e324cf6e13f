//! The body of `POST /v1/mutations/run`, checked field by field, so that a refusal names every wrong field.
//!
//! Fields that the contract does not give to this kind are errors. The service behind the contract is gone, so its
//! treatment of such a field is unknown.
//!
//! A record's data stays the text that was sent: no number is read, so none loses a digit. A parsed [`Request`] borrows
//! the body. [`Request::into_owned`] cuts the tie, for a task that outlives it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::json::{Fields, Text, Whole, is_object};
use crate::reply::Faulty;

mod mutation;
mod wrong;

pub use mutation::{Change, Kind, Mutation, NewRecord, RecordPatch, Removal};
use wrong::Wrong;

/// A request that has the documented shape.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub mutation: Mutation<'a>,
    /// The ids of the consumers to wait for. Whether they exist is the server's to say.
    pub await_consumers: Vec<String>,
    /// How long to wait for them, from the moment when the provider has accepted the mutation.
    pub await_timeout: Duration,
}

/// Which collection ids a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionIds {
    /// Any text that is not blank.
    Any,
    /// `provider:collection`, as in every example of the documentation.
    OfProvider,
}

impl Request<'_> {
    /// Copies what is borrowed.
    pub fn into_owned(self) -> Request<'static> {
        let Request { mutation, await_consumers, await_timeout } = self;
        Request { mutation: mutation.into_owned(), await_consumers, await_timeout }
    }
}

/// The documented default.
const DEFAULT_AWAIT: Duration = Duration::from_millis(30_000);

/// The fields of every kind.
const COMMON: [&str; 5] = ["kind", "sync_id", "collection_id", "await_consumer_ids", "await_consumers_timeout"];

/// [`parse_with`] any collection id.
///
/// # Errors
/// The wrong fields, for a 422.
pub fn parse(body: &[u8]) -> Result<Request<'_>, Faulty> {
    parse_with(body, CollectionIds::Any)
}

/// Reads and checks a body.
///
/// # Errors
/// The wrong fields, for a 422. The field `body` stands for a body that is not a JSON object.
pub fn parse_with(body: &[u8], collection_ids: CollectionIds) -> Result<Request<'_>, Faulty> {
    let mut wrong = Wrong::default();
    let body: Fields = match str::from_utf8(body) {
        Ok(text) => match serde_json::from_str(text) {
            Ok(body) => body,
            Err(error) => return Err(wrong.with("body", format!("is not a JSON object: {error}"))),
        },
        Err(error) => return Err(wrong.with("body", error.to_string())),
    };
    let mut names = HashSet::with_capacity(body.0.len());
    for (name, _) in &body.0 {
        if !names.insert(name) {
            wrong.add(name, "is sent twice");
        }
    }
    let field = |name: &str| body.get(name);

    let kind = wrong.text("kind", field("kind"));
    let sync_id = wrong.text("sync_id", field("sync_id"));
    let collection_id = wrong.text("collection_id", field("collection_id"));
    if collection_ids == CollectionIds::OfProvider && !collection_id.is_empty() {
        let parts = collection_id.split_once(':');
        if !parts.is_some_and(|(provider, collection)| !provider.is_empty() && !collection.is_empty()) {
            wrong.add("collection_id", "must be provider:collection");
        }
    }
    let Some(kind) = Kind::named(&kind) else {
        wrong.add("kind", "must be create, update or delete");
        return Err(wrong.into_fields());
    };
    let list = field(kind.list());
    let change = match kind {
        Kind::Create => Change::Create(wrong.elements(kind.list(), list, new_record)),
        Kind::Update => Change::Update(wrong.elements(kind.list(), list, record_patch)),
        Kind::Delete => Change::Delete(wrong.elements(kind.list(), list, removal)),
    };
    for (name, _) in &body.0 {
        if !COMMON.contains(&&**name) && name != kind.list() {
            wrong.add(name, format!("is not a field of kind {:?}", kind.name()));
        }
    }
    let await_consumers = match field("await_consumer_ids") {
        Some(raw) => wrong.typed("await_consumer_ids", raw, "an array of strings"),
        None => Some(Vec::new()),
    };
    let await_timeout = match field("await_consumers_timeout") {
        Some(raw) => {
            let millis = wrong.typed("await_consumers_timeout", raw, "an integer of milliseconds");
            millis.map(|Whole(millis)| Duration::from_millis(millis))
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

fn new_record(element: &RawValue) -> Result<NewRecord<'_>, String> {
    match Fields::parse(element).as_ref().map(|fields| fields.0.as_slice()) {
        Some([(name, data)]) if name == "data" && is_object(data) => Ok(NewRecord { data: Cow::Borrowed(data) }),
        _ => Err(r#"must be {"data": {...}}, and nothing else"#.into()),
    }
}

fn record_patch(element: &RawValue) -> Result<RecordPatch<'_>, String> {
    let fields = Fields::parse(element).filter(|fields| fields.0.len() == 2);
    let parts = fields.and_then(|fields| {
        let id: Text = serde_json::from_str(fields.get("upstream_id")?.get()).ok()?;
        let data = fields.get("data").filter(|data| is_object(data))?;
        Some(RecordPatch { upstream_id: id.0, data: Cow::Borrowed(data) })
    });
    parts.ok_or_else(|| r#"must be {"upstream_id": "...", "data": {...}}, and nothing else"#.into())
}

fn removal(element: &RawValue) -> Result<Removal<'_>, String> {
    let id: Result<Text, _> = serde_json::from_str(element.get());
    id.map(|id| Removal { upstream_id: id.0 }).map_err(|_| "must be a string".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faulty(body: &str) -> Vec<String> {
        match parse_with(body.as_bytes(), CollectionIds::OfProvider) {
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
            (format!(r#"{{"kind":"delete",{good},"upstream_ids":[1]}}"#), "upstream_ids[0]"),
            (format!(r#"{{"kind":"delete",{good},"upstream_ids":7}}"#), "upstream_ids"),
            (format!(r#"{{"kind":"delete",{good}}}"#), "upstream_ids"),
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
                r#"{"kind":"delete","sync_id":" ","collection_id":"contact","upstream_ids":["a"]}"#.into(),
                "collection_id sync_id",
            ),
        ] {
            assert_eq!(faulty(&body).join(" "), want, "{body}");
        }
    }

    #[test]
    fn a_collection_without_a_provider_is_for_the_server_to_refuse() {
        let body =
            |id: &str| format!(r#"{{"kind":"delete","sync_id":"s","collection_id":"{id}","upstream_ids":["a"]}}"#);
        for (id, any, of_provider) in [
            ("salesforce:contact", true, true),
            ("a:b:c", true, true),
            ("contact", true, false),
            (":contact", true, false),
            ("contact:", true, false),
            (" ", false, false),
        ] {
            let body = body(id);
            assert_eq!(parse(body.as_bytes()).is_ok(), any, "{id}");
            assert_eq!(parse_with(body.as_bytes(), CollectionIds::OfProvider).is_ok(), of_provider, "{id}");
        }
    }

    #[test]
    fn data_passes_as_it_was_sent_also_when_the_body_is_gone() {
        let data = r#"{"a":1.10, "b":12345678901234567890.123,"c":1e400,"a":"\u00e9"}"#;
        let element = format!(r#"{{"data": {data} ,"upstream_id":"\u0041\n"}}"#);
        let body = format!(
            r#"{{"records":[{element}],"kind":"update","sync_id":"s","collection_id":"c","await_consumers_timeout":7}}"#
        );
        let request = parse(body.as_bytes()).unwrap().into_owned();
        drop(body);
        assert_eq!((request.mutation.change.kind(), request.mutation.change.len()), (Kind::Update, 1));
        assert_eq!((request.await_timeout, &request.await_consumers), (Duration::from_millis(7), &Vec::new()));
        let Change::Update(records) = request.mutation.change else { panic!("not an update") };
        assert_eq!((&*records[0].upstream_id, records[0].data.get()), ("A\n", data));
    }
}
