//! What a reply of Stripe means. The shape of the body decides before the status: a proxy on the way has statuses too.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use mutation_api::json::Fields;
use serde_json::value::RawValue;

use crate::providers::times::{self, Unit};
use crate::providers::{Kind, Outcome, ProviderReply, ProviderRequest, Refusal, Written, json, retry_after, text};

/// The wait after an object was locked by another request.
const LOCKED: Duration = Duration::from_secs(1);

/// The outcome of the request's one record.
pub fn outcome(request: &ProviderRequest, reply: &ProviderReply) -> Outcome {
    let body = json::document(&reply.body);
    let error = body.and_then(Refused::read);
    match (reply.status, body, error) {
        (200 | 201, Some(body), _) => match written(request, body) {
            Some(written) => Outcome::Applied(written),
            None => unknown(reply, Refusal::with_body("Stripe's reply is not the object that was written", body)),
        },
        (300.., Some(body), Some(error)) => refused(request, reply, &error, error.refusal(reply.status, body)),
        (401, ..) => Outcome::Unauthorised(unreadable(reply)),
        (429, ..) => limited(reply, None, unreadable(reply)),
        _ => unknown(reply, unreadable(reply)),
    }
}

/// The object that a reply shows. None: it shows another one, or none.
fn written(request: &ProviderRequest, body: &RawValue) -> Option<Written> {
    let fields = Fields::parse(body)?;
    json::text(fields.get("object")?)?;
    let is_deleted = fields.get("deleted").is_some_and(|deleted| deleted.get() == "true");
    // Some objects have no id, such as settings.
    let id = match fields.get("id") {
        Some(id) => Some(json::id(id)?),
        None => None,
    };
    let asked = request.upstream_ids.first();
    if asked.is_some() && id.is_some() && asked != id.as_ref() {
        return None;
    }
    Some(Written {
        upstream_id: id.or_else(|| asked.cloned()),
        created_at: fields.get("created").and_then(|created| times::epoch(created, Unit::Seconds)),
        updated_at: None,
        // What is left of a deleted object has none of its fields.
        data: (!is_deleted).then(|| body.to_owned()),
        is_deleted,
    })
}

/// `{"error": {"type": ...}}`.
struct Refused<'a> {
    kind: String,
    code: Option<String>,
    message: Option<String>,
    param: Option<String>,
    fields: Fields<'a>,
}

impl<'a> Refused<'a> {
    fn read(body: &'a RawValue) -> Option<Refused<'a>> {
        let fields = Fields::parse(Fields::parse(body)?.get("error")?)?;
        let text = |name| fields.get(name).and_then(json::text).map(Cow::into_owned);
        Some(Refused {
            kind: text("type")?,
            code: text("code"),
            message: text("message"),
            param: text("param"),
            fields,
        })
    }

    fn refusal(&self, status: u16, body: &RawValue) -> Refusal {
        let mut words = [self.message.as_ref(), self.code.as_ref(), Some(&self.kind)].into_iter().flatten();
        let message = match words.find(|words| !text::message(words).is_empty()) {
            Some(words) => words.clone(),
            None => format!("HTTP status {status}"),
        };
        match &self.param {
            Some(param) => Refusal::with_body(&format!("{message} ({param})"), body),
            None => Refusal::with_body(&message, body),
        }
    }

    fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// No object with this id, and none in the account's other mode: there the key is the wrong one, and the object
    /// still exists. What is missing can also be the parent in the path.
    fn is_gone(&self, id: &str) -> bool {
        let message = self.message.as_deref().unwrap_or_default();
        let is_about_it = !message.contains('\'') || message.contains(&format!("'{id}'"));
        self.has_code("resource_missing") && is_about_it && !message.contains("a similar object exists in")
    }

    /// Whether Stripe kept the object of this collection, as it does with a payment that was declined.
    fn keeps_object(&self, collection: &str) -> bool {
        ["payment_intent", "setup_intent", "charge"]
            .iter()
            .any(|name| self.fields.get(name).is_some_and(|kept| kept.get() != "null") && is_of(collection, name))
    }
}

/// Whether a collection is the list of these objects.
fn is_of(collection: &str, object: &str) -> bool {
    collection.strip_prefix("stripe:").is_some_and(|name| name.strip_suffix('s').unwrap_or(name) == object)
}

fn refused(request: &ProviderRequest, reply: &ProviderReply, error: &Refused<'_>, refusal: Refusal) -> Outcome {
    let writes = request.kind != Kind::Delete;
    match reply.status {
        401 => Outcome::Unauthorised(refusal),
        429 => limited(reply, error.has_code("lock_timeout").then_some(LOCKED), refusal),
        // An earlier attempt under this key is still at work: the reply says nothing about its end.
        409 if error.has_code("idempotency_key_in_use") => {
            Outcome::Unknown { may_repeat: should_retry(&reply.headers).or(Some(true)), refusal }
        }
        402 if writes && error.keeps_object(&request.collection) => {
            Outcome::Unknown { may_repeat: Some(false), refusal }
        }
        400 | 402..=406 | 410 | 413 | 415 | 422 if error.kind != "api_error" => match should_retry(&reply.headers) {
            Some(true) => limited(reply, None, refusal),
            _ if reply.status == 404 && request.upstream_ids.iter().any(|id| error.is_gone(id)) => {
                Outcome::Gone(refusal)
            }
            _ => Outcome::Rejected(refusal),
        },
        _ => unknown(reply, refusal),
    }
}

fn limited(reply: &ProviderReply, wait: Option<Duration>, refusal: Refusal) -> Outcome {
    Outcome::Limited { wait: retry_after::wait(&reply.headers).or(wait), refusal }
}

/// A reply that Stripe replays is the same for as long as it keeps the key.
fn unknown(reply: &ProviderReply, refusal: Refusal) -> Outcome {
    let is_replayed = header(&reply.headers, "idempotent-replayed") == Some("true");
    let may_repeat = should_retry(&reply.headers).or(is_replayed.then_some(false));
    Outcome::Unknown { may_repeat, refusal }
}

/// Stripe's own word on whether to repeat.
fn should_retry(headers: &HeaderMap) -> Option<bool> {
    header(headers, "stripe-should-retry")?.parse().ok()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn unreadable(reply: &ProviderReply) -> Refusal {
    Refusal::new(&format!("HTTP status {} without an answer of Stripe", reply.status))
}
