//! Waiting until records are delivered.
//!
//! A create of an attached table is delivered when its upstream id is in its row: who has waited reads the id there. A
//! write-back that fails leaves the create open, because a later attempt may succeed.

use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::Oid;

use crate::ereport::Error;
use crate::outbox::worker::wake_at_commit;
use crate::pg::spi;
use crate::pg::wait_event::WaitEvent;
use crate::pg::{bgworker, security_context, session};

use super::store::row;

/// Records that are polled together. The next ones are polled when these are settled.
const POLLED_RECORDS: usize = 64;

/// The longest time between two polls.
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until the records are delivered. True: all are. False: one needs a person. None: one was still open after
/// `timeout_ms`.
pub fn await_delivery(ids: &[i64], timeout_ms: Option<i32>) -> Result<Option<bool>, Error> {
    if ids.iter().any(|id| wake_at_commit::has_queued(*id)) {
        let message = "these records were enqueued in this transaction, and are sent after its commit";
        return Err(error(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message, "COMMIT first."));
    }
    if session::has_fixed_snapshot() {
        let message = "this transaction cannot see what is delivered while it runs";
        let hint = "Wait in a transaction that is READ COMMITTED.";
        return Err(error(Code::ERRCODE_ACTIVE_SQL_TRANSACTION, message, hint));
    }
    let until = timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms.max(0) as u64));
    let role = session::current_role();
    let mut left = ids.to_vec();
    let mut pause = Duration::from_millis(1);
    while !left.is_empty() {
        let count = left.len().min(POLLED_RECORDS);
        let polled = open(&left[..count], role)?;
        if polled.iter().any(|(_, is_dead)| *is_dead) {
            return Ok(Some(false));
        }
        left.splice(..count, polled.iter().map(|(id, _)| *id));
        if polled.is_empty() {
            continue;
        }
        let time = until.map_or(MAX_POLL_INTERVAL, |until| until.saturating_duration_since(Instant::now()));
        if time.is_zero() {
            // A dead record may be behind the polled ones.
            let has_dead = open(&left, role)?.iter().any(|(_, is_dead)| *is_dead);
            return Ok(has_dead.then_some(false));
        }
        bgworker::wait(pause.min(time), WaitEvent::AwaitDelivery);
        pause = (pause * 2).min(MAX_POLL_INTERVAL);
    }
    Ok(Some(true))
}

/// The records that are not delivered, each with whether it needs a person.
fn open(ids: &[i64], role: Oid) -> Result<Vec<(i64, bool)>, Error> {
    security_context::as_queue_owner(|| spi::connected(|connection| Ok(row::open(connection, ids, role))))
}

fn error(code: Code, message: &str, hint: &str) -> Error {
    Error::refused(code, message, hint)
}
