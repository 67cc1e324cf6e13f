//! What a request shows of its server, whatever it says about its records.

use std::time::Duration;

use crate::outcome::{Action, Outcome, OutcomeKind};

/// What a request shows of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerState {
    /// It works, though it may have refused records.
    Answers,
    /// It gave no usable answer: a 5xx, a cut connection, a time-out. One of the records may be the cause.
    Fails {
        /// The message of the outcome.
        error: String,
        /// It took too long.
        timed_out: bool,
    },
    /// It cannot work for anybody, which is no record's fault: there is no connection, it answers 503, or it fails and says
    /// when to come back.
    Unavailable {
        /// The message of the outcome.
        error: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// It answers 429: the caller, or all callers together, make too many requests.
    LimitsRate {
        /// The message of the outcome.
        error: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// It refuses the caller until a person changes the server or the user mapping.
    Refuses {
        /// The message of the outcome.
        error: String,
    },
}

impl ServerState {
    /// The state after a request that has brought no records.
    pub fn of(outcome: &Outcome) -> ServerState {
        let (error, retry_after) = (outcome.message.clone(), outcome.retry_after);
        match outcome.action {
            Action::PauseServer => ServerState::Refuses { error },
            Action::Defer => ServerState::LimitsRate { error, retry_after },
            Action::Retry if outcome.kind == OutcomeKind::NotSent => ServerState::Unavailable { error, retry_after },
            Action::Retry | Action::MarkUnknown if outcome.kind == OutcomeKind::Unknown => {
                if outcome.http_status == Some(503) || retry_after.is_some() {
                    ServerState::Unavailable { error, retry_after }
                } else {
                    ServerState::Fails { error, timed_out: outcome.timed_out }
                }
            }
            Action::Retry
            | Action::MarkUnknown
            | Action::DeliverReplyLost
            | Action::DeliverNotConfirmed
            | Action::Bisect
            | Action::Reject => ServerState::Answers,
        }
    }
}
