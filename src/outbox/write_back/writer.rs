//! Writes pending ids into their rows, a visit at a time, and stores what failed.
//!
//! A trigger may never return, and then the process that waits for it is ended. Each successor would begin with the same
//! table. So a backoff is stored before the first visit to a table, and before each visit that follows a failure. After
//! one successful visit a table needs no stored backoff.

use std::time::{Duration, Instant};

use contract::batching::backoff;
use contract::batching::visits::{Backoff, LONGEST_LIMIT, Visit, Visited, Visits};
use pgrx::pg_sys::Oid;

use crate::ereport;
use crate::outbox::guard;
use crate::outbox::store::upstream_ids::{self, FailedAttempt};
use crate::outbox::store::{self};
use crate::outbox::worker::presence::{self, Presence};
use crate::pg::spi::{self, Connection};
use crate::pg::text;
use crate::pg::transaction::{self, Failure};

use super::visit::{OpenAttached, Written, write_rows};

/// The backoff that a first visit begins with. The successor of this process leaves the table alone for so long if the
/// process ends with the visit. Mostly a process ends for another reason.
const FIRST_VISIT_BACKOFF: Duration = Duration::from_secs(3);

/// The extension that the pending ids belong to is not there at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// Another session may be dropping it.
    ForNow,
    /// It was dropped, or is another one.
    ForGood,
}

/// The pending ids that this process knows, and their visits.
pub struct Writer {
    open: OpenAttached,
    visits: Visits,
    extension: Oid,
}

impl Writer {
    /// No visit takes longer than `longest`. Gone if there is no extension.
    pub fn new(open: OpenAttached, longest: Duration) -> Result<Writer, Gone> {
        let present = transaction::try_transaction(presence::of_extension);
        match present {
            Ok(Presence::Present(extension)) => Ok(Writer { open, visits: Visits::new(longest), extension }),
            Ok(Presence::BeingDropped) | Err(_) => Err(Gone::ForNow),
            Ok(Presence::Absent) => Err(Gone::ForGood),
        }
    }

    /// Finds the pending ids of the creates from the id `lowest` on. An error is logged, and counts as gone for now.
    pub fn find_since(&mut self, lowest: i64) -> Result<(), Gone> {
        let pending = in_transaction(self.extension, |connection| upstream_ids::since(connection, lowest))?;
        let pending = pending.map_err(|failure| {
            ereport::log(&format!("could not read the pending upstream ids: {}", failure.message));
            Gone::ForNow
        })?;
        let now = Instant::now();
        for row in pending {
            let (table, create, is_of_table) = (row.relation.to_u32(), row.id, row.holds_table);
            match row.delay() {
                None => self.visits.add(table, create),
                Some(delay) => {
                    let failures = u32::try_from(row.failures).unwrap_or_default();
                    let backoff = Backoff { create, failures, delay, is_of_table };
                    self.visits.add_in_backoff(table, &backoff, now);
                }
            }
        }
        Ok(())
    }

    /// The time to the next visit; None if there is nothing to write.
    pub fn due_in(&self) -> Option<Duration> {
        let now = Instant::now();
        self.visits.next_at(now).map(|at| at.saturating_duration_since(now))
    }

    /// Makes the next visit if one is due. Returns whether it has.
    pub fn visit_next(&mut self) -> Result<bool, Gone> {
        let Some(visit) = self.visits.next(Instant::now()) else { return Ok(false) };
        let written = self.begin(&visit).and_then(|()| write_rows(self.open, &visit, self.extension));
        let (written, gone) = match written {
            Ok(written) => (written, None),
            Err(gone) => (Written { visited: Visited::default(), errors: Vec::new() }, Some(gone)),
        };
        let backoffs = self.visits.note(&visit, &written.visited, Instant::now());
        if let Some(error) = written.errors.first() {
            // Once for each visit: sequin.delivered has the error of each row.
            ereport::log(&format!("could not write upstream ids into their rows: {error}"));
        }
        match gone {
            Some(gone) => Err(gone),
            None => self.end(&visit, &written, &backoffs).map(|()| true),
        }
    }

    /// Stores a backoff before a visit, in a transaction of its own.
    fn begin(&self, visit: &Visit) -> Result<(), Gone> {
        if !visit.is_doubtful {
            return Ok(());
        }
        let delay = match visit.failures {
            1 => FIRST_VISIT_BACKOFF,
            failures => LONGEST_LIMIT + backoff::retry_delay(failures, 1.0),
        };
        let (failures, until) = (stored(visit.failures), store::after(delay));
        let begun = in_transaction(self.extension, |connection| {
            upstream_ids::begin_visit(connection, &visit.creates, failures, until);
        })?;
        if let Err(failure) = begun {
            ereport::log(&format!("could not write down a visit to a table: {}", failure.message));
        }
        Ok(())
    }

    /// Stores the failures of a visit, and ends the backoff that it began.
    fn end(&self, visit: &Visit, written: &Written, backoffs: &[Backoff]) -> Result<(), Gone> {
        let Visited { done, failed, .. } = &written.visited;
        let is_open = |create: &&i64| !done.contains(create) && !failed.contains(create);
        let begun: Vec<i64> = visit.creates.iter().filter(is_open).filter(|_| visit.is_doubtful).copied().collect();
        let was_failing = visit.failures > 1 && !done.is_empty();
        if begun.is_empty() && failed.is_empty() && !was_failing {
            return Ok(());
        }
        let ended = in_transaction(self.extension, |connection| {
            upstream_ids::end_visit(connection, &begun);
            if was_failing {
                upstream_ids::release_table(connection, Oid::from(visit.table));
            }
            for (backoff, error) in backoffs.iter().zip(&written.errors) {
                let failed = FailedAttempt {
                    create: backoff.create,
                    error: &text::storable(error),
                    failures: stored(backoff.failures),
                    until: store::after(backoff.delay),
                    holds_table: backoff.is_of_table,
                };
                guard::each_logged("marked as not written back", &[backoff.create], |_| {
                    upstream_ids::fail(connection, &failed);
                });
            }
        })?;
        if let Err(failure) = ended {
            ereport::log(&format!("could not write down the end of a visit to a table: {}", failure.message));
            guard::be_careful();
        }
        Ok(())
    }
}

fn stored(failures: u32) -> i32 {
    i32::try_from(failures).unwrap_or(i32::MAX)
}

/// Runs `f` in a transaction, unless the extension is gone.
pub(super) fn in_transaction<T>(extension: Oid, f: impl FnOnce(&Connection) -> T) -> Result<Result<T, Failure>, Gone> {
    let ran = transaction::try_transaction(|| {
        match presence::of_extension() {
            Presence::Present(found) if found == extension => {}
            Presence::BeingDropped => return Err(Gone::ForNow),
            Presence::Present(_) | Presence::Absent => return Err(Gone::ForGood),
        }
        let connected = spi::connected(|connection| -> Result<T, std::convert::Infallible> { Ok(f(connection)) });
        let Ok(result) = connected;
        Ok(result)
    });
    match ran {
        Ok(Ok(result)) => Ok(Ok(result)),
        Ok(Err(gone)) => Err(gone),
        Err(failure) => Ok(Err(failure)),
    }
}
