//! The outcome of a mutation: whether it was applied, and what to do next.
//!
//! A user who only reads "failed" repeats a create, and the provider then has two records. So every failed mutation has
//! one [`Outcome`], which says that nothing was applied, that everything was applied, or that this is unknown. [`judge`]
//! is a pure function of the [`Facts`] and one [`Observation`]. Where the API's contract is silent, it answers "unknown".
//!
//! `policy` is the outcome table, `messages` its texts, and `earlier` adds what previous requests have applied.

mod earlier;
mod judge;
mod messages;
mod observation;
mod policy;
mod sqlstate;

use std::fmt::Write as _;
use std::time::Duration;

use crate::api_error::ApiError;
use crate::request::InvalidRequest;
pub use earlier::{Earlier, Scope};
pub use judge::{APPLIED, judge};
use messages::Texts;
pub use observation::{Body, ContentHeaders, Facts, Observation};
pub use sqlstate::SqlState;

/// How a mutation ended, if its reply gave no records. For the other mutations see [`APPLIED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutcomeKind {
    /// The request was not sent.
    NotSent,
    /// The API or the provider refused a record.
    Rejected,
    /// The API refused the token or the address.
    Refused,
    /// The API asks the client to wait.
    RefusedForNow,
    /// The mutation was applied, but the records of its reply are unusable.
    AppliedReplyLost,
    /// The mutation was applied, but the wait for consumers timed out.
    AppliedNotConfirmed,
    /// The mutation may have been applied.
    Unknown,
}

impl OutcomeKind {
    /// The word for it in the DETAIL and in the outbox's tables.
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

/// How much of the mutation the provider has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Applied {
    /// Nothing.
    None,
    /// All records.
    All,
    /// Nothing, some records or all.
    Unknown,
}

impl Applied {
    /// The word for it in the DETAIL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Applied::None => "none",
            Applied::All => "all",
            Applied::Unknown => "unknown",
        }
    }
}

/// What the outbox does with the queued records of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Settle them as delivered, without the reply's records.
    DeliverReplyLost,
    /// Settle them as delivered, without confirmation by a consumer.
    DeliverNotConfirmed,
    /// Send them again after a backoff.
    Retry,
    /// Send them again after `retry_after`, and after others. This costs no attempt.
    Defer,
    /// Send them again in halves, to find the refused record.
    Bisect,
    /// Settle the only record of the request as rejected.
    Reject,
    /// Pause the server until its options or its user mapping change. Creates with an unknown outcome become unknown.
    PauseServer,
    /// Settle them as unknown, for a person to decide: a retry could repeat a create.
    MarkUnknown,
}

/// A mutation whose reply gave no records. As an error it displays its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Outcome {
    /// How the mutation ended.
    pub kind: OutcomeKind,
    /// How much was applied.
    pub applied: Applied,
    /// The SQLSTATE to raise.
    pub sqlstate: SqlState,
    /// What the outbox does.
    pub action: Action,
    /// The API's error text, if the reply has one. It is printable, limited in length, and without the token.
    pub message: String,
    /// The HINT: what to do, in whole sentences.
    pub hint: String,
    /// The status of the reply. `None` if there was no reply.
    pub http_status: Option<u16>,
    /// The reply's `docs` or `validation_errors`, as JSON text.
    pub docs: Option<String>,
    /// How long the API asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether the API, or a proxy before it, took too long.
    pub timed_out: bool,
    /// The number of records that earlier requests of the statement or transaction have applied.
    pub applied_before: usize,
}

impl Outcome {
    /// The outcome of a problem found before the request was sent: in the server, in its user mapping, or because the
    /// transaction is read-only. Invalid arguments become an outcome through `From<InvalidRequest>`.
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
            timed_out: false,
            applied_before: 0,
        }
    }

    /// The outcome of an applied mutation whose reply, with this `status`, is unusable. `reason` completes the message: a
    /// [`ReplyError`](crate::reply::ReplyError), or the database's error when it stored the records.
    pub fn reply_lost(facts: &Facts<'_>, status: u16, reason: &str) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::AppliedReplyLost, Some(status), messages::reply_lost(facts, reason))
    }

    pub(super) fn reply_too_large(facts: &Facts<'_>, status: u16, limit: u64) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::AppliedReplyLost, Some(status), messages::reply_too_large(facts, limit))
    }

    /// The outcome of a valid reply that lacks a sent record. `reason` completes the message: `it has no record`.
    pub fn missing(facts: &Facts<'_>, status: u16, reason: &str) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::Unknown, Some(status), messages::missing(facts, status, reason))
    }

    /// A reply that was truncated before the array `records` began.
    pub(super) fn reply_truncated(facts: &Facts<'_>, status: u16, reason: &str) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::Unknown, Some(status), messages::reply_truncated(facts, status, reason))
    }

    /// A reply of another service or of a proxy.
    pub(super) fn foreign_reply(
        facts: &Facts<'_>,
        status: u16,
        reason: &str,
        content: &ContentHeaders,
        body: &[u8],
    ) -> Box<Outcome> {
        let texts = messages::foreign_reply(facts, status, reason, content, body);
        Box::new(Outcome {
            action: Action::PauseServer,
            ..*Self::new(facts, OutcomeKind::Unknown, Some(status), texts)
        })
    }

    /// A reply with a valid status line and invalid headers.
    pub(super) fn invalid_headers(facts: &Facts<'_>, status: u16, cause: &str) -> Box<Outcome> {
        let texts = messages::invalid_headers(facts, status, cause);
        Box::new(Outcome {
            action: Action::PauseServer,
            ..*Self::new(facts, OutcomeKind::Unknown, Some(status), texts)
        })
    }

    pub(super) fn unreachable(facts: &Facts<'_>, cause: &str) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::NotSent, None, messages::unreachable(facts, cause))
    }

    pub(super) fn connection_lost(facts: &Facts<'_>, cause: &str) -> Box<Outcome> {
        Self::new(facts, OutcomeKind::Unknown, None, messages::connection_lost(facts, cause))
    }

    pub(super) fn timed_out(facts: &Facts<'_>, after: Duration) -> Box<Outcome> {
        let texts = messages::timed_out(facts, after);
        Box::new(Outcome { timed_out: true, ..*Self::new(facts, OutcomeKind::Unknown, None, texts) })
    }

    /// A reply with a status outside 2xx.
    pub(super) fn from_status(
        facts: &Facts<'_>,
        status: u16,
        retry_after: Option<Duration>,
        error: ApiError,
    ) -> Box<Outcome> {
        let kind = policy::kind(status, error.consumers_timed_out);
        let texts = messages::status(facts, kind, status, retry_after, &error);
        let mut outcome = Self::new(facts, kind, Some(status), texts);
        outcome.docs = error.docs;
        outcome.retry_after = retry_after;
        outcome
    }

    fn new(facts: &Facts<'_>, kind: OutcomeKind, http_status: Option<u16>, texts: Texts) -> Box<Outcome> {
        Box::new(Outcome {
            kind,
            applied: policy::applied(facts, kind),
            sqlstate: policy::sqlstate(kind, http_status),
            action: policy::action(facts, kind),
            message: texts.message,
            hint: texts.hint,
            http_status,
            docs: None,
            retry_after: None,
            timed_out: matches!(http_status, Some(408 | 504)),
            applied_before: 0,
        })
    }

    /// Whether the refusal says that there is no such record: by the status 410, or by the provider's words. A delete that
    /// is repeated after a lost reply is then done.
    pub fn says_gone(&self) -> bool {
        self.http_status == Some(410) || self.message.to_ascii_lowercase().contains("not found")
    }

    /// The DETAIL, for programs: a JSON object with the keys `outcome`, `applied`, `http_status`, `docs` and
    /// `retry_after_ms`. An absent value is null. The key `applied_before` is added if it is not 0.
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

impl From<InvalidRequest> for Outcome {
    fn from(invalid: InvalidRequest) -> Outcome {
        let sqlstate = if invalid.is_null() { SqlState::NullValueNotAllowed } else { SqlState::InvalidParameterValue };
        Outcome { action: Action::Reject, ..Outcome::not_sent(sqlstate, invalid.to_string(), invalid.hint()) }
    }
}

#[cfg(test)]
mod tests;
