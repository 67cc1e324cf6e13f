//! Decides which attached table gets upstream ids next, how many, and for how long its triggers may run.
//!
//! A write-back runs triggers of other roles, one table after the other. So a table whose triggers are slow must not take
//! the time of the others:
//!
//! - The table that has used the least time is next, so quick tables come first.
//! - An unknown table gets a short limit. The limit grows only for a table that has exceeded it with one row.
//! - A visit that takes long is followed by a rest of the table, four times as long.
//! - A visit that wrote no row is followed by a growing backoff of the table, and a row that failed by its own.
//!
//! The caller reads the clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::backoff;

/// The longest that the triggers of one table may take at a visit.
pub const LONGEST_LIMIT: Duration = Duration::from_secs(10);

/// No backoff is longer, so a time that is further away was stored before the clock was set back.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(310);

/// The limit of an unknown table. A thousand rows with quick triggers take less on a slow disk.
const FIRST_LIMIT: Duration = Duration::from_millis(500);

/// A visit that takes no longer is quick, and the number of its rows is chosen so. Other tables wait that long for it.
const QUICK_VISIT: Duration = Duration::from_millis(100);

/// Slow visits to a table may take one part of the time in this number.
const TIME_SHARE: u32 = 5;

/// How long a locked row is left alone.
const LOCKED_ROW_DELAY: Duration = Duration::from_millis(200);

/// The rows of the first visit to a table, and of any visit.
const ROWS: (usize, usize) = (100, 1_000);

/// How much smaller a visit is after one that has exceeded its limit, and how much larger after a quick one.
const SHRINKS_BY: usize = 16;
const GROWS_BY: usize = 4;

/// The visits to the tables whose rows wait for upstream ids.
pub struct Visits {
    tables: BTreeMap<u32, TableVisits>,
    longest_limit: Duration,
    /// The used time of the table that was visited last: a table that had nothing to write begins there.
    used: Duration,
}

/// A visit that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// The table.
    pub table: u32,
    /// The creates of its rows.
    pub creates: Vec<i64>,
    /// How long it may take.
    pub limit: Duration,
    /// No visit to this table has succeeded yet, or the last one has failed. It may end the process.
    pub is_doubtful: bool,
    /// The table's failures in a row if this visit fails too.
    pub failures: u32,
}

/// What came of a visit. Rows in none of the lists were not tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visited {
    /// Creates whose rows are written, or need no id any more.
    pub done: Vec<i64>,
    /// Creates whose rows cannot be written.
    pub failed: Vec<i64>,
    /// Creates whose rows, or whose waiting changes, are locked by another session.
    pub locked: Vec<i64>,
    /// More than one row was tried at once, and took longer than the limit.
    pub exceeded_limit: bool,
    /// The time that the visit took.
    pub took: Duration,
}

/// What is to be stored of a visit that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// The create.
    pub create: i64,
    /// The failures in a row.
    pub failures: u32,
    /// The time to the next attempt.
    pub delay: Duration,
    /// No row of the table could be written, so all its rows wait.
    pub is_of_table: bool,
}

/// The rows of one table.
struct TableVisits {
    waiting: BTreeSet<i64>,
    /// Locked rows and rows that have failed, each with its failures and the time of its next attempt.
    apart: HashMap<i64, (u32, Instant)>,
    /// The same by time.
    times: BTreeSet<(Instant, i64)>,
    rests_until: Option<Instant>,
    /// The rows of the next visit.
    rows: usize,
    /// Visits in a row that wrote no row.
    failures: u32,
    /// The longest successful visit with one row.
    longest_row: Duration,
    used: Duration,
    is_good: bool,
    /// The rows that are being visited, with their failures.
    visited: HashMap<i64, u32>,
}

impl Visits {
    /// No visit takes longer than `longest_limit`.
    pub fn new(longest_limit: Duration) -> Visits {
        Visits { tables: BTreeMap::new(), longest_limit, used: Duration::ZERO }
    }

    /// Adds the row of a create. Does nothing if it is known.
    pub fn add(&mut self, table: u32, create: i64) {
        let used = self.used;
        let table = self.tables.entry(table).or_insert_with(TableVisits::new);
        if table.waiting.is_empty() && table.apart.is_empty() {
            table.used = table.used.max(used);
        }
        if !table.apart.contains_key(&create) {
            table.waiting.insert(create);
        }
    }

    /// Adds a row with the backoff that was stored for it.
    pub fn add_in_backoff(&mut self, table: u32, backoff: &Backoff, now: Instant) {
        let delay = if backoff.delay > LONGEST_BACKOFF { Duration::ZERO } else { backoff.delay };
        self.add(table, backoff.create);
        let table = self.tables.get_mut(&table).expect("it was added");
        if table.waiting.remove(&backoff.create) {
            table.set_apart(backoff.create, backoff.failures, now + delay);
        }
        if backoff.is_of_table {
            table.failures = table.failures.max(backoff.failures);
            table.rests_until = table.rests_until.max(Some(now + delay));
        }
    }

    /// The next visit that is due. [`Visits::note`] must follow.
    pub fn next(&mut self, now: Instant) -> Option<Visit> {
        let due = self.tables.iter_mut().filter(|(_, table)| table.due_at(now).is_some_and(|at| at <= now));
        let (oid, table) = due.min_by_key(|(oid, table)| (table.used, **oid))?;
        self.used = self.used.max(table.used);
        let limit = FIRST_LIMIT.max(table.longest_row * 4);
        let limit = limit.saturating_mul(4_u32.saturating_pow(table.failures)).min(LONGEST_LIMIT);
        Some(Visit {
            table: *oid,
            creates: table.take(now),
            limit: limit.min(self.longest_limit),
            is_doubtful: !table.is_good,
            failures: table.failures.saturating_add(1),
        })
    }

    /// Notes what came of a visit. Returns the backoffs of its failed rows.
    pub fn note(&mut self, visit: &Visit, visited: &Visited, now: Instant) -> Vec<Backoff> {
        self.tables.get_mut(&visit.table).map(|table| table.note(visited, now)).unwrap_or_default()
    }

    /// The time of the next visit; None if no row waits.
    pub fn next_at(&self, now: Instant) -> Option<Instant> {
        self.tables.values().filter_map(|table| table.due_at(now)).min()
    }
}

impl TableVisits {
    fn new() -> TableVisits {
        TableVisits {
            waiting: BTreeSet::new(),
            apart: HashMap::new(),
            times: BTreeSet::new(),
            rests_until: None,
            rows: ROWS.0,
            failures: 0,
            longest_row: Duration::ZERO,
            used: Duration::ZERO,
            is_good: false,
            visited: HashMap::new(),
        }
    }

    fn due_at(&self, now: Instant) -> Option<Instant> {
        let first = if self.waiting.is_empty() { self.times.first().map(|(at, _)| *at) } else { Some(now) };
        first.map(|at| at.max(self.rests_until.unwrap_or(at)))
    }

    fn set_apart(&mut self, create: i64, failures: u32, until: Instant) {
        self.apart.insert(create, (failures, until));
        self.times.insert((until, create));
    }

    /// Takes rows for a visit. Rows that have failed come last: otherwise they would keep the others waiting.
    fn take(&mut self, now: Instant) -> Vec<i64> {
        while self.visited.len() < self.rows
            && let Some(create) = self.waiting.pop_first()
        {
            self.visited.insert(create, 0);
        }
        while self.visited.len() < self.rows
            && let Some(&(until, create)) = self.times.first()
            && until <= now
        {
            self.times.pop_first();
            let (failures, _) = self.apart.remove(&create).unwrap_or((0, until));
            self.visited.insert(create, failures);
        }
        let mut creates: Vec<i64> = self.visited.keys().copied().collect();
        creates.sort_unstable();
        creates
    }

    fn note(&mut self, visited: &Visited, now: Instant) -> Vec<Backoff> {
        let Visited { done, failed, locked, took, .. } = visited;
        let mut before = std::mem::take(&mut self.visited);
        self.adapt(visited, before.len());
        self.used += *took;
        let rest = if *took > QUICK_VISIT { *took * (TIME_SHARE - 1) } else { Duration::ZERO };
        let is_of_table = done.is_empty() && !failed.is_empty();
        if is_of_table {
            self.failures = self.failures.saturating_add(1);
            self.is_good = false;
        } else if !done.is_empty() {
            self.failures = 0;
            self.is_good = true;
        }
        let delay_after = |failures: u32| backoff::retry_delay(failures, 1.0).max(rest);
        let rest = if is_of_table { delay_after(self.failures) } else { rest };
        self.rests_until = (!rest.is_zero()).then(|| now + rest);
        for create in done {
            before.remove(create);
        }
        for create in locked {
            let failures = before.remove(create).unwrap_or_default();
            self.set_apart(*create, failures, now + LOCKED_ROW_DELAY);
        }
        let mut backoffs = Vec::with_capacity(failed.len());
        for create in failed {
            let failures = before.remove(create).unwrap_or_default().saturating_add(1);
            let failures = if is_of_table { failures.max(self.failures) } else { failures };
            let delay = delay_after(failures);
            self.set_apart(*create, failures, now + delay);
            backoffs.push(Backoff { create: *create, failures, delay, is_of_table });
        }
        for (create, failures) in before {
            // A row that failed before stays behind the others.
            if failures > 0 {
                self.set_apart(create, failures, now);
            } else {
                self.waiting.insert(create);
            }
        }
        backoffs
    }

    /// Chooses the number of rows of the next visit, so that it is quick.
    fn adapt(&mut self, visited: &Visited, count: usize) {
        let tried = visited.done.len();
        if visited.exceeded_limit {
            self.rows = (count / SHRINKS_BY).max(1);
        } else if tried > 0 {
            let row = visited.took.as_secs_f64() / tried as f64;
            let wanted = (QUICK_VISIT.as_secs_f64() / row.max(1e-6)) as usize;
            self.rows = wanted.min(self.rows * GROWS_BY).clamp(1, ROWS.1);
            if count == 1 {
                self.longest_row = self.longest_row.max(visited.took);
            }
        }
    }
}

#[cfg(test)]
mod tests;
