//! Claims of workers that are gone: their updates and deletes are sent again, their creates are unknown.

use std::collections::BTreeMap;

use contract::kind::Kind;
use contract::merge;
use contract::outcome::OutcomeKind;

use crate::ereport;
use crate::outbox::guard;
use crate::outbox::store::claim::{self, Claim};
use crate::outbox::store::defer;
use crate::outbox::worker::registry;
use crate::pg::spi::Connection;

use super::transitions::{UnknownCreate, write_unknown};

/// The part of a claim that could not be ended.
pub struct Left {
    pub ids: Vec<i64>,
    /// The hashes of their ordering keys.
    pub keys: Vec<i64>,
}

impl Left {
    /// A whole claim.
    pub fn all_of(claim: &Claim) -> Left {
        Left { ids: claim.ids.clone(), keys: claim.keys.clone() }
    }
}

/// Ends the claim of a worker that is gone. Returns the part that stays claimed.
pub fn end(connection: &Connection, claim: &Claim) -> Left {
    let mut parts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (id, head) in claim.ids.iter().zip(if claim.heads.is_empty() { &claim.ids } else { &claim.heads }) {
        parts.entry(*head).or_default().extend((id != head).then_some(*id));
    }
    let parts: Vec<(i64, Vec<i64>)> = parts.into_iter().collect();
    let left = guard::carefully(|| {
        let failed = guard::each_carefully(&parts, |parts| end_parts(connection, claim, parts));
        let (mut ids, mut heads) = (Vec::new(), Vec::new());
        for ((head, merged), failure) in &failed {
            guard::note("freed after the end of its worker", *head, failure);
            ids.push(*head);
            ids.extend(merged);
            heads.resize(ids.len(), *head);
        }
        if ids.is_empty() {
            claim::delete(connection, claim.id);
            return Left { ids, keys: Vec::new() };
        }
        // The keys of the others are free. A key that cannot be read stays claimed with them.
        let keys = guard::guarded(|| claim::keys_of(connection, &claim.server, &ids));
        let keys = keys.unwrap_or_else(|_| claim.keys.clone());
        claim::shrink(connection, claim.id, &ids, &heads, &keys);
        Left { ids, keys }
    });
    if let Some(lowest) = claim.ids.iter().min() {
        registry::wake_workers(*lowest);
    }
    left.unwrap_or_else(|failure| {
        ereport::log(&format!("could not end claim {} of a worker that is gone: {}", claim.id, failure.message));
        Left::all_of(claim)
    })
}

/// Ends parts of a claim: records, each with the records that were merged into it.
fn end_parts(connection: &Connection, claim: &Claim, parts: &[(i64, Vec<i64>)]) {
    const ERROR: &str = "the worker ended while the request was in flight";
    let ids: Vec<i64> = parts.iter().flat_map(|(head, merged)| [&[*head], &merged[..]].concat()).collect();
    let outcome = OutcomeKind::Unknown;
    defer::defer(connection, &claim.server, &ids);
    if claim.kind != Kind::Create {
        return defer::note_interrupted(connection, &ids, ERROR);
    }
    for (head, merged) in parts {
        // The claim holds only ids. The create comes first.
        let data = (!merged.is_empty()).then(|| defer::data(connection, &[&[*head], &merged[..]].concat()));
        let data = data.filter(|data| !data.is_empty()).map(merge::later_wins);
        let unknown = UnknownCreate { id: *head, merged, outcome, error: ERROR };
        write_unknown(connection, &claim.server, unknown, data.as_deref());
    }
}
