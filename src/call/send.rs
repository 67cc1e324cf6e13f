//! Sends one checked request, and gives the records of its reply or the outcome.
//!
//! A session sends on its main thread. A worker prepares an [`Exchange`], which any thread can run, and judges the
//! observation later.
//!
//! As soon as a reply says that the mutation was applied, each later failure is reported as applied.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ereport::Error;
use crate::pg::result_set;
use contract::kind::Kind;
use contract::outcome::{self, Applied, Body, Facts, Observation, Outcome};
use contract::reply::{ReplyRecords, UnusableReply};
use contract::request::Request;
use contract::secret::Secret;

use super::error_context::{Known, MutationContext, request_text};
use super::http::{self, Client, Header, Traffic};
use super::server::{self, Server, ServerError};
use super::stats::{self, EndedRequest, OpenRequest, Via};

/// A request that was sent, with the observation of its reply.
pub struct SentRequest<'a> {
    kind: Kind,
    records: usize,
    collection_id: &'a str,
    server: &'a Server,
    token: Secret,
    observation: Observation,
    count: Count,
}

/// How a request is counted in the statistics.
enum Count {
    Session(OpenRequest),
    Thread { traffic: Traffic, elapsed: Duration },
}

/// Sends `request` with an additional header.
fn send<'a>(server: &'a Server, request: Request<'a>, header: Option<Header>) -> Result<SentRequest<'a>, ServerError> {
    let token = server.token()?;
    let headers = [server::authorization(&token)].into_iter().chain(header);
    let consumer_wait = request.consumer_wait().unwrap_or(Duration::ZERO);
    let (kind, records, collection_id) = (request.kind(), request.len(), request.collection_id());
    // An interrupt in the exchange unwinds from here, and counts as a cancel.
    let open = OpenRequest::begin(server.oid, Via::Call, records);
    let observation = server.client().post(headers, request.body(), consumer_wait);
    open.note_answered();
    Ok(SentRequest { kind, records, collection_id, server, token, observation, count: Count::Session(open) })
}

/// A request that is ready to be sent once, on a thread that calls nothing of Postgres.
pub struct Exchange {
    client: Arc<Client>,
    headers: Vec<Header>,
    body: Vec<u8>,
    consumer_wait: Duration,
}

impl Exchange {
    /// Prepares `request`. Also returns the token, which [`SentRequest::new`] needs.
    pub fn prepare(
        server: &Server,
        request: Request<'_>,
        header: Option<Header>,
    ) -> Result<(Exchange, Secret), ServerError> {
        let token = server.token()?;
        let headers = [server::authorization(&token)].into_iter().chain(header).collect();
        let consumer_wait = request.consumer_wait().unwrap_or(Duration::ZERO);
        let exchange = Exchange { client: server.threads_client(), headers, body: request.into_body(), consumer_wait };
        Ok((exchange, token))
    }

    pub fn run(self) -> Answer {
        let begun = Instant::now();
        let observation = self.client.post(self.headers, &self.body, self.consumer_wait);
        Answer { observation, traffic: http::traffic(), elapsed: begun.elapsed() }
    }
}

/// The end of an [`Exchange`].
pub struct Answer {
    observation: Observation,
    traffic: Traffic,
    elapsed: Duration,
}

impl Answer {
    /// The answer for an exchange that ended by a panic. Its request may have been sent.
    pub fn panicked() -> Answer {
        let cause = "the thread of the request panicked".to_owned();
        let observation = Observation::ConnectionLost { cause };
        Answer { observation, traffic: Traffic::default(), elapsed: Duration::ZERO }
    }
}

/// The facts of a request, without the token.
pub fn facts<'a>(kind: Kind, records: usize, collection_id: &'a str, server: &'a Server) -> Facts<'a> {
    let atomic_batches = server.options().atomic_batches;
    Facts { kind, records, collection_id, server: &server.name, atomic_batches, token: "" }
}

impl<'a> SentRequest<'a> {
    /// A request that was sent by [`Exchange::run`], with `token`.
    pub fn new(
        kind: Kind,
        records: usize,
        collection_id: &'a str,
        server: &'a Server,
        token: Secret,
        answer: Answer,
    ) -> SentRequest<'a> {
        let Answer { observation, traffic, elapsed } = answer;
        SentRequest {
            kind,
            records,
            collection_id,
            server,
            token,
            observation,
            count: Count::Thread { traffic, elapsed },
        }
    }

    pub fn facts(&self) -> Facts<'_> {
        Facts { token: self.token.expose(), ..facts(self.kind, self.records, self.collection_id, self.server) }
    }

    /// The status of the reply; 0 without one.
    pub fn status(&self) -> u16 {
        match self.observation {
            Observation::Reply { status, .. } => status,
            _ => 0,
        }
    }

    /// Whether the reply was cut off within its body.
    pub fn is_cut_off(&self) -> bool {
        matches!(self.observation, Observation::Reply { body: Body::Truncated { .. }, .. })
    }

    /// The records of the reply, or why there are none.
    pub fn judge(&self) -> Result<ReplyRecords<'_>, Box<Outcome>> {
        let judged = outcome::judge(&self.facts(), &self.observation);
        let outcome = judged.as_ref().err().map(|outcome| outcome.kind);
        match &self.count {
            Count::Session(open) => open.end(outcome),
            Count::Thread { traffic, elapsed } => {
                let (traffic, elapsed) = (*traffic, *elapsed);
                let (via, records, is_cancelled) = (Via::Outbox, self.records, false);
                stats::note(self.server.oid, &EndedRequest { via, records, outcome, is_cancelled, traffic, elapsed });
            }
        }
        judged
    }

    /// The same for the mutation of `context`, which counts the records that were applied.
    pub fn records(&self, context: &MutationContext<'_>) -> Result<ReplyRecords<'_>, Error> {
        let judged = self.judge();
        let applied = judged.as_ref().map_or_else(|outcome| outcome.applied, |_| Applied::All);
        if applied == Applied::All {
            context.note_applied(self.records);
        }
        judged.map_err(|outcome| context.failed(outcome).into())
    }

    /// Runs `store` on the records of the reply. An error that Postgres raises in it means that the reply was lost.
    pub fn store<T>(
        &self,
        context: &MutationContext<'_>,
        store: impl FnOnce() -> Result<T, UnusableReply>,
    ) -> Result<T, Error> {
        result_set::caught_storing(store).map_err(|lacking| {
            let outcome = match lacking {
                UnusableReply::Unreadable(reason) => Outcome::reply_lost(&self.facts(), self.status(), &reason),
                UnusableReply::Missing(reason) => Outcome::missing(&self.facts(), self.status(), &reason),
            };
            context.failed(outcome).into()
        })
    }
}

/// Sends `request` as the mutation of `context`.
pub fn send_mutation<'a>(
    context: &MutationContext<'_>,
    server: &'a Server,
    request: Request<'a>,
) -> Result<SentRequest<'a>, Error> {
    context.set_text(&request_text(&facts(request.kind(), request.len(), request.collection_id(), server)));
    send(server, request, None).map_err(|error| context.failed(Box::new(error.into())).into())
}

/// Runs `write` after a mutation of `context` was applied by replies with status 200. An error of it is reported as a
/// reply that was lost.
pub fn after_applied<T>(
    context: &MutationContext<'_>,
    facts: &Facts<'_>,
    write: impl FnOnce() -> Result<T, String>,
) -> Result<T, Error> {
    context.set_known(Known::Applied);
    result_set::caught_storing(write)
        .map_err(|reason: String| context.failed(Outcome::reply_lost(facts, 200, &reason)).into())
}
