//! The requests in flight: no other request may be made for their records and keys.
//!
//! The worker has its own requests in memory. `sequin.claims` also has those of workers that are gone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use contract::batching::ordering_key::OrderingKey;
use contract::batching::plan::{BatchKey, Change, Planned};

use crate::outbox::claims_lock;
use crate::outbox::settle::dead_claim::{self, Left};
use crate::outbox::store::claim::{self, hash};
use crate::outbox::worker::registry;
use crate::pg::spi::Connection;

use super::cursor::Cursors;

/// The requests in flight, by server.
#[derive(Default)]
pub struct InFlight {
    servers: HashMap<String, ServerInFlight>,
    claims: HashMap<i64, Claim>,
}

/// The requests to one server.
#[derive(Default)]
pub struct ServerInFlight {
    /// The number of this worker's requests.
    pub requests: usize,
    /// The size of their data.
    pub bytes: usize,
    pub ids: HashSet<i64>,
    /// The lowest id of each claim, with the claim.
    lowest: BTreeSet<(i64, i64)>,
    /// The ordering keys, as [`hash`]es, each with the number of its claims: two keys may have one hash.
    keys: HashMap<i64, usize>,
    /// The records at the provider, as hashes. Changes with different ordering keys may have one record.
    records: HashMap<u64, usize>,
}

/// A claim's entries.
struct Claim {
    server: String,
    is_own: bool,
    bytes: usize,
    ids: Vec<i64>,
    keys: Vec<i64>,
    records: Vec<u64>,
}

impl InFlight {
    pub fn of(&mut self, server: &str) -> &ServerInFlight {
        if !self.servers.contains_key(server) {
            self.servers.insert(server.to_owned(), ServerInFlight::default());
        }
        &self.servers[server]
    }

    /// Adds a claim of this worker, whose request is about to be sent.
    pub fn add(&mut self, claim: i64, server: &str, planned: &Planned) {
        let operations = &planned.operations;
        let record = |id: &String| record_hash(&planned.batch_key, id);
        self.insert(
            claim,
            Claim {
                server: server.to_owned(),
                is_own: true,
                bytes: planned.bytes(),
                ids: planned.ids().collect(),
                keys: operations.iter().filter_map(|operation| operation.ordering_key.as_deref()).map(hash).collect(),
                records: operations.iter().filter_map(|operation| operation.upstream_id.as_ref()).map(record).collect(),
            },
        );
    }

    fn insert(&mut self, id: i64, claim: Claim) {
        let server = self.servers.entry(claim.server.clone()).or_default();
        server.requests += usize::from(claim.is_own);
        server.bytes += claim.bytes;
        server.ids.extend(&claim.ids);
        server.lowest.extend(claim.ids.iter().min().map(|lowest| (*lowest, id)));
        claim.keys.iter().for_each(|key| *server.keys.entry(*key).or_default() += 1);
        claim.records.iter().for_each(|record| *server.records.entry(*record).or_default() += 1);
        self.claims.insert(id, claim);
    }

    /// Removes a claim that has ended.
    pub fn remove(&mut self, id: i64) {
        let Some(claim) = self.claims.remove(&id) else { return };
        let Some(server) = self.servers.get_mut(&claim.server) else { return };
        server.requests -= usize::from(claim.is_own);
        server.bytes -= claim.bytes;
        if let Some(lowest) = claim.ids.iter().min() {
            server.lowest.remove(&(*lowest, id));
        }
        for id in &claim.ids {
            server.ids.remove(id);
        }
        claim.keys.iter().for_each(|key| decrement(&mut server.keys, key));
        claim.records.iter().for_each(|record| decrement(&mut server.records, record));
    }

    /// Reads the claims of other owners, and ends those of workers that are gone. A claim that cannot be ended keeps its
    /// records in flight. Returns false if another session has the lock of one of the servers.
    pub fn read_others(&mut self, connection: &Connection, cursors: &mut Cursors, owner: i64) -> bool {
        let others: Vec<i64> = self.claims.iter().filter(|(_, claim)| !claim.is_own).map(|(id, _)| *id).collect();
        others.into_iter().for_each(|claim| self.remove(claim));
        let alive = registry::owners();
        let mut is_complete = true;
        for claim in claim::of_others(connection, owner) {
            let is_dead = !alive.contains(&claim.owner);
            // A session that has the lock may have changed the records, and its transaction may be open for hours.
            let may_end = is_dead && claims_lock::try_acquire(&claim.server);
            is_complete &= may_end || !is_dead;
            let left = if may_end { dead_claim::end(connection, &claim) } else { Left::all_of(&claim) };
            if left.ids.len() < claim.ids.len() {
                cursors.go_back(claim.ids.iter().copied().min().unwrap_or(0));
            }
            let Left { ids, keys } = left;
            if ids.is_empty() {
                continue;
            }
            let claim::Claim { id, server, .. } = claim;
            self.insert(id, Claim { server, is_own: false, bytes: 0, ids, keys, records: Vec::new() });
        }
        is_complete
    }
}

impl ServerInFlight {
    /// The lowest id in flight; `i64::MAX` if there is none.
    pub fn lowest_id(&self) -> i64 {
        self.lowest.first().map_or(i64::MAX, |(lowest, _)| *lowest)
    }

    pub fn has_key(&self, key: Option<&OrderingKey>) -> bool {
        !self.keys.is_empty() && key.is_some_and(|key| self.keys.contains_key(&hash(key)))
    }

    /// Whether a request for the record of this change is in flight.
    pub fn has_record(&self, change: &Change) -> bool {
        let id = change.upstream_id.as_ref().filter(|_| !self.records.is_empty());
        id.is_some_and(|id| self.records.contains_key(&record_hash(&change.batch_key, id)))
    }
}

fn record_hash(batch_key: &BatchKey, upstream_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&batch_key.sync_id, &batch_key.collection_id, upstream_id).hash(&mut hasher);
    hasher.finish()
}

fn decrement<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
