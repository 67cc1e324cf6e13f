//! Write-back: bringing the upstream ids of delivered creates into the rows of attached tables.
//!
//! A visit skips a locked row; a later visit writes it. A table that cannot be written is left alone longer and longer,
//! so that slow or broken triggers cost other tables little.

mod propagate_ids;
mod table_backoff;
mod visit;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use contract::batching::plan::Operation;
use contract::kind::Kind;

use crate::ereport;
use crate::outbox::worker::presence::{self, Presence};
use crate::pg::spi::{self, Connection};
use crate::pg::transaction::{self, Failure};

use super::disposition::Disposition;
use super::guard;
use super::store::upstream_ids;
use table_backoff::{TableBackoffs, Visit};
use visit::{ids, visit_table};

pub use super::store::upstream_ids::PendingId;
pub use visit::{AttachedTable, OpenAttached};

/// How long a locked row is left alone.
const LOCKED_ROW_DELAY: Duration = Duration::from_millis(200);

/// How long all ids are left alone when they cannot be read.
const UNREADABLE_IDS_DELAY: Duration = Duration::from_secs(5);

/// The creates whose upstream ids are not in their rows yet.
pub struct Pending {
    open: OpenAttached,
    ids: BTreeSet<i64>,
    not_before: Option<Instant>,
    backoffs: TableBackoffs,
}

impl Pending {
    pub fn new(open: OpenAttached) -> Pending {
        Pending { open, ids: BTreeSet::new(), not_before: None, backoffs: TableBackoffs::default() }
    }

    /// Finds the ids that an earlier worker has left.
    pub fn find_all(&mut self, connection: &Connection) {
        self.ids.extend(upstream_ids::all(connection));
    }

    /// Notes the delivered creates, in the transaction that settles them.
    pub fn note(&mut self, connection: &Connection, kind: Kind, dispositions: &[(&Operation, &Disposition)]) {
        if kind != Kind::Create {
            return;
        }
        let has_id = |disposition: &Disposition| matches!(disposition, Disposition::Done { upstream_id: Some(_), .. });
        let done = dispositions.iter().filter(|(_, disposition)| has_id(disposition));
        let creates: Vec<i64> = done.map(|(operation, _)| operation.id).collect();
        if creates.is_empty() {
            return;
        }
        guard::each_logged("noted for its write-back", &creates, |creates| {
            self.ids.extend(upstream_ids::note(connection, creates));
        });
        self.not_before = None;
    }

    /// Drops the ids of rows whose delete is delivered. Runs in the transaction that settles the delete, before it
    /// writes the queue: later rows may have the same keys.
    pub fn forget_deleted(connection: &Connection, kind: Kind, dispositions: &[(&Operation, &Disposition)]) {
        if kind != Kind::Delete {
            return;
        }
        let (mut deletes, mut relations, mut row_keys) = (Vec::new(), Vec::new(), Vec::new());
        let is_done = |disposition: &Disposition| matches!(disposition, Disposition::Done { .. });
        for (operation, _) in dispositions.iter().filter(|(_, disposition)| is_done(disposition)) {
            let Some(key) = operation.ordering_key.as_deref() else { continue };
            let Some(relation) = key.relation else { continue };
            deletes.push(operation.id);
            relations.push(i64::from(relation));
            row_keys.push(key.text.as_str());
        }
        if !deletes.is_empty() {
            upstream_ids::delete_replaced(connection, &deletes, &relations, &row_keys);
        }
    }

    /// The time to the next visit; None if there is nothing to write.
    pub fn due_in(&self) -> Option<Duration> {
        let now = Instant::now();
        let next = (!self.ids.is_empty()).then(|| self.not_before.unwrap_or(now));
        next.into_iter().chain(self.backoffs.next()).min().map(|at| at.saturating_duration_since(now))
    }

    /// Writes the ids that are due, each table in a transaction of its own.
    pub fn write(&mut self) {
        if self.due_in() != Some(Duration::ZERO) {
            return;
        }
        self.ids.append(&mut self.backoffs.take_due());
        let ids: Vec<i64> = self.ids.iter().copied().collect();
        let rows = in_transaction(|connection| {
            self.backoffs.read(connection);
            upstream_ids::read(connection, &ids)
        });
        let rows = match rows {
            Ok(Some(rows)) => rows,
            Ok(None) => {
                self.not_before = Some(Instant::now() + LOCKED_ROW_DELAY);
                return;
            }
            Err(failure) => {
                ereport::log(&format!("could not read the pending upstream ids: {}", failure.message));
                self.not_before = Some(Instant::now() + UNREADABLE_IDS_DELAY);
                return;
            }
        };
        // Another worker has written the missing ones.
        self.ids = rows.iter().map(|row| row.id).collect();
        for table in rows.chunk_by(|one, other| one.relation == other.relation) {
            let relation = table[0].relation.to_u32();
            let (left, rows): (Vec<&PendingId>, Vec<&PendingId>) =
                table.iter().partition(|row| self.backoffs.keeps(relation, row.id));
            let visit = if rows.is_empty() { Visit::default() } else { self.visit(relation, &rows) };
            for id in left.iter().map(|row| &row.id).chain(&visit.done).chain(&visit.failed) {
                self.ids.remove(id);
            }
        }
        self.backoffs.remove_empty();
        self.not_before = (!self.ids.is_empty()).then(|| Instant::now() + LOCKED_ROW_DELAY);
    }

    fn visit(&mut self, relation: u32, rows: &[&PendingId]) -> Visit {
        let begun = Instant::now();
        if self.backoffs.is_doubtful(relation)
            && let Err(failure) =
                in_transaction(|connection| self.backoffs.begin_visit(connection, relation, &ids(rows)))
        {
            ereport::log(&format!("could not write down a visit to a table: {}", failure.message));
        }
        let failures = self.backoffs.failures_with_next(relation);
        let visited = in_transaction(|connection| visit_table(connection, self.open, relation.into(), rows, failures));
        let visited = visited.map(Option::unwrap_or_default).unwrap_or_else(|failure| {
            ereport::log(&format!("could not write upstream ids into their rows: {}", failure.message));
            guard::be_careful();
            Visit { done: Vec::new(), failed: ids(rows), took: begun.elapsed() }
        });
        self.backoffs.note(relation, &visited);
        visited
    }
}

/// Runs `f` in a transaction. None, and `f` does not run, if the extension is dropped or about to be.
fn in_transaction<T>(f: impl FnOnce(&Connection) -> T) -> Result<Option<T>, Failure> {
    transaction::try_transaction(|| {
        let Presence::Present(_) = presence::of_extension() else { return None };
        let connected = spi::connected(|connection| -> Result<T, std::convert::Infallible> { Ok(f(connection)) });
        let Ok(result) = connected;
        Some(result)
    })
}
