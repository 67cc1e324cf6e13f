//! Reading the records that a worker may send.

use std::borrow::Cow;
use std::time::Duration;

use pgrx::pg_sys::Oid;

use crate::pg::column::row;
use crate::pg::jsonb::Json;
use crate::pg::spi::{Connection, QueryRows};
use crate::pg::statement::Statement;
use contract::batching::ordering_key::OrderingKey;
use contract::kind::Kind;
use contract::reply::Timestamp;

use super::row::State;

row! {
    /// A record that is read to be sent. Its text is borrowed from the result, except the data, which is printed when it
    /// is needed.
    pub struct Record<'row> {
        pub id: i64,
        pub kind: Kind,
        pub role: Oid,
        pub sync_id: Cow<'row, str>,
        pub collection_id: Cow<'row, str>,
        pub await_consumers: Option<Vec<String>>,
        pub timeout_ms: Option<i32>,
        pub relation: Option<Oid>,
        pub ordering_key: Option<Cow<'row, str>>,
        pub upstream_id: Option<String>,
        pub data: Option<Json>,
        /// NULL where no idempotency key is sent.
        pub idempotency_key: Option<String>,
        pub attempts: u32,
        pub resend_verbatim: bool,
        pub state: State,
    }
}

/// The next records of a server's queue, as [`Record`]s. Printing their idempotency keys takes time.
pub fn queued<'conn>(
    connection: &'conn Connection,
    server: &str,
    from: i64,
    width: usize,
    with_idempotency_keys: bool,
) -> QueryRows<'conn> {
    static QUEUED: Statement<(&str, i64, i64, bool)> = Statement::new(
        "SELECT q.id, q.kind, q.role::pg_catalog.oid, q.sync_id, q.collection_id, q.await_consumers, q.timeout_ms, \
         q.relation::pg_catalog.oid, q.ordering_key, q.upstream_id, q.data, \
         CASE WHEN $4 THEN q.key::pg_catalog.text END, 0, false, 'pending'::pg_catalog.text \
         FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.>=) $2 \
         ORDER BY q.id LIMIT $3",
    );
    QUEUED.run(connection, (server, from, width as i64, with_idempotency_keys))
}

/// Whether a server has deferred records.
pub fn has_deferred(connection: &Connection, server: &str) -> bool {
    static HAS_DEFERRED: Statement<(&str,)> =
        Statement::new("SELECT FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) $1 LIMIT 1");
    HAS_DEFERRED.run(connection, (server,)).len() > 0
}

/// When the next deferred record is due. A due record that was not planned waits for another record, and the workers
/// wake when that one is settled.
pub fn next_due(connection: &Connection, server: &str, now: Timestamp) -> Option<Duration> {
    static NEXT_DUE: Statement<(&str, Timestamp)> = Statement::new(
        "SELECT pg_catalog.ceil(EXTRACT(epoch FROM p.next_attempt_at OPERATOR(pg_catalog.-) $2) \
         OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) $1 \
         AND p.state OPERATOR(pg_catalog.=) 'pending' AND p.next_attempt_at OPERATOR(pg_catalog.>) $2 \
         AND p.next_attempt_at OPERATOR(pg_catalog.<) 'infinity' ORDER BY p.next_attempt_at LIMIT 1",
    );
    let next = NEXT_DUE.run(connection, (server, now)).first::<(i64,)>();
    next.map(|(millis,)| super::duration(millis.max(1)))
}

macro_rules! is_too_far {
    ($now:literal) => {
        concat!(
            "p.next_attempt_at OPERATOR(pg_catalog.>) (",
            $now,
            " OPERATOR(pg_catalog.+) CASE WHEN p.attempts OPERATOR(pg_catalog.=) 0 \
             THEN '61 minutes'::pg_catalog.interval ELSE '301 seconds'::pg_catalog.interval END)"
        )
    };
}

/// Whether a deferred record is due at this time. One that waits for longer than any wait is due, too: the clock was set
/// back. After a failed attempt a record waits for five minutes at most. Without one it waits for a Retry-After of up to an
/// hour.
macro_rules! is_due {
    ($now:literal) => {
        concat!(
            "(p.next_attempt_at OPERATOR(pg_catalog.<=) ",
            $now,
            " OR p.next_attempt_at OPERATOR(pg_catalog.<) 'infinity' AND ",
            is_too_far!($now),
            ")"
        )
    };
}

row! {
    /// A deferred record that is due.
    pub struct Due<'row> {
        pub id: i64,
        pub collection_id: Cow<'row, str>,
        pub relation: Option<Oid>,
        pub ordering_key: Option<Cow<'row, str>>,
        pub role: Oid,
    }
}

/// The records that cannot be sent now, whatever their time.
#[derive(Default)]
pub struct Waiting {
    /// All creates.
    pub creates: bool,
    callers: Vec<String>,
}

impl Waiting {
    /// The records of this role for this sync.
    pub fn push(&mut self, role: u32, sync_id: &str) {
        self.callers.push(format!("{role} {sync_id}"));
    }
}

/// The deferred records that are due and do not wait, as [`Due`]s.
pub fn due<'conn>(
    connection: &'conn Connection,
    server: &str,
    now: Timestamp,
    waiting: &Waiting,
    most: usize,
) -> QueryRows<'conn> {
    macro_rules! due {
        () => {
            "SELECT p.id, p.collection_id, p.relation::pg_catalog.oid, p.ordering_key, p.role::pg_catalog.oid \
             FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) $1 \
             AND p.state OPERATOR(pg_catalog.=) 'pending' \
             AND NOT ($4 AND p.kind OPERATOR(pg_catalog.=) 'create') \
             AND NOT pg_catalog.concat(p.role::pg_catalog.oid, ' ', p.sync_id) OPERATOR(pg_catalog.=) ANY ($5) \
             AND p.next_attempt_at OPERATOR(pg_catalog."
        };
    }
    /// The arguments of this function, in their order.
    type Parameters = (&'static str, Timestamp, i64, bool, &'static [&'static str]);
    static DUE: Statement<Parameters> = Statement::new(concat!(
        "(",
        due!(),
        "<=) $2 ORDER BY p.next_attempt_at LIMIT $3) UNION ALL (",
        due!(),
        ">) ($2 OPERATOR(pg_catalog.+) '301 seconds'::pg_catalog.interval) \
         AND p.next_attempt_at OPERATOR(pg_catalog.<) 'infinity' AND ",
        is_too_far!("$2"),
        " LIMIT $3)"
    ));
    let callers: Vec<&str> = waiting.callers.iter().map(String::as_str).collect();
    DUE.run(connection, (server, now, most as i64, waiting.creates, &callers))
}

row! {
    /// The deferred records that share an ordering key and all other columns of this row.
    pub struct Group<'row> {
        pub collection_id: Cow<'row, str>,
        pub relation: Option<Oid>,
        pub ordering_key: Cow<'row, str>,
        pub role: Oid,
        pub sync_id: Cow<'row, str>,
        pub is_create: bool,
        pub state: State,
        pub is_due: bool,
        pub first: i64,
        pub count: i64,
    }
}

/// The deferred records with these ordering keys, as [`Group`]s.
pub fn groups<'conn>(
    connection: &'conn Connection,
    server: &str,
    ordering_keys: &[&str],
    now: Timestamp,
) -> QueryRows<'conn> {
    static GROUPS: Statement<(&str, &[&str], Timestamp)> = Statement::new(concat!(
        "SELECT p.collection_id, p.relation::pg_catalog.oid, p.ordering_key, p.role::pg_catalog.oid, p.sync_id, \
         p.kind OPERATOR(pg_catalog.=) 'create', p.state, ",
        is_due!("$3"),
        ", pg_catalog.min(p.id), pg_catalog.count(*) FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) $1 AND ",
        has_key_of!("p.ordering_key", "$2"),
        " GROUP BY 1, 2, 3, 4, 5, 6, 7, 8",
    ));
    GROUPS.run(connection, (server, ordering_keys, now))
}

/// Ordering keys, each with the id that its records must be below.
#[derive(Default)]
pub struct KeysBelow<'a> {
    collections: Vec<&'a str>,
    relations: Vec<i64>,
    ordering_keys: Vec<&'a str>,
    below: Vec<i64>,
}

impl<'a> KeysBelow<'a> {
    pub fn push(&mut self, key: &'a OrderingKey, below: i64) {
        self.collections.push(&key.collection_id);
        self.relations.push(key.relation.unwrap_or_default().into());
        self.ordering_keys.push(&key.text);
        self.below.push(below);
    }
}

macro_rules! of_keys {
    () => {
        concat!(
            "ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) \
             AS k(collection_id, relation, ordering_key, below) WHERE p.server OPERATOR(pg_catalog.=) $1 AND ",
            same_key!("p.ordering_key", "k.ordering_key"),
            " AND p.collection_id OPERATOR(pg_catalog.=) k.collection_id \
             AND COALESCE(p.relation::pg_catalog.oid::pg_catalog.int8, 0) OPERATOR(pg_catalog.=) k.relation \
             AND p.id OPERATOR(pg_catalog.<) k.below"
        )
    };
}

/// The columns of [`Record`] in `sequin.deferred`.
macro_rules! deferred_record {
    () => {
        "SELECT p.id, p.kind, p.role::pg_catalog.oid AS role, p.sync_id, p.collection_id, p.await_consumers, p.timeout_ms, \
         p.relation::pg_catalog.oid AS relation, p.ordering_key, p.upstream_id, p.data, \
         p.key::pg_catalog.text AS idempotency_key, p.attempts, p.resend_verbatim, p.state FROM sequin.deferred p"
    };
}

/// The deferred records of these keys, and those with the ids `alone`, as [`Record`]s. Those of `paused` roles are left
/// out, except for rows of attached tables, which keep their order.
pub fn deferred<'conn>(
    connection: &'conn Connection,
    server: &str,
    keys: &KeysBelow<'_>,
    alone: &[i64],
    paused: &[i64],
    most: usize,
) -> QueryRows<'conn> {
    /// The arguments of this function, in their order.
    type Parameters = (
        &'static str,
        &'static [&'static str],
        &'static [i64],
        &'static [&'static str],
        &'static [i64],
        &'static [i64],
        &'static [i64],
        i64,
    );
    static DEFERRED: Statement<Parameters> = Statement::new(concat!(
        "SELECT r.id, r.kind, r.role, r.sync_id, r.collection_id, r.await_consumers, r.timeout_ms, r.relation, \
         r.ordering_key, r.upstream_id, r.data, r.idempotency_key, r.attempts, r.resend_verbatim, r.state FROM (",
        deferred_record!(),
        ", ",
        of_keys!(),
        " AND (k.relation OPERATOR(pg_catalog.<>) 0 \
         OR p.role::pg_catalog.oid::pg_catalog.int8 OPERATOR(pg_catalog.<>) ALL ($7)) UNION ALL ",
        deferred_record!(),
        " WHERE p.id OPERATOR(pg_catalog.=) ANY ($6)) r ORDER BY r.id LIMIT $8"
    ));
    let KeysBelow { collections, relations, ordering_keys, below } = keys;
    DEFERRED.run(connection, (server, collections, relations, ordering_keys, below, alone, paused, most as i64))
}

/// The ids, from `from` on, of deferred records of these keys that are due.
pub fn due_from(connection: &Connection, server: &str, keys: &KeysBelow<'_>, from: i64, now: Timestamp) -> Vec<i64> {
    static DUE_FROM: Statement<(&str, &[&str], &[i64], &[&str], &[i64], i64, Timestamp)> = Statement::new(concat!(
        "SELECT p.id FROM sequin.deferred p, ",
        of_keys!(),
        " AND p.id OPERATOR(pg_catalog.>=) $6 AND p.state OPERATOR(pg_catalog.=) 'pending' AND ",
        is_due!("$7")
    ));
    let KeysBelow { collections, relations, ordering_keys, below } = keys;
    super::ids(DUE_FROM.run(connection, (server, collections, relations, ordering_keys, below, from, now)))
}

/// The foreign servers of this extension.
pub fn foreign_servers(connection: &Connection) -> Vec<(String, Oid)> {
    static SERVERS: Statement<()> = Statement::new(
        "SELECT s.srvname::pg_catalog.text, s.oid FROM pg_catalog.pg_foreign_server s \
         JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid OPERATOR(pg_catalog.=) s.srvfdw \
         WHERE w.fdwname OPERATOR(pg_catalog.=) 'sequin_mutations'",
    );
    SERVERS.run(connection, ()).iter().collect()
}

/// The servers that records name, whether they exist or not.
pub fn named_servers(connection: &Connection) -> Vec<String> {
    static NAMED: Statement<()> = Statement::new(concat!(
        named_servers!(),
        ", deferred(server) AS ((SELECT p.server FROM sequin.deferred p ORDER BY p.server LIMIT 1) UNION ALL \
           (SELECT (SELECT p.server FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.>) n.server \
                    ORDER BY p.server LIMIT 1) FROM deferred n WHERE n.server IS NOT NULL)) \
         SELECT n.server FROM named n WHERE n.server IS NOT NULL UNION \
         SELECT n.server FROM deferred n WHERE n.server IS NOT NULL"
    ));
    NAMED.run(connection, ()).iter::<(String,)>().map(|(name,)| name).collect()
}
