//! What all verbs have in common: from arguments to the records of a reply, or to an error that tells the truth.
//!
//! The order matters. Everything that can be refused is refused before a connection is made; from the moment the reply
//! says "applied", whatever goes wrong is told as applied.

use std::time::Duration;

use pgrx::pg_sys::panic::ErrorReport;

use crate::http::{Exchange, ReplyBody};
use crate::mutation::outcome::{self, Applied, Body, Facts, Observation, Outcome, SqlState};
use crate::mutation::reply::Records;
use crate::mutation::request::{Arguments, Invalid, Request};
use crate::mutation::{retry_after, text};
use crate::pg::rows::AlteredType;
use crate::pg::text::{Name, Text, TextArray};
use crate::pg::{context, report, rows, session};
use crate::server::{self, Server, Unusable};

/// The arguments that all verbs take, as SQL gave them.
pub struct Call {
    /// The SQL function's name.
    pub verb: &'static str,
    pub sync_id: Option<Text>,
    pub collection_id: Option<Text>,
    pub await_consumers: Option<TextArray>,
    pub timeout_ms: Option<i32>,
    pub server: Option<Name>,
}

impl Call {
    /// Makes one request and turns the reply's records into the function's result.
    ///
    /// `target` is the place for the result. `prepare` writes the request from the common arguments and its own. An
    /// error of `store` is a reply that was lost.
    pub fn run<P, T>(
        &self,
        target: Result<P, AlteredType>,
        prepare: impl for<'a> FnOnce(&Arguments<'a>) -> Result<Request<'a>, Invalid>,
        store: impl FnOnce(P, Records<'_>) -> Result<T, String>,
    ) -> Result<T, ErrorReport> {
        if session::is_read_only() {
            return self.refuse(self.read_only());
        }
        let target = match target {
            Ok(target) => target,
            Err(altered) => return self.refuse(altered.into()),
        };
        let consumers: Option<Vec<Option<&str>>> =
            self.await_consumers.as_ref().map(|array| array.0.iter().map(Option::as_deref).collect());
        let arguments = Arguments {
            sync_id: self.sync_id.as_ref().map(|text| text.0.as_str()),
            collection_id: self.collection_id.as_ref().map(|text| text.0.as_str()),
            await_consumers: consumers.as_deref(),
            timeout_ms: self.timeout_ms,
        };
        let request = match prepare(&arguments) {
            Ok(request) => request,
            Err(invalid) => return self.refuse(invalid.into()),
        };
        let server = match server::find(self.server.as_ref().map(|name| name.0.as_str())) {
            Ok(server) => server,
            Err(unusable) => return self.refuse(unusable.into()),
        };
        send(request, &server, |records| store(target, records))
    }

    /// An error about a request that was never made.
    fn refuse<T>(&self, outcome: Outcome) -> Result<T, ErrorReport> {
        let of =
            self.collection_id.as_ref().map_or(String::new(), |collection| format!(" for {}", name(&collection.0)));
        let by = self.server.as_ref().map_or(String::new(), |server| format!(" through server \"{}\"", server.0));
        fail(&format!("{}{of}{by}", self.verb), &outcome)
    }

    fn read_only(&self) -> Outcome {
        let message = format!("cannot execute {}() in a read-only transaction", self.verb);
        let hint = "Nothing was sent. A mutation writes, though not to this database: call it in a transaction that \
            may write, and not on a standby.";
        Outcome::not_sent(SqlState::ReadOnlySqlTransaction, message, hint.into())
    }
}

fn fail<T>(context: &str, outcome: &Outcome) -> Result<T, ErrorReport> {
    say_applied(outcome.applied);
    context::within(context, || Err(report::error(outcome)))
}

/// Puts into words for the CONTEXT what a later error may claim.
fn say_applied(applied: Applied) {
    context::now_known(match applied {
        Applied::None => c"nothing was applied",
        Applied::All => c"it was applied",
        Applied::Unknown => c"whether it was applied is unknown",
    });
}

fn send<T>(
    request: Request<'_>,
    server: &Server,
    store: impl FnOnce(Records<'_>) -> Result<T, String>,
) -> Result<T, ErrorReport> {
    let (kind, records, collection_id) = (request.kind(), request.len(), request.collection_id());
    let noun = if records == 1 { "record" } else { "records" };
    let collection = name(collection_id);
    let context = format!("{kind} of {records} {noun} in {collection} through server \"{}\"", server.name);
    let token = match server.token() {
        Ok(token) => token,
        Err(unusable) => return fail(&context, &unusable.into()),
    };
    let facts = Facts {
        kind,
        records,
        collection_id,
        server: &server.name,
        atomic_batches: server.options().atomic_batches,
        token: token.expose(),
    };
    context::within(&context, || {
        let headers = [server::authorization(&token)];
        let patience = request.awaits().unwrap_or(Duration::ZERO);
        let exchange = server.client().post(&headers, request.body(), patience);
        // The rows are made next; a large request need not be in memory beside them.
        drop(request);
        let stored = match outcome::outcome(&facts, &observe(&exchange, server)) {
            Ok(records) => {
                say_applied(Applied::All);
                rows::caught_storing(|| store(records))
                    .map_err(|reason| Outcome::reply_lost(&facts, exchange.status().unwrap_or_default(), &reason))
            }
            Err(outcome) => Err(outcome),
        };
        stored.map_err(|outcome| {
            say_applied(outcome.applied);
            report::error(&outcome)
        })
    })
}

/// The exchange in the words of the contract.
fn observe<'a>(exchange: &'a Exchange, server: &Server) -> Observation<'a> {
    match exchange {
        Exchange::NotSent(cause) => Observation::NotSent { cause },
        Exchange::Cut(cause) => Observation::Cut { cause },
        Exchange::TimedOut(after) => Observation::TimedOut { after: *after },
        Exchange::Reply { status, retry_after, body } => Observation::Reply {
            status: *status,
            retry_after: retry_after.as_deref().and_then(|header| retry_after::parse(header, session::unix_now())),
            body: match body {
                ReplyBody::Whole(bytes) => Body::Whole(bytes),
                ReplyBody::Truncated(cause) => Body::Truncated { cause },
                ReplyBody::TooLarge => Body::TooLarge { limit: server.options().max_response_bytes },
            },
        },
    }
}

/// A name that somebody wrote, fit for one line.
fn name(written: &str) -> String {
    text::printable(written, text::NAME_CHARS)
}

impl From<AlteredType> for Outcome {
    fn from(altered: AlteredType) -> Outcome {
        let hint = "Nothing was sent. Its first eleven attributes must be those that the extension made: DROP EXTENSION \
            and CREATE EXTENSION bring them back.";
        Outcome::not_sent(SqlState::FdwError, altered.to_string(), hint.into())
    }
}

impl From<Unusable> for Outcome {
    fn from(unusable: Unusable) -> Outcome {
        let state = match unusable {
            Unusable::NoUsage(_) => SqlState::InsufficientPrivilege,
            Unusable::NoServer(_) | Unusable::OtherWrapper { .. } | Unusable::NoMapping(_) => SqlState::UndefinedObject,
            // Not 22023: a caller must be able to tell a wrong record from a server that is set up wrongly.
            Unusable::Options { .. } | Unusable::TokenFile { .. } | Unusable::Certificates { .. } => SqlState::FdwError,
        };
        Outcome::not_sent(state, unusable.to_string(), unusable.hint())
    }
}
