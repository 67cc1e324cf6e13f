//! The texts of an outcome. The message says what happened, and the HINT says what to do.
//!
//! Messages follow Postgres' style, in lower case and without a final period, unless the text is the API's own. A HINT is
//! made of whole sentences; it begins with `Nothing was sent` or `Nothing was applied` exactly if that is true.

use std::time::Duration;

use super::policy::refusal_is_total;
use super::{ContentHeaders, Facts, OutcomeKind};
use crate::api_error::{ApiError, DOCS_BYTES};
use crate::kind::Kind;
use crate::text;

pub(super) struct Texts {
    pub message: String,
    pub hint: String,
}

pub(super) fn unreachable(facts: &Facts<'_>, cause: &str) -> Texts {
    let server = server(facts);
    Texts {
        message: format!("could not connect to the API: {}", clean(facts, cause)),
        hint: format!(
            "Nothing was sent, so a retry is safe. Check the option \"url\" of {server}, and that the database host can \
             reach that address."
        ),
    }
}

pub(super) fn connection_lost(facts: &Facts<'_>, cause: &str) -> Texts {
    Texts {
        message: format!("lost the connection to the API before its reply: {}", clean(facts, cause)),
        hint: unknown_hint(facts),
    }
}

pub(super) fn timed_out(facts: &Facts<'_>, after: Duration) -> Texts {
    Texts { message: format!("the API did not reply within {} ms", after.as_millis()), hint: unknown_hint(facts) }
}

pub(super) fn reply_lost(facts: &Facts<'_>, reason: &str) -> Texts {
    Texts {
        message: format!("the {} was applied, but its reply cannot be read: {}", facts.kind, clean(facts, reason)),
        hint: applied_hint(facts),
    }
}

pub(super) fn reply_too_large(facts: &Facts<'_>, limit: u64) -> Texts {
    let server = server(facts);
    Texts {
        message: format!("the {} was applied, but its reply is larger than {limit} bytes", facts.kind),
        hint: format!(
            "{} To avoid this, raise the option \"max_response_bytes\" of {server}, or send fewer records at once.",
            applied_hint(facts)
        ),
    }
}

pub(super) fn missing(facts: &Facts<'_>, status: u16, reason: &str) -> Texts {
    let reason = clean(facts, reason);
    Texts {
        message: format!("the reply with status {status} does not say that the {} was applied: {reason}", facts.kind),
        hint: unknown_hint(facts),
    }
}

pub(super) fn reply_truncated(facts: &Facts<'_>, status: u16, reason: &str) -> Texts {
    let reason = clean(facts, reason);
    Texts {
        message: format!("the API answered {status}, but its reply ended before its records: {reason}"),
        hint: unknown_hint(facts),
    }
}

pub(super) fn foreign_reply(
    facts: &Facts<'_>,
    status: u16,
    reason: &str,
    content: &ContentHeaders,
    body: &[u8],
) -> Texts {
    let label =
        |label: &str, value: &str| format!("{label} {}", text::printable(&clean(facts, value), text::NAME_CHARS));
    let media_type =
        content.media_type.as_deref().map_or("no content-type".to_owned(), |value| label("content-type", value));
    let encoding = content.unexpected_encoding();
    let (encoded, advice) = match encoding {
        Some(encoding) => (
            format!(", {}", label("content-encoding", encoding)),
            format!(
                "The request asks for unencoded JSON: change the API behind {}, or the proxy in front of it.",
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
    Texts {
        message: format!(
            "the response with status {status} is not a reply of the API: {} ({media_type}{encoded}){excerpt}",
            clean(facts, reason)
        ),
        hint: format!("{} {advice}", unknown_hint(facts)),
    }
}

pub(super) fn invalid_headers(facts: &Facts<'_>, status: u16, cause: &str) -> Texts {
    let (cause, server) = (clean(facts, cause), server(facts));
    Texts {
        message: format!("the API answered {status} with invalid headers: {cause}"),
        hint: format!("{} Correct the API behind {server}, or the proxy in front of it.", unknown_hint(facts)),
    }
}

pub(super) fn status(
    facts: &Facts<'_>,
    kind: OutcomeKind,
    status: u16,
    retry_after: Option<Duration>,
    error: &ApiError,
) -> Texts {
    let message = match (&error.text, &error.excerpt) {
        (Some(text), _) => text.clone(),
        (None, Some(excerpt)) => format!("{}: HTTP status {status}: {excerpt}", sentence(status)),
        (None, None) => format!("{}: HTTP status {status}", sentence(status)),
    };
    let mut hint = match kind {
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
        hint.push_str(" See the docs in the DETAIL.");
    }
    if error.has_lost_docs {
        hint.push_str(&format!(
            " The reply's docs are omitted: they exceed {DOCS_BYTES} bytes or are nested too deep."
        ));
    }
    Texts { message, hint }
}

/// The message for a status whose reply has no text.
fn sentence(status: u16) -> &'static str {
    match status {
        300..=399 => "the API redirects to another address",
        401 => "the API does not accept the token",
        403 => "the API does not permit this",
        404 => "the API has nothing at this address",
        405 => "the API accepts no mutations at this address",
        408 | 504 => "the API timed out",
        413 => "the request is larger than the API accepts",
        425 => "the API has not processed the request yet",
        429 => "the API received too many requests",
        400..=499 => "the API rejected the request",
        500..=599 => "the API failed",
        _ => "the API sent an unexpected status",
    }
}

fn unknown_hint(facts: &Facts<'_>) -> String {
    let Noun { record, was, it, .. } = noun(facts);
    let collection = collection(facts);
    match facts.kind {
        Kind::Create => format!(
            "It is not known whether the {record} {was} created. Before a retry, look for the {record} in {collection}."
        ),
        Kind::Update => {
            format!("It is not known whether the {record} {was} updated. A retry is safe.")
        }
        Kind::Delete => format!(
            "It is not known whether the {record} {was} deleted. A retry is safe; if the API then does not find {it}, the \
             first delete was applied."
        ),
    }
}

fn applied_hint(facts: &Facts<'_>) -> String {
    let collection = collection(facts);
    match facts.kind {
        Kind::Create => {
            format!("Do not retry: look in {collection} for the new {}.", noun(facts).record)
        }
        Kind::Update | Kind::Delete => format!("There is no need to retry: the {} was applied.", facts.kind),
    }
}

fn not_confirmed_hint(facts: &Facts<'_>) -> String {
    format!(
        "The provider applied the {}; only the wait for consumers timed out. {} A larger timeout_ms waits longer, but \
         cannot help while this session holds locks on rows that a consumer must write.",
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
        (_, true) => format!("Nothing was applied. Correct the refused record and send all {records} again."),
        (Kind::Create, false) => format!(
            "Some of the {records} may have been created. Before a retry, look for them in {collection}. If the API \
             applies nothing of a batch that it refuses, set the option \"atomic_batches\" of {}.",
            server(facts)
        ),
        (Kind::Update | Kind::Delete, false) => format!(
            "Some of the {records} may have been {}d. Correct or omit the refused record and send the others again: a \
             retry is safe.",
            facts.kind
        ),
    }
}

fn refused_hint(facts: &Facts<'_>, status: u16) -> String {
    let server = server(facts);
    let advice = match status {
        401 => format!("Check the token in the user mapping of {server}."),
        403 => format!("Check the permissions of the token in the user mapping of {server}, and the sync_id."),
        404 => format!(
            "Check the option \"url\" of {server}, the sync_id, the collection {} and the upstream_id, if you passed one.",
            collection(facts)
        ),
        405 => format!("Check the option \"url\" of {server}: another service seems to answer there."),
        _ => format!("Redirects are not followed: set the option \"url\" of {server} to the final address."),
    };
    format!("Nothing was applied. {advice}")
}

fn pause_hint(retry_after: Option<Duration>) -> String {
    match retry_after {
        Some(time) => format!("Nothing was applied. Retry after {} ms.", time.as_millis()),
        None => "Nothing was applied. Retry later, with fewer requests at a time.".to_owned(),
    }
}

/// The texts that depend on the number of records.
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

/// A text from another source, fit for a message.
fn clean(facts: &Facts<'_>, cause: &str) -> String {
    text::sanitize(cause, facts.token)
}
