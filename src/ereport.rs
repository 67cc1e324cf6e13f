//! Outcomes as Postgres errors: code, message, DETAIL for programs, HINT for people.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;

use contract::outcome::{Applied, Outcome, SqlState};

use crate::pg::context;
use crate::pg::elog::{self, Level, Message};
pub use crate::pg::elog::{internal_error, raise};
use crate::pg::text::for_message;

/// `outcome` as the error that a SQL function raises. Its CONTEXT is [`super::context`]'s.
///
/// A refusal says what earlier requests have applied, also where its caller makes no request.
pub fn error(outcome: &Outcome) -> ErrorReport {
    let mut outcome = outcome.clone();
    if outcome.applied == Applied::None && outcome.applied_before == 0 {
        outcome.note_earlier(context::applied_so_far());
    }
    ErrorReport::new(code(outcome.sqlstate), for_message(outcome.message.clone()), "sequin_mutations")
        .set_detail(for_message(outcome.detail_json()))
        .set_hint(for_message(outcome.hint.clone()))
}

/// Warns of an outcome, for a call that returns rows nevertheless.
pub fn warn(outcome: &Outcome) {
    let text = for_message(outcome.message.clone());
    let (detail, hint) = (for_message(outcome.detail_json()), for_message(outcome.hint.clone()));
    let code = Some(code(outcome.sqlstate));
    elog::emit(Level::Warning, &Message { code, text: &text, detail: Some(&detail), hint: Some(&hint) });
}

/// Sends a notice to the client.
pub fn notice(message: String, detail: &str, hint: String) {
    let (text, hint) = (for_message(message), for_message(hint));
    elog::emit(Level::Notice, &Message { code: None, text: &text, detail: Some(detail), hint: Some(&hint) });
}

/// Warns the client that its transaction commits, but the outbox has no worker.
pub fn warn_of_no_worker() {
    let (text, hint) = (
        "no background worker could be started for the outbox",
        "The queued records are safe. Raise max_worker_processes so that a worker can deliver them.",
    );
    elog::emit(Level::Warning, &Message { text, hint: Some(hint), ..Message::default() });
}

/// Refuses PREPARE TRANSACTION for a transaction that keeps the workers away.
pub fn refuse_prepare() -> ! {
    let message =
        "cannot PREPARE a transaction that has changed the outbox by a verb: nothing would be delivered until it ends";
    elog::raise(ErrorReport::new(Code::ERRCODE_FEATURE_NOT_SUPPORTED, message, "sequin_mutations"))
}

/// Writes a line into the server's log.
pub fn log(message: &str) {
    elog::emit(Level::Log, &Message { text: &for_message(message.to_owned()), ..Message::default() });
}

/// An argument of `sequin_attach` that is wrong.
pub fn mistake(message: &str, hint: &str) -> ErrorReport {
    let code = Code::ERRCODE_INVALID_PARAMETER_VALUE;
    ErrorReport::new(code, for_message(message.to_owned()), "sequin_mutations").set_hint(hint)
}

fn code(state: SqlState) -> Code {
    match state {
        SqlState::NullValueNotAllowed => Code::ERRCODE_NULL_VALUE_NOT_ALLOWED,
        SqlState::InvalidParameterValue => Code::ERRCODE_INVALID_PARAMETER_VALUE,
        SqlState::ReadOnlySqlTransaction => Code::ERRCODE_READ_ONLY_SQL_TRANSACTION,
        SqlState::InvalidAuthorizationSpecification => Code::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::InsufficientPrivilege => Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        SqlState::UndefinedObject => Code::ERRCODE_UNDEFINED_OBJECT,
        SqlState::ConfigurationLimitExceeded => Code::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        SqlState::FdwUnableToCreateExecution => Code::ERRCODE_FDW_UNABLE_TO_CREATE_EXECUTION,
        SqlState::FdwReplyHandle => Code::ERRCODE_FDW_REPLY_HANDLE,
        SqlState::FdwUnableToCreateReply => Code::ERRCODE_FDW_UNABLE_TO_CREATE_REPLY,
        SqlState::FdwUnableToEstablishConnection => Code::ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION,
        SqlState::FdwTableNotFound => Code::ERRCODE_FDW_TABLE_NOT_FOUND,
        SqlState::FdwInvalidAttributeValue => Code::ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE,
    }
}
