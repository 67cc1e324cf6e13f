//! Writing down what became of records.
//!
//! A result counts only while its claim is there: a worker that was given up for dead, and comes back, changes nothing.

use std::time::Duration;

use crate::mutation::outcome::Name;
use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use crate::pg::{board, text, worker};

use super::backoff;
use super::finish::{Finished, finish};
use super::plan::{How, Operation};

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
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

impl Fate {
    /// Done without a request.
    pub fn ended(outcome: &'static str) -> Fate {
        Fate::Done { outcome, upstream_id: None, record: None }
    }

    pub fn rejected(outcome: &'static str, error: &str) -> Fate {
        Fate::Rejected { outcome, error: error.to_owned() }
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
     INSERT INTO sequin.parked SELECT g.*, 'pending', 0, 'infinity', NULL, NULL, false FROM gone g",
);

static MARK: Statement = Statement::new(
    "UPDATE sequin.parked p SET state = $2, attempts = p.attempts OPERATOR(pg_catalog.+) 1, next_attempt_at = $3, \
     outcome = $4, error = $5, is_pinned = false WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
);

/// Lets records that were sent as one go again, each by itself.
static PART: Statement = Statement::new(
    "UPDATE sequin.parked p SET state = 'pending', is_pinned = true, next_attempt_at = pg_catalog.clock_timestamp() \
     WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
);

static STALL: Statement = Statement::new(
    "UPDATE sequin.parked p SET next_attempt_at = 'infinity' WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
);

/// Frees what waits behind these keys.
static RELEASE: Statement = Statement::new(
    "UPDATE sequin.parked p SET next_attempt_at = pg_catalog.clock_timestamp() \
     WHERE p.server OPERATOR(pg_catalog.=) $1 AND p.ordering_key OPERATOR(pg_catalog.=) ANY ($2) \
     AND p.state OPERATOR(pg_catalog.=) 'pending' AND p.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'",
);

static ABSORB: Statement = Statement::new(
    "UPDATE sequin.parked h SET data = h.data OPERATOR(pg_catalog.||) a.data FROM sequin.parked a \
     WHERE h.id OPERATOR(pg_catalog.=) $1 AND a.id OPERATOR(pg_catalog.=) $2",
);

/// Ends a claim of this worker. False if it was ended by somebody else: then what the worker knows is of no use.
pub fn end_claim(connection: &Connection, claim: i64, owner: i64) -> bool {
    END_CLAIM.run(connection, &[Value::Int8(claim), Value::Int8(owner)]).len() == 1
}

/// Writes down the fates of records of one server.
pub fn write(connection: &Connection, server: &str, fates: &[(&Operation, &Fate)]) {
    let mut done = Vec::with_capacity(fates.len());
    for (operation, fate) in fates {
        match fate {
            Fate::Done { outcome, upstream_id, record } => {
                let (upstream_id, record) = (upstream_id.as_deref(), record.as_deref());
                done.push(Finished { id: operation.id, outcome, upstream_id, record, sent_with: None });
                done.extend(operation.absorbed.iter().map(|absorbed| Finished {
                    id: absorbed.id,
                    outcome: if absorbed.how == How::Superseded { "superseded" } else { outcome },
                    upstream_id,
                    record: None,
                    sent_with: Some(operation.id),
                }));
            }
            Fate::Free => {}
            Fate::Unknown { outcome, error } => {
                park_unknown(connection, server, operation.id, &absorbed_ids(operation), outcome, error);
            }
            // Which of them is refused is not known: they go again, one by one.
            Fate::Rejected { .. } if !operation.absorbed.is_empty() => {
                let ids: Vec<i64> = operation.ids().collect();
                park_behind(connection, server, &ids);
                PART.run(connection, &[Value::Int8s(&ids)]).free();
            }
            Fate::Rejected { outcome, error } => {
                mark(connection, server, &[operation.id], "rejected", Mark { delay: None, outcome, error });
            }
            Fate::Again { outcome, error } => {
                let ids: Vec<i64> = operation.ids().collect();
                let delay = Some(backoff::retry_delay(operation.attempts + 1, worker::random()));
                mark(connection, server, &ids, "pending", Mark { delay, outcome, error });
            }
        }
    }
    finish(connection, server, done);
    let keys: Vec<Option<&str>> = fates
        .iter()
        .filter(|(_, fate)| matches!(fate, Fate::Done { .. } | Fate::Rejected { .. }))
        .filter_map(|(operation, _)| operation.key.as_deref())
        .map(|key| Some(super::key::ordering_key(key)))
        .collect();
    release(connection, server, &keys);
}

/// The same fate in words that every database can store. What cannot be kept of a reply is lost, as in a synchronous call.
pub fn plain(fate: &Fate) -> Fate {
    match fate.clone() {
        Fate::Done { outcome, upstream_id, record } => Fate::Done {
            outcome: if record.is_some() { Name::AppliedReplyLost.as_str() } else { outcome },
            upstream_id: upstream_id.filter(|id| id.is_ascii()),
            record: None,
        },
        Fate::Rejected { outcome, error } => Fate::Rejected { outcome, error: text::escape_non_ascii(&error) },
        Fate::Unknown { outcome, error } => Fate::Unknown { outcome, error: text::escape_non_ascii(&error) },
        Fate::Again { outcome, error } => Fate::Again { outcome, error: text::escape_non_ascii(&error) },
        Fate::Free => Fate::Free,
    }
}

fn absorbed_ids(operation: &Operation) -> Vec<i64> {
    operation.absorbed.iter().map(|absorbed| absorbed.id).collect()
}

/// Writes down the fate of one record that was not claimed.
pub fn one(connection: &Connection, server: &str, id: i64, fate: &Fate) {
    match fate {
        Fate::Done { outcome, .. } => {
            finish(
                connection,
                server,
                vec![Finished { id, outcome, upstream_id: None, record: None, sent_with: None }],
            );
        }
        Fate::Rejected { outcome, error } => {
            mark(connection, server, &[id], "rejected", Mark { delay: None, outcome, error });
        }
        Fate::Unknown { .. } | Fate::Again { .. } | Fate::Free => unreachable!("only a request has such a fate"),
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

/// Keeps parked records from being looked at until they are freed.
pub fn stall(connection: &Connection, ids: &[i64]) {
    if !ids.is_empty() {
        STALL.run(connection, &[Value::Int8s(ids)]).free();
    }
}

/// Frees what waits behind these ordering keys.
pub fn release(connection: &Connection, server: &str, keys: &[Option<&str>]) {
    if !keys.is_empty() {
        RELEASE.run(connection, &[Value::Text(Some(server)), Value::Texts(keys)]).free();
    }
}

/// Parks a create of which nobody knows whether it was applied, with all that was sent as a part of it.
fn park_unknown(connection: &Connection, server: &str, head: i64, absorbed: &[i64], outcome: &str, error: &str) {
    park_behind(connection, server, &[&[head], absorbed].concat());
    for id in absorbed {
        ABSORB.run(connection, &[Value::Int8(head), Value::Int8(*id)]).free();
    }
    let merged =
        |id: &i64| Finished { id: *id, outcome: "merged", upstream_id: None, record: None, sent_with: Some(head) };
    finish(connection, server, absorbed.iter().map(merged).collect());
    mark(connection, server, &[head], "unknown", Mark { delay: None, outcome, error });
}

/// Ends the claim of a worker that is gone.
pub fn end_dead_claim(connection: &Connection, server: &str, claim: i64, is_create: bool, ids: &[i64], heads: &[i64]) {
    static END: Statement = Statement::new("DELETE FROM sequin.claims c WHERE c.id OPERATOR(pg_catalog.=) $1");
    let error = "the worker ended while the request was under way";
    if is_create {
        let heads = if heads.is_empty() { ids } else { heads };
        for (head, _) in ids.iter().zip(heads).filter(|(id, head)| id == head) {
            let absorbed: Vec<i64> =
                ids.iter().zip(heads).filter(|(id, of)| *of == head && *id != head).map(|(id, _)| *id).collect();
            park_unknown(connection, server, *head, &absorbed, "unknown", error);
        }
    } else {
        // An attempt like any other, to be repeated at once: a delete that finds nothing then has been done by it.
        mark(connection, server, ids, "pending", Mark { delay: Some(Duration::ZERO), outcome: "unknown", error });
    }
    END.run(connection, &[Value::Int8(claim)]).free();
    if let Some(lowest) = ids.iter().min() {
        board::announce(*lowest);
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
