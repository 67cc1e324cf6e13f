//! From a checked request to the records of its reply, or to an error that tells the truth.
//!
//! From the moment the reply says "applied", whatever goes wrong is told as applied. What is refused before a
//! connection is made goes the same way, as an outcome that was not sent.

pub mod http;
pub mod server;

use std::time::Duration;

use pgrx::pg_sys::panic::ErrorReport;

use crate::call::http::{Exchange, ReplyBody};
use crate::ereport;
use crate::pg::context::Tally;
use crate::pg::{context, result_set, session};
use contract::kind::Kind;
use contract::outcome::{self, Applied, Body, ContentHeaders, Earlier, Facts, Observation, Outcome, SqlState};
use contract::reply::{ReplyRecords, UnusableReply};
use contract::request::Request;
use contract::{retry_after, text};
use server::{Server, ServerError};

/// Raises `outcome` with `context` as its CONTEXT.
pub fn fail<T>(context: &str, outcome: &Outcome) -> Result<T, ErrorReport> {
    context::within(context, || {
        say_applied(outcome.applied);
        Err(ereport::error(outcome))
    })
}

/// The same for what no capture has asked for: the error also says what was applied before.
pub fn refuse<T>(context: &str, mut outcome: Outcome) -> Result<T, ErrorReport> {
    context::counting(context, |tally| {
        outcome.note_earlier(tally.before());
        say_applied(outcome.applied);
        Err(ereport::error(&outcome))
    })
}

/// The refusal of `what` in a transaction that may not write.
pub fn read_only(what: &str) -> Outcome {
    let message = format!("cannot execute {what} in a read-only transaction");
    let hint = "Nothing was sent. A mutation writes, though not to this database: call it in a transaction that may \
        write, and not on a standby.";
    Outcome::not_sent(SqlState::ReadOnlySqlTransaction, message, hint.into())
}

/// Puts into words for the CONTEXT what a later error may claim.
fn say_applied(applied: Applied) {
    context::now_known(match applied {
        Applied::None => context::NOTHING_APPLIED,
        Applied::All => c"it was applied",
        Applied::Unknown => c"whether it was applied is unknown",
    });
}

/// What an outcome depends on, but for the token, which is read when it is needed.
pub fn facts<'a>(kind: Kind, records: usize, collection_id: &'a str, server: &'a Server) -> Facts<'a> {
    let atomic_batches = server.options().atomic_batches;
    Facts { kind, records, collection_id, server: &server.name, atomic_batches, token: "" }
}

/// Sends `request` and turns the reply's records, and its status, into `T`. An error of `store` is a reply that was lost,
/// or one that lacks what was sent.
///
/// What is applied is counted in `tally`, that of the capture which makes the request; None if a verb does.
pub fn send<T>(
    request: Request<'_>,
    server: &Server,
    tally: Option<&Tally>,
    store: impl FnOnce(ReplyRecords<'_>, u16) -> Result<T, UnusableReply>,
) -> Result<T, ErrorReport> {
    let facts = facts(request.kind(), request.len(), request.collection_id(), server);
    let context = summary(&facts);
    match tally {
        Some(tally) => context::within(&context, || send_within(request, facts, server, tally, store)),
        None => context::counting(&context, |tally| send_within(request, facts, server, tally, store)),
    }
}

fn send_within<T>(
    request: Request<'_>,
    facts: Facts<'_>,
    server: &Server,
    tally: &Tally,
    store: impl FnOnce(ReplyRecords<'_>, u16) -> Result<T, UnusableReply>,
) -> Result<T, ErrorReport> {
    let failed = |mut outcome: Outcome| {
        outcome.note_earlier(tally.before());
        say_applied(outcome.applied);
        ereport::error(&outcome)
    };
    let token = server.token().map_err(|unusable| failed(unusable.into()))?;
    let facts = Facts { token: token.expose(), ..facts };
    let headers = [server::authorization(&token)];
    let patience = request.consumer_wait().unwrap_or(Duration::ZERO);
    let exchange = server.client().post(headers, request.body(), patience);
    // The rows are made next; a large request need not be in memory beside them.
    drop(request);
    let result = outcome::judge(&facts, &observe(&exchange, server));
    let applied = result.as_ref().map_or_else(|outcome| outcome.applied, |_| Applied::All);
    if applied == Applied::All {
        tally.applied(facts.records);
    }
    let stored = match result {
        Ok(records) => {
            say_applied(Applied::All);
            let status = exchange.status().unwrap_or_default();
            result_set::caught_storing(|| store(records, status)).map_err(|lacking| match lacking {
                UnusableReply::Unreadable(reason) => Outcome::reply_lost(&facts, status, &reason),
                UnusableReply::Missing(reason) => Outcome::missing(&facts, status, &reason),
            })
        }
        Err(outcome) => Err(outcome),
    };
    stored.map_err(|outcome| failed(*outcome))
}

/// Notes what earlier requests of the same statement or transaction have applied.
pub fn note_earlier(outcome: &mut Outcome, earlier: Earlier) {
    outcome.note_earlier(earlier);
}

/// Runs `f` on what replies of status 200 have said. Whatever goes wrong in it is told as a mutation that was applied.
pub fn after_applied<T>(
    facts: &Facts<'_>,
    tally: &Tally,
    f: impl FnOnce() -> Result<T, String>,
) -> Result<T, ErrorReport> {
    context::within(&summary(facts), || {
        say_applied(Applied::All);
        result_set::caught_storing(f).map_err(|reason: String| {
            let mut outcome = Outcome::reply_lost(facts, 200, &reason);
            note_earlier(&mut outcome, tally.before());
            ereport::error(&outcome)
        })
    })
}

/// The first line of the CONTEXT. It is written for each call, and read when one fails: joined, not formatted.
fn summary(facts: &Facts<'_>) -> String {
    let noun = if facts.records == 1 { " record in " } else { " records in " };
    let (records, collection) = (facts.records.to_string(), name(facts.collection_id));
    [facts.kind.as_str(), " of ", &records, noun, &collection, " through server \"", facts.server, "\""].concat()
}

/// The exchange in the words of the contract.
pub fn observe<'a>(exchange: &'a Exchange, server: &Server) -> Observation<'a> {
    match exchange {
        Exchange::NotSent(cause) => Observation::NotSent { cause },
        Exchange::Cut(cause) => Observation::ConnectionLost { cause },
        Exchange::TimedOut(after) => Observation::TimedOut { after: *after },
        Exchange::Reply { status, headers, body } => Observation::Reply {
            status: *status,
            retry_after: headers
                .retry_after
                .as_deref()
                .and_then(|header| retry_after::parse(header, session::unix_now())),
            content: ContentHeaders {
                media_type: headers.content_type.as_deref(),
                encoding: headers.content_encoding.as_deref(),
            },
            body: match body {
                ReplyBody::Whole(bytes) => Body::Whole(bytes),
                ReplyBody::Truncated { beginning, cause } => Body::Truncated { beginning, cause },
                ReplyBody::TooLarge { beginning } => {
                    Body::TooLarge { beginning, limit: server.options().max_response_bytes }
                }
                ReplyBody::Unread { cause } => Body::InvalidHeaders { cause },
            },
        },
    }
}

/// A name that somebody wrote, fit for one line.
pub fn name(written: &str) -> String {
    text::printable(written, text::NAME_CHARS)
}

impl From<ServerError> for Outcome {
    fn from(unusable: ServerError) -> Outcome {
        let state = match unusable {
            ServerError::NoUsage(_) => SqlState::InsufficientPrivilege,
            ServerError::NoServer(_) | ServerError::OtherWrapper { .. } | ServerError::NoMapping(_) => {
                SqlState::UndefinedObject
            }
            // Not 22023: a caller must be able to tell a wrong record from a server that is set up wrongly.
            ServerError::Options { .. } | ServerError::TokenFile { .. } | ServerError::Certificates { .. } => {
                SqlState::FdwUnableToCreateExecution
            }
        };
        Outcome::not_sent(state, unusable.to_string(), unusable.hint())
    }
}
