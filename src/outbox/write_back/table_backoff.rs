//! Tables whose rows could not be given their upstream ids, and how long each is left alone.
//!
//! A trigger may not come back at all, and the process that waits for it ends. So that not every life of the worker
//! begins with the same table, the first visit of a life, and each that follows a failure, is written down before it
//! begins; other workers leave the table alone for that time too. What a table has done well once is not asked again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};

use super::{PATIENCE, Visit};
use contract::batching::backoff;

/// How long a table that is visited for the first time is left alone by others, and by the next life if this one ends
/// with the visit. Mostly it ends by something else.
const FIRST: Duration = Duration::from_secs(3);

/// How often a worker sees whether a table that another left alone may be visited again.
const LOOK: Duration = Duration::from_secs(1);

/// A visit that fails may take such a part of the time, and no more.
const SHARE: u32 = 5;

/// Those of them that this worker knows of.
#[derive(Default)]
pub struct Resting {
    tables: HashMap<u32, Rest>,
    /// Tables that were visited in this life, and written.
    good: HashSet<u32>,
    /// Failures in a row as they are written down, also those of other lives.
    failures: HashMap<u32, u32>,
}

/// What is left alone of a table.
struct Rest {
    ids: BTreeSet<i64>,
    failures: u32,
    until: Instant,
    /// Nothing of it could be written, so what comes later is not tried either.
    is_whole: bool,
}

impl Rest {
    fn new(until: Instant) -> Rest {
        Rest { ids: BTreeSet::new(), failures: 0, until, is_whole: false }
    }
}

static READ: Statement = Statement::new(
    "SELECT c.relation::pg_catalog.oid, pg_catalog.max(c.attempts), pg_catalog.ceil(EXTRACT(epoch FROM \
     pg_catalog.max(c.next_attempt_at) OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp()) \
     OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 FROM sequin.pending_upstream_ids c WHERE c.next_attempt_at IS NOT NULL \
     GROUP BY c.relation",
);

/// Without waiting for what another worker is about to write.
static BEGIN: Statement = Statement::new(
    "UPDATE sequin.pending_upstream_ids c SET attempts = $2, next_attempt_at = $3 WHERE c.id OPERATOR(pg_catalog.=) ANY (ARRAY( \
     SELECT l.id FROM sequin.pending_upstream_ids l WHERE l.id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY l.id \
     FOR UPDATE SKIP LOCKED))",
);

static FAIL: Statement = Statement::new(
    "UPDATE sequin.pending_upstream_ids c SET attempts = $2, next_attempt_at = $3 WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)",
);

static CLEAR: Statement = Statement::new(
    "UPDATE sequin.pending_upstream_ids c SET attempts = 0, next_attempt_at = NULL WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)",
);

impl Resting {
    /// When the first of them may be visited again.
    pub fn next(&self) -> Option<Instant> {
        self.tables.values().filter(|rest| !rest.ids.is_empty()).map(|rest| rest.until).min()
    }

    /// The ids whose rest is over.
    pub fn take_rested(&mut self) -> BTreeSet<i64> {
        let now = Instant::now();
        let rested = self.tables.values_mut().filter(|rest| rest.until <= now);
        rested.flat_map(|rest| std::mem::take(&mut rest.ids)).collect()
    }

    /// Learns what other workers, or earlier lives of this one, have written down.
    pub fn read(&mut self, connection: &Connection) {
        let rows = READ.run(connection, &[]);
        self.failures.clear();
        for row in 0..rows.len() {
            let (Some(relation), Some(left)) = (rows.oid_number(row, 1), rows.int8(row, 3)) else { continue };
            self.failures.insert(relation, rows.int4(row, 2).unwrap_or_default().max(0) as u32);
            // What another finds hard for the first time may be under way well enough.
            if left > 0 && !self.good.contains(&relation) {
                let until = Instant::now() + LOOK.min(Duration::from_millis(left as u64));
                let rest = self.tables.entry(relation).or_insert_with(|| Rest::new(until));
                rest.until = rest.until.max(until);
                rest.is_whole = true;
            }
        }
        rows.free();
    }

    /// Whether a row is left alone, in which case it is kept here.
    pub fn keeps(&mut self, relation: u32, id: i64) -> bool {
        let now = Instant::now();
        let Some(rest) = self.tables.get_mut(&relation).filter(|rest| rest.until > now) else { return false };
        let is_kept = rest.is_whole || rest.ids.contains(&id);
        if is_kept {
            rest.ids.insert(id);
        }
        is_kept
    }

    /// Which failure in a row it would be if a visit failed now.
    pub fn failures_with_next(&self, relation: u32) -> u32 {
        let own = self.tables.get(&relation).map_or(0, |rest| rest.failures);
        let written = self.failures.get(&relation).copied().unwrap_or_default();
        own.max(written).saturating_add(1)
    }

    /// Whether a visit must be written down before it begins.
    pub fn is_doubtful(&self, relation: u32) -> bool {
        !self.good.contains(&relation)
    }

    /// Writes a visit down, in a transaction before that of the visit.
    pub fn begin(&self, connection: &Connection, relation: u32, ids: &[i64]) {
        let failures = self.failures_with_next(relation);
        let time = if failures == 1 { FIRST } else { PATIENCE + backoff::retry_delay(failures.saturating_add(2), 1.0) };
        BEGIN.run(connection, &[Value::Int8s(ids), failures_value(failures), in_time(time)]).free();
    }

    /// Notes how a visit ended: what could not be written is left alone for a second, then twice as long each time, up to
    /// minutes.
    pub fn note(&mut self, relation: u32, visit: &Visit) {
        if visit.failed.is_empty() {
            if !visit.done.is_empty() {
                self.good.insert(relation);
            }
            return;
        }
        let failures = self.failures_with_next(relation);
        let rest = self.tables.entry(relation).or_insert_with(|| Rest::new(Instant::now()));
        rest.failures = failures;
        rest.until = Instant::now() + rest_after(failures, visit.took);
        rest.is_whole = visit.done.is_empty();
        rest.ids.extend(&visit.failed);
        if rest.is_whole {
            self.good.remove(&relation)
        } else {
            self.good.insert(relation)
        };
    }

    /// Forgets the tables of which nothing is left.
    pub fn tidy(&mut self) {
        self.tables.retain(|_, rest| !rest.ids.is_empty());
    }
}

/// Writes down how a visit ended, in its transaction. `begun` are the ids of which it was written down that it begins.
pub fn end(connection: &Connection, visit: &Visit, failures: u32, begun: &[i64]) {
    if visit.done.is_empty() && !visit.failed.is_empty() {
        let time = rest_after(failures, visit.took);
        FAIL.run(connection, &[Value::Int8s(&visit.failed), failures_value(failures), in_time(time)]).free();
    } else if !begun.is_empty() {
        CLEAR.run(connection, &[Value::Int8s(begun)]).free();
    }
}

fn rest_after(failures: u32, took: Duration) -> Duration {
    backoff::retry_delay(failures, 1.0).max(took * (SHARE - 1))
}

fn failures_value(failures: u32) -> Value<'static> {
    Value::Int4(Some(i32::try_from(failures).unwrap_or(i32::MAX)))
}

fn in_time(time: Duration) -> Value<'static> {
    Value::In(Some(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
}
