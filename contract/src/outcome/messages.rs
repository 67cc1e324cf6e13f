//! What people read of an outcome: the message says what happened, the hint what to do now.
//!
//! Messages are in Postgres' style, lower case and without a final period, unless the API speaks for itself.

use std::time::Duration;

use super::policy::refusal_is_total;
use super::{Content, Facts, OutcomeKind};
use crate::api_error::{ApiError, DOCS_BYTES};
use crate::kind::Kind;
use crate::text;

pub(super) struct Words {
    pub message: String,
    pub hint: String,
}

pub(super) fn unreached(facts: &Facts<'_>, cause: &str) -> Words {
    let server = server(facts);
    Words {
        message: format!("could not connect to the API: {}", clean(facts, cause)),
        hint: format!(
            "Nothing was sent, so repeating it is safe. Check the option \"url\" of {server}, and that the database \
             server can reach that address."
        ),
    }
}

pub(super) fn cut(facts: &Facts<'_>, cause: &str) -> Words {
    Words {
        message: format!("lost the connection to the API before its reply: {}", clean(facts, cause)),
        hint: unknown_hint(facts),
    }
}

pub(super) fn timed_out(facts: &Facts<'_>, after: Duration) -> Words {
    Words { message: format!("the API did not reply within {} ms", after.as_millis()), hint: unknown_hint(facts) }
}

pub(super) fn reply_lost(facts: &Facts<'_>, reason: &str) -> Words {
    Words {
        message: format!("the {} was applied, but its reply cannot be read: {}", facts.kind, clean(facts, reason)),
        hint: applied_hint(facts),
    }
}

pub(super) fn reply_too_large(facts: &Facts<'_>, limit: u64) -> Words {
    let server = server(facts);
    Words {
        message: format!("the {} was applied, but its reply is larger than {limit} bytes", facts.kind),
        hint: format!(
            "{} For the next time, raise the option \"max_response_bytes\" of {server}, or send fewer records at once.",
            applied_hint(facts)
        ),
    }
}

pub(super) fn missing(facts: &Facts<'_>, status: u16, reason: &str) -> Words {
    let reason = clean(facts, reason);
    Words {
        message: format!("the reply with status {status} does not say that the {} was applied: {reason}", facts.kind),
        hint: unknown_hint(facts),
    }
}

pub(super) fn reply_cut(facts: &Facts<'_>, status: u16, reason: &str) -> Words {
    let reason = clean(facts, reason);
    Words {
        message: format!("the API answered {status}, but its reply broke off before its records: {reason}"),
        hint: unknown_hint(facts),
    }
}

pub(super) fn not_the_apis(facts: &Facts<'_>, status: u16, reason: &str, content: Content<'_>, body: &[u8]) -> Words {
    let label =
        |label: &str, value: &str| format!("{label} {}", text::printable(&clean(facts, value), text::NAME_CHARS));
    let media_type = content.media_type.map_or("no content-type".to_owned(), |value| label("content-type", value));
    let encoding = content.foreign_encoding();
    let (encoded, advice) = match encoding {
        Some(encoding) => (
            format!(", {}", label("content-encoding", encoding)),
            format!(
                "The request asks for none: have the API behind {}, or the proxy before it, send plain JSON.",
                server(facts)
            ),
        ),
        None => (
            String::new(),
            format!("Check the option \"url\" of {}: another service seems to answer there.", server(facts)),
        ),
    };
    let error = if encoding.is_some() { ApiError::default() } else { ApiError::read(body, facts.token) };
    let excerpt = match error.text.or(error.excerpt) {
        Some(excerpt) => format!(": {}", text::printable(&excerpt, text::EXCERPT_CHARS)),
        None => String::new(),
    };
    Words {
        message: format!(
            "the answer with status {status} is no reply of the API: {} ({media_type}{encoded}){excerpt}",
            clean(facts, reason)
        ),
        hint: format!("{} {advice}", unknown_hint(facts)),
    }
}

pub(super) fn headers_unread(facts: &Facts<'_>, status: u16, cause: &str) -> Words {
    let (cause, server) = (clean(facts, cause), server(facts));
    Words {
        message: format!("the API answered {status} with headers that cannot be read: {cause}"),
        hint: format!(
            "{} The API behind {server}, or a proxy before it, must send other headers.",
            unknown_hint(facts)
        ),
    }
}

pub(super) fn status(
    facts: &Facts<'_>,
    name: OutcomeKind,
    status: u16,
    retry_after: Option<Duration>,
    error: &ApiError,
) -> Words {
    let message = match (&error.text, &error.excerpt) {
        (Some(text), _) => text.clone(),
        (None, Some(excerpt)) => format!("{}: HTTP status {status}: {excerpt}", sentence(status)),
        (None, None) => format!("{}: HTTP status {status}", sentence(status)),
    };
    let mut hint = match name {
        OutcomeKind::Rejected if status == 413 && facts.records > 1 => {
            format!("{} Send fewer records at a time.", rejected_hint(facts))
        }
        OutcomeKind::Rejected => rejected_hint(facts),
        OutcomeKind::Refused => refused_hint(facts, status),
        OutcomeKind::RefusedForNow => pause_hint(retry_after),
        OutcomeKind::AppliedNotConfirmed => not_confirmed_hint(facts),
        OutcomeKind::NotSent | OutcomeKind::AppliedReplyLost | OutcomeKind::Unknown => unknown_hint(facts),
    };
    if error.docs.as_deref().is_some_and(|docs| docs.len() > 2) {
        hint.push_str(" The docs in the DETAIL say more.");
    }
    if error.has_lost_docs {
        hint.push_str(&format!(" The reply's docs are left out: they are over {DOCS_BYTES} bytes or nested too deep."));
    }
    Words { message, hint }
}

/// What a status means when the API adds no text of its own.
fn sentence(status: u16) -> &'static str {
    match status {
        300..=399 => "the API redirects to another address",
        401 => "the API does not accept the token",
        403 => "the API does not permit this",
        404 => "the API has nothing at this address",
        405 => "the API takes no mutations at this address",
        408 | 504 => "the API timed out",
        413 => "the request is larger than the API accepts",
        425 => "the API did not process the request yet",
        429 => "the API received too many requests",
        400..=499 => "the API rejected the request",
        500..=599 => "the API failed",
        _ => "the API gave an unexpected answer",
    }
}

fn unknown_hint(facts: &Facts<'_>) -> String {
    let Noun { record, was, it, .. } = noun(facts);
    let collection = collection(facts);
    match facts.kind {
        Kind::Create => format!(
            "It is not known whether the {record} {was} created. Do not simply repeat it: look for the {record} in \
             {collection} first."
        ),
        Kind::Update => {
            format!("It is not known whether the {record} {was} updated. Repeating the update is safe.")
        }
        Kind::Delete => format!(
            "It is not known whether the {record} {was} deleted. Repeating the delete is safe; if the API then knows \
             nothing of {it}, the first one did it."
        ),
    }
}

fn applied_hint(facts: &Facts<'_>) -> String {
    let collection = collection(facts);
    match facts.kind {
        Kind::Create => {
            format!("Do not repeat it: look in {collection} for the {} that it created.", noun(facts).record)
        }
        Kind::Update | Kind::Delete => format!("There is no need to repeat it: the {} is done.", facts.kind),
    }
}

fn not_confirmed_hint(facts: &Facts<'_>) -> String {
    format!(
        "The provider applied the {}; only the wait for the consumers ended too early. {} A larger timeout_ms waits \
         longer, but in vain if this session holds locks on rows that a consumer must write.",
        facts.kind,
        applied_hint(facts)
    )
}

fn rejected_hint(facts: &Facts<'_>) -> String {
    let Noun { records, .. } = noun(facts);
    let collection = collection(facts);
    match (facts.kind, refusal_is_total(facts)) {
        (Kind::Delete, true) if facts.records <= 1 => "Nothing was applied. Check the upstream_id.".to_owned(),
        (Kind::Create | Kind::Update, true) if facts.records <= 1 => {
            "Nothing was applied. Correct the record and send it again.".to_owned()
        }
        (_, true) => format!("Nothing was applied. Correct the record that was refused and send all {records} again."),
        (Kind::Create, false) => format!(
            "Some of the {records} may have been created. Do not simply repeat it: look for them in {collection} \
             first. If the API applies nothing of a batch that it refuses, say so with the option \"atomic_batches\" \
             of {}.",
            server(facts)
        ),
        (Kind::Update | Kind::Delete, false) => format!(
            "Some of the {records} may have been {}d. Correct or leave out the one that was refused and send the others \
             again: repeating the {} is safe.",
            facts.kind, facts.kind
        ),
    }
}

fn refused_hint(facts: &Facts<'_>, status: u16) -> String {
    let server = server(facts);
    let what = match status {
        401 => format!("Check the token in the user mapping of {server}."),
        403 => format!("Check what the token in the user mapping of {server} may do, and the sync_id."),
        404 => format!(
            "Check the option \"url\" of {server}, the sync_id, the collection {} and, if it was passed, the \
             upstream_id.",
            collection(facts)
        ),
        405 => format!("Check the option \"url\" of {server}: another service seems to answer there."),
        _ => format!("Redirects are not followed: set the option \"url\" of {server} to the final address."),
    };
    format!("Nothing was applied. {what}")
}

fn pause_hint(retry_after: Option<Duration>) -> String {
    match retry_after {
        Some(time) => format!("Nothing was applied. Repeat it in {} ms.", time.as_millis()),
        None => "Nothing was applied. Repeat it later, with fewer requests at a time.".to_owned(),
    }
}

/// The words that depend on the number of records.
struct Noun {
    record: &'static str,
    records: String,
    was: &'static str,
    it: &'static str,
}

fn noun(facts: &Facts<'_>) -> Noun {
    let is_one = facts.records <= 1;
    Noun {
        record: if is_one { "record" } else { "records" },
        records: format!("{} {}", facts.records, if is_one { "record" } else { "records" }),
        was: if is_one { "was" } else { "were" },
        it: if is_one { "it" } else { "them" },
    }
}

fn server(facts: &Facts<'_>) -> String {
    format!("server \"{}\"", text::printable(facts.server, text::NAME_CHARS))
}

fn collection(facts: &Facts<'_>) -> String {
    text::printable(facts.collection_id, text::NAME_CHARS)
}

/// A text that came from elsewhere, fit for a message.
fn clean(facts: &Facts<'_>, cause: &str) -> String {
    text::message(cause, facts.token)
}
