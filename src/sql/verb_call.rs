//! The common part of `sequin_mutate`, `sequin_create`, `sequin_update` and `sequin_delete`.
//!
//! Everything that can be refused is refused before a connection is opened.

use std::borrow::Cow;

use crate::call::error_context::{MutationContext, printable_name};
use crate::call::server::Server;
use crate::call::{self, SentRequest};
use crate::ereport::Error;
use crate::pg::result_set::AlteredType;
use crate::pg::session;
use crate::pg::text::{Name, Text, TextArray};
use contract::outcome::{Outcome, SqlState};
use contract::reply::{ReplyRecords, UnusableReply};
use contract::request::{Arguments, Request};

/// The arguments that these functions and `sequin_enqueue` share.
pub struct SharedArguments {
    pub sync_id: Option<Text>,
    pub collection_id: Option<Text>,
    pub await_consumers: Option<TextArray>,
    pub timeout_ms: Option<i32>,
    pub server: Option<Name>,
}

impl SharedArguments {
    pub fn of_request(&self) -> Arguments<'_> {
        let consumers = self.await_consumers.as_ref().map(|array| array.0.iter().map(Option::as_deref).collect());
        Arguments {
            sync_id: self.sync_id.as_ref().map(|text| text.0.as_str()),
            collection_id: self.collection_id.as_ref().map(|text| text.0.as_str()),
            await_consumers: consumers.map(Cow::Owned),
            timeout_ms: self.timeout_ms,
        }
    }

    pub fn server(&self) -> Option<&str> {
        self.server.as_ref().map(|name| name.0.as_str())
    }
}

/// The call in progress. It is a line in the CONTEXT of errors until [`VerbCall::store`].
pub struct VerbCall(MutationContext<'static>);

impl VerbCall {
    pub fn begin(verb: &str, arguments: &SharedArguments) -> Result<VerbCall, Error> {
        let collection = arguments.collection_id.as_ref().map(|id| [" for ", &printable_name(&id.0)].concat());
        let server = arguments.server().map(|name| [" through server \"", name, "\""].concat());
        let text = [verb, collection.as_deref().unwrap_or(""), server.as_deref().unwrap_or("")].concat();
        let call = VerbCall(MutationContext::enter(&text));
        if session::is_read_only() {
            return Err(call::read_only(&format!("{verb}()")).into());
        }
        Ok(call)
    }

    pub fn send<'a>(&self, server: &'a Server, request: Request<'a>) -> Result<SentRequest<'a>, Error> {
        call::send_mutation(&self.0, server, request)
    }

    pub fn records<'a>(&self, sent: &'a SentRequest<'_>) -> Result<ReplyRecords<'a>, Error> {
        sent.records(&self.0)
    }

    /// Runs `store` on the records of the reply, and ends the call.
    pub fn store<T>(
        self,
        sent: &SentRequest<'_>,
        store: impl FnOnce() -> Result<T, UnusableReply>,
    ) -> Result<T, Error> {
        let result = sent.store(&self.0, store)?;
        self.0.leave();
        Ok(result)
    }
}

impl From<AlteredType> for Error {
    fn from(altered: AlteredType) -> Error {
        let hint = "Nothing was sent. Its first eleven attributes must be those that the extension has defined. DROP \
            EXTENSION and CREATE EXTENSION restore them.";
        Outcome::not_sent(SqlState::FdwUnableToCreateExecution, altered.to_string(), hint.into()).into()
    }
}
