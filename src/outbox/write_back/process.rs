//! The process that writes upstream ids into rows, one for a database.
//!
//! A delivery worker starts it when a create is settled whose row needs its id, and wakes it at the next ones. It ends when
//! it has had nothing to write for some seconds. It never respawns: what it leaves is found by the delivery worker, which
//! starts another one.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use contract::batching::visits::LONGEST_LIMIT;
use pgrx::pg_sys::Oid;

use crate::outbox::worker::{lifecycle, presence, registry};
use crate::pg::bgworker::{self, Activity, Registration, Started};
use crate::pg::wait_event::WaitEvent;
use crate::pg::{guc, session};

use super::slot::Slot;
use super::visit::OpenAttached;
use super::writer::{Gone, Writer};

/// The process ends after this time without work, if no visit is due within it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an idle process checks whether its database is to be dropped: DROP DATABASE waits five seconds for it to
/// leave.
const DROP_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the process waits for a DROP EXTENSION to commit or roll back, or after an error.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// How long the process goes on while a database waits for a background worker.
const SHARE: Duration = Duration::from_secs(2);

/// Starts the process in this database. None if the server cannot have more background workers.
pub fn start() -> Option<Started> {
    let registration = Registration {
        name: c"sequin write-back",
        kind: c"sequin write-back",
        symbol: c"sequin_write_back_main",
        argument: u64::from(session::database()),
        restart_after: None,
    };
    registration.start()
}

/// Runs the process to its end. `database` is its argument.
pub fn main(database: u64, open: OpenAttached) {
    lifecycle::connect_to(Oid::from(database as u32));
    guc::set_for_process(c"application_name", c"sequin write-back");
    let Some(slot) = Slot::take() else { bgworker::exit(0) };
    // If the process is asked to end, a cancelled transaction is no error.
    let ended = catch_unwind(AssertUnwindSafe(|| run(&slot, open)));
    if bgworker::is_shutdown_requested() {
        bgworker::exit(0);
    }
    match ended {
        Ok(()) => bgworker::exit(0),
        Err(error) => resume_unwind(error),
    }
}

/// Writes ids until there are none, or the process must leave.
fn run(slot: &Slot, open: OpenAttached) {
    let mut writer = loop {
        match Writer::new(open, LONGEST_LIMIT) {
            Ok(writer) => break writer,
            Err(Gone::ForNow) if !must_leave() => rest(),
            Err(_) => return,
        }
    };
    let begun = Instant::now();
    let mut worked_at = begun;
    while !must_leave() {
        // The delivery worker starts another process when there is room, and makes the visits until then.
        if begun.elapsed() > SHARE && registry::take_request_to_leave() {
            return;
        }
        let made = find(slot, &mut writer).and_then(|()| {
            bgworker::report_activity(Activity::Running, "writing upstream ids into their rows");
            writer.visit_next()
        });
        match made {
            Ok(true) => {
                worked_at = Instant::now();
                // Reads a changed configuration, and ends the process if Postgres asks for it.
                bgworker::wait(Duration::ZERO, WaitEvent::WriteBackMain);
            }
            Ok(false) => {
                let due = writer.due_in();
                let idle = worked_at.elapsed();
                let is_over = idle >= IDLE_TIMEOUT && due.is_none_or(|due| due > IDLE_TIMEOUT);
                if !slot.is_signalled() && (is_over || registry::take_request_to_leave()) {
                    return;
                }
                let left = IDLE_TIMEOUT.saturating_sub(idle).max(Duration::from_millis(1));
                bgworker::report_activity(Activity::Idle, "waiting for upstream ids to write");
                if !slot.is_signalled() {
                    let most = due.unwrap_or(left).min(DROP_CHECK_INTERVAL);
                    bgworker::wait(most.max(Duration::from_millis(1)), WaitEvent::WriteBackMain);
                }
            }
            Err(Gone::ForNow) => rest(),
            Err(Gone::ForGood) => return,
        }
    }
}

/// Finds the ids that were noted since the last call.
fn find(slot: &Slot, writer: &mut Writer) -> Result<(), Gone> {
    let Some(lowest) = slot.take_lowest() else { return Ok(()) };
    writer.find_since(lowest).inspect_err(|_| slot.put_back(lowest))
}

fn must_leave() -> bool {
    bgworker::is_shutdown_requested() || presence::is_database_being_dropped()
}

fn rest() {
    bgworker::wait(RETRY_DELAY, WaitEvent::WriteBackMain);
}
