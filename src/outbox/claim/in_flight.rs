//! The requests under way: those of other workers are kept away from, those of workers that are gone are ended.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use crate::outbox::worker::registry;
use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use contract::batching::ordering_key::OrderingKey;
use contract::kind::Kind;

use super::cursor::Cursors;
use crate::outbox::settle::transitions::{self, DeadClaim};

static CLAIMS: Statement = Statement::new(
    "SELECT c.id, c.owner, c.server, c.kind, c.ids, c.heads, c.keys FROM sequin.claims c \
     WHERE c.id OPERATOR(pg_catalog.>=) $1 ORDER BY c.id",
);

/// A key in a claim. Two that are taken for one only wait for each other, so eight bytes are enough.
pub fn hash(key: &OrderingKey) -> i64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish().cast_signed()
}

/// What other workers are sending.
pub struct InFlight {
    pub ids: HashSet<i64>,
    /// The servers that other workers are sending to.
    pub servers: HashSet<String>,
    /// By server, as [`hash`]es.
    keys: HashSet<(String, i64)>,
}

impl InFlight {
    /// Reads the claims. Those of workers that are gone are ended: what may be sent again is free, a create is unknown.
    pub fn read(connection: &Connection, cursors: &mut Cursors) -> InFlight {
        let alive = registry::owners();
        let claims = CLAIMS.run(connection, &[Value::Int8(cursors.claims_from)]);
        let mut in_flight = InFlight { ids: HashSet::new(), servers: HashSet::new(), keys: HashSet::new() };
        let mut oldest = None;
        for row in 0..claims.len() {
            let id = claims.int8(row, 1).unwrap_or_default();
            let server = claims.text(row, 3).unwrap_or_default();
            let ids = claims.int8s(row, 5);
            cursors.claims_from = cursors.claims_from.max(id + 1);
            if !alive.contains(&claims.int8(row, 2).unwrap_or_default()) && !cursors.stuck_claims.contains(&id) {
                let is_create = claims.text(row, 4).as_deref() == Some(Kind::Create.as_str());
                let lowest = ids.iter().copied().min().unwrap_or(0);
                let claim = DeadClaim { server: &server, id, is_create, ids: ids.clone(), heads: claims.int8s(row, 6) };
                if transitions::end_dead_claim(connection, &claim) {
                    cursors.go_back(lowest);
                    continue;
                }
                // Not again before the next look at everything.
                cursors.stuck_claims.insert(id);
            }
            oldest.get_or_insert(id);
            if !cursors.stuck_claims.contains(&id) {
                in_flight.servers.insert(server.clone());
            }
            in_flight.ids.extend(ids);
            in_flight.keys.extend(claims.int8s(row, 7).into_iter().map(|key| (server.clone(), key)));
        }
        cursors.claims_from = oldest.unwrap_or(cursors.claims_from);
        in_flight
    }

    pub fn has_key(&self, server: &str, key: Option<&Rc<OrderingKey>>) -> bool {
        !self.keys.is_empty() && key.is_some_and(|key| self.keys.contains(&(server.to_owned(), hash(key))))
    }
}
