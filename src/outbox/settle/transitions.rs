//! Writing down what became of records.
//!
//! A result counts only while its claim is there: a worker that was given up for dead, and comes back, changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ereport;
use crate::outbox::worker::registry;
use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use crate::pg::transaction::{Cause, Failure};
use crate::pg::{random, text, transaction};
use contract::merge;
use contract::outcome::OutcomeKind;

use super::archive::{Finished, finish, finish_in_part};
use crate::outbox::claim::NOBODY;
use crate::outbox::guard::{self, guarded};
use contract::batching::backoff;
use contract::batching::plan::{AbsorbedAs, Operation};

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// It is done, and moves to the history.
    Done { outcome: &'static str, upstream_id: Option<String>, record: Option<String> },
    /// The API refuses it.
    Rejected { outcome: &'static str, error: String },
    /// Nobody knows; a machine must not send it again.
    Unknown { outcome: &'static str, error: String },
    /// It is sent again.
    Again { outcome: &'static str, error: String },
    /// It was not sent, and is as free as it was before.
    Free,
}

impl Disposition {
    /// Done without a request.
    pub fn ended(outcome: &'static str) -> Disposition {
        Disposition::Done { outcome, upstream_id: None, record: None }
    }

    pub fn rejected(outcome: &'static str, error: &str) -> Disposition {
        Disposition::Rejected { outcome, error: error.to_owned() }
    }
}

static END_CLAIM: Statement = Statement::new(
    "DELETE FROM sequin.claims c WHERE c.id OPERATOR(pg_catalog.=) $1 AND c.owner OPERATOR(pg_catalog.=) $2 RETURNING 1",
);

/// From the queue to the parked ones.
static PARK: Statement = Statement::new(
    "WITH gone AS (DELETE FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 \
       AND q.id OPERATOR(pg_catalog.>=) $3 AND q.id OPERATOR(pg_catalog.<=) $4 \
       AND q.id OPERATOR(pg_catalog.=) ANY ($2) RETURNING q.*) \
     INSERT INTO sequin.deferred SELECT g.*, 'pending', 0, 'infinity', NULL, NULL, false FROM gone g",
);

/// A create that was unknown once stays pinned; and refused when it is sent again, it is unknown as before, since the
/// first attempt may have been applied, and may even be why this one is refused.
static MARK: Statement = Statement::new(
    "UPDATE sequin.deferred p SET attempts = p.attempts OPERATOR(pg_catalog.+) 1, next_attempt_at = $3, outcome = $4, \
     error = $5, resend_verbatim = p.kind OPERATOR(pg_catalog.=) 'create' \
     AND (p.resend_verbatim OR $2 OPERATOR(pg_catalog.=) 'unknown'), state = CASE WHEN p.resend_verbatim \
     AND p.kind OPERATOR(pg_catalog.=) 'create' AND $2 OPERATOR(pg_catalog.=) 'rejected' THEN 'unknown' ELSE $2 END \
     WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
);

/// Lets records that were sent as one go again, each by itself. A create does so without a pin, which says something
/// else of it: nothing that follows it joins it, since that is pinned.
static PART: Statement = Statement::new(
    "UPDATE sequin.deferred p SET state = 'pending', resend_verbatim = p.kind OPERATOR(pg_catalog.<>) 'create', \
     next_attempt_at = pg_catalog.clock_timestamp() \
     WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
);

/// For a person: that of a create which was perhaps applied is unknown, anything else is rejected.
static STAND: Statement = Statement::new(
    "UPDATE sequin.deferred p SET attempts = p.attempts OPERATOR(pg_catalog.+) 1, next_attempt_at = 'infinity', \
     outcome = $3, error = $4, resend_verbatim = p.kind OPERATOR(pg_catalog.=) 'create' AND (p.resend_verbatim OR $2), \
     state = CASE WHEN p.kind OPERATOR(pg_catalog.=) 'create' AND (p.resend_verbatim OR $2) THEN 'unknown' ELSE 'rejected' END \
     WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
);

static STALL: Statement = Statement::new(
    "UPDATE sequin.deferred p SET next_attempt_at = 'infinity' WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
);

/// Frees what waits behind these keys.
static RELEASE: Statement = Statement::new(concat!(
    "UPDATE sequin.deferred p SET next_attempt_at = pg_catalog.clock_timestamp() \
     WHERE p.server OPERATOR(pg_catalog.=) $1 AND ",
    has_key_of!("p.ordering_key", "$2"),
    " AND p.state OPERATOR(pg_catalog.=) 'pending' AND p.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'",
));

/// The records that [`RELEASE`] frees, for those that cannot all be freed at once.
static RELEASED: Statement = Statement::new(concat!(
    "SELECT p.id FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) $1 AND ",
    has_key_of!("p.ordering_key", "$2"),
    " AND p.state OPERATOR(pg_catalog.=) 'pending' AND p.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'",
));

static FREE: Statement = Statement::new(
    "UPDATE sequin.deferred p SET next_attempt_at = pg_catalog.clock_timestamp() \
     WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
);

/// With what became a part of it.
static ABSORB: Statement =
    Statement::new("UPDATE sequin.deferred p SET data = $2[1] WHERE p.id OPERATOR(pg_catalog.=) $1");

/// Ends a claim of this worker. False if it was ended by somebody else: then what the worker knows is of no use.
pub fn end_claim(connection: &Connection, claim: i64, owner: i64) -> bool {
    END_CLAIM.run(connection, &[Value::Int8(claim), Value::Int8(owner)]).len() == 1
}

/// Leaves a claim of this worker, which it cannot end, without an owner. False if another worker has ended it.
pub fn disown_claim(connection: &Connection, claim: i64, owner: i64) -> bool {
    static DISOWN: Statement = Statement::new(
        "UPDATE sequin.claims c SET owner = $3 WHERE c.id OPERATOR(pg_catalog.=) $1 \
         AND c.owner OPERATOR(pg_catalog.=) $2 RETURNING 1",
    );
    let values = [Value::Int8(claim), Value::Int8(owner), Value::Int8(NOBODY)];
    guarded(|| DISOWN.run(connection, &values).len() == 1).unwrap_or(true)
}

/// Writes down the dispositions of records of one server.
pub fn write(connection: &Connection, server: &str, dispositions: &[(&Operation, &Disposition)]) {
    let mut all_done = Vec::with_capacity(dispositions.len());
    for (operation, disposition) in dispositions {
        match disposition {
            Disposition::Done { outcome, upstream_id, record } => {
                all_done.extend(done(operation, outcome, upstream_id.as_deref(), record.as_deref()));
            }
            Disposition::Free => {}
            Disposition::Unknown { outcome, error } => {
                let unknown = Unknown { head: operation.id, absorbed: absorbed_ids(operation), outcome, error };
                park_behind(connection, server, &operation.ids().collect::<Vec<i64>>());
                park_unknown(connection, server, unknown, operation.data.as_deref());
            }
            // Which of them is refused is not known: they go again, one by one.
            Disposition::Rejected { .. } if !operation.absorbed.is_empty() => {
                let ids: Vec<i64> = operation.ids().collect();
                park_behind(connection, server, &ids);
                PART.run(connection, &[Value::Int8s(&ids)]).free();
            }
            Disposition::Rejected { outcome, error } => {
                mark(connection, server, &[operation.id], "rejected", Mark { delay: None, outcome, error });
            }
            Disposition::Again { outcome, error } => {
                let ids: Vec<i64> = operation.ids().collect();
                let delay = Some(backoff::retry_delay(operation.attempts + 1, random::fraction()));
                mark(connection, server, &ids, "pending", Mark { delay, outcome, error });
            }
        }
    }
    finish(connection, server, all_done);
    let keys: Vec<Option<&str>> = dispositions
        .iter()
        .filter(|(_, disposition)| matches!(disposition, Disposition::Done { .. } | Disposition::Rejected { .. }))
        .filter_map(|(operation, _)| operation.ordering_key.as_deref())
        .map(|key| Some(key.text.as_str()))
        .collect();
    release(connection, server, &keys);
}

/// What an operation leaves in the history: its record, and those that became a part of it.
fn done<'a>(
    operation: &Operation,
    outcome: &'a str,
    upstream_id: Option<&'a str>,
    record: Option<&'a str>,
) -> Vec<Finished<'a>> {
    let mut done = Vec::with_capacity(1 + operation.absorbed.len());
    done.push(Finished { id: operation.id, outcome, upstream_id, record, sent_with: None });
    done.extend(operation.absorbed.iter().map(|absorbed| Finished {
        id: absorbed.id,
        outcome: if absorbed.absorbed_as == AbsorbedAs::Superseded { "superseded" } else { outcome },
        upstream_id,
        record: None,
        sent_with: Some(operation.id),
    }));
    done
}

/// The same disposition as far as this database can store it. What cannot be kept of a reply is lost, as in a synchronous call.
pub fn storable(disposition: &Disposition) -> Disposition {
    let in_words = |error: String| if is_storable(&error) { error } else { text::escape_non_ascii(&error) };
    match disposition.clone() {
        Disposition::Done { outcome, upstream_id, record } => {
            let had_record = record.is_some();
            let record = record.filter(|record| is_storable(record));
            let is_lost = had_record && record.is_none();
            Disposition::Done {
                outcome: if is_lost { OutcomeKind::AppliedReplyLost.as_str() } else { outcome },
                upstream_id: upstream_id.filter(|id| is_storable(id)),
                record,
            }
        }
        Disposition::Rejected { outcome, error } => Disposition::Rejected { outcome, error: in_words(error) },
        Disposition::Unknown { outcome, error } => Disposition::Unknown { outcome, error: in_words(error) },
        Disposition::Again { outcome, error } => Disposition::Again { outcome, error: in_words(error) },
        Disposition::Free => Disposition::Free,
    }
}

/// Writes down what can be written of a disposition that [`write`] has failed with. False if that is nothing.
pub fn write_in_part(
    connection: &Connection,
    server: &str,
    operation: &Operation,
    disposition: &Disposition,
    failure: &Failure,
) -> bool {
    let disposition = storable(disposition);
    if guarded(|| write(connection, server, &[(operation, &disposition)])).is_ok() {
        return true;
    }
    let ids: Vec<i64> = operation.ids().collect();
    let why = &failure.message;
    let (was_applied, outcome, error) = match &disposition {
        Disposition::Done { outcome, upstream_id, .. } => {
            let finished = done(operation, outcome, upstream_id.as_deref(), None);
            if finished.iter().all(|finished| finish_in_part(connection, server, finished)) {
                release_key_of(connection, server, operation);
                return true;
            }
            let known = upstream_id.as_ref().map(|id| format!(" as \"{id}\"")).unwrap_or_default();
            (true, *outcome, format!("it was applied{known}, and the result could not be stored: {why}"))
        }
        Disposition::Unknown { outcome, error } => (true, *outcome, format!("{error} ({why})")),
        Disposition::Rejected { outcome, error } | Disposition::Again { outcome, error } => {
            (false, *outcome, format!("{error} ({why})"))
        }
        // It is as free as it was, and that needs no writing.
        Disposition::Free => return true,
    };
    let stands = guarded(|| stand(connection, server, &ids, was_applied, outcome, &error)).is_ok();
    // What is unknown keeps its key waiting for a person.
    if stands && !was_applied {
        release_key_of(connection, server, operation);
    }
    stands
}

fn release_key_of(connection: &Connection, server: &str, operation: &Operation) {
    let key = operation.ordering_key.as_deref().map(|key| key.text.as_str());
    release(connection, server, &key.map(Some).into_iter().collect::<Vec<_>>());
}

/// Keeps records for a person.
fn stand(connection: &Connection, server: &str, ids: &[i64], was_applied: bool, outcome: &str, error: &str) {
    park_behind(connection, server, ids);
    let error = text::storable(error);
    let values = [Value::Int8s(ids), Value::Bool(was_applied), Value::Text(Some(outcome)), Value::Text(Some(&error))];
    STAND.run(connection, &values).free();
}

/// Ends a record that was not sent by the error that came up while it was handled. What may be no fault of the record's is
/// tried again later. False if not even that can be written down: then the record stays where it is, and the log says so.
pub fn fail(connection: &Connection, server: &str, id: i64, what: &str, failure: &Failure) -> bool {
    const LATER: Duration = Duration::from_secs(60);
    let error = text::storable(&format!("it could not be {what}: {}", failure.message)).into_owned();
    let (state, delay) = match failure.cause() {
        Cause::Content => ("rejected", None),
        Cause::Doubtful | Cause::Surroundings => ("pending", Some(LATER)),
    };
    let outcome = OutcomeKind::NotSent.as_str();
    let written = guarded(|| mark(connection, server, &[id], state, Mark { delay, outcome, error: &error }));
    if written.is_err() {
        guard::note(what, id, failure);
    }
    written.is_ok()
}

fn is_storable(text: &str) -> bool {
    transaction::attempt(|| text::to_text_datum(text)).is_ok()
}

fn absorbed_ids(operation: &Operation) -> Vec<i64> {
    operation.absorbed.iter().map(|absorbed| absorbed.id).collect()
}

/// Writes down the disposition of one record that was not claimed.
pub fn one(connection: &Connection, server: &str, id: i64, disposition: &Disposition) {
    match disposition {
        Disposition::Done { outcome, .. } => {
            finish(
                connection,
                server,
                vec![Finished { id, outcome, upstream_id: None, record: None, sent_with: None }],
            );
        }
        Disposition::Rejected { outcome, error } => {
            mark(connection, server, &[id], "rejected", Mark { delay: None, outcome, error });
        }
        Disposition::Unknown { .. } | Disposition::Again { .. } | Disposition::Free => {
            unreachable!("only a request has such a disposition")
        }
    }
}

struct Mark<'a> {
    /// None: never, by itself.
    delay: Option<Duration>,
    outcome: &'a str,
    error: &'a str,
}

fn mark(connection: &Connection, server: &str, ids: &[i64], state: &str, mark: Mark<'_>) {
    park_behind(connection, server, ids);
    let millis = mark.delay.map(|delay| i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
    let values = [
        Value::Int8s(ids),
        Value::Text(Some(state)),
        Value::In(millis),
        Value::Text(Some(mark.outcome)),
        Value::Text(Some(mark.error)),
    ];
    MARK.run(connection, &values).free();
}

/// Parks records that wait for another one, or for a person.
pub fn park_behind(connection: &Connection, server: &str, ids: &[i64]) {
    if let (Some(&first), Some(&last)) = (ids.iter().min(), ids.iter().max()) {
        let values = [Value::Text(Some(server)), Value::Int8s(ids), Value::Int8(first), Value::Int8(last)];
        PARK.run(connection, &values).free();
    }
}

/// Parks records that wait for another one. Gives their number.
pub fn park_waiting(connection: &Connection, server: &str, ids: &[i64]) -> usize {
    guard::each_logged("made to wait", ids, |ids| park_behind(connection, server, ids))
}

/// Keeps parked records from being looked at until they are freed. Gives their number.
pub fn stall(connection: &Connection, ids: &[i64]) -> usize {
    guard::each_logged("made to wait", ids, |ids| STALL.run(connection, &[Value::Int8s(ids)]).free())
}

/// Frees what waits behind these ordering keys. A record that cannot be freed costs neither the others nor the record
/// that they waited for.
pub fn release(connection: &Connection, server: &str, keys: &[Option<&str>]) {
    if keys.is_empty() {
        return;
    }
    let values = [Value::Text(Some(server)), Value::Texts(keys)];
    if guard::carefully(|| RELEASE.run(connection, &values).free()).is_err() {
        let rows = RELEASED.run(connection, &values);
        let ids: Vec<i64> = (0..rows.len()).filter_map(|row| rows.int8(row, 1)).collect();
        rows.free();
        free(connection, &ids);
    }
}

/// Frees these records.
pub fn free(connection: &Connection, ids: &[i64]) {
    guard::each_logged("freed", ids, |ids| FREE.run(connection, &[Value::Int8s(ids)]).free());
}

/// A create of which nobody knows whether it was applied, and all that was sent as a part of it.
struct Unknown<'a> {
    head: i64,
    absorbed: Vec<i64>,
    outcome: &'a str,
    error: &'a str,
}

/// Writes down what is unknown of parked records. `data` is what was sent.
fn park_unknown(connection: &Connection, server: &str, unknown: Unknown<'_>, data: Option<&str>) {
    let Unknown { head, absorbed, outcome, error } = unknown;
    if !absorbed.is_empty() && data.is_some() {
        ABSORB.run(connection, &[Value::Int8(head), Value::Jsonbs(&[data])]).free();
    }
    let merged =
        |id: &i64| Finished { id: *id, outcome: "merged", upstream_id: None, record: None, sent_with: Some(head) };
    finish(connection, server, absorbed.iter().map(merged).collect());
    mark(connection, server, &[head], "unknown", Mark { delay: None, outcome, error });
}

/// The data of parked records as one.
fn merged_data(connection: &Connection, ids: &[i64]) -> Option<String> {
    static DATA: Statement = Statement::new(
        "SELECT p.data FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) ANY ($1) AND p.data IS NOT NULL \
         ORDER BY p.id",
    );
    let rows = DATA.run(connection, &[Value::Int8s(ids)]);
    let data: Vec<String> = (0..rows.len()).map(|row| rows.json(row, 1)).collect();
    rows.free();
    (!data.is_empty()).then(|| merge::later_wins(data))
}

/// A request of a worker that is gone.
pub struct DeadClaim<'a> {
    pub server: &'a str,
    pub id: i64,
    pub is_create: bool,
    pub ids: Vec<i64>,
    /// For each of the ids the record that it became a part of; empty: each of them is one.
    pub heads: Vec<i64>,
}

/// Ends the claim of a worker that is gone. False if that cannot be done to some of its records: they stay claimed.
pub fn end_dead_claim(connection: &Connection, claim: &DeadClaim<'_>) -> bool {
    static END: Statement = Statement::new("DELETE FROM sequin.claims c WHERE c.id OPERATOR(pg_catalog.=) $1");
    static KEEP: Statement =
        Statement::new("UPDATE sequin.claims c SET ids = $2, heads = $3 WHERE c.id OPERATOR(pg_catalog.=) $1");
    let mut parts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (id, head) in claim.ids.iter().zip(if claim.heads.is_empty() { &claim.ids } else { &claim.heads }) {
        parts.entry(*head).or_default().extend((id != head).then_some(*id));
    }
    let parts: Vec<(i64, Vec<i64>)> = parts.into_iter().collect();
    let ended = guard::carefully(|| {
        let failed = guard::each_carefully(&parts, |parts| end_dead_parts(connection, claim, parts));
        let (mut ids, mut heads) = (Vec::new(), Vec::new());
        for ((head, absorbed), failure) in &failed {
            guard::note("set free after the end of its worker", *head, failure);
            ids.push(*head);
            ids.extend(absorbed);
            heads.resize(ids.len(), *head);
        }
        if ids.is_empty() {
            END.run(connection, &[Value::Int8(claim.id)]).free();
        } else {
            KEEP.run(connection, &[Value::Int8(claim.id), Value::Int8s(&ids), Value::Int8s(&heads)]).free();
        }
        ids.is_empty()
    });
    if let Some(lowest) = claim.ids.iter().min() {
        registry::wake_workers(*lowest);
    }
    ended.unwrap_or_else(|failure| {
        ereport::log(&format!("the claim of a worker that is gone could not be ended: {}", failure.message));
        false
    })
}

/// Ends parts of a dead claim: records, each with those that it was sent with.
fn end_dead_parts(connection: &Connection, claim: &DeadClaim<'_>, parts: &[(i64, Vec<i64>)]) {
    let error = "the worker ended while the request was under way";
    let server = claim.server;
    let ids: Vec<i64> = parts.iter().flat_map(|(head, absorbed)| [*head].into_iter().chain(absorbed.clone())).collect();
    if !claim.is_create {
        // An attempt like any other, to be repeated at once: a delete that finds nothing then has been done by it.
        let delay = Some(Duration::ZERO);
        return mark(connection, server, &ids, "pending", Mark { delay, outcome: "unknown", error });
    }
    park_behind(connection, server, &ids);
    for (head, absorbed) in parts {
        // Only the ids were claimed. The create is the first of them.
        let data = (!absorbed.is_empty()).then(|| merged_data(connection, &[&[*head], &absorbed[..]].concat()));
        let unknown = Unknown { head: *head, absorbed: absorbed.clone(), outcome: "unknown", error };
        park_unknown(connection, server, unknown, data.flatten().as_deref());
    }
}

/// Says that an unknown create was applied.
pub fn resolve(connection: &Connection, server: &str, id: i64, upstream_id: &str) {
    let upstream_id = Some(upstream_id);
    finish(connection, server, vec![Finished { id, outcome: "resolved", upstream_id, record: None, sent_with: None }]);
}

/// Tells those who LISTEN to sequin_outbox, at the commit, how many records of a server were settled.
///
/// A listener that never reads fills Postgres' queue of notifications, and a full one makes commits fail; so nobody is
/// told long before that.
pub fn notify(connection: &Connection, server: &str, delivered: usize, rejected: usize, unknown: usize) {
    static NOTIFY: Statement = Statement::new(
        "SELECT pg_catalog.pg_notify('sequin_outbox', pg_catalog.json_build_object('server', $1, 'delivered', $2, \
         'rejected', $3, 'unknown', $4)::pg_catalog.text) \
         WHERE pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.5",
    );
    if delivered + rejected + unknown > 0 {
        let count = |n: usize| Value::Int8(n as i64);
        NOTIFY.run(connection, &[Value::Text(Some(server)), count(delivered), count(rejected), count(unknown)]).free();
    }
}
