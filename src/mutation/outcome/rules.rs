//! The table: what each observation means for the caller, for the provider's data and for a queue.

use super::{Action, Applied, Facts, Name, SqlState};

/// What a status outside 2xx means. Everything that is not listed may have been applied.
pub(super) fn name(status: u16, consumers_timed_out: bool) -> Name {
    match status {
        300..=399 | 401 | 403 | 404 | 405 => Name::Refused,
        // A proxy gives up waiting with 408, a server does not begin with 425: the request may yet be processed.
        408 | 425 => Name::Unknown,
        429 => Name::RefusedForNow,
        400..=499 => Name::Rejected,
        500 if consumers_timed_out => Name::AppliedNotConfirmed,
        _ => Name::Unknown,
    }
}

/// Whether a refusal of the request says that none of its records was applied: a provider may accept some records of a
/// batch and refuse others.
pub(super) fn refusal_is_total(facts: &Facts<'_>) -> bool {
    facts.records <= 1 || facts.atomic_batches
}

pub(super) fn applied(facts: &Facts<'_>, name: Name) -> Applied {
    match name {
        Name::NotSent | Name::Refused | Name::RefusedForNow => Applied::None,
        Name::Rejected if refusal_is_total(facts) => Applied::None,
        Name::Rejected | Name::Unknown => Applied::Unknown,
        Name::AppliedReplyLost | Name::AppliedNotConfirmed => Applied::All,
    }
}

pub(super) fn action(facts: &Facts<'_>, name: Name) -> Action {
    match name {
        Name::NotSent => Action::Retry,
        Name::Rejected if facts.records <= 1 => Action::Reject,
        Name::Rejected if facts.kind.is_repeatable() || facts.atomic_batches => Action::Bisect,
        Name::Refused => Action::PauseServer,
        Name::RefusedForNow => Action::Defer,
        Name::AppliedReplyLost => Action::DeliverReplyLost,
        Name::AppliedNotConfirmed => Action::DeliverNotConfirmed,
        Name::Unknown if facts.kind.is_repeatable() => Action::Retry,
        // Half of a refused batch, or all after a cut, would create again what was created.
        Name::Rejected | Name::Unknown => Action::ParkUnknown,
    }
}

pub(super) fn sqlstate(name: Name, status: Option<u16>) -> SqlState {
    match (name, status) {
        (Name::NotSent, _) => SqlState::FdwUnableToEstablishConnection,
        (Name::Rejected, _) => SqlState::FdwInvalidAttributeValue,
        (Name::Refused, Some(401 | 403)) => SqlState::InvalidAuthorizationSpecification,
        (Name::Refused, _) => SqlState::FdwTableNotFound,
        (Name::RefusedForNow, _) => SqlState::ConfigurationLimitExceeded,
        (Name::AppliedReplyLost | Name::AppliedNotConfirmed, _) => SqlState::FdwUnableToCreateReply,
        (Name::Unknown, _) => SqlState::FdwReplyHandle,
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
