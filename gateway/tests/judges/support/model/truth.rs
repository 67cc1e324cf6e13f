//! Whether a reply of the gateway is the truth, seen from the proxy.

use super::super::http::Answer;
use super::super::proxy::{Fault, Passage};
use super::mutation::{Kind, Mutation};

/// What is wrong with the reply, given the requests that the mutation has made so far. None: nothing.
pub fn objection(mutation: &Mutation, answer: &Answer, passages: &[Passage]) -> Option<String> {
    let wrong = match answer.status {
        200 => applied(mutation, answer, passages),
        400 => refused(mutation, answer, passages),
        429 => not_sent(answer, passages),
        504 => unknown(mutation, answer, passages),
        status => Some(format!("{status} is no reply to this")),
    };
    wrong.or_else(|| repeated(mutation, passages))
}

fn applied(mutation: &Mutation, answer: &Answer, passages: &[Passage]) -> Option<String> {
    if mutation.is_refused {
        return Some("the product refuses this".into());
    }
    let is_gone = |passage: &Passage| passage.answer.as_ref().is_some_and(|answer| answer.status == 404);
    let is_done = |passage: &Passage| passage.has_effect() || (mutation.kind == Kind::Delete && is_gone(passage));
    if !passages.iter().any(is_done) {
        return Some("the product has applied nothing".into());
    }
    let body = answer.json();
    let records = body["records"].as_array().cloned().unwrap_or_default();
    let [record] = records.as_slice() else {
        return Some("one record was sent".into());
    };
    let id = record["upstream_id"].as_str().unwrap_or_default();
    if id.is_empty() || (mutation.kind != Kind::Create && id != mutation.upstream_id) {
        return Some("this is not the record's id".into());
    }
    let is_deleted = record["deleted"].as_bool() == Some(true);
    (is_deleted != (mutation.kind == Kind::Delete)).then(|| "the record's `deleted` is wrong".into())
}

fn refused(mutation: &Mutation, answer: &Answer, passages: &[Passage]) -> Option<String> {
    if passages.iter().any(Passage::has_effect) {
        return Some("the product has applied it".into());
    }
    if !mutation.is_refused {
        return Some("the product refuses no such thing".into());
    }
    let text = answer.json()["error"].as_str().unwrap_or_default().to_owned();
    (!text.starts_with("Error: ") || !text.contains(" validation error: `"))
        .then(|| format!("{text:?} is no error text"))
}

fn not_sent(answer: &Answer, passages: &[Passage]) -> Option<String> {
    if answer.header("retry-after").is_none() {
        return Some("there is no retry-after".into());
    }
    passages.iter().any(|passage| !matches!(passage.fault, Fault::Limited(_))).then(|| "something was sent".into())
}

fn unknown(mutation: &Mutation, answer: &Answer, passages: &[Passage]) -> Option<String> {
    let text = answer.json()["error"].as_str().unwrap_or_default().to_owned();
    if mutation.is_twin && text == "Error: The mutation under this Idempotency-Key has no outcome yet" {
        // It has waited for its twin, and is not the one that sends.
        return None;
    }
    if !text.starts_with("Error: ") || !text.ends_with(" API timed out") {
        return Some(format!("{text:?} is no error text"));
    }
    let is_lost = passages.iter().any(|passage| !passage.is_told());
    let is_final = |passage: &&Passage| match &passage.answer {
        Some(answer) if answer.status >= 500 => false,
        // See `Judge::knows_keys`.
        Some(_) => passage.has_effect() || mutation.is_keyed || !mutation.is_refused || !is_lost,
        None => false,
    };
    if let Some(told) = passages.iter().rev().take_while(|passage| passage.is_told()).find(is_final) {
        return Some(format!("the product has said it: {told:?}"));
    }
    if passages.iter().all(Passage::is_told) {
        return Some("nothing was lost".into());
    }
    (mutation.repeats && passages.len() < 2).then(|| "it could have been repeated".into())
}

/// What may not be repeated is not sent again once its outcome is unknown, and what is repeated has the same key.
fn repeated(mutation: &Mutation, passages: &[Passage]) -> Option<String> {
    let names = |passage: &Passage| (passage.path.clone(), passage.key.clone());
    if mutation.key.is_some() && passages.windows(2).any(|two| names(&two[0]) != names(&two[1])) {
        return Some("it was sent again under another key".into());
    }
    let lost = passages.iter().position(|passage| !passage.is_told())?;
    (!mutation.repeats && lost + 1 < passages.len()).then(|| "it was sent again, and must not be".into())
}
