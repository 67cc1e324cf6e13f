//! Retention: deleting records that the history has kept long enough.
//!
//! Deleted records are not stepped over again: while another transaction keeps dead rows from being vacuumed, each pass
//! would otherwise take longer than the last.

use std::time::{Duration, Instant};

use crate::ereport;
use crate::pg::session;
use crate::pg::spi::Connection;
use crate::pg::transaction;

use crate::outbox::guard;
use crate::outbox::store::archive;
use contract::reply::Timestamp;

/// The shortest and the longest time between two passes that found nothing more to delete. Within these limits it is
/// the retention itself.
const PASS_INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Rows that are deleted in one transaction, so that delivery goes on in between.
const AT_ONCE: usize = 10_000;

/// How far a worker has deleted.
pub struct Retention {
    last_pass: Option<Instant>,
    /// All records that were settled before this time are deleted.
    clean_until: Timestamp,
}

impl Retention {
    pub fn new() -> Retention {
        Retention { last_pass: None, clean_until: Timestamp(i64::MIN + 1) }
    }

    /// Deletes some of the records that are older than `kept`, if it is time for a pass.
    pub fn enforce(&mut self, connection: &Connection, kept: Duration) {
        let interval = kept.clamp(PASS_INTERVALS.0, PASS_INTERVALS.1);
        if self.last_pass.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        let until = Timestamp(session::now() - i64::try_from(kept.as_micros()).unwrap_or(i64::MAX));
        let deleted = transaction::attempt(|| {
            match guard::carefully(|| archive::delete_old(connection, self.clean_until, until, AT_ONCE)) {
                Ok(deleted) => deleted,
                Err(_) => {
                    guard::be_careful();
                    self.delete_one_by_one(connection, until)
                }
            }
        });
        match deleted {
            Ok(AT_ONCE..) => self.last_pass = None,
            Ok(_) => {
                self.last_pass = Some(Instant::now());
                self.clean_until = until;
            }
            // No error here may stop the delivery.
            Err(error) => {
                guard::be_careful();
                ereport::log(&format!("could not delete old records from the history: {error}"));
                self.last_pass = Some(Instant::now());
            }
        }
    }

    /// Deletes the rows around one that cannot be deleted and stays. Gives the number of rows that were tried; 0 if none could
    /// be deleted.
    fn delete_one_by_one(&self, connection: &Connection, until: Timestamp) -> usize {
        let ids = archive::old(connection, self.clean_until, until, AT_ONCE);
        let deleted = guard::each_logged("deleted from the history", &ids, |ids| archive::delete(connection, ids));
        if deleted > 0 { ids.len() } else { 0 }
    }

    /// Whether there is more to delete, which must not wait for the next record or full scan.
    pub fn is_behind(&self) -> bool {
        self.last_pass.is_none()
    }
}
