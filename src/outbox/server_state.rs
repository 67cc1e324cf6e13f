//! The state of servers: paused queues, and backoff after errors.

use std::collections::HashMap;
use std::time::Duration;

use pgrx::pg_sys::Oid;

use contract::batching::backoff;

use crate::pg::spi::Connection;
use crate::pg::{random, text};

use super::store::state::{self, Backoff};
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
        if pause.is_over {
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

/// Ends all pauses of a server, and its hold.
pub fn resume(connection: &Connection, server: &str) {
    state::release(connection, server);
    state::resume(connection, server, None);
    requeue::free_all(connection, server);
}

/// The servers in backoff.
pub fn backoffs(connection: &Connection) -> HashMap<String, Backoff> {
    state::backoffs(connection).into_iter().map(|backoff| (backoff.server.clone(), backoff)).collect()
}

/// Puts a server into backoff for `delay`. If the failure left creates unknown, creates wait longer.
pub fn back_off(connection: &Connection, server: &str, error: &str, delay: Duration, has_lost_creates: bool) {
    let lost = state::back_off(connection, server, &text::storable(error), store::after(delay));
    if has_lost_creates {
        let lost = lost.saturating_add(1);
        let longer = backoff::create_delay(lost.max(1) as u32, random::fraction()).max(delay);
        state::back_off_creates(connection, server, lost, store::after(longer));
    }
}

/// Ends the backoff of a server that answers again.
pub fn recover(connection: &Connection, server: &str) {
    state::recover(connection, server);
}
