//! The counters as rows of `sequin.stat_servers`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use pgrx::pg_sys::Oid;

use contract::statistics::{BUCKETS, COUNTERS, Counter, Slot, Via};

use crate::pg::{catalog, session};

use super::table::{oids, table};

/// The counters of one server since their last reset.
pub struct Statistics {
    /// The oids of database and server; None: the servers that found no slot.
    pub owner: Option<(u32, u32)>,
    pub reset_at: i64,
    /// In the order of [`Counter`].
    pub calls: Vec<i64>,
    pub outbox: Vec<i64>,
    pub call_waits: Vec<i64>,
    pub outbox_waits: Vec<i64>,
}

fn owner(slot: &Slot) -> Option<(u32, u32)> {
    slot.key().map(oids)
}

/// The counters that the current role may see: those of this database's servers that it may use. A role that reads all
/// statistics sees those of other databases too, and the overflow slot if it counts.
pub fn statistics() -> Vec<Statistics> {
    let sees_all = session::may_read_all_statistics();
    let mut rows: BTreeMap<Option<(u32, u32)>, Statistics> = BTreeMap::new();
    for slot in table().in_use().chain([table().overflow()]) {
        let owner = owner(slot);
        let is_visible = match owner {
            None => sees_all && slot.counts(),
            Some((database, server)) if database == session::database() => {
                let server = Oid::from(server);
                catalog::has_server(server) && (sees_all || catalog::may_use(server, session::current_role()))
            }
            Some((database, _)) => sees_all && catalog::has_database(Oid::from(database)),
        };
        if is_visible {
            rows.entry(owner).or_insert_with(|| Statistics::empty(owner)).add(slot);
        }
    }
    rows.into_values().collect()
}

impl Statistics {
    fn empty(owner: Option<(u32, u32)>) -> Statistics {
        let (counters, waits) = (|| vec![0; COUNTERS], || vec![0; BUCKETS]);
        let (calls, outbox, call_waits, outbox_waits) = (counters(), counters(), waits(), waits());
        Statistics { owner, reset_at: i64::MAX, calls, outbox, call_waits, outbox_waits }
    }

    /// Two processes may have claimed a slot for one server while a third one freed another slot.
    fn add(&mut self, slot: &Slot) {
        self.reset_at = self.reset_at.min(slot.reset_at());
        let ways = [
            (Via::Call, &mut self.calls, &mut self.call_waits),
            (Via::Outbox, &mut self.outbox, &mut self.outbox_waits),
        ];
        for (via, counters, waits) in ways {
            let max_wait = counters[Counter::MaxWait as usize];
            add_all(counters, slot.counters(via));
            let added = counters[Counter::MaxWait as usize] - max_wait;
            counters[Counter::MaxWait as usize] = max_wait.max(added);
            add_all(waits, slot.waits(via));
        }
    }
}

fn add_all(sums: &mut [i64], counters: &[AtomicU64]) {
    for (sum, counter) in sums.iter_mut().zip(counters) {
        *sum += counter.load(Ordering::Relaxed) as i64;
    }
}

/// Sets the counters of this database's servers to zero, and the overflow slot, which counts for all databases.
pub fn reset() {
    for slot in table().in_use().chain([table().overflow()]) {
        if slot.counts() && owner(slot).is_none_or(|(database, _)| database == session::database()) {
            slot.reset(session::now());
        }
    }
}
