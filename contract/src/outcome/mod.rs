//! What is known after a mutation: was it applied, and what should be done now?
//!
//! An error that only says "failed" makes people repeat a create, and the provider then has two records. So every end
//! of a mutation maps to one [`Outcome`] that says which of the three holds: nothing was applied, everything was, or
//! nobody knows. The mapping is a pure function of the [`Facts`] and one [`Observation`]; where the contract is silent
//! it answers "unknown", never "not applied".
//!
//! [`policy`] is the table, [`messages`] what people read of it, [`ending`] the result, [`earlier`] what
//! other requests have applied before.

mod earlier;
mod judge;
mod messages;
mod observation;
mod policy;
mod sqlstate;

use std::fmt::Write as _;
use std::time::Duration;

use crate::api_error::ApiError;
use crate::request::Invalid;
pub use earlier::{Earlier, Scope};
pub use judge::{APPLIED, judge};
use messages::Words;
pub use observation::{Body, Content, Facts, Observation};
pub use sqlstate::SqlState;

/// How a mutation ended. What is simply applied is no [`Outcome`]: see [`APPLIED`](super::APPLIED).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutcomeKind {
    /// Nothing left this machine.
    NotSent,
    /// The provider's validation refused a record.
    Rejected,
    /// The API refused the caller or the address.
    Refused,
    /// The API asks to be left alone for a while.
    RefusedForNow,
    /// Applied, but the records of the reply cannot be given out.
    AppliedReplyLost,
    /// Applied, but the wait for consumers timed out.
    AppliedNotConfirmed,
    /// It may have been applied or not.
    Unknown,
}

impl OutcomeKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            OutcomeKind::NotSent => "not_sent",
            OutcomeKind::Rejected => "rejected",
            OutcomeKind::Refused => "refused",
            OutcomeKind::RefusedForNow => "refused_for_now",
            OutcomeKind::AppliedReplyLost => "applied_reply_lost",
            OutcomeKind::AppliedNotConfirmed => "applied_not_confirmed",
            OutcomeKind::Unknown => "unknown",
        }
    }
}

/// How much of the mutation was applied at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Applied {
    None,
    All,
    Unknown,
}

impl Applied {
    pub const fn as_str(self) -> &'static str {
        match self {
            Applied::None => "none",
            Applied::All => "all",
            Applied::Unknown => "unknown",
        }
    }
}

/// What a queue does with the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// They are delivered, though without their records.
    DeliverReplyLost,
    /// They are delivered, though no consumer confirmed it.
    DeliverNotConfirmed,
    /// Send them again, after a backoff.
    Retry,
    /// Send them again when `retry_after` is over; it costs no attempt.
    Defer,
    /// Send them again in halves, to find the one that is refused.
    Bisect,
    /// It stands alone and is refused for good.
    Reject,
    /// Nothing can be delivered until somebody changes the server or its user mapping. If the outcome is unknown, a
    /// create of the request waits for a person.
    PauseServer,
    /// Nobody knows, and a repeat could do harm: a person must look.
    ParkUnknown,
}

/// The end of a mutation that gives no records. As an error it displays its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Outcome {
    pub kind: OutcomeKind,
    pub applied: Applied,
    pub sqlstate: SqlState,
    pub action: Action,
    /// The API's own text if it gave one; printable, limited, without the token.
    pub message: String,
    /// What to do, in whole sentences.
    pub hint: String,
    pub http_status: Option<u16>,
    /// JSON text.
    pub docs: Option<String>,
    pub retry_after: Option<Duration>,
    /// Of several requests that one statement makes: how many records the ones before this have applied.
    pub applied_before: usize,
}

impl Outcome {
    /// A problem found before anything was sent: with the server, its user mapping, or a read-only transaction. Wrong
    /// arguments become an outcome by `From<Invalid>`.
    pub fn not_sent(sqlstate: SqlState, message: String, hint: String) -> Outcome {
        Outcome {
            kind: OutcomeKind::NotSent,
            applied: Applied::None,
            sqlstate,
            action: policy::action_before_sending(sqlstate),
            message,
            hint,
            http_status: None,
            docs: None,
            retry_after: None,
            applied_before: 0,
        }
    }

    /// A mutation that was applied, by a reply with `status`, whose records cannot be given out. `reason` ends the
    /// message: `its body is empty`, or what the database said when it was to store them.
    pub fn reply_lost(facts: &Facts<'_>, status: u16, reason: &str) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::AppliedReplyLost, Some(status), messages::reply_lost(facts, reason))
    }

    pub(super) fn reply_too_large(facts: &Facts<'_>, status: u16, limit: u64) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::AppliedReplyLost, Some(status), messages::reply_too_large(facts, limit))
    }

    /// A reply with `status` that is the API's, and does not have what was sent. `reason` ends the message: `it holds no
    /// record`.
    pub fn missing(facts: &Facts<'_>, status: u16, reason: &str) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::Unknown, Some(status), messages::missing(facts, status, reason))
    }

    /// A reply with `status` that broke off before it said whether it is the API's.
    pub(super) fn reply_cut(facts: &Facts<'_>, status: u16, reason: &str) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::Unknown, Some(status), messages::reply_cut(facts, status, reason))
    }

    /// A body that another service has written, or a proxy.
    pub(super) fn not_the_apis(
        facts: &Facts<'_>,
        status: u16,
        reason: &str,
        content: Content<'_>,
        body: &[u8],
    ) -> Box<Outcome> {
        let words = messages::not_the_apis(facts, status, reason, content, body);
        Box::new(Outcome {
            action: Action::PauseServer,
            ..*Self::new(facts, OutcomeKind::Unknown, Some(status), words)
        })
    }

    /// A reply of which no more than the status line can be read.
    pub(super) fn headers_unread(facts: &Facts<'_>, status: u16, cause: &str) -> Box<Outcome> {
        let words = messages::headers_unread(facts, status, cause);
        Box::new(Outcome {
            action: Action::PauseServer,
            ..*Self::new(facts, OutcomeKind::Unknown, Some(status), words)
        })
    }

    pub(super) fn unreached(facts: &Facts<'_>, cause: &str) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::NotSent, None, messages::unreached(facts, cause))
    }

    pub(super) fn cut(facts: &Facts<'_>, cause: &str) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::Unknown, None, messages::cut(facts, cause))
    }

    pub(super) fn timed_out(facts: &Facts<'_>, after: Duration) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::Unknown, None, messages::timed_out(facts, after))
    }

    /// A reply with a status outside 2xx.
    pub(super) fn from_status(
        facts: &Facts<'_>,
        status: u16,
        retry_after: Option<Duration>,
        error: ApiError,
    ) -> Box<Outcome> {
        let kind = policy::kind(status, error.consumers_timed_out);
        let words = messages::status(facts, kind, status, retry_after, &error);
        let mut outcome = Self::new(facts, kind, Some(status), words);
        outcome.docs = error.docs;
        outcome.retry_after = retry_after;
        outcome
    }

    fn new(facts: &Facts<'_>, kind: OutcomeKind, http_status: Option<u16>, words: Words) -> Box<Outcome> {
        Box::new(Outcome {
            kind,
            applied: policy::applied(facts, kind),
            sqlstate: policy::sqlstate(kind, http_status),
            action: policy::action(facts, kind),
            message: words.message,
            hint: words.hint,
            http_status,
            docs: None,
            retry_after: None,
            applied_before: 0,
        })
    }

    /// The DETAIL, for programs: one JSON object that always has the same keys, null where there is nothing to say;
    /// and `applied_before` when that is not 0.
    pub fn detail_json(&self) -> String {
        let mut json = format!(
            r#"{{"outcome": "{}", "applied": "{}", "http_status": "#,
            self.kind.as_str(),
            self.applied.as_str()
        );
        push_or_null(&mut json, self.http_status);
        json.push_str(r#", "docs": "#);
        push_or_null(&mut json, self.docs.as_deref());
        json.push_str(r#", "retry_after_ms": "#);
        push_or_null(&mut json, self.retry_after.map(|time| time.as_millis()));
        if self.applied_before > 0 {
            write!(json, r#", "applied_before": {}"#, self.applied_before).expect("writing to a string cannot fail");
        }
        json.push('}');
        json
    }
}

fn push_or_null(json: &mut String, value: Option<impl std::fmt::Display>) {
    match value {
        Some(value) => write!(json, "{value}").expect("writing to a string cannot fail"),
        None => json.push_str("null"),
    }
}

impl From<Invalid> for Outcome {
    fn from(invalid: Invalid) -> Outcome {
        let sqlstate = if invalid.is_null() { SqlState::NullValueNotAllowed } else { SqlState::InvalidParameterValue };
        Outcome { action: Action::Reject, ..Outcome::not_sent(sqlstate, invalid.to_string(), invalid.hint()) }
    }
}

#[cfg(test)]
mod tests;
