//! Single records, by their ids.

use pgrx::pg_sys::Oid;

use crate::pg::column::{FromText, row};
use crate::pg::spi::Connection;
use crate::pg::statement::Statement;
use contract::kind::Kind;

/// The state of a record that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It waits for its turn, for its next attempt, or behind another record of its ordering key.
    Pending,
    /// The API refuses it.
    Rejected,
    /// A create that may have been applied.
    Unknown,
}

impl State {
    const ALL: [State; 3] = [State::Pending, State::Rejected, State::Unknown];

    /// As `sequin.deferred` spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Rejected => "rejected",
            State::Unknown => "unknown",
        }
    }
}

impl FromText for State {
    const NOUN: &'static str = "state";

    fn from_text(text: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl FromText for Kind {
    const NOUN: &'static str = "kind";

    fn from_text(text: &str) -> Option<Kind> {
        text.parse().ok()
    }
}

row! {
    /// A record that is not settled.
    pub struct OpenRecord {
        pub server: String,
        pub state: State,
        /// It is in `sequin.deferred`.
        pub is_deferred: bool,
        pub role: Oid,
        /// A live worker has claimed it.
        pub is_claimed: bool,
    }
}

/// Finds a record that is not settled. `owners` are the live workers.
pub fn find(connection: &Connection, id: i64, owners: &[i64]) -> Option<OpenRecord> {
    static FIND: Statement<(i64, &[i64])> = Statement::new(concat!(
        named_servers!(),
        "SELECT o.server, o.state, o.is_deferred, o.role, EXISTS (SELECT FROM sequin.claims c \
           WHERE o.id OPERATOR(pg_catalog.=) ANY (c.ids) AND c.owner OPERATOR(pg_catalog.=) ANY ($2)) FROM ( \
           SELECT q.id, q.server, 'pending'::pg_catalog.text AS state, false AS is_deferred, \
             q.role::pg_catalog.oid AS role FROM named n JOIN sequin.queue q ON q.server OPERATOR(pg_catalog.=) n.server \
             WHERE q.id OPERATOR(pg_catalog.=) $1 UNION ALL \
           SELECT p.id, p.server, p.state, true, p.role::pg_catalog.oid \
             FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) $1) o"
    ));
    FIND.run(connection, (id, owners)).first()
}

/// The records among `ids` that `role` may see and that are not settled, or whose upstream id is not in its row yet, each
/// with whether it needs a person.
///
/// One statement reads all three tables, so one snapshot. A create that leaves the queue enters the pending ids in the same
/// transaction: the statement sees it in one of them.
pub fn open(connection: &Connection, ids: &[i64], role: Oid) -> Vec<(i64, bool)> {
    static OPEN: Statement<(&[i64], Oid)> = Statement::new(concat!(
        named_servers!(),
        "SELECT o.id, o.is_dead FROM ( \
           SELECT q.id, false AS is_dead, q.role::pg_catalog.oid AS role FROM named n JOIN sequin.queue q \
             ON q.server OPERATOR(pg_catalog.=) n.server WHERE q.id OPERATOR(pg_catalog.=) ANY ($1) UNION ALL \
           SELECT p.id, p.state OPERATOR(pg_catalog.<>) 'pending', p.role::pg_catalog.oid FROM sequin.deferred p \
             WHERE p.id OPERATOR(pg_catalog.=) ANY ($1) UNION ALL \
           SELECT m.id, p.state OPERATOR(pg_catalog.<>) 'pending', p.role::pg_catalog.oid FROM sequin.deferred p, \
             pg_catalog.unnest(p.merged_ids) AS m(id) \
             WHERE p.merged_ids IS NOT NULL AND m.id OPERATOR(pg_catalog.=) ANY ($1) UNION ALL \
           SELECT c.id, false, c.role::pg_catalog.oid FROM sequin.pending_upstream_ids c \
             WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)) o WHERE pg_catalog.pg_has_role($2, o.role, 'USAGE')"
    ));
    OPEN.run(connection, (ids, role)).iter().collect()
}

row! {
    /// A rejected change whose row may have an upstream id by now.
    pub struct WithoutUpstreamId {
        pub relation: Oid,
        pub row_key: String,
        pub role: Oid,
    }
}

/// Finds a rejected change of an attached table that has no upstream id.
pub fn without_upstream_id(connection: &Connection, id: i64) -> Option<WithoutUpstreamId> {
    static FIND: Statement<(i64,)> = Statement::new(
        "SELECT p.relation::pg_catalog.oid, p.ordering_key, p.role::pg_catalog.oid FROM sequin.deferred p \
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) p.relation \
         WHERE p.id OPERATOR(pg_catalog.=) $1 AND p.state OPERATOR(pg_catalog.=) 'rejected' \
         AND p.kind OPERATOR(pg_catalog.<>) 'create' AND p.upstream_id IS NULL AND p.ordering_key IS NOT NULL",
    );
    FIND.run(connection, (id,)).first()
}

/// Deletes a record that the history refuses.
pub fn delete(connection: &Connection, server: &str, id: i64) {
    static QUEUED: Statement<(&str, i64)> = Statement::new(
        "DELETE FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.=) $2",
    );
    static DEFERRED: Statement<(&str, i64)> = Statement::new(
        "DELETE FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) $1 AND p.id OPERATOR(pg_catalog.=) $2",
    );
    QUEUED.run(connection, (server, id)).free();
    DEFERRED.run(connection, (server, id)).free();
}
