//! The requests in flight. A worker skips those of other workers, and ends those of workers that are gone.

use std::collections::HashSet;

use contract::batching::ordering_key::OrderingKey;

use crate::outbox::settle::dead_claim;
use crate::outbox::store::claim::{self, hash};
use crate::outbox::worker::registry;
use crate::pg::spi::Connection;

use super::cursor::Cursors;

/// The requests that other workers have in flight.
pub struct InFlight {
    pub ids: HashSet<i64>,
    pub servers: HashSet<String>,
    /// By server, as [`hash`]es.
    keys: HashSet<(String, i64)>,
}

impl InFlight {
    /// Reads the claims, and ends those of workers that are gone.
    pub fn read(connection: &Connection, cursors: &mut Cursors) -> InFlight {
        let alive = registry::owners();
        let mut in_flight = InFlight { ids: HashSet::new(), servers: HashSet::new(), keys: HashSet::new() };
        let mut oldest = None;
        for claim in claim::read(connection, cursors.claims_from) {
            cursors.claims_from = cursors.claims_from.max(claim.id + 1);
            if !alive.contains(&claim.owner) && !cursors.stuck_claims.contains(&claim.id) {
                if dead_claim::end(connection, &claim) {
                    cursors.go_back(claim.ids.iter().copied().min().unwrap_or(0));
                    continue;
                }
                // It is tried again after the next full scan.
                cursors.stuck_claims.insert(claim.id);
            }
            oldest.get_or_insert(claim.id);
            if !cursors.stuck_claims.contains(&claim.id) {
                in_flight.servers.insert(claim.server.clone());
            }
            in_flight.ids.extend(claim.ids);
            in_flight.keys.extend(claim.keys.into_iter().map(|key| (claim.server.clone(), key)));
        }
        cursors.claims_from = oldest.unwrap_or(cursors.claims_from);
        in_flight
    }

    pub fn has_key(&self, server: &str, key: Option<&OrderingKey>) -> bool {
        !self.keys.is_empty() && key.is_some_and(|key| self.keys.contains(&(server.to_owned(), hash(key))))
    }
}
