//! From operations to an exchange, and from its observation to a disposition for each operation.
//!
//! The table in `contract::outcome` says what each reply means.

use std::borrow::Cow;

use ureq::http::header::{HeaderName, HeaderValue};

use crate::call::server::Server;
use crate::call::{Exchange, SentRequest};
use crate::pg::transaction::{Cause, Failure};
use contract::kind::Kind;
use contract::outcome::{Action, Facts, Outcome, OutcomeKind};
use contract::reply::matching::{self, RecordMatch};
use contract::reply::pairing;
use contract::reply::{RawRecord, ReplyRecords};
use contract::request::{Arguments, Request};

use crate::outbox::disposition::{Disposition, SettledAs};
use contract::batching::awaiting;
use contract::batching::plan::{BatchKey, Operation};
use contract::batching::server_state::ServerState;
use contract::secret::Secret;

/// The result of an attempt to send some operations.
pub enum Attempt {
    /// A disposition for each operation.
    Settled(Vec<Disposition>),
    /// One of them is at fault.
    Split,
}

/// The exchange for some operations, with its token. An error is the end of the attempt without a request.
pub fn prepare(
    server: &Server,
    batch_key: &BatchKey,
    kind: Kind,
    part: &[Operation],
    state: &mut ServerState,
) -> Result<(Exchange, Secret), Attempt> {
    let all = |disposition: Disposition| Attempt::Settled(vec![disposition; part.len()]);
    let consumers = batch_key.await_consumers.as_ref().map(|ids| ids.iter().map(|id| Some(id.as_str())).collect());
    let arguments = Arguments {
        sync_id: Some(&batch_key.sync_id),
        collection_id: Some(&batch_key.collection_id),
        await_consumers: consumers.map(Cow::Owned),
        timeout_ms: awaiting::limited(batch_key, server.options().max_await),
    };
    let request = match request(&arguments, kind, part) {
        Ok(request) => request,
        // An older version may have enqueued a record that this one refuses.
        Err(reason) if part.len() == 1 => {
            return Err(all(Disposition::Rejected { outcome: OutcomeKind::NotSent, error: reason }));
        }
        Err(_) => return Err(Attempt::Split),
    };
    Exchange::prepare(server, request, idempotency_header(server, part)).map_err(|error| {
        *state = ServerState::Refuses { error: error.to_string() };
        all(Disposition::Free)
    })
}

/// The dispositions after an exchange, and the state of the server, which is left as it is if it answers. `was_sent`:
/// the operations were sent before, in a request that was refused as a whole and may have been applied in part.
pub fn judge(
    kind: Kind,
    part: &[Operation],
    was_sent: bool,
    sent: &SentRequest<'_>,
    state: &mut ServerState,
) -> Attempt {
    match sent.judge() {
        Ok(records) => Attempt::Settled(delivered(&sent.facts(), sent.status(), part, &records, state)),
        Err(outcome) => {
            let is_repeated = was_sent || part.iter().all(|operation| operation.attempts > 0);
            failed(kind, part, &outcome, is_repeated, sent.is_cut_off(), state)
        }
    }
}

/// The end of an attempt in an error or a panic of this process. The request may have been sent or not.
pub fn broken(kind: Kind, part: &[Operation], failure: Failure, state: &mut ServerState) -> Attempt {
    let error = format!("sending the record raised an error: {}", failure.message);
    let outcome = OutcomeKind::Unknown;
    let disposition = match (kind, failure.cause()) {
        // Such as a cancel: it ends this worker, as it ends a statement.
        (_, Cause::Surroundings) => failure.raise(),
        (Kind::Create, _) => Disposition::Unknown { outcome, error },
        (Kind::Update | Kind::Delete, Cause::Doubtful) => {
            *state = ServerState::Fails { error: error.clone(), timed_out: false };
            Disposition::Again { outcome, error }
        }
        (Kind::Update | Kind::Delete, Cause::Content) if part.len() > 1 => return Attempt::Split,
        (Kind::Update | Kind::Delete, Cause::Content) => Disposition::Rejected { outcome, error },
    };
    Attempt::Settled(vec![disposition; part.len()])
}

/// The request, as the synchronous call would make it.
fn request<'a>(arguments: &Arguments<'a>, kind: Kind, part: &[Operation]) -> Result<Request<'a>, String> {
    let mut draft = Request::draft(Some(kind.as_str()), arguments).map_err(|invalid| invalid.to_string())?;
    draft.write_records(part.iter().map(|operation| element(kind, operation)));
    draft.finish().map_err(|invalid| invalid.to_string())
}

fn element(kind: Kind, operation: &Operation) -> String {
    let id = || serde_json::to_string(&operation.upstream_id).expect("a string can be written");
    let data = operation.data.as_deref().unwrap_or("{}");
    match kind {
        Kind::Create => format!("{{\"data\":{data}}}"),
        Kind::Update => format!("{{\"upstream_id\":{},\"data\":{data}}}", id()),
        Kind::Delete => id(),
    }
}

/// The header that lets an API tell a repeated request from a new one. Requests have one record then.
fn idempotency_header(server: &Server, part: &[Operation]) -> Option<(HeaderName, HeaderValue)> {
    let name = server.options().idempotency_header.clone()?;
    let [operation] = part else { return None };
    // The option was added while the record was claimed: its key was not read, and all records would share an empty
    // key.
    if operation.idempotency_key.is_empty() {
        return None;
    }
    Some((name, HeaderValue::from_str(&operation.idempotency_key).ok()?))
}

/// The dispositions after a reply with records. A record that the reply lacks may not have been applied.
fn delivered(
    facts: &Facts<'_>,
    status: u16,
    part: &[Operation],
    records: &ReplyRecords<'_>,
    state: &mut ServerState,
) -> Vec<Disposition> {
    let length = records.element_count();
    let records = records.raw_records();
    match facts.kind {
        Kind::Create => created(facts, status, part, length, &records, state),
        Kind::Update | Kind::Delete => changed(facts, status, part, length, &records),
    }
}

fn done(record: &RawRecord<'_>) -> Disposition {
    Disposition::Done {
        settled_as: SettledAs::Applied,
        upstream_id: record.upstream_id.as_deref().map(str::to_owned),
        record: Some(record.text.to_owned()),
    }
}

/// The dispositions of creates, whose records are in the order of the operations or not known.
fn created(
    facts: &Facts<'_>,
    status: u16,
    part: &[Operation],
    length: usize,
    records: &[RawRecord<'_>],
    state: &mut ServerState,
) -> Vec<Disposition> {
    if length < part.len() {
        let reason = match length {
            0 => "it has no record".to_owned(),
            _ => format!("it has {length} of the {} records sent", part.len()),
        };
        let outcome = Outcome::missing(facts, status, &reason);
        *state = ServerState::Fails { error: outcome.message.clone(), timed_out: false };
        return vec![Disposition::Unknown { outcome: outcome.kind, error: outcome.message }; part.len()];
    }
    let sent: Vec<&str> = part.iter().map(|operation| operation.data.as_deref().unwrap_or("{}")).collect();
    let replied: Vec<Option<&str>> = records.iter().map(|record| record.data).collect();
    // The reply to one create is its own, whatever the values.
    let is_believed = length == part.len()
        && (part.len() == 1 || (records.len() == length && !pairing::contradicts(&sent, &replied)));
    let disposition =
        |place: usize| match records.get(place).filter(|record| is_believed && record.upstream_id.is_some()) {
            Some(record) => done(record),
            None => Disposition::done(SettledAs::AppliedReplyLost),
        };
    (0..part.len()).map(disposition).collect()
}

/// The dispositions of updates and deletes, whose records are found by their ids.
fn changed(
    facts: &Facts<'_>,
    status: u16,
    part: &[Operation],
    length: usize,
    records: &[RawRecord<'_>],
) -> Vec<Disposition> {
    let sent: Vec<&str> = part.iter().map(|operation| operation.upstream_id.as_deref().unwrap_or_default()).collect();
    let mut replied: Vec<Option<&str>> = records.iter().map(|record| record.upstream_id.as_deref()).collect();
    // A record that cannot be read has no id.
    replied.resize(length, None);
    let disposition = |place: RecordMatch| match place {
        RecordMatch::At(place) => done(&records[place]),
        RecordMatch::Unnamed => match records {
            [record] if length == 1 && part.len() == 1 => done(record),
            _ => Disposition::done(SettledAs::Applied),
        },
        RecordMatch::Missing => {
            let outcome = Outcome::missing(facts, status, "it does not hold this record");
            Disposition::Again { outcome: outcome.kind, error: outcome.message }
        }
    };
    matching::match_by_id(&sent, &replied).into_iter().map(disposition).collect()
}

/// The dispositions and the state of the server after a reply without records.
fn failed(
    kind: Kind,
    part: &[Operation],
    outcome: &Outcome,
    is_repeated: bool,
    is_cut_off: bool,
    state: &mut ServerState,
) -> Attempt {
    let all = |disposition: Disposition| Attempt::Settled(vec![disposition; part.len()]);
    let (outcome_kind, error) = (outcome.kind, outcome.message.clone());
    *state = ServerState::of(outcome);
    match outcome.action {
        Action::DeliverReplyLost => all(Disposition::done(SettledAs::AppliedReplyLost)),
        Action::DeliverNotConfirmed => all(Disposition::done(SettledAs::AppliedNotConfirmed)),
        Action::Bisect if part.len() > 1 => Attempt::Split,
        // The first attempt may have deleted it, and its reply was lost.
        Action::Reject | Action::Bisect if kind == Kind::Delete && is_repeated && outcome.says_gone() => {
            all(Disposition::done(SettledAs::Applied))
        }
        // The part that is missing may say so. As a refusal it would send the changes before the delete to a record
        // that is gone.
        Action::Reject | Action::Bisect if kind == Kind::Delete && is_repeated && is_cut_off => {
            all(Disposition::Again { outcome: outcome_kind, error })
        }
        Action::Reject | Action::Bisect => all(Disposition::Rejected { outcome: outcome_kind, error }),
        Action::MarkUnknown => all(Disposition::Unknown { outcome: outcome_kind, error }),
        Action::Retry if outcome.kind == OutcomeKind::NotSent => all(Disposition::Free),
        Action::Retry => all(Disposition::Again { outcome: outcome_kind, error }),
        Action::Defer => all(Disposition::Later { outcome: outcome_kind, error, retry_after: outcome.retry_after }),
        // Most likely another service has answered; but a create that was applied must not be sent again.
        Action::PauseServer if outcome.kind == OutcomeKind::Unknown && kind == Kind::Create => {
            all(Disposition::Unknown { outcome: outcome_kind, error })
        }
        Action::PauseServer => all(Disposition::Free),
    }
}
