//! Backoff of tables whose upstream ids could not be written.
//!
//! A trigger may never return, and then the process that waits for it is ended. Each successor would begin with the
//! same table. So a worker stores a backoff before its first visit to a table, and before each visit that follows a
//! failure. Other workers leave the table alone for that time too. After one successful visit a table needs no stored
//! backoff.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use contract::batching::backoff;

use crate::outbox::store::{self, upstream_ids};
use crate::pg::spi::Connection;

/// The longest that the triggers of one table may take at a visit.
pub const VISIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The backoff that a first visit begins with. Other workers leave the table alone for so long, and so does the
/// successor of this worker if it ends with the visit. Mostly a worker ends for another reason.
const FIRST_VISIT_BACKOFF: Duration = Duration::from_secs(3);

/// How often a worker checks whether a table that another one left alone may be visited again.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Failing visits may take one part of the time in this number.
const TIME_SHARE: u32 = 5;

/// The result of a visit to a table. Rows in neither list are locked.
#[derive(Default)]
pub struct Visit {
    /// Creates whose rows are written, or need no id any more.
    pub done: Vec<i64>,
    pub failed: Vec<i64>,
    /// The time that the visit took.
    pub took: Duration,
}

/// The tables in backoff that this worker knows of.
#[derive(Default)]
pub struct TableBackoffs {
    tables: HashMap<u32, Left>,
    /// Tables that this worker has written.
    good: HashSet<u32>,
    /// Stored failures in a row, including those of other workers.
    failures: HashMap<u32, u32>,
}

/// The rows of a table that are left alone.
struct Left {
    ids: BTreeSet<i64>,
    failures: u32,
    until: Instant,
    /// No row could be written, so later rows are left alone as well.
    is_whole: bool,
}

impl Left {
    fn new(until: Instant) -> Left {
        Left { ids: BTreeSet::new(), failures: 0, until, is_whole: false }
    }
}

impl TableBackoffs {
    /// When the first of them may be visited again.
    pub fn next(&self) -> Option<Instant> {
        self.tables.values().filter(|left| !left.ids.is_empty()).map(|left| left.until).min()
    }

    /// The ids whose backoff is over.
    pub fn take_due(&mut self) -> BTreeSet<i64> {
        let now = Instant::now();
        let due = self.tables.values_mut().filter(|left| left.until <= now);
        due.flat_map(|left| std::mem::take(&mut left.ids)).collect()
    }

    /// Reads the stored backoffs.
    pub fn read(&mut self, connection: &Connection) {
        self.failures.clear();
        for table in upstream_ids::table_backoffs(connection) {
            let (relation, left) = (table.relation.to_u32(), table.left());
            self.failures.insert(relation, u32::try_from(table.failures).unwrap_or_default());
            // Another worker's first visit is no reason to avoid a table that this worker has written.
            if !left.is_zero() && !self.good.contains(&relation) {
                let until = Instant::now() + RECHECK_INTERVAL.min(left);
                let left = self.tables.entry(relation).or_insert_with(|| Left::new(until));
                left.until = left.until.max(until);
                left.is_whole = true;
            }
        }
    }

    /// Whether a row is left alone, in which case it is kept here.
    pub fn keeps(&mut self, relation: u32, id: i64) -> bool {
        let now = Instant::now();
        let Some(left) = self.tables.get_mut(&relation).filter(|left| left.until > now) else { return false };
        let is_kept = left.is_whole || left.ids.contains(&id);
        if is_kept {
            left.ids.insert(id);
        }
        is_kept
    }

    /// The number of failures in a row if the next visit fails.
    pub fn failures_with_next(&self, relation: u32) -> u32 {
        let own = self.tables.get(&relation).map_or(0, |left| left.failures);
        let written = self.failures.get(&relation).copied().unwrap_or_default();
        own.max(written).saturating_add(1)
    }

    /// Whether a backoff must be stored before a visit begins.
    pub fn is_doubtful(&self, relation: u32) -> bool {
        !self.good.contains(&relation)
    }

    /// Stores the backoff of a visit, in a transaction before the visit's own.
    pub fn begin_visit(&self, connection: &Connection, relation: u32, creates: &[i64]) {
        let failures = self.failures_with_next(relation);
        let delay = match failures {
            1 => FIRST_VISIT_BACKOFF,
            _ => VISIT_TIMEOUT + backoff::retry_delay(failures.saturating_add(2), 1.0),
        };
        upstream_ids::begin_visit(connection, creates, stored(failures), store::after(delay));
    }

    /// Notes the result of a visit: rows that could not be written are left alone for a second, then twice as long each time,
    /// up to minutes.
    pub fn note(&mut self, relation: u32, visit: &Visit) {
        if visit.failed.is_empty() {
            if !visit.done.is_empty() {
                self.good.insert(relation);
            }
            return;
        }
        let failures = self.failures_with_next(relation);
        let left = self.tables.entry(relation).or_insert_with(|| Left::new(Instant::now()));
        left.failures = failures;
        left.until = Instant::now() + delay(failures, visit.took);
        left.is_whole = visit.done.is_empty();
        left.ids.extend(&visit.failed);
        if left.is_whole {
            self.good.remove(&relation);
        } else {
            self.good.insert(relation);
        }
    }

    /// Forgets the tables without rows.
    pub fn remove_empty(&mut self) {
        self.tables.retain(|_, left| !left.ids.is_empty());
    }
}

/// Stores the result of a visit, in its transaction. `begun` are the ids whose backoff the visit began.
pub fn end_visit(connection: &Connection, visit: &Visit, failures: u32, begun: &[i64]) {
    if visit.done.is_empty() && !visit.failed.is_empty() {
        let until = store::after(delay(failures, visit.took));
        upstream_ids::back_off(connection, &visit.failed, stored(failures), until);
    } else if !begun.is_empty() {
        upstream_ids::end_visit(connection, begun);
    }
}

fn delay(failures: u32, took: Duration) -> Duration {
    backoff::retry_delay(failures, 1.0).max(took * (TIME_SHARE - 1))
}

fn stored(failures: u32) -> i32 {
    i32::try_from(failures).unwrap_or(i32::MAX)
}
