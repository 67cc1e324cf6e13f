//! Errors of the SQL functions, and the only place that turns them into reports of Postgres.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;

use contract::outcome::{Applied, Outcome, SqlState};
use contract::request::InvalidRequest;

use crate::call::applied_counter;
use crate::pg::elog::{self, Level, Message};
pub use crate::pg::elog::{internal_error, raise};
use crate::pg::text::for_message;

/// An error of a SQL function or of a trigger.
#[derive(Debug)]
pub enum Error {
    /// An argument that was refused before anything was sent.
    Argument(InvalidRequest),
    /// A mutation that returns no records. The DETAIL says what the API has applied of it.
    Outcome(Box<Outcome>),
    /// A command that a table, a record of the outbox, a server or a role does not allow.
    Refused { code: Code, message: String, hint: String },
}

impl Error {
    pub fn refused(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Refused { code, message: message.into(), hint: hint.into() }
    }
}

impl From<InvalidRequest> for Error {
    fn from(invalid: InvalidRequest) -> Error {
        Error::Argument(invalid)
    }
}

impl From<Box<Outcome>> for Error {
    fn from(outcome: Box<Outcome>) -> Error {
        Error::Outcome(outcome)
    }
}

impl From<Outcome> for Error {
    fn from(outcome: Outcome) -> Error {
        Error::Outcome(Box::new(outcome))
    }
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> ErrorReport {
        match error {
            Error::Argument(invalid) => report(invalid.into()),
            Error::Outcome(outcome) => report(*outcome),
            Error::Refused { code, message, hint } if hint.is_empty() => new(code, message),
            Error::Refused { code, message, hint } => new(code, message).set_hint(for_message(hint)),
        }
    }
}

/// A refusal also says what earlier requests have applied.
fn report(mut outcome: Outcome) -> ErrorReport {
    if outcome.applied == Applied::None && outcome.applied_before == 0 {
        outcome.note_earlier(applied_counter::so_far());
    }
    let detail = outcome.detail_json();
    new(code(outcome.sqlstate), outcome.message).set_detail(for_message(detail)).set_hint(for_message(outcome.hint))
}

fn new(code: Code, message: String) -> ErrorReport {
    ErrorReport::new(code, for_message(message), "sequin_mutations")
}

/// Warns of an outcome, for a call that returns rows nevertheless.
pub fn warn(outcome: Outcome) {
    let (code, detail) = (Some(code(outcome.sqlstate)), for_message(outcome.detail_json()));
    let (text, hint) = (for_message(outcome.message), for_message(outcome.hint));
    elog::emit(Level::Warning, &Message { code, text: &text, detail: Some(&detail), hint: Some(&hint) });
}

/// Sends a notice to the client.
pub fn notice(message: String, detail: &str, hint: String) {
    let (text, hint) = (for_message(message), for_message(hint));
    elog::emit(Level::Notice, &Message { code: None, text: &text, detail: Some(detail), hint: Some(&hint) });
}

const NO_WORKER: &str = "no background worker could be started for the outbox";
const NO_WORKER_HINT: &str =
    "The queued records are safe. All of max_worker_processes are in use: raise it so that a worker can deliver them.";

/// Warns the client that its transaction commits, but the outbox has no worker.
pub fn warn_of_no_worker() {
    emit_no_worker(Level::Warning);
}

/// Writes into the server's log that no outbox can have a worker.
pub fn log_no_worker() {
    emit_no_worker(Level::Log);
}

fn emit_no_worker(level: Level) {
    elog::emit(level, &Message { text: NO_WORKER, hint: Some(NO_WORKER_HINT), ..Message::default() });
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

fn code(state: SqlState) -> Code {
    match state {
        SqlState::FeatureNotSupported => Code::ERRCODE_FEATURE_NOT_SUPPORTED,
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
