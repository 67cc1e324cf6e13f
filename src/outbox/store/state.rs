//! The stored state of servers: pauses, holds, and backoff after errors.

use std::time::Duration;

use pgrx::pg_sys::Oid;

use crate::pg::column::{FromText, row};
use crate::pg::spi::Connection;
use crate::pg::statement::Statement;
use contract::reply::Timestamp;

/// The versions of a server and of the user mapping that a role uses, as [`crate::call::server::fingerprint`] writes them:
/// they change when one of the two is altered.
macro_rules! fingerprint {
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

row! {
    /// A pause of a role's records, or with role 0 of all.
    pub struct Pause {
        pub server: String,
        pub role: Oid,
        /// A worker paused automatically, because the server or the user mapping could not be used.
        pub is_automatic: bool,
        /// It is automatic, and the server or the user mapping has changed since.
        pub is_over: bool,
    }
}

pub fn pauses(connection: &Connection) -> Vec<Pause> {
    static READ: Statement<()> = Statement::new(concat!(
        "SELECT p.server, p.role, p.setup IS NOT NULL, COALESCE(p.setup OPERATOR(pg_catalog.<>) ",
        fingerprint!("p.server", "p.role"),
        ", false) FROM sequin.pauses p"
    ));
    READ.run(connection, ()).iter().collect()
}

/// Pauses a role's records, or with role 0 all. A pause with a fingerprint ends when that changes.
pub fn pause(connection: &Connection, server: &str, role: Oid, reason: &str, fingerprint: Option<&str>) {
    static PAUSE: Statement<(&str, Oid, &str, Option<&str>)> = Statement::new(
        "INSERT INTO sequin.pauses (server, role, reason, setup, since) VALUES ($1, $2, $3, $4, \
         pg_catalog.clock_timestamp()) ON CONFLICT (server, role) DO UPDATE SET reason = excluded.reason, \
         setup = excluded.setup",
    );
    PAUSE.run(connection, (server, role, reason, fingerprint)).free();
}

/// Ends the pause of one role, or all pauses of the server.
pub fn resume(connection: &Connection, server: &str, role: Option<Oid>) {
    static RESUME: Statement<(&str, Option<Oid>)> = Statement::new(
        "DELETE FROM sequin.pauses p WHERE p.server OPERATOR(pg_catalog.=) $1 \
         AND ($2 IS NULL OR p.role OPERATOR(pg_catalog.=) $2)",
    );
    RESUME.run(connection, (server, role)).free();
}

row! {
    /// The records of a server below an id wait for `sequin_resume`.
    pub struct Hold {
        pub server: String,
        pub below: i64,
    }
}

pub fn holds(connection: &Connection) -> Vec<Hold> {
    static READ: Statement<()> = Statement::new("SELECT h.server, h.below FROM sequin.holds h");
    READ.run(connection, ()).iter().collect()
}

/// Holds the records of a server below an id.
pub fn hold(connection: &Connection, server: &str, below: i64, reason: &str) {
    static HOLD: Statement<(&str, i64, &str)> = Statement::new(
        "INSERT INTO sequin.holds AS h (server, below, reason, since) VALUES ($1, $2, $3, pg_catalog.clock_timestamp()) \
         ON CONFLICT (server) DO UPDATE SET below = GREATEST(h.below, excluded.below), reason = excluded.reason",
    );
    HOLD.run(connection, (server, below, reason)).free();
}

/// Ends the hold of a server.
pub fn release(connection: &Connection, server: &str) {
    static RELEASE: Statement<(&str,)> =
        Statement::new("DELETE FROM sequin.holds h WHERE h.server OPERATOR(pg_catalog.=) $1");
    RELEASE.run(connection, (server,)).free();
}

/// Ends the holds of those servers whose held records are all settled.
pub fn release_empty(connection: &Connection, servers: &[&str]) {
    static RELEASE: Statement<(&[&str],)> = Statement::new(
        "DELETE FROM sequin.holds h WHERE h.server OPERATOR(pg_catalog.=) ANY ($1) AND NOT EXISTS (SELECT FROM sequin.queue q WHERE \
         q.server OPERATOR(pg_catalog.=) h.server AND q.id OPERATOR(pg_catalog.<) h.below) \
         AND NOT EXISTS (SELECT FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) h.server \
         AND p.id OPERATOR(pg_catalog.<) h.below)",
    );
    if !servers.is_empty() {
        RELEASE.run(connection, (servers,)).free();
    }
}

row! {
    /// A stored backoff.
    pub struct Backoff {
        pub server: String,
        pub scope: ScopeKind,
        pub role: Oid,
        pub sync_id: String,
        pub attempts: u32,
        /// The time that is left, in milliseconds.
        pub millis: i64,
    }
}

impl Backoff {
    pub fn left(&self) -> Duration {
        super::duration(self.millis)
    }
}

/// The requests that a backoff is for: the role and the sync are 0 and empty, except for a caller.
pub type ScopeColumns<'a> = (ScopeKind, Oid, &'a str);

/// The kind of a [`contract::batching::window::Scope`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    Server,
    Creates,
    Caller,
}

impl ScopeKind {
    const ALL: [ScopeKind; 3] = [ScopeKind::Server, ScopeKind::Creates, ScopeKind::Caller];

    /// As `sequin.server_backoff` spells it.
    const fn as_str(self) -> &'static str {
        match self {
            ScopeKind::Server => "server",
            ScopeKind::Creates => "creates",
            ScopeKind::Caller => "caller",
        }
    }
}

impl FromText for ScopeKind {
    const NOUN: &'static str = "scope";

    fn from_text(text: &str) -> Option<ScopeKind> {
        ScopeKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

pub fn backoffs(connection: &Connection) -> Vec<Backoff> {
    static READ: Statement<()> = Statement::new(
        "SELECT t.server, t.scope, t.role, t.sync_id, t.attempts, pg_catalog.ceil(EXTRACT(epoch FROM \
         t.next_attempt_at OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp()) \
         OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 FROM sequin.server_backoff t",
    );
    READ.run(connection, ()).iter().collect()
}

/// Stores a backoff.
pub fn back_off(
    connection: &Connection,
    server: &str,
    (scope, role, sync_id): ScopeColumns<'_>,
    attempts: u32,
    error: &str,
    until: Timestamp,
) {
    static WRITE: Statement<(&str, &str, Oid, &str, i32, &str, Timestamp)> = Statement::new(
        "INSERT INTO sequin.server_backoff (server, scope, role, sync_id, attempts, error, since, next_attempt_at) \
         VALUES ($1, $2, $3, $4, $5, $6, pg_catalog.clock_timestamp(), $7) \
         ON CONFLICT (server, scope, role, sync_id) DO UPDATE SET attempts = excluded.attempts, \
         error = excluded.error, next_attempt_at = excluded.next_attempt_at",
    );
    let attempts = i32::try_from(attempts).unwrap_or(i32::MAX);
    WRITE.run(connection, (server, scope.as_str(), role, sync_id, attempts, error, until)).free();
}

/// Ends a backoff.
pub fn recover(connection: &Connection, server: &str, (scope, role, sync_id): ScopeColumns<'_>) {
    static CLEAR: Statement<(&str, &str, Oid, &str)> = Statement::new(
        "DELETE FROM sequin.server_backoff t WHERE t.server OPERATOR(pg_catalog.=) $1 \
         AND t.scope OPERATOR(pg_catalog.=) $2 AND t.role OPERATOR(pg_catalog.=) $3 \
         AND t.sync_id OPERATOR(pg_catalog.=) $4",
    );
    CLEAR.run(connection, (server, scope.as_str(), role, sync_id)).free();
}

/// Ends the waits of all backoffs of a server. Requests are then sent one at a time until one is answered.
pub fn try_now(connection: &Connection, server: &str) {
    static TRY: Statement<(&str,)> = Statement::new(
        "UPDATE sequin.server_backoff t SET next_attempt_at = pg_catalog.clock_timestamp() \
         WHERE t.server OPERATOR(pg_catalog.=) $1 \
         AND t.next_attempt_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()",
    );
    TRY.run(connection, (server,)).free();
}

/// Stores the server's new name in pending upstream ids.
pub fn rename_pending_upstream_ids(connection: &Connection, before: &str, after: &str) {
    static RENAME: Statement<(&str, &str)> =
        Statement::new("UPDATE sequin.pending_upstream_ids c SET server = $2 WHERE c.server OPERATOR(pg_catalog.=) $1");
    RENAME.run(connection, (before, after)).free();
}

/// Stores the server's new name in its records, pauses and backoff. A dropped server may have left records and pauses
/// under that name: they belong to this server now. The backoff of the dropped server is deleted.
pub fn rename(connection: &Connection, before: &str, after: &str) {
    static QUEUE: Statement<(&str, &str)> =
        Statement::new("UPDATE sequin.queue q SET server = $2 WHERE q.server OPERATOR(pg_catalog.=) $1");
    static DEFERRED: Statement<(&str, &str)> =
        Statement::new("UPDATE sequin.deferred p SET server = $2 WHERE p.server OPERATOR(pg_catalog.=) $1");
    static CLAIMS: Statement<(&str, &str)> =
        Statement::new("UPDATE sequin.claims c SET server = $2 WHERE c.server OPERATOR(pg_catalog.=) $1");
    static PAUSES: Statement<(&str, &str)> = Statement::new(
        "UPDATE sequin.pauses p SET server = $2 WHERE p.server OPERATOR(pg_catalog.=) $1 \
         AND NOT EXISTS (SELECT FROM sequin.pauses o WHERE o.server OPERATOR(pg_catalog.=) $2 \
         AND o.role OPERATOR(pg_catalog.=) p.role)",
    );
    static HOLDS: Statement<(&str, &str)> = Statement::new(
        "WITH old AS (DELETE FROM sequin.holds o WHERE o.server OPERATOR(pg_catalog.=) $1 \
         RETURNING o.below, o.reason, o.since) \
         INSERT INTO sequin.holds AS h (server, below, reason, since) SELECT $2, old.below, old.reason, old.since FROM old \
         ON CONFLICT (server) DO UPDATE SET below = GREATEST(h.below, excluded.below)",
    );
    static BACKOFF: Statement<(&str, &str)> =
        Statement::new("UPDATE sequin.server_backoff t SET server = $2 WHERE t.server OPERATOR(pg_catalog.=) $1");
    static OLD: Statement<(&str,)> =
        Statement::new("DELETE FROM sequin.server_backoff t WHERE t.server OPERATOR(pg_catalog.=) $1");
    OLD.run(connection, (after,)).free();
    for statement in [&QUEUE, &DEFERRED, &CLAIMS, &PAUSES, &HOLDS, &BACKOFF] {
        statement.run(connection, (before, after)).free();
    }
    resume(connection, before, None);
}

/// Sends NOTIFY sequin_outbox at the commit.
///
/// A listener that never reads fills Postgres' queue of notifications, and a full queue makes commits fail. So nothing is
/// sent once it is half full.
pub fn notify(connection: &Connection, server: &str, delivered: usize, rejected: usize, unknown: usize) {
    static NOTIFY: Statement<(&str, i64, i64, i64)> = Statement::new(
        "SELECT pg_catalog.pg_notify('sequin_outbox', pg_catalog.json_build_object('server', $1, 'delivered', $2, \
         'rejected', $3, 'unknown', $4)::pg_catalog.text) \
         WHERE pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.5",
    );
    NOTIFY.run(connection, (server, delivered as i64, rejected as i64, unknown as i64)).free();
}
