//! The result of a request for one record.

use std::time::Duration;

use contract::outcome::OutcomeKind;

/// The next state of a record after a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// It is delivered, and moves to the history.
    Done { settled_as: SettledAs, upstream_id: Option<String>, record: Option<String> },
    /// The API refuses it.
    Rejected { outcome: OutcomeKind, error: String },
    /// It may have been applied. A person decides whether it is sent again.
    Unknown { outcome: OutcomeKind, error: String },
    /// It is sent again. The attempt counts.
    Again { outcome: OutcomeKind, error: String },
    /// The end of the worker, or a failure of the server, has cut its request short. It is sent again at once: that
    /// says nothing about the record.
    Interrupted { error: String },
    /// It is sent again after others, because its caller has met a limit of the rate. The attempt does not count.
    Later { outcome: OutcomeKind, error: String, retry_after: Option<Duration> },
    /// It was not sent, and is as free as before.
    Free,
}

impl Disposition {
    /// Delivered, without a record of the reply.
    pub fn done(settled_as: SettledAs) -> Disposition {
        Disposition::Done { settled_as, upstream_id: None, record: None }
    }
}

/// Why a record is in the history: the column `outcome` of `sequin.delivered`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettledAs {
    Applied,
    AppliedReplyLost,
    AppliedNotConfirmed,
    /// A create and the changes after it, deleted before the create was sent.
    CancelledOut,
    /// A delete of a row without an upstream id.
    NothingToSend,
    /// By `sequin_discard`.
    Discarded,
    /// By `sequin_resolve`.
    Resolved,
}

impl SettledAs {
    pub const fn as_str(self) -> &'static str {
        match self {
            SettledAs::Applied => contract::outcome::APPLIED,
            SettledAs::AppliedReplyLost => OutcomeKind::AppliedReplyLost.as_str(),
            SettledAs::AppliedNotConfirmed => OutcomeKind::AppliedNotConfirmed.as_str(),
            SettledAs::CancelledOut => "cancelled_out",
            SettledAs::NothingToSend => "nothing_to_send",
            SettledAs::Discarded => "discarded",
            SettledAs::Resolved => "resolved",
        }
    }
}
