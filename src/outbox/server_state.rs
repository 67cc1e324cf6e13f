//! The state of servers: paused queues, and backoff after errors.

use std::collections::HashMap;
use std::time::Duration;

use pgrx::pg_sys::Oid;

use contract::batching::ordering_key::OrderingKey;
use contract::batching::window::{Caller, Change, Scope, Stored};

use crate::pg::spi::Connection;
use crate::pg::text;

use super::claims_lock;
use super::store::state::{self, ScopeColumns, ScopeKind};
use super::store::{self, requeue};

/// The queues that are paused, and the records that are held.
pub struct Pauses {
    paused: Vec<(String, u32)>,
    /// Servers whose records below an id are held.
    held: Vec<(String, i64)>,
    has_automatic: bool,
}

impl Pauses {
    /// Whether a server is paused for all roles.
    pub fn is_whole(&self, server: &str) -> bool {
        self.is_for(server, 0)
    }

    pub fn is_for(&self, server: &str, role: u32) -> bool {
        self.paused.iter().any(|(paused, of)| paused == server && *of == role)
    }

    /// Whether a record was queued before this copy of the database was made.
    pub fn is_held(&self, server: &str, id: i64) -> bool {
        self.held.iter().any(|(held, below)| held == server && id < *below)
    }

    /// Whether records of a server are held.
    pub fn has_hold(&self, server: &str) -> bool {
        self.held.iter().any(|(held, _)| held == server)
    }

    /// Whether a record that is paused or held keeps the later records of its key waiting, whatever their role. A row of an
    /// attached table keeps its order. A text that a role has passed does not stop other roles.
    pub fn blocks(&self, server: &str, key: &OrderingKey, id: i64) -> bool {
        key.relation.is_some() || self.is_held(server, id)
    }

    /// The oids of the roles that are paused.
    pub fn roles(&self, server: &str) -> Vec<i64> {
        self.paused.iter().filter(|(paused, _)| paused == server).map(|(_, role)| i64::from(*role)).collect()
    }

    /// When to check the causes of automatic pauses again: a changed user mapping wakes no worker.
    pub fn check_again_in(&self) -> Option<Duration> {
        self.has_automatic.then_some(Duration::from_secs(1))
    }
}

/// Reads the pauses, and ends automatic ones whose cause has changed.
pub fn pauses(connection: &Connection) -> Pauses {
    let held = state::holds(connection).into_iter().map(|hold| (hold.server, hold.below)).collect();
    let mut pauses = Pauses { paused: Vec::new(), held, has_automatic: false };
    for pause in state::pauses(connection) {
        if pause.is_over && claims_lock::try_acquire(&pause.server) {
            state::resume(connection, &pause.server, Some(pause.role));
            requeue::free_all(connection, &pause.server);
        } else {
            pauses.has_automatic |= pause.is_automatic;
            pauses.paused.push((pause.server, pause.role.to_u32()));
        }
    }
    pauses
}

/// Pauses a role's records, or with role 0 all, until `sequin_resume`. An automatic pause stores the fingerprint of the
/// unusable server and user mapping. It ends when the fingerprint changes, which may have happened already.
pub fn pause(connection: &Connection, server: &str, role: u32, reason: &str, fingerprint: Option<&str>) {
    state::pause(connection, server, Oid::from(role), &text::storable(reason), fingerprint);
}

/// Ends all pauses of a server, its hold, its backoffs, and the waits of its records.
pub fn resume(connection: &Connection, server: &str) {
    state::release(connection, server);
    state::resume(connection, server, None);
    state::try_now(connection, server);
    requeue::end_waits(connection, server);
}

/// The stored backoffs, by server.
pub fn backoffs(connection: &Connection) -> HashMap<String, Vec<Stored>> {
    let mut backoffs: HashMap<String, Vec<Stored>> = HashMap::new();
    for row in state::backoffs(connection) {
        let left = row.left();
        let scope = match row.scope {
            ScopeKind::Server => Scope::Server,
            ScopeKind::Creates => Scope::Creates,
            ScopeKind::Caller => Scope::Caller(Caller { role: row.role.to_u32(), sync_id: row.sync_id }),
        };
        backoffs.entry(row.server).or_default().push(Stored { scope, attempts: row.attempts, left });
    }
    backoffs
}

/// Stores a backoff that begins or ends.
pub fn note(connection: &Connection, server: &str, change: &Change) {
    match change {
        Change::Begin { backoff: Stored { scope, attempts, left }, error } => {
            state::back_off(connection, server, columns(scope), *attempts, &text::storable(error), store::after(*left));
        }
        Change::End(scope) => state::recover(connection, server, columns(scope)),
    }
}

fn columns(scope: &Scope) -> ScopeColumns<'_> {
    match scope {
        Scope::Server => (ScopeKind::Server, Oid::INVALID, ""),
        Scope::Creates => (ScopeKind::Creates, Oid::INVALID, ""),
        Scope::Caller(Caller { role, sync_id }) => (ScopeKind::Caller, Oid::from(*role), sync_id),
    }
}
