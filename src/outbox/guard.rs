//! Limits an ERROR to the record that causes it: it affects neither other records nor the worker.
//!
//! A worker handles many records at once, without a subtransaction. If that fails, the whole transaction is rolled back, and
//! for a while the worker is careful: it repeats the work in subtransactions, by halves, down to the record at fault. An error
//! of the surroundings (a full disk, a lock, a cancel) is no record's fault. It ends the transaction, and the worker waits.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ereport;
use crate::pg::transaction::{Cause, Failure, try_to};

use contract::batching::halves::by_halves;

/// How long a worker is careful after an error: longer than the interval between full scans, in which it meets a record again
/// that cannot even be rejected.
const CAREFUL_PERIOD: Duration = Duration::from_secs(60);

static CAREFUL_UNTIL: Mutex<Option<Instant>> = Mutex::new(None);

/// Makes this process careful for a while.
pub fn be_careful() {
    *CAREFUL_UNTIL.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + CAREFUL_PERIOD);
}

pub fn is_careful() -> bool {
    CAREFUL_UNTIL.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| until > Instant::now())
}

/// Runs `f` in a subtransaction. Raises an error of the surroundings again.
pub fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, Failure> {
    try_to(f).map_err(|failure| {
        if failure.cause() == Cause::Surroundings {
            failure.raise()
        }
        be_careful();
        failure
    })
}

/// Runs `f`, in a subtransaction if the process is careful.
pub fn carefully<T>(f: impl FnOnce() -> T) -> Result<T, Failure> {
    if is_careful() { guarded(f) } else { Ok(f()) }
}

/// Applies `f` to all of `items`, in subtransactions. Returns the items that fail.
pub fn each_guarded<'a, T>(items: &'a [T], mut f: impl FnMut(&'a [T])) -> Vec<(&'a T, Failure)> {
    by_halves(items, |part| guarded(|| f(part)))
}

/// Applies `f` to all of `items`, in subtransactions if the process is careful. Returns the items that fail.
pub fn each_carefully<'a, T>(items: &'a [T], mut f: impl FnMut(&'a [T])) -> Vec<(&'a T, Failure)> {
    if is_careful() {
        return each_guarded(items, f);
    }
    if !items.is_empty() {
        f(items);
    }
    Vec::new()
}

/// The same for the ids of records. Logs the failures: the record "could not be {what}". Returns the number of
/// successes.
pub fn each_logged(what: &str, ids: &[i64], f: impl FnMut(&[i64])) -> usize {
    let failed = each_carefully(ids, f);
    for (id, failure) in &failed {
        note(what, **id, failure);
    }
    ids.len() - failed.len()
}

/// Logs that a record "could not be {what}".
pub fn note(what: &str, id: i64, failure: &Failure) {
    ereport::log(&format!("record {id} of the outbox could not be {what}: {}", failure.message));
}
