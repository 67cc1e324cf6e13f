//! Counting open records, at a cost that does not grow with their number.
//!
//! An index read stops after [`MOST`] entries of a server. A larger number is estimated from a sample of the table's pages.

use pgrx::pg_sys::Oid;

use crate::pg::column::row;
use crate::pg::spi::{Connection, QueryRows};
use crate::pg::statement::Statement;
use contract::reply::Timestamp;

use super::row::State;

/// The records of a server that are read at most: one more than are counted exactly.
macro_rules! most {
    () => {
        "1001"
    };
}

/// The number in `most!`.
pub const MOST: i64 = 1_001;

row! {
    /// Records of a server that share role and state.
    pub struct Count {
        pub server: String,
        pub role: Oid,
        pub state: State,
        pub records: i64,
        pub oldest: Timestamp,
    }
}

/// The first records of each server's queue, from an id on.
pub fn queued(connection: &Connection, servers: &[&str], from: &[i64]) -> Vec<Count> {
    static QUEUED: Statement<(&[&str], &[i64])> = Statement::new(concat!(
        "SELECT k.server, q.role, 'pending'::pg_catalog.text, pg_catalog.count(*), pg_catalog.min(q.enqueued_at) \
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(server, least) CROSS JOIN LATERAL ( \
           SELECT o.role::pg_catalog.oid AS role, o.enqueued_at FROM sequin.queue o \
           WHERE o.server OPERATOR(pg_catalog.=) k.server AND o.id OPERATOR(pg_catalog.>=) k.least \
           ORDER BY o.id LIMIT ",
        most!(),
        ") AS q GROUP BY 1, 2"
    ));
    rows(QUEUED.run(connection, (servers, from)))
}

/// The first deferred records of each server.
pub fn deferred(connection: &Connection, servers: &[&str]) -> Vec<Count> {
    static DEFERRED: Statement<(&[&str],)> = Statement::new(concat!(
        "SELECT k.server, p.role, p.state, pg_catalog.count(*), pg_catalog.min(p.enqueued_at) \
         FROM pg_catalog.unnest($1) AS k(server) CROSS JOIN LATERAL ( \
           SELECT o.role::pg_catalog.oid AS role, o.state, o.enqueued_at FROM sequin.deferred o \
           WHERE o.server OPERATOR(pg_catalog.=) k.server ORDER BY o.id LIMIT ",
        most!(),
        ") AS p GROUP BY 1, 2, 3"
    ));
    rows(DEFERRED.run(connection, (servers,)))
}

/// The first deferred records of each server that wait for a person.
pub fn dead(connection: &Connection, servers: &[&str]) -> Vec<Count> {
    static DEAD: Statement<(&[&str],)> = Statement::new(concat!(
        "SELECT k.server, p.role, p.state, pg_catalog.count(*), pg_catalog.min(p.enqueued_at) \
         FROM pg_catalog.unnest($1) AS k(server) CROSS JOIN LATERAL ( \
           SELECT o.role::pg_catalog.oid AS role, o.state, o.enqueued_at FROM sequin.deferred o \
           WHERE o.server OPERATOR(pg_catalog.=) k.server AND o.state OPERATOR(pg_catalog.<>) 'pending' \
           ORDER BY o.id LIMIT ",
        most!(),
        ") AS p GROUP BY 1, 2, 3"
    ));
    rows(DEAD.run(connection, (servers,)))
}

fn rows(rows: QueryRows<'_>) -> Vec<Count> {
    let counts = rows.iter().collect();
    rows.free();
    counts
}

/// Further servers that records name: between two of the known names at most one. The search steps over no record of a
/// known server.
pub fn unknown_servers(connection: &Connection, known: &[&str]) -> Vec<String> {
    macro_rules! between {
        ($table:literal) => {
            concat!(
                "(SELECT o.server FROM ",
                $table,
                " o WHERE k.upper IS NOT NULL AND o.server OPERATOR(pg_catalog.>) k.lower \
                 AND o.server OPERATOR(pg_catalog.<) k.upper ORDER BY o.server, o.id LIMIT 1) UNION ALL \
                 (SELECT o.server FROM ",
                $table,
                " o WHERE k.upper IS NULL AND o.server OPERATOR(pg_catalog.>) k.lower ORDER BY o.server, o.id LIMIT 1)"
            )
        };
    }
    static UNKNOWN: Statement<(&[&str],)> = Statement::new(concat!(
        "SELECT DISTINCT f.server FROM ( \
           SELECT s.server COLLATE pg_catalog.\"C\" AS lower, \
             pg_catalog.lead(s.server) OVER (ORDER BY s.server COLLATE pg_catalog.\"C\") COLLATE pg_catalog.\"C\" AS upper \
           FROM (SELECT ''::pg_catalog.text AS server UNION ALL SELECT n.server FROM pg_catalog.unnest($1) AS n(server)) s \
         ) AS k CROSS JOIN LATERAL (",
        between!("sequin.queue"),
        " UNION ALL ",
        between!("sequin.deferred"),
        ") AS f(server)"
    ));
    let rows = UNKNOWN.run(connection, (known,));
    let servers = rows.iter::<(String,)>().map(|(server,)| server).collect();
    rows.free();
    servers
}

row! {
    /// Open write-backs of a server that share a role.
    pub struct WriteBacks {
        pub server: String,
        pub role: Oid,
        pub records: i64,
    }
}

/// The newest open write-backs, of all servers.
pub fn write_backs(connection: &Connection) -> Vec<WriteBacks> {
    static WRITE_BACKS: Statement<()> = Statement::new(concat!(
        "SELECT c.server, c.role, pg_catalog.count(*) FROM ( \
           SELECT o.server, o.role::pg_catalog.oid AS role FROM sequin.pending_upstream_ids o ORDER BY o.id DESC LIMIT ",
        most!(),
        ") AS c GROUP BY 1, 2"
    ));
    WRITE_BACKS.run(connection, ()).iter().collect()
}

row! {
    /// A write-back that has failed.
    pub struct FailedWriteBack {
        pub server: String,
        pub role: Oid,
        pub error: String,
    }
}

/// For each server and role the last of the newest write-backs that have failed, the last one first.
pub fn failed_write_backs(connection: &Connection) -> Vec<FailedWriteBack> {
    static FAILED: Statement<()> = Statement::new(concat!(
        "SELECT c.server, c.role, c.error FROM ( \
           SELECT DISTINCT ON (o.server, o.role) o.server, o.role, o.error, o.id FROM ( \
             SELECT p.server, p.role::pg_catalog.oid AS role, p.error, p.id FROM sequin.pending_upstream_ids p \
             WHERE p.error IS NOT NULL ORDER BY p.id DESC LIMIT ",
        most!(),
        ") AS o ORDER BY o.server, o.role, o.id DESC) AS c ORDER BY c.id DESC"
    ));
    FAILED.run(connection, ()).iter().collect()
}

/// A table that can be sampled.
#[derive(Clone, Copy)]
pub enum Sampled {
    Queue,
    Deferred,
    WriteBacks,
}

/// The pages of a sample. Many single pages, because the records of one role or server often lie next to each other.
const SAMPLED_PAGES: i64 = 32;

/// The records of each server, role and state, estimated from pages at equal distances. A small table is counted as a
/// whole.
pub fn sample(connection: &Connection, table: Sampled) -> Vec<Count> {
    macro_rules! in_pages {
        ($table:literal, $state:literal, $time:literal) => {
            concat!(
                "SELECT o.server, o.role::pg_catalog.oid, ",
                $state,
                ", pg_catalog.count(*), pg_catalog.min(",
                $time,
                ") FROM ",
                $table,
                " o WHERE o.ctid OPERATOR(pg_catalog.>=) $1::pg_catalog.tid \
                 AND o.ctid OPERATOR(pg_catalog.<) $2::pg_catalog.tid GROUP BY 1, 2, 3"
            )
        };
    }
    static PAGES: Statement<(&str,)> = Statement::new(
        "SELECT pg_catalog.pg_relation_size($1::pg_catalog.regclass) OPERATOR(pg_catalog./) \
         pg_catalog.current_setting('block_size')::pg_catalog.int8",
    );
    static QUEUE: Statement<(&str, &str)> =
        Statement::new(in_pages!("sequin.queue", "'pending'::pg_catalog.text", "o.enqueued_at"));
    static DEFERRED: Statement<(&str, &str)> = Statement::new(in_pages!("sequin.deferred", "o.state", "o.enqueued_at"));
    static WRITE_BACKS: Statement<(&str, &str)> = Statement::new(in_pages!(
        "sequin.pending_upstream_ids",
        "'pending'::pg_catalog.text",
        "pg_catalog.clock_timestamp()"
    ));
    let (name, statement) = match table {
        Sampled::Queue => ("sequin.queue", &QUEUE),
        Sampled::Deferred => ("sequin.deferred", &DEFERRED),
        Sampled::WriteBacks => ("sequin.pending_upstream_ids", &WRITE_BACKS),
    };
    let pages = PAGES.run(connection, (name,)).first::<(i64,)>().map_or(0, |(pages,)| pages);
    let is_small = pages <= SAMPLED_PAGES;
    let sampled = pages.min(SAMPLED_PAGES);
    let page = |number: i64| (2 * number + 1) * pages / (2 * SAMPLED_PAGES);
    let ranges: Vec<(i64, i64)> = match is_small {
        true => vec![(0, pages)],
        false => (0..SAMPLED_PAGES).map(|number| (page(number), page(number) + 1)).collect(),
    };
    let mut counts: Vec<Count> = Vec::new();
    for (from, to) in ranges {
        for counted in rows(statement.run(connection, (&format!("({from},0)"), &format!("({to},0)")))) {
            let is_same = |count: &&mut Count| {
                (&count.server, count.role, count.state) == (&counted.server, counted.role, counted.state)
            };
            match counts.iter_mut().find(is_same) {
                Some(count) => {
                    count.records += counted.records;
                    count.oldest.0 = count.oldest.0.min(counted.oldest.0);
                }
                None => counts.push(counted),
            }
        }
    }
    for count in &mut counts {
        count.records = (count.records as f64 * pages as f64 / sampled.max(1) as f64).round() as i64;
    }
    counts
}
