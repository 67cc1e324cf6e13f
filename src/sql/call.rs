//! A call of one of the verbs: its arguments, and the order in which they are looked at.
//!
//! Everything that can be refused is refused before a connection is made.

use pgrx::pg_sys::panic::ErrorReport;

use crate::call::server;
use crate::call::{facts, name, read_only, refuse, send};
use crate::pg::result_set::AlteredType;
use crate::pg::session;
use crate::pg::text::{Name, Text, TextArray};
use contract::outcome::{Facts, Outcome, SqlState};
use contract::reply::{ReplyRecords, UnusableReply};
use contract::request::{Arguments, InvalidRequest, Request};

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

/// A request that was answered.
pub struct Sent<'a> {
    pub facts: Facts<'a>,
    /// That of the reply.
    pub status: u16,
}

impl Call {
    /// Makes one request and turns the reply's records into the function's result.
    ///
    /// `target` is the place for the result. `prepare` writes the request from the common arguments and its own. An
    /// error of `store` is a reply that was lost, or that lacks what was sent.
    pub fn run<P, T>(
        &self,
        target: Result<P, AlteredType>,
        prepare: impl for<'a> FnOnce(&Arguments<'a>) -> Result<Request<'a>, InvalidRequest>,
        store: impl FnOnce(P, ReplyRecords<'_>, &Sent<'_>) -> Result<T, UnusableReply>,
    ) -> Result<T, ErrorReport> {
        if session::is_read_only() {
            return self.refuse(read_only(&format!("{}()", self.verb)));
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
        let facts = facts(request.kind(), request.len(), request.collection_id(), &server);
        send(request, &server, None, |records, status| store(target, records, &Sent { facts, status }))
    }

    /// An error about a request that was never made.
    fn refuse<T>(&self, outcome: Outcome) -> Result<T, ErrorReport> {
        let of =
            self.collection_id.as_ref().map_or(String::new(), |collection| format!(" for {}", name(&collection.0)));
        let by = self.server.as_ref().map_or(String::new(), |server| format!(" through server \"{}\"", server.0));
        refuse(&format!("{}{of}{by}", self.verb), outcome)
    }
}

impl From<AlteredType> for Outcome {
    fn from(altered: AlteredType) -> Outcome {
        let hint = "Nothing was sent. Its first eleven attributes must be those that the extension made: DROP EXTENSION \
            and CREATE EXTENSION bring them back.";
        Outcome::not_sent(SqlState::FdwUnableToCreateExecution, altered.to_string(), hint.into())
    }
}
