//! The outcome table: for each status, what was applied, which SQLSTATE to raise, and what the outbox does.
//!
//! The default for a status without a rule is "unknown". A wrong "not applied" would let a caller repeat a create.

use super::{Action, Applied, Facts, OutcomeKind, SqlState};

/// The outcome for a status outside 2xx. A mutation with an unlisted status may have been applied.
pub(super) fn kind(status: u16, consumers_timed_out: bool) -> OutcomeKind {
    match status {
        300..=399 | 401 | 403 | 404 | 405 => OutcomeKind::Refused,
        // A proxy sends 408 when it stops waiting, a server 425 before it processes early data. In both cases the API may
        // still process the request.
        408 | 425 => OutcomeKind::Unknown,
        429 => OutcomeKind::RefusedForNow,
        400..=499 => OutcomeKind::Rejected,
        500 if consumers_timed_out => OutcomeKind::AppliedNotConfirmed,
        _ => OutcomeKind::Unknown,
    }
}

/// Whether a refused request applied none of its records. Without `atomic_batches` a provider may accept some records of a
/// batch and refuse others.
pub(super) fn refusal_is_total(facts: &Facts<'_>) -> bool {
    facts.records <= 1 || facts.atomic_batches
}

pub(super) fn applied(facts: &Facts<'_>, kind: OutcomeKind) -> Applied {
    match kind {
        OutcomeKind::NotSent | OutcomeKind::Refused | OutcomeKind::RefusedForNow => Applied::None,
        OutcomeKind::Rejected if refusal_is_total(facts) => Applied::None,
        OutcomeKind::Rejected | OutcomeKind::Unknown => Applied::Unknown,
        OutcomeKind::AppliedReplyLost | OutcomeKind::AppliedNotConfirmed => Applied::All,
    }
}

pub(super) fn action(facts: &Facts<'_>, kind: OutcomeKind) -> Action {
    match kind {
        OutcomeKind::NotSent => Action::Retry,
        OutcomeKind::Rejected if facts.records <= 1 => Action::Reject,
        OutcomeKind::Rejected if facts.kind.is_repeatable() || facts.atomic_batches => Action::Bisect,
        OutcomeKind::Refused => Action::PauseServer,
        OutcomeKind::RefusedForNow => Action::Defer,
        OutcomeKind::AppliedReplyLost => Action::DeliverReplyLost,
        OutcomeKind::AppliedNotConfirmed => Action::DeliverNotConfirmed,
        OutcomeKind::Unknown if facts.kind.is_repeatable() => Action::Retry,
        // A retry could repeat a create: part of a refused batch, or all of it after a lost connection.
        OutcomeKind::Rejected | OutcomeKind::Unknown => Action::MarkUnknown,
    }
}

pub(super) fn sqlstate(kind: OutcomeKind, status: Option<u16>) -> SqlState {
    match (kind, status) {
        (OutcomeKind::NotSent, _) => SqlState::FdwUnableToEstablishConnection,
        (OutcomeKind::Rejected, _) => SqlState::FdwInvalidAttributeValue,
        (OutcomeKind::Refused, Some(401 | 403)) => SqlState::InvalidAuthorizationSpecification,
        (OutcomeKind::Refused, _) => SqlState::FdwTableNotFound,
        (OutcomeKind::RefusedForNow, _) => SqlState::ConfigurationLimitExceeded,
        (OutcomeKind::AppliedReplyLost | OutcomeKind::AppliedNotConfirmed, _) => SqlState::FdwUnableToCreateReply,
        (OutcomeKind::Unknown, _) => SqlState::FdwReplyHandle,
    }
}

/// What the outbox does when a request cannot begin. A standby may be promoted, so it retries. Every other cause is in the
/// configuration, so it pauses the server and keeps the records.
pub(super) fn action_before_sending(sqlstate: SqlState) -> Action {
    match sqlstate {
        SqlState::ReadOnlySqlTransaction => Action::Retry,
        _ => Action::PauseServer,
    }
}
