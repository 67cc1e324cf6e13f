//! One request, from its body to its reply: what the request asks for is checked, then its key, then it is carried out.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use metrics::counter;
use mutation_api::consumers::Awaited;
use mutation_api::reply::Reply;
use mutation_api::request::{self, Mutation};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::account::{Account, Backend};
use super::directory::Holder;
use super::keys::{Claim, Doubt, Keep, Met, Name};
use super::reply::{self, About, End, not_now};
use super::{Gateway, Place, attempts, memory};
use crate::metrics::RECORDS;

/// Of a collection_id, which may be as long as a body.
const LOGGED_CHARACTERS: usize = 100;

/// A request whose token is known, and whose body is read.
pub struct Call {
    pub holder: Arc<Holder>,
    /// The value of the header `Idempotency-Key`.
    pub key: Option<Arc<str>>,
    pub body: Bytes,
    /// For the log.
    pub request_id: String,
    /// What the body takes of the gateway's memory.
    pub place: Place,
}

/// What the log says about a mutation. Never data, never a token.
#[derive(Default)]
struct Facts {
    sync_id: String,
    collection_id: String,
    kind: &'static str,
    records: usize,
    outcome: &'static str,
}

impl Gateway {
    /// Carries out a request and answers it. Dropping the future changes nothing about the mutation.
    pub async fn mutate(self: &Arc<Self>, call: Call) -> Arc<Reply> {
        // A token first: `drain` waits for it from then on, so a mutation is refused here or waited for there.
        let token = self.tasks.token();
        if self.is_draining() {
            return Arc::new(not_now("The gateway is stopping"));
        }
        let gateway = self.clone();
        let task = tokio::spawn(async move {
            let _token = token;
            gateway.run(call).await
        });
        task.await.unwrap_or_else(|_| {
            let text = "The gateway failed, and the mutation may have been applied";
            Arc::new(Reply::error(StatusCode::GATEWAY_TIMEOUT, text))
        })
    }

    async fn run(&self, call: Call) -> Arc<Reply> {
        let started_at = Instant::now();
        let mut facts = Facts { outcome: "refused", ..Facts::default() };
        let reply = self.answer(&call, &mut facts).await;
        let Facts { sync_id, collection_id, kind, records, outcome } = facts;
        tracing::info!(
            request_id = call.request_id,
            token = &*call.holder.name,
            sync = sync_id,
            collection = collection_id,
            kind,
            records,
            status = reply.status.as_u16(),
            ms = u64::try_from(started_at.elapsed().as_millis()).unwrap_or(u64::MAX),
            outcome,
            "mutation"
        );
        reply
    }

    async fn answer(&self, call: &Call, facts: &mut Facts) -> Arc<Reply> {
        let request = match request::parse(&call.body) {
            Ok(request) => request,
            Err(faulty) => return Arc::new(Reply::invalid("The request is not a valid mutation", &faulty)),
        };
        let mutation = request.mutation;
        facts.collection_id = mutation.collection_id.chars().take(LOGGED_CHARACTERS).collect();
        facts.kind = mutation.change.kind().name();
        facts.records = mutation.change.len();
        let Some(account) = self.directory().account(&call.holder, &mutation.sync_id) else {
            return Arc::new(Reply::invalid_field("Unknown sync", "sync_id", "unknown sync"));
        };
        facts.sync_id = mutation.sync_id.to_string();
        let awaited = match self.consumers.awaited(&request.await_consumers, request.await_timeout) {
            Ok(awaited) => awaited,
            Err(refusal) => return Arc::new(refusal),
        };
        if let Some(refusal) = too_many(&account, &mutation) {
            return Arc::new(refusal);
        }
        let deadline = Instant::now() + account.timeout;
        let Some(key) = &call.key else {
            let (reply, end) = self.perform(&account, &mutation, &awaited, None, deadline).await;
            self.count(facts, end.0.word());
            return Arc::new(reply);
        };
        let name = Name { token: call.holder.name.clone(), sync_id: mutation.sync_id.clone(), key: key.clone() };
        match self.keys.meet(name, &call.body) {
            Met::Free(claim) => {
                let (reply, end) = self.perform(&account, &mutation, &awaited, Some(&claim), deadline).await;
                self.count(facts, end.0.word());
                let reply = Arc::new(reply);
                claim.settle(reply.clone(), keep(&end));
                reply
            }
            Met::Stored(reply) => {
                facts.outcome = "stored";
                reply
            }
            Met::UnderWay(under_way) => {
                facts.outcome = "stored";
                under_way.reply(deadline).await.unwrap_or_else(|| {
                    facts.outcome = "unknown";
                    let text = "The mutation under this Idempotency-Key has no outcome yet";
                    Arc::new(Reply::error(StatusCode::GATEWAY_TIMEOUT, text))
                })
            }
            Met::OtherBody => {
                let problem = "the key belongs to a request with another body";
                Arc::new(Reply::invalid_field("Another request has this key", "Idempotency-Key", problem))
            }
        }
    }

    async fn perform(
        &self,
        account: &Account,
        mutation: &Mutation<'_>,
        awaited: &Awaited,
        claim: Option<&Claim>,
        deadline: Instant,
    ) -> (Reply, (End, Option<Doubt>)) {
        let http = match &account.backend {
            Backend::Memory => {
                let (end, reply) = memory::carry_out(&self.stream, mutation, awaited).await;
                return (reply, (end, None));
            }
            Backend::Http(http) => http,
        };
        let of_element = |index| match claim {
            Some(claim) => claim.name().of_element(index),
            None => Uuid::new_v4(),
        };
        let keys: Vec<Uuid> = (0..mutation.change.len()).map(of_element).collect();
        let doubt = claim.and_then(|claim| claim.doubt.clone());
        let (end, doubt) = attempts::carry_out(http, mutation, &keys, doubt, deadline).await;
        let about = About {
            provider: http.provider.name(),
            sync_id: &mutation.sync_id,
            collection_id: &mutation.collection_id,
        };
        (reply::of(&end, &about), (end, doubt))
    }

    fn count(&self, facts: &mut Facts, outcome: &'static str) {
        facts.outcome = outcome;
        let count = u64::try_from(facts.records).unwrap_or(u64::MAX);
        counter!(RECORDS, "sync" => facts.sync_id.clone(), "kind" => facts.kind, "outcome" => outcome).increment(count);
    }
}

/// 422, if the records do not fit into one request of the provider.
fn too_many(account: &Account, mutation: &Mutation) -> Option<Reply> {
    let Backend::Http(http) = &account.backend else { return None };
    let most = http.provider.max_records(mutation).max(1);
    if mutation.change.len() <= most {
        return None;
    }
    let records = if most == 1 { "record" } else { "records" };
    let text = format!("{} takes {most} {records} in a request; nothing was sent", http.provider.name());
    Some(Reply::error_with_docs(StatusCode::UNPROCESSABLE_ENTITY, &text, &json!({"max_records": most})))
}

/// What becomes of a key when its mutation has ended so.
fn keep((end, doubt): &(End, Option<Doubt>)) -> Keep {
    match (end, doubt) {
        (End::Unknown(_), doubt) => Keep::Unknown(doubt.clone()),
        (End::Applied(_) | End::Rejected(_), _) => Keep::Reply,
        (End::NotSent { .. } | End::Limited { .. } | End::Unauthorised(_), _) => Keep::Forget,
    }
}
