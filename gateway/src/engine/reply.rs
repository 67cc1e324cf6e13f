//! From the end of a mutation to the reply of the contract. Every text that a client sees is made here.

use std::time::Duration;

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use mutation_api::reply::Reply;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::verdict::Fault;
use crate::providers::Written;
use crate::providers::text::message;

/// How a mutation ended.
#[derive(Debug)]
pub enum End {
    /// All of it, in the order of the request.
    Applied(Vec<Written>),
    /// The provider refused it, and nothing was applied.
    Rejected(Vec<Fault>),
    /// No request has left, and another attempt makes sense after `wait`.
    NotSent { wait: Duration, why: String },
    /// The provider takes no requests now. Nothing was applied, and another attempt makes sense after `wait`.
    Limited { wait: Duration, faults: Vec<Fault> },
    /// The provider does not accept the gateway's credential. Nothing was applied. Why, if the token endpoint said it.
    Unauthorised(Option<String>),
    /// It may have been applied.
    Unknown(Vec<Fault>),
}

impl End {
    /// The word for metrics and logs.
    pub fn word(&self) -> &'static str {
        match self {
            End::Applied(_) => "applied",
            End::Rejected(_) => "rejected",
            End::NotSent { .. } => "not_sent",
            End::Limited { .. } => "limited",
            End::Unauthorised(_) => "unauthorised",
            End::Unknown(_) => "unknown",
        }
    }
}

/// What all records of a reply have in common.
pub struct About<'a> {
    /// As the provider spells its name.
    pub provider: &'a str,
    pub sync_id: &'a str,
    pub collection_id: &'a str,
}

/// The reply, in the contract's form.
pub fn of(end: &End, about: &About) -> Reply {
    let provider = about.provider;
    match end {
        End::Applied(records) => Reply::records(shown(records, about)),
        End::Rejected(faults) => {
            let text = format!("{provider} validation error: `{}`", joined(faults));
            Reply::error_with_docs(StatusCode::BAD_REQUEST, &text, &docs(faults))
        }
        End::NotSent { wait, why } => {
            let text = format!("{provider}: {}; nothing was sent", message(why));
            later(Reply::error(StatusCode::TOO_MANY_REQUESTS, &text), *wait)
        }
        End::Limited { wait, faults } => {
            let said = match joined(faults) {
                said if said.is_empty() => String::new(),
                said => format!(": `{said}`"),
            };
            let text = format!("{provider} limits its requests{said}; nothing was applied");
            later(Reply::error_with_docs(StatusCode::TOO_MANY_REQUESTS, &text, &docs(faults)), *wait)
        }
        End::Unauthorised(why) => {
            let why = why.as_deref().map(|why| format!(": {}", message(why))).unwrap_or_default();
            let text = format!("{provider} refuses the gateway's credential{why}; nothing was applied");
            unauthorised(&text)
        }
        End::Unknown(faults) => {
            let text = format!("{provider} API timed out");
            Reply::error_with_docs(StatusCode::GATEWAY_TIMEOUT, &text, &docs(faults))
        }
    }
}

/// The gateway itself cannot take the mutation now. 429 and not 503: that says for certain that nothing was applied, so
/// a client may send a create again.
pub fn not_now(text: &str) -> Reply {
    later(Reply::error(StatusCode::TOO_MANY_REQUESTS, &format!("{text}; nothing was sent")), Duration::from_secs(1))
}

/// 401, with the challenge that RFC 9110 wants in it.
pub fn unauthorised(text: &str) -> Reply {
    let mut reply = Reply::error(StatusCode::UNAUTHORIZED, text);
    reply.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    reply
}

/// Adds `retry-after`: whole seconds, at least one.
pub fn later(mut reply: Reply, wait: Duration) -> Reply {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    reply.headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    reply
}

/// A record of a reply. A gateway without a stream has no `updated_idx`, and what the provider did not tell is absent.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    sync_id: &'a str,
    collection_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_created_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_updated_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    deleted: bool,
    provider: String,
}

fn shown<'a>(records: &'a [Written], about: &'a About) -> impl Iterator<Item = Shown<'a>> {
    records.iter().map(|record| {
        let upstream_id = record.upstream_id.as_deref();
        Shown {
            id: upstream_id.map(|upstream_id| id(about, upstream_id)),
            sync_id: about.sync_id,
            collection_id: about.collection_id,
            upstream_id,
            upstream_created_at: record.created_at.as_deref(),
            upstream_updated_at: record.updated_at.as_deref(),
            data: record.data.as_deref(),
            deleted: record.is_deleted,
            provider: about.provider.to_lowercase(),
        }
    })
}

/// The gateway's own id of a record: the same in every reply.
fn id(about: &About, upstream_id: &str) -> String {
    const RECORDS: Uuid = Uuid::from_u128(0x5a1d_9c0e_7f44_4b0b_9a53_0c6e_2f1b_8d37);
    // JSON, so that no two places have one text.
    Uuid::new_v5(&RECORDS, json!([about.sync_id, about.collection_id, upstream_id]).to_string().as_bytes()).to_string()
}

#[derive(Serialize)]
struct Doc<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a RawValue>,
}

fn docs(faults: &[Fault]) -> Vec<Doc<'_>> {
    let mut docs = Vec::with_capacity(faults.len());
    for Fault { index, refusal, .. } in faults {
        docs.push(Doc { index: *index, error: message(&refusal.message), detail: refusal.detail.as_deref() });
    }
    docs
}

/// Each message once.
fn joined(faults: &[Fault]) -> String {
    let mut said: Vec<&str> = Vec::new();
    for fault in faults {
        let words = fault.refusal.message.as_str();
        if !words.is_empty() && !said.contains(&words) {
            said.push(words);
        }
    }
    message(&said.join("; "))
}
