//! Writing down what became of records.
//!
//! A result counts only while its claim is there: a worker that was given up for dead, and comes back, changes nothing.

use std::collections::HashMap;
use std::time::Duration;

use crate::mutation::outcome::Name;
use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use crate::pg::{board, text, worker};

use super::backoff;
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

static FINISH: Statement = Statement::new(
    "WITH fresh AS (DELETE FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 \
       AND q.id OPERATOR(pg_catalog.=) ANY ($2) RETURNING q.*), \
     parked AS (DELETE FROM sequin.parked p WHERE p.id OPERATOR(pg_catalog.=) ANY ($2) RETURNING p.server, p.id, p.key, \
       p.role, p.kind, p.sync_id, p.collection_id, p.await_consumers, p.timeout_ms, p.relation, p.ordering_key, \
       p.upstream_id, p.data, p.enqueued_at) \
     INSERT INTO sequin.history \
     SELECT d.server, d.id, d.key, d.role, d.kind, d.sync_id, d.collection_id, d.await_consumers, d.timeout_ms, \
       d.relation, d.ordering_key, COALESCE(r.upstream_id, d.upstream_id), d.data, d.enqueued_at, \
       pg_catalog.clock_timestamp(), r.outcome, r.sent_with, r.record::pg_catalog.json \
     FROM (SELECT * FROM fresh UNION ALL SELECT * FROM parked) d \
     JOIN ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
       pg_catalog.unnest($6)) AS r(id, outcome, upstream_id, record, sent_with) ON r.id OPERATOR(pg_catalog.=) d.id",
);

/// From the queue to the parked ones.
static PARK: Statement = Statement::new(
    "WITH gone AS (DELETE FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 \
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
pub fn write(connection: &Connection, server: &str, fates: &[(&Operation, Fate)]) {
    let mut done = Done::default();
    for (operation, fate) in fates {
        match fate {
            Fate::Done { outcome, upstream_id, record } => {
                done.add(operation.id, outcome, upstream_id.as_deref(), record.as_deref(), None);
                for absorbed in &operation.absorbed {
                    let outcome = if absorbed.how == How::Superseded { "superseded" } else { outcome };
                    done.add(absorbed.id, outcome, upstream_id.as_deref(), None, Some(operation.id));
                }
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
    done.finish(connection, server);
    let keys: Vec<Option<&str>> = fates
        .iter()
        .filter(|(_, fate)| matches!(fate, Fate::Done { .. } | Fate::Rejected { .. }))
        .filter_map(|(operation, _)| operation.key.as_deref())
        .map(|key| Some(super::claim::ordering_key(key)))
        .collect();
    release(connection, server, &keys);
}

/// The same fates in words that every database can store. What cannot be kept of a reply is lost, as in a synchronous call.
pub fn plain<'a>(fates: &[(&'a Operation, Fate)]) -> Vec<(&'a Operation, Fate)> {
    let plain = |fate: &Fate| match fate.clone() {
        Fate::Done { outcome, upstream_id, record } => Fate::Done {
            outcome: if record.is_some() { Name::AppliedReplyLost.as_str() } else { outcome },
            upstream_id: upstream_id.filter(|id| id.is_ascii()),
            record: None,
        },
        Fate::Rejected { outcome, error } => Fate::Rejected { outcome, error: text::escape_non_ascii(&error) },
        Fate::Unknown { outcome, error } => Fate::Unknown { outcome, error: text::escape_non_ascii(&error) },
        Fate::Again { outcome, error } => Fate::Again { outcome, error: text::escape_non_ascii(&error) },
        Fate::Free => Fate::Free,
    };
    fates.iter().map(|(operation, fate)| (*operation, plain(fate))).collect()
}

fn absorbed_ids(operation: &Operation) -> Vec<i64> {
    operation.absorbed.iter().map(|absorbed| absorbed.id).collect()
}

/// Writes down the fate of one record that was not claimed.
pub fn one(connection: &Connection, server: &str, id: i64, fate: &Fate) {
    match fate {
        Fate::Done { outcome, .. } => {
            let mut done = Done::default();
            done.add(id, outcome, None, None, None);
            done.finish(connection, server);
        }
        Fate::Rejected { outcome, error } => {
            mark(connection, server, &[id], "rejected", Mark { delay: None, outcome, error });
        }
        Fate::Unknown { .. } | Fate::Again { .. } | Fate::Free => unreachable!("only a request has such a fate"),
    }
}

/// What is done, column by column.
#[derive(Default)]
struct Done<'a> {
    ids: Vec<i64>,
    outcomes: Vec<Option<&'a str>>,
    upstream_ids: Vec<Option<&'a str>>,
    records: Vec<Option<&'a str>>,
    sent_with: Vec<Option<i64>>,
}

impl<'a> Done<'a> {
    fn add(
        &mut self,
        id: i64,
        outcome: &'a str,
        upstream_id: Option<&'a str>,
        record: Option<&'a str>,
        sent_with: Option<i64>,
    ) {
        self.ids.push(id);
        self.outcomes.push(Some(outcome));
        self.upstream_ids.push(upstream_id);
        self.records.push(record);
        self.sent_with.push(sent_with);
    }

    fn finish(self, connection: &Connection, server: &str) {
        if self.ids.is_empty() {
            return;
        }
        let values = [
            Value::Text(Some(server)),
            Value::Int8s(&self.ids),
            Value::Texts(&self.outcomes),
            Value::Texts(&self.upstream_ids),
            Value::Texts(&self.records),
            Value::OptionalInt8s(&self.sent_with),
        ];
        FINISH.run(connection, &values).free();
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
    if !ids.is_empty() {
        PARK.run(connection, &[Value::Text(Some(server)), Value::Int8s(ids)]).free();
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
    let mut done = Done::default();
    for id in absorbed {
        ABSORB.run(connection, &[Value::Int8(head), Value::Int8(*id)]).free();
        done.add(*id, "merged", None, None, Some(head));
    }
    done.finish(connection, server);
    mark(connection, server, &[head], "unknown", Mark { delay: None, outcome, error });
}

/// Ends the claim of a worker that is gone.
pub fn end_dead_claim(connection: &Connection, server: &str, claim: i64, is_create: bool, ids: &[i64], heads: &[i64]) {
    static END: Statement = Statement::new("DELETE FROM sequin.claims c WHERE c.id OPERATOR(pg_catalog.=) $1");
    let error = "the worker ended while the request was under way";
    if is_create {
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

/// The queues that wait for a person.
pub struct Pauses {
    paused: Vec<(String, u32)>,
    has_own: bool,
}

impl Pauses {
    /// Whether a server is paused for all.
    pub fn is_whole(&self, server: &str) -> bool {
        self.is_for(server, 0)
    }

    pub fn is_for(&self, server: &str, role: u32) -> bool {
        self.paused.iter().any(|(paused, of)| paused == server && *of == role)
    }

    /// When to look whether what the machine paused may go on: nobody tells of a changed user mapping.
    pub fn look_again(&self) -> Option<Duration> {
        self.has_own.then_some(Duration::from_secs(1))
    }
}

/// What the catalogs say of a server and the mapping that a role uses: it changes when one of them does.
macro_rules! setup {
    ($server:literal, $role:literal) => {
        concat!(
            "(SELECT pg_catalog.concat_ws(' ', s.oid, s.xmin, m.umid, m.xmin) FROM pg_catalog.pg_foreign_server s ",
            "LEFT JOIN LATERAL (SELECT u.oid AS umid, u.xmin FROM pg_catalog.pg_user_mapping u ",
            "WHERE u.umserver OPERATOR(pg_catalog.=) s.oid AND u.umuser OPERATOR(pg_catalog.=) ANY (ARRAY[",
            $role,
            ", 0::pg_catalog.oid]) ORDER BY u.umuser DESC LIMIT 1) m ON true WHERE s.srvname OPERATOR(pg_catalog.=) ",
            $server,
            "::pg_catalog.name)"
        )
    };
}

/// Reads the pauses, and ends those of the machine whose cause has changed.
pub fn pauses(connection: &Connection) -> Pauses {
    static READ: Statement = Statement::new(concat!(
        "SELECT p.server, p.role, p.setup IS NOT NULL, COALESCE(p.setup OPERATOR(pg_catalog.<>) ",
        setup!("p.server", "p.role"),
        ", false) FROM sequin.pauses p"
    ));
    let rows = READ.run(connection, &[]);
    let mut pauses = Pauses { paused: Vec::new(), has_own: false };
    for row in 0..rows.len() {
        let (server, role) = (rows.text(row, 1).unwrap_or_default(), rows.oid_number(row, 2).unwrap_or_default());
        if rows.boolean(row, 4) {
            resume(connection, &server, Some(role));
        } else {
            pauses.has_own |= rows.boolean(row, 3);
            pauses.paused.push((server, role));
        }
    }
    pauses
}

/// Stops the delivery of a role's records, or with role 0 of all, until a person says otherwise, or, if the machine
/// does it, the server or the mapping changes.
pub fn pause(connection: &Connection, server: &str, role: u32, reason: &str, is_own: bool) {
    static PAUSE: Statement = Statement::new(concat!(
        "INSERT INTO sequin.pauses (server, role, reason, setup, since) VALUES ($1, $2, $3, CASE WHEN $4 THEN COALESCE(",
        setup!("$1", "$2"),
        ", '') END, pg_catalog.clock_timestamp()) ON CONFLICT (server, role) DO UPDATE SET reason = excluded.reason, \
         setup = excluded.setup"
    ));
    let reason = text::storable(reason);
    let values = [Value::Text(Some(server)), Value::Oid(role), Value::Text(Some(&reason)), Value::Bool(is_own)];
    PAUSE.run(connection, &values).free();
}

/// Ends the pauses of a server: one role's, or all.
pub fn resume(connection: &Connection, server: &str, role: Option<u32>) {
    static RESUME: Statement = Statement::new(
        "DELETE FROM sequin.pauses p WHERE p.server OPERATOR(pg_catalog.=) $1 \
         AND ($2 IS NULL OR p.role OPERATOR(pg_catalog.=) $2)",
    );
    static FREE: Statement = Statement::new(
        "UPDATE sequin.parked p SET next_attempt_at = pg_catalog.clock_timestamp() \
         WHERE p.server OPERATOR(pg_catalog.=) $1 AND p.state OPERATOR(pg_catalog.=) 'pending' \
         AND p.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'",
    );
    let role = role.map_or(Value::NoOid, Value::Oid);
    RESUME.run(connection, &[Value::Text(Some(server)), role]).free();
    FREE.run(connection, &[Value::Text(Some(server))]).free();
}

/// How long each server that is in trouble is left alone yet.
pub fn troubles(connection: &Connection) -> HashMap<String, Duration> {
    static READ: Statement = Statement::new(
        "SELECT t.server, pg_catalog.ceil(EXTRACT(epoch FROM t.next_attempt_at OPERATOR(pg_catalog.-) \
         pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 FROM sequin.troubles t",
    );
    let rows = READ.run(connection, &[]);
    let left = |row| Duration::from_millis(rows.int8(row, 2).unwrap_or_default().max(0) as u64);
    (0..rows.len()).map(|row| (rows.text(row, 1).unwrap_or_default(), left(row))).collect()
}

/// Notes that a server does not answer as it should, and leaves it alone for `delay`.
pub fn trouble(connection: &Connection, server: &str, error: &str, delay: Duration) {
    static WRITE: Statement = Statement::new(
        "INSERT INTO sequin.troubles (server, error, since, last_at, next_attempt_at) \
         VALUES ($1, $2, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp(), $3) \
         ON CONFLICT (server) DO UPDATE SET error = excluded.error, last_at = excluded.last_at, \
         next_attempt_at = excluded.next_attempt_at",
    );
    let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    let error = text::storable(error);
    let values = [Value::Text(Some(server)), Value::Text(Some(&error)), Value::In(Some(millis))];
    WRITE.run(connection, &values).free();
}

/// Notes that a server answers again.
pub fn recovered(connection: &Connection, server: &str) {
    static CLEAR: Statement = Statement::new("DELETE FROM sequin.troubles t WHERE t.server OPERATOR(pg_catalog.=) $1");
    CLEAR.run(connection, &[Value::Text(Some(server))]).free();
}

/// Notes which database this is.
pub fn write_home(connection: &Connection, system: i64, database: u32) {
    static WRITE: Statement = Statement::new(
        "INSERT INTO sequin.home (system_identifier, database) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM sequin.home)",
    );
    WRITE.run(connection, &[Value::Int8(system), Value::Oid(database)]).free();
}

/// Says that an unknown create was applied.
pub fn resolve(connection: &Connection, server: &str, id: i64, upstream_id: &str) {
    let mut done = Done::default();
    done.add(id, "resolved", Some(upstream_id), None, None);
    done.finish(connection, server);
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
