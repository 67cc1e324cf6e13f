//! One mutation at a provider over HTTP: pace, send, judge, and again where that is safe.
//!
//! Two questions decide everything. Can an earlier request of this mutation have been applied? Then no later failure
//! may claim that nothing was. Can one more request be a second effect? Then none is sent.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use metrics::{counter, histogram};
use mutation_api::request::Mutation;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::account::HttpAccount;
use super::keys::Doubt;
use super::reply::End;
use super::verdict::{Fault, Verdict, fold};
use crate::auth::{Denied, Generation};
use crate::client::Sent;
use crate::metrics::{LIMITED, PACING_WAIT_SECONDS, PROVIDER_REQUESTS, PROVIDER_SECONDS};
use crate::providers::redact::Redactor;
use crate::providers::{Kind, ProviderReply, ProviderRequest, Repeat, Written, retry_after};

/// What is known about the earlier requests of a mutation.
struct Past {
    /// The first request that may have been applied.
    doubt: Option<Doubt>,
    /// What the last such request said.
    faults: Vec<Fault>,
    /// The provider's word on another attempt.
    may_repeat: Option<bool>,
    /// A refused credential was replaced once.
    is_renewed: bool,
}

/// What became of one attempt.
enum Attempt {
    Ended(End),
    /// Another attempt may help after this time. If there is no time for it, this is the end.
    Later(Duration, End),
    /// The same after the next backoff.
    Again(End),
    /// At once, with another credential.
    Renewed,
}

/// Carries out `mutation`. `keys` has one key for each element. `doubt` is what an earlier mutation under the same keys
/// has left behind. The result's doubt is there if the end is unknown and a repetition could find out more.
pub async fn carry_out(
    account: &HttpAccount,
    mutation: &Mutation<'_>,
    keys: &[Uuid],
    doubt: Option<Doubt>,
    deadline: Instant,
) -> (End, Option<Doubt>) {
    if doubt.as_ref().is_some_and(|doubt| doubt.account != account.identity) {
        return (End::Unknown(vec![Fault::whole("the sync has another account by now")]), None);
    }
    let request = match plan(account, mutation, keys) {
        Ok(request) => request,
        // What was refused now may have been sent before.
        Err(fault) if doubt.is_some() => return (End::Unknown(vec![fault]), doubt),
        Err(fault) => return (End::Rejected(vec![fault]), None),
    };
    let mut past = Past { doubt, faults: Vec::new(), may_repeat: None, is_renewed: false };
    let end = past.attempts(account, &request, deadline).await;
    let doubt = match &end {
        End::Unknown(_) if past.may_repeat != Some(false) && request.repeat != Repeat::Never => past.doubt,
        _ => None,
    };
    (end, doubt)
}

/// The one request that carries out all of `mutation`.
fn plan(account: &HttpAccount, mutation: &Mutation<'_>, keys: &[Uuid]) -> Result<ProviderRequest, Fault> {
    let planned = account.provider.plan(mutation, keys);
    let mut planned = planned.map_err(|refusal| Fault { index: None, refusal, is_gone: false })?;
    match (planned.pop(), planned.is_empty()) {
        (Some(request), true) if request.elements.iter().copied().eq(0..mutation.change.len()) => Ok(request),
        _ => Err(Fault::whole("these records do not fit into one request")),
    }
}

impl Past {
    async fn attempts(&mut self, account: &HttpAccount, request: &ProviderRequest, deadline: Instant) -> End {
        let mut backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .without_max_times()
            .with_jitter()
            .build();
        loop {
            if !self.may_send(account, request) {
                return self.unknown();
            }
            let (wait, end) = match self.attempt(account, request, deadline).await {
                Attempt::Ended(end) => return self.with_doubt(request, end),
                Attempt::Renewed => continue,
                Attempt::Later(wait, end) => (wait, end),
                Attempt::Again(end) => (backoff.next().unwrap_or(Duration::from_secs(5)), end),
            };
            if !self.may_send(account, request) || Instant::now() + wait >= deadline {
                return self.with_doubt(request, end);
            }
            sleep(wait).await;
        }
    }

    async fn attempt(&mut self, account: &HttpAccount, request: &ProviderRequest, deadline: Instant) -> Attempt {
        let last_moment = self.last_moment(account, request);
        let Exchange { sent, generation, begun_at, redactor } =
            match exchange(account, request, last_moment, deadline).await {
                Ok(exchange) => exchange,
                Err(attempt) => return attempt,
            };
        let doubt = Doubt { since: begun_at, account: account.identity.clone() };
        let reply = match sent {
            Sent::Reply(reply) => reply,
            Sent::NotSent(why) => {
                let wait = Duration::from_secs(1);
                return Attempt::Again(End::NotSent { wait, why: format!("no connection: {}", why.0) });
            }
            Sent::Lost(why) => {
                self.in_doubt(doubt, None);
                self.faults = vec![Fault::whole(why.0)];
                return Attempt::Again(self.unknown());
            }
        };
        let asked = retry_after::wait(&reply.headers);
        let outcomes = account.provider.judge(request, &reply).into_iter().map(|outcome| redactor.outcome(outcome));
        match fold(request, outcomes.collect()) {
            Verdict::Applied(mut written) => {
                account.pace.taken();
                for (record, upstream_id) in written.iter_mut().zip(&request.upstream_ids) {
                    record.upstream_id.get_or_insert_with(|| upstream_id.clone());
                }
                if request.kind != Kind::Delete {
                    read_back(account, request, &mut written, deadline).await;
                }
                Attempt::Ended(End::Applied(written))
            }
            Verdict::Rejected(faults) => {
                account.pace.taken();
                Attempt::Ended(End::Rejected(faults))
            }
            Verdict::Limited { wait, faults } => {
                counter!(LIMITED, "sync" => account.sync_id.to_string()).increment(1);
                let wait = limited(account, &reply, wait.or(asked));
                Attempt::Later(wait, End::Limited { wait, faults })
            }
            Verdict::Unauthorised if !self.is_renewed && account.credentials.refused(generation) => {
                self.is_renewed = true;
                Attempt::Renewed
            }
            Verdict::Unauthorised => Attempt::Ended(End::Unauthorised(None)),
            Verdict::Unknown { may_repeat, faults } => {
                self.in_doubt(doubt, may_repeat);
                self.faults = faults;
                match asked {
                    Some(wait) => Attempt::Later(wait, self.unknown()),
                    None => Attempt::Again(self.unknown()),
                }
            }
        }
    }

    /// The last request may have been applied. The first such one counts for the window of its key.
    fn in_doubt(&mut self, doubt: Doubt, may_repeat: Option<bool>) {
        self.doubt.get_or_insert(doubt);
        self.may_repeat = may_repeat;
    }

    /// Whether one more request cannot be a second effect.
    fn may_send(&self, account: &HttpAccount, request: &ProviderRequest) -> bool {
        if self.doubt.is_none() {
            return true;
        }
        match (self.may_repeat, request.repeat) {
            (Some(false), _) => false,
            (_, Repeat::Key { .. }) => self.last_moment(account, request).is_none_or(|end| Instant::now() < end),
            (Some(true), _) | (None, Repeat::UniqueId | Repeat::Absolute) => true,
            (None, Repeat::Never) => false,
        }
    }

    /// When a repetition must have begun, for the provider to know its key. None: at any time.
    fn last_moment(&self, account: &HttpAccount, request: &ProviderRequest) -> Option<Instant> {
        let Repeat::Key { window } = request.repeat else { return None };
        // The margin is for clocks, and for a request that takes its whole time.
        let window = window.saturating_sub(window / 10).saturating_sub(account.client.limits().request);
        self.doubt.as_ref().map(|doubt| doubt.since + window)
    }

    /// The end of the mutation, given that of its last attempt.
    fn with_doubt(&self, request: &ProviderRequest, end: End) -> End {
        if self.doubt.is_none() {
            return end;
        }
        match &end {
            End::Applied(_) => end,
            // Under a key, all attempts are one. Without one, the last attempt can be refused because of what an
            // earlier one has changed. But a record that is gone holds nothing of either.
            End::Rejected(_) if matches!(request.repeat, Repeat::Key { .. }) => end,
            End::Rejected(faults) if faults.iter().all(|fault| fault.is_gone) => end,
            _ => self.unknown(),
        }
    }

    fn unknown(&self) -> End {
        End::Unknown(self.faults.clone())
    }
}

struct Exchange {
    sent: Sent,
    generation: Generation,
    begun_at: Instant,
    /// Knows the credential that was sent. A provider may quote it.
    redactor: Redactor,
}

/// One request, when it is its turn, if that is before `last_moment`.
///
/// # Errors
/// It was not sent.
async fn exchange(
    account: &HttpAccount,
    request: &ProviderRequest,
    last_moment: Option<Instant>,
    deadline: Instant,
) -> Result<Exchange, Attempt> {
    let Some(uri) = account.address(&request.path) else {
        return Err(Attempt::Ended(End::Rejected(vec![Fault::whole("the record has no valid address")])));
    };
    let sync = account.sync_id.to_string();
    let asked_at = Instant::now();
    let entered = account.pace.enter(deadline).await;
    histogram!(PACING_WAIT_SECONDS, "sync" => sync.clone()).record(asked_at.elapsed());
    let _permit = entered.map_err(|late| {
        Attempt::Ended(End::NotSent { wait: late.wait, why: "its limits leave no turn in time".into() })
    })?;
    let mut headers = request.headers.clone();
    // Those of the configuration have the last word, such as on the version of the provider's API.
    for (name, value) in &account.headers {
        headers.insert(name, value.clone());
    }
    let generation = match account.credentials.authorise(&mut headers, deadline).await {
        Ok(generation) => generation,
        Err(Denied::Refused(why)) => return Err(Attempt::Ended(End::Unauthorised(Some(why)))),
        Err(Denied::Unavailable { why, wait }) => return Err(Attempt::Later(wait, End::NotSent { wait, why })),
    };
    let redactor = Redactor::of_request(&headers);
    let begun_at = Instant::now();
    if last_moment.is_some_and(|end| begun_at >= end) {
        let why = "its turn came after the provider may have forgotten its key".into();
        return Err(Attempt::Ended(End::NotSent { wait: Duration::ZERO, why }));
    }
    let sent = account.client.send(request.method.clone(), uri, headers, request.body.clone(), deadline).await;
    histogram!(PROVIDER_SECONDS, "sync" => sync.clone()).record(begun_at.elapsed());
    let status = match &sent {
        Sent::Reply(reply) => reply.status.to_string(),
        Sent::NotSent(_) | Sent::Lost(_) => "none".into(),
    };
    counter!(PROVIDER_REQUESTS, "sync" => sync, "status" => status).increment(1);
    Ok(Exchange { sent, generation, begun_at, redactor })
}

/// How long to wait after a reply that asks for fewer requests. The whole account rests where the status says that it
/// is a limit. Others, such as a lock of one record, concern this mutation only.
fn limited(account: &HttpAccount, reply: &ProviderReply, wait: Option<Duration>) -> Duration {
    match reply.status {
        403 | 429 | 503 => account.pace.limited(wait),
        _ => wait.unwrap_or(Duration::from_secs(1)),
    }
}

/// Completes records whose reply was less than the record. What cannot be read stays absent: the write is applied.
async fn read_back(account: &HttpAccount, request: &ProviderRequest, written: &mut [Written], deadline: Instant) {
    for record in written.iter_mut().filter(|record| record.data.is_none()) {
        let Some(upstream_id) = &record.upstream_id else { continue };
        let Some(read) = account.provider.read_back(&request.collection, upstream_id) else { return };
        let Ok(Exchange { sent: Sent::Reply(reply), .. }) = exchange(account, &read, None, deadline).await else {
            return;
        };
        if let Some(found) = account.provider.judge_read(&read, &reply) {
            record.data = found.data;
            record.created_at = record.created_at.take().or(found.created_at);
            record.updated_at = found.updated_at.or(record.updated_at.take());
        }
    }
}
