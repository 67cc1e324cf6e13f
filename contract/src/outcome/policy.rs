//! The table: what each observation means for the caller, for the provider's data and for a queue.

use super::{Action, Applied, Facts, OutcomeKind, SqlState};

/// What a status outside 2xx means. Everything that is not listed may have been applied.
pub(super) fn kind(status: u16, consumers_timed_out: bool) -> OutcomeKind {
    match status {
        300..=399 | 401 | 403 | 404 | 405 => OutcomeKind::Refused,
        // A proxy gives up waiting with 408, a server does not begin with 425: the request may yet be processed.
        408 | 425 => OutcomeKind::Unknown,
        429 => OutcomeKind::RefusedForNow,
        400..=499 => OutcomeKind::Rejected,
        500 if consumers_timed_out => OutcomeKind::AppliedNotConfirmed,
        _ => OutcomeKind::Unknown,
    }
}

/// Whether a refusal of the request says that none of its records was applied: a provider may accept some records of a
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
        // Half of a refused batch, or all after a cut, would create again what was created.
        OutcomeKind::Rejected | OutcomeKind::Unknown => Action::ParkUnknown,
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

/// What a queue does when a request could not even be begun: a standby may be promoted; anything else about the server
/// needs somebody to change it, and no record should be lost to that.
pub(super) fn action_before_sending(sqlstate: SqlState) -> Action {
    match sqlstate {
        SqlState::ReadOnlySqlTransaction => Action::Retry,
        _ => Action::PauseServer,
    }
}
