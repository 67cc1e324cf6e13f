//! What a reply means, by the rules of its action.
//!
//! The status counts only if the body is one that a service could send with it. A login page with the status 200 says
//! nothing about a record.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::value::RawValue;

use super::Action;
use super::rule::{self, Verdict};
use super::words::Places;
use crate::providers::{Kind, Outcome, ProviderReply, ProviderRequest, Refusal, Written, json, retry_after};

/// What a body is.
#[derive(Clone, Copy)]
enum Found<'a> {
    Nothing,
    Json(&'a RawValue),
    /// Plain words.
    Text(&'a str),
    /// HTML, JSON that was cut, compressed bytes, or anything else.
    Unreadable,
}

impl<'a> Found<'a> {
    fn new(reply: &'a ProviderReply) -> Found<'a> {
        let header = |name| reply.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = header(CONTENT_TYPE).to_ascii_lowercase();
        let is_plain = !["json", "html", "xml"].iter().any(|kind| content_type.contains(kind));
        let is_encoded = !["", "identity"].contains(&header(CONTENT_ENCODING));
        match str::from_utf8(&reply.body).map(str::trim) {
            Ok("") => Found::Nothing,
            Ok(text) if !is_encoded => match json::document(&reply.body) {
                Some(json) => Found::Json(json),
                None if is_plain && !text.starts_with(['{', '[', '<', '"']) && !text.contains('\0') => {
                    Found::Text(text)
                }
                None => Found::Unreadable,
            },
            _ => Found::Unreadable,
        }
    }

    fn json(self) -> Option<&'a RawValue> {
        match self {
            Found::Json(json) => Some(json),
            _ => None,
        }
    }

    /// What the reply says, as far as it can be read.
    fn refusal(self, places: &Places, status: u16) -> Refusal {
        let refusal = match self {
            Found::Json(json) => Refusal::with_body(&places.words(json), json),
            Found::Text(text) => Refusal::new(text),
            Found::Nothing => Refusal::default(),
            Found::Unreadable => Refusal::new(&format!("HTTP status {status} with a body that cannot be read")),
        };
        match refusal.message.is_empty() {
            true => Refusal { message: format!("HTTP status {status}"), ..refusal },
            false => refusal,
        }
    }
}

/// The outcome of the request's one record.
pub fn outcome(action: &Action, request: &ProviderRequest, reply: &ProviderReply) -> Outcome {
    let found = Found::new(reply);
    let verdict = rule::verdict(&action.rules, reply.status, found.json());
    let refusal = found.refusal(&action.places, reply.status);
    let is_readable = match found {
        Found::Nothing | Found::Json(_) => true,
        Found::Text(_) => reply.status >= 400 || action.any_body,
        Found::Unreadable => action.any_body,
    };
    match verdict {
        Some(Verdict::Limited) => Outcome::Limited { wait: retry_after::wait(&reply.headers), refusal },
        None if reply.status == 401 => Outcome::Unauthorised(refusal),
        _ if !is_readable => unknown(refusal),
        Some(Verdict::Applied) => applied(action, request, reply, found.json()),
        Some(Verdict::Already) => already(action, request, reply, found.json(), refusal),
        Some(Verdict::Gone) => Outcome::Gone(refusal),
        Some(Verdict::Rejected) => Outcome::Rejected(refusal),
        // 408 and 425: the service did not get the request in time, or did not dare to execute it yet.
        None if (400..500).contains(&reply.status) && ![408, 425].contains(&reply.status) => Outcome::Rejected(refusal),
        None => unknown(refusal),
    }
}

/// The status says that it is applied. The body must not say something else.
fn applied(action: &Action, request: &ProviderRequest, reply: &ProviderReply, body: Option<&RawValue>) -> Outcome {
    let named = action.reply.id(&reply.headers, body);
    let asked = request.upstream_ids.first();
    let refusal = |message: &str| match body {
        Some(body) => Refusal::with_body(message, body),
        None => Refusal::new(message),
    };
    if named.is_some() && asked.is_some() && named.as_ref() != asked {
        return unknown(refusal("the reply is about another record"));
    }
    let must_name = match request.kind {
        // Many services say nothing after an update.
        Kind::Update => action.reply.id.is_some() && body.is_some(),
        Kind::Create => action.reply.names_id() && (asked.is_none() || body.is_some()),
        Kind::Read => action.reply.id.is_some(),
        Kind::Delete => false,
    };
    if must_name && named.is_none() {
        return unknown(refusal("the reply does not name the record"));
    }
    let written = action.reply.written(named.or_else(|| asked.cloned()), body);
    Outcome::Applied(match request.kind {
        // What is left of a deleted record is not its data.
        Kind::Delete => Written { data: None, is_deleted: true, ..written },
        _ => written,
    })
}

/// The status says that the record with this key exists, unless the body shows that it is another one.
fn already(
    action: &Action,
    request: &ProviderRequest,
    reply: &ProviderReply,
    body: Option<&RawValue>,
    refusal: Refusal,
) -> Outcome {
    let named = action.existing.id(&reply.headers, body);
    match (named, request.upstream_ids.first()) {
        (Some(named), Some(chosen)) if named != *chosen => Outcome::Rejected(refusal),
        (None, None) => unknown(refusal),
        (named, chosen) => Outcome::Applied(action.existing.written(named.or_else(|| chosen.cloned()), body)),
    }
}

fn unknown(refusal: Refusal) -> Outcome {
    Outcome::Unknown { may_repeat: None, refusal }
}

/// The record in the reply to a read.
pub fn read(action: &Action, request: &ProviderRequest, reply: &ProviderReply) -> Option<Written> {
    match outcome(action, request, reply) {
        Outcome::Applied(written) if written.data.is_some() => Some(written),
        _ => None,
    }
}
