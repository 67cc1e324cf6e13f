//! What is known of servers: which queues wait for a person, and which servers are left alone for a while.

use std::collections::HashMap;
use std::time::Duration;

use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use crate::pg::{random, text};

use contract::batching::backoff;

use super::guard;
use super::settle::transitions;

/// The queues that wait for a person.
pub struct Pauses {
    paused: Vec<(String, u32)>,
    /// Servers of which only the records below an id wait.
    held: Vec<(String, i64)>,
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

    /// Whether a record waits because it was queued before this copy of the database was made.
    pub fn is_held(&self, server: &str, id: i64) -> bool {
        self.held.iter().any(|(held, below)| held == server && id < *below)
    }

    /// When to look whether what the machine paused may go on: nobody tells of a changed user mapping.
    pub fn look_again(&self) -> Option<Duration> {
        self.has_own.then_some(Duration::from_secs(1))
    }
}

/// What the catalogs say of a server and the mapping that a role uses, as [`crate::call::server::fingerprint`] says it: it changes when
/// one of them does.
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
        ", false), NULL::pg_catalog.int8 FROM sequin.pauses p UNION ALL \
         SELECT h.server, 0::pg_catalog.oid, false, false, h.below FROM sequin.holds h"
    ));
    let rows = READ.run(connection, &[]);
    let mut pauses = Pauses { paused: Vec::new(), held: Vec::new(), has_own: false };
    for row in 0..rows.len() {
        let (server, role) = (rows.text(row, 1).unwrap_or_default(), rows.oid_number(row, 2).unwrap_or_default());
        if let Some(below) = rows.int8(row, 5) {
            pauses.held.push((server, below));
        } else if rows.boolean(row, 4) {
            resume(connection, &server, Some(role));
        } else {
            pauses.has_own |= rows.boolean(row, 3);
            pauses.paused.push((server, role));
        }
    }
    pauses
}

/// Stops the delivery of a role's records, or with role 0 of all, until a person says otherwise, or, if the machine
/// does it, the server or the mapping is not what it had been when it was of no use: `setup`. It may be another already.
pub fn pause(connection: &Connection, server: &str, role: u32, reason: &str, setup: Option<&str>) {
    static PAUSE: Statement = Statement::new(
        "INSERT INTO sequin.pauses (server, role, reason, setup, since) VALUES ($1, $2, $3, $4, \
         pg_catalog.clock_timestamp()) ON CONFLICT (server, role) DO UPDATE SET reason = excluded.reason, \
         setup = excluded.setup",
    );
    let reason = text::storable(reason);
    let values = [Value::Text(Some(server)), Value::Oid(role), Value::Text(Some(&reason)), Value::Text(setup)];
    PAUSE.run(connection, &values).free();
}

/// Holds the records of a server below an id, until `sequin_resume`.
pub fn hold(connection: &Connection, server: &str, below: i64, reason: &str) {
    static HOLD: Statement = Statement::new(
        "INSERT INTO sequin.holds AS h (server, below, reason, since) VALUES ($1, $2, $3, pg_catalog.clock_timestamp()) \
         ON CONFLICT (server) DO UPDATE SET below = GREATEST(h.below, excluded.below), reason = excluded.reason",
    );
    HOLD.run(connection, &[Value::Text(Some(server)), Value::Int8(below), Value::Text(Some(reason))]).free();
}

/// Ends the holds that hold no record any more: each was delivered, discarded or resolved.
pub fn end_empty_holds(connection: &Connection) {
    static END: Statement = Statement::new(
        "DELETE FROM sequin.holds h WHERE NOT EXISTS (SELECT FROM sequin.queue q WHERE \
         q.server OPERATOR(pg_catalog.=) h.server AND q.id OPERATOR(pg_catalog.<) h.below) \
         AND NOT EXISTS (SELECT FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) h.server \
         AND p.id OPERATOR(pg_catalog.<) h.below)",
    );
    END.run(connection, &[]).free();
}

/// Ends the pauses of a server: one role's, or all, and then its hold too.
pub fn resume(connection: &Connection, server: &str, role: Option<u32>) {
    static RESUME: Statement = Statement::new(
        "DELETE FROM sequin.pauses p WHERE p.server OPERATOR(pg_catalog.=) $1 \
         AND ($2 IS NULL OR p.role OPERATOR(pg_catalog.=) $2)",
    );
    static FREE: Statement = Statement::new(
        "UPDATE sequin.deferred p SET next_attempt_at = pg_catalog.clock_timestamp() \
         WHERE p.server OPERATOR(pg_catalog.=) $1 AND p.state OPERATOR(pg_catalog.=) 'pending' \
         AND p.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'",
    );
    static WAITING: Statement = Statement::new(
        "SELECT p.id FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) $1 \
         AND p.state OPERATOR(pg_catalog.=) 'pending' AND p.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'",
    );
    static RELEASE: Statement = Statement::new("DELETE FROM sequin.holds h WHERE h.server OPERATOR(pg_catalog.=) $1");
    if role.is_none() {
        RELEASE.run(connection, &[Value::Text(Some(server))]).free();
    }
    let role = role.map_or(Value::NoOid, Value::Oid);
    RESUME.run(connection, &[Value::Text(Some(server)), role]).free();
    let server = [Value::Text(Some(server))];
    if guard::carefully(|| FREE.run(connection, &server).free()).is_err() {
        let rows = WAITING.run(connection, &server);
        let ids: Vec<i64> = (0..rows.len()).filter_map(|row| rows.int8(row, 1)).collect();
        rows.free();
        transitions::free(connection, &ids);
    }
}

/// How a server that is in trouble is left alone yet.
pub struct Trouble {
    /// For so long by all requests.
    pub left: Duration,
    /// For so long by creates.
    pub left_for_creates: Duration,
}

/// The servers that are in trouble.
pub fn troubles(connection: &Connection) -> HashMap<String, Trouble> {
    static READ: Statement = Statement::new(
        "SELECT t.server, pg_catalog.ceil(EXTRACT(epoch FROM t.next_attempt_at OPERATOR(pg_catalog.-) \
         pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8, \
         pg_catalog.ceil(EXTRACT(epoch FROM t.creates_after OPERATOR(pg_catalog.-) \
         pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 FROM sequin.server_backoff t",
    );
    let rows = READ.run(connection, &[]);
    let left = |row, column| Duration::from_millis(rows.int8(row, column).unwrap_or_default().max(0) as u64);
    let trouble = |row| Trouble { left: left(row, 2), left_for_creates: left(row, 3) };
    (0..rows.len()).map(|row| (rows.text(row, 1).unwrap_or_default(), trouble(row))).collect()
}

/// Notes that a server does not answer as it should, and leaves it alone for `delay`. If creates became unknown by it,
/// creates leave it alone for longer.
pub fn trouble(connection: &Connection, server: &str, error: &str, delay: Duration, has_lost_creates: bool) {
    static WRITE: Statement = Statement::new(
        "INSERT INTO sequin.server_backoff (server, error, since, last_at, next_attempt_at) \
         VALUES ($1, $2, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp(), $3) \
         ON CONFLICT (server) DO UPDATE SET error = excluded.error, last_at = excluded.last_at, \
         next_attempt_at = excluded.next_attempt_at RETURNING lost_creates",
    );
    static LOST: Statement = Statement::new(
        "UPDATE sequin.server_backoff t SET lost_creates = $2, creates_after = $3 WHERE t.server OPERATOR(pg_catalog.=) $1",
    );
    let after = |delay: Duration| Value::In(Some(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)));
    let error = text::storable(error);
    let rows = WRITE.run(connection, &[Value::Text(Some(server)), Value::Text(Some(&error)), after(delay)]);
    if has_lost_creates {
        let lost = rows.int4(0, 1).unwrap_or_default().saturating_add(1);
        let longer = backoff::create_delay(lost.max(1) as u32, random::fraction()).max(delay);
        LOST.run(connection, &[Value::Text(Some(server)), Value::Int4(Some(lost)), after(longer)]).free();
    }
}

/// Notes that a server answers again.
pub fn recovered(connection: &Connection, server: &str) {
    static CLEAR: Statement =
        Statement::new("DELETE FROM sequin.server_backoff t WHERE t.server OPERATOR(pg_catalog.=) $1");
    CLEAR.run(connection, &[Value::Text(Some(server))]).free();
}
