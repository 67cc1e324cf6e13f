//! Waiting until records are settled.

use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;

use crate::outbox::worker::wake_at_commit;
use crate::pg::spi;
use crate::pg::statement::{Statement, Value};
use crate::pg::text::for_message;
use crate::pg::wait_event::WaitEvent;
use crate::pg::{bgworker, security_context, session};

/// Those of the records that are open, and whether they wait for a person; as far as a role may see them.
static OPEN: Statement = Statement::new(concat!(
    named_servers!(),
    "SELECT o.id, o.is_dead FROM ( \
       SELECT q.id, false AS is_dead, q.role::pg_catalog.oid AS role FROM named n JOIN sequin.queue q \
         ON q.server OPERATOR(pg_catalog.=) n.server WHERE q.id OPERATOR(pg_catalog.=) ANY ($1) UNION ALL \
       SELECT p.id, p.state OPERATOR(pg_catalog.<>) 'pending', p.role::pg_catalog.oid FROM sequin.deferred p \
         WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)) o WHERE pg_catalog.pg_has_role($2, o.role, 'USAGE')"
));

/// Records that are looked at together. Those behind them are looked at when these are settled.
const AT_ONCE: usize = 64;

/// Often enough that nobody waits for the look, seldom enough that it costs nothing.
const LONGEST: Duration = Duration::from_millis(50);

/// Waits until the records are delivered. True: all are. False: one needs a person. None: one was still open after
/// `timeout_ms`.
pub fn await_delivery(ids: &[i64], timeout_ms: Option<i32>) -> Result<Option<bool>, ErrorReport> {
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
    let role = session::current_role().to_u32();
    let mut left = ids.to_vec();
    let mut pause = Duration::from_millis(1);
    while !left.is_empty() {
        let count = left.len().min(AT_ONCE);
        let polled = open(&left[..count], role)?;
        if polled.iter().any(|(_, is_dead)| *is_dead) {
            return Ok(Some(false));
        }
        left.splice(..count, polled.iter().map(|(id, _)| *id));
        if polled.is_empty() {
            continue;
        }
        let time = until.map_or(LONGEST, |until| until.saturating_duration_since(Instant::now()));
        if time.is_zero() {
            // A dead record may stand behind those that were polled.
            let has_dead = open(&left, role)?.iter().any(|(_, is_dead)| *is_dead);
            return Ok(has_dead.then_some(false));
        }
        bgworker::wait(pause.min(time), WaitEvent::AwaitDelivery);
        pause = (pause * 2).min(LONGEST);
    }
    Ok(Some(true))
}

fn open(ids: &[i64], role: u32) -> Result<Vec<(i64, bool)>, ErrorReport> {
    security_context::as_queue_owner(|| {
        spi::connected(|connection| {
            let rows = OPEN.run(connection, &[Value::Int8s(ids), Value::Oid(role)]);
            Ok((0..rows.len()).filter_map(|row| Some((rows.int8(row, 1)?, rows.boolean(row, 2)))).collect())
        })
    })
}

fn error(code: Code, message: &str, hint: &str) -> ErrorReport {
    ErrorReport::new(code, for_message(message.to_owned()), "sequin_mutations").set_hint(hint)
}
