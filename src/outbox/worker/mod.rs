//! The process that delivers one database's outbox.
//!
//! Each round claims requests in a short transaction, sends them with none open, and settles them in another. While it
//! waits, for the network or for work, it holds no transaction, snapshot or lock.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgrx::pg_sys::Oid;

use crate::ereport;
use crate::pg::bgworker::{self, Activity};
use crate::pg::spi::{self, Connection};
use crate::pg::statement::Statement;
use crate::pg::transaction::{self, Cause, Failure};
use crate::pg::wait_event::WaitEvent;
use crate::pg::{random, wait};
use crate::settings;

mod deliver;
pub mod identity;
mod launcher;
pub mod lifecycle;
pub mod presence;
pub mod registry;
mod retention;
pub mod wake_at_commit;

use self::lifecycle::RestartPolicy;
use self::presence::Presence;
use self::registry::Slot;
use self::retention::Retention;
use crate::outbox::claim::{self, Cursors, Found};
use crate::outbox::write_back::{self, OpenAttached};
use crate::outbox::{claims_lock, guard};
use contract::batching::backoff::{self, ServerBackoff};

/// Fallback poll. Finds work that no wake-up announced: a COMMIT PREPARED, a lost latch.
const FULL_SCAN_INTERVAL: Duration = Duration::from_secs(30);

/// How often a worker checks whether its database is to be dropped: DROP DATABASE waits five seconds for it to leave.
const DROP_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The poll while a transaction with queued records is prepared: its COMMIT PREPARED wakes no worker.
const PREPARED_SCAN_INTERVAL: Duration = Duration::from_secs(1);

/// How long a worker waits for a DROP EXTENSION to commit or roll back before it checks again.
const DROP_EXTENSION_DELAY: Duration = Duration::from_millis(50);

/// An additional worker exits after this time without work.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time between two settlements: after a crash, the requests since the last one are repeated.
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// The first and the longest wait after a failed transaction. Most causes pass, and a full disk must not be filled by the
/// log.
const FAILURE_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How often a worker tries to settle requests while an error other than one of the surroundings prevents it.
const MAX_SETTLE_FAILURES: u32 = 5;

/// Runs a worker to its end.
pub fn main(argument: u64, open: OpenAttached) {
    let policy = lifecycle::connect(argument);
    registry::prepare();
    if !has_extension_soon(policy) {
        registry::end_start();
        bgworker::exit(0);
    }
    // If there is no room for a restarting worker, this one does the work itself.
    if policy == RestartPolicy::Once && (!registry::pids().is_empty() || lifecycle::start(RestartPolicy::Respawn)) {
        bgworker::exit(0);
    }
    let owner = random::unique_number();
    let Some(slot) = Slot::take(owner) else {
        ereport::log("no slot is free for another worker of the outbox");
        bgworker::exit(0);
    };
    if registry::pids().len() > settings::workers() && !slot.is_first() {
        bgworker::exit(0);
    }
    // While this worker waits for an API, another one sends other records.
    wait::on_wake_up(|| {
        if registry::is_signalled() {
            call_for_help();
        }
    });
    let worker = Worker {
        owner,
        slot,
        extension: None,
        cursors: Cursors::default(),
        backoffs: HashMap::new(),
        last_full_scan: None,
        last_drop_check: Instant::now(),
        was_locked_out: None,
        failures: 0,
        retention: Retention::new(),
        write_backs: write_back::Pending::new(open),
    };
    // If the process is asked to end, a cancelled transaction must not be an error after which Postgres restarts it.
    let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
    if bgworker::is_shutdown_requested() {
        lifecycle::exit_and_respawn();
    }
    let Err(error) = ended;
    resume_unwind(error);
}

/// Whether the extension exists. A transaction that creates it, and enqueues at once, starts a worker just before it
/// commits.
fn has_extension_soon(policy: RestartPolicy) -> bool {
    const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
    let begun = Instant::now();
    loop {
        if transaction::transaction(presence::of_extension) != Presence::Absent {
            return true;
        }
        if policy == RestartPolicy::Once || begun.elapsed() > COMMIT_TIMEOUT || bgworker::is_shutdown_requested() {
            return false;
        }
        bgworker::wait(Duration::from_millis(100), WaitEvent::WorkerMain);
    }
}

/// Ends this worker because the extension is gone. A transaction that creates it again may have seen this worker and started
/// none, so it waits for such a commit.
fn leave_for_good() -> ! {
    const COMMIT_TIMEOUT: Duration = Duration::from_secs(1);
    registry::give_back();
    let begun = Instant::now();
    while begun.elapsed() < COMMIT_TIMEOUT
        && !bgworker::is_shutdown_requested()
        && !presence::is_database_being_dropped()
    {
        if presence::of_extension() != Presence::Absent {
            lifecycle::exit_and_respawn();
        }
        bgworker::wait(COMMIT_TIMEOUT / 50, WaitEvent::WorkerMain);
    }
    bgworker::exit(0)
}

/// Starts another worker, if the settings allow one more. It takes some milliseconds to appear.
fn call_for_help() {
    const START_TIMEOUT: Duration = Duration::from_secs(1);
    static CALLED: Mutex<Option<Instant>> = Mutex::new(None);
    let mut called = CALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if called.is_none_or(|at| at.elapsed() >= START_TIMEOUT) && registry::pids().len() < settings::workers() {
        *called = Some(Instant::now());
        lifecycle::start(RestartPolicy::Respawn);
    }
}

/// Waits after a scan without work, and ignores wake-ups. If another worker sends the changes of all keys, each of its
/// requests would wake this one to a useless scan, with the lock that the other needs.
fn rest(most: Duration) {
    const MIN_REST: Duration = Duration::from_millis(2);
    let until = Instant::now() + most;
    while most > MIN_REST && !bgworker::is_shutdown_requested() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        bgworker::wait(left, WaitEvent::WorkerMain);
    }
}

/// Logs that a transaction has failed, and waits before the next one. After the first error that a record may have
/// caused, a careful attempt follows at once and finds this record. Returns the number of failures in a row.
fn has_failed(what: &str, failure: &Failure, before: u32) -> u32 {
    ereport::log(&format!("the worker of the outbox could not {what}: {}", failure.message));
    let is_first = before == 0 && failure.cause() != Cause::Surroundings;
    guard::be_careful();
    if !is_first {
        back_off(backoff::delay(before + 1, FAILURE_DELAYS.0, FAILURE_DELAYS.1, random::fraction().max(0.5)));
    }
    before.saturating_add(1)
}

/// Waits, and ignores wake-ups. The worker exits if its database is to be dropped.
fn back_off(delay: Duration) {
    let until = Instant::now() + delay;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || bgworker::is_shutdown_requested() {
            return;
        }
        if presence::is_database_being_dropped() {
            lifecycle::exit_and_respawn();
        }
        bgworker::wait(left.min(DROP_CHECK_INTERVAL), WaitEvent::WorkerMain);
    }
}

struct Worker {
    owner: i64,
    slot: Slot,
    /// The extension of the last scan, by its oid.
    extension: Option<Oid>,
    cursors: Cursors,
    backoffs: HashMap<String, ServerBackoff>,
    last_full_scan: Option<Instant>,
    last_drop_check: Instant,
    /// Since when another process has the lock.
    was_locked_out: Option<Instant>,
    /// Transactions in a row that have failed.
    failures: u32,
    retention: Retention,
    write_backs: write_back::Pending,
}

impl Worker {
    fn run(mut self) -> ! {
        let mut idle_since: Option<Instant> = None;
        loop {
            if self.last_drop_check.elapsed() > DROP_CHECK_INTERVAL {
                self.last_drop_check = Instant::now();
                if presence::is_database_being_dropped() {
                    lifecycle::exit_and_respawn();
                }
            }
            if bgworker::is_shutdown_requested() {
                // If only this process was asked to end, a successor starts. If the server shuts down, none does.
                lifecycle::exit_and_respawn();
            }
            let begun = Instant::now();
            match self.claim() {
                Found::Work(work) => {
                    idle_since = None;
                    self.deliver(work);
                }
                Found::Nothing(next) => {
                    self.write_backs.write();
                    let is_behind = self.was_locked_out.is_none() && self.retention.is_behind();
                    let behind = is_behind.then_some(Duration::from_millis(1));
                    let next = next.into_iter().chain(self.write_backs.due_in()).chain(behind).min();
                    let since = *idle_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > IDLE_TIMEOUT && !self.slot.is_first() {
                        // The first one may be exiting at this moment, too.
                        lifecycle::exit_and_respawn();
                    }
                    if registry::pids().len() > 1 && self.failures == 0 {
                        rest(begun.elapsed() * 2);
                    }
                    self.wait(next);
                }
            }
        }
    }

    /// Waits for a wake-up, at most `next`.
    fn wait(&self, next: Option<Duration>) {
        bgworker::report_activity(Activity::Idle, "waiting for records to deliver");
        let most = if self.slot.is_prepared() { PREPARED_SCAN_INTERVAL } else { FULL_SCAN_INTERVAL };
        let others = if self.slot.is_first() { most } else { most.min(IDLE_TIMEOUT) };
        let until = Instant::now() + next.unwrap_or(others).min(others);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.slot.is_signalled() || bgworker::is_shutdown_requested() {
                return;
            }
            if presence::is_database_being_dropped() {
                lifecycle::exit_and_respawn();
            }
            if bgworker::wait(left.min(DROP_CHECK_INTERVAL), WaitEvent::WorkerMain) {
                return;
            }
        }
    }

    fn claim(&mut self) -> Found {
        if let Some(lowest) = self.slot.take_signals() {
            if lowest == i64::MIN { self.last_full_scan = None } else { self.cursors.go_back(lowest) }
        }
        let is_prepared = self.slot.is_prepared();
        let prepared = if is_prepared { self.slot.take_prepared() } else { i64::MAX };
        self.cursors.go_back(prepared);
        let mut is_time = self.last_full_scan.is_none_or(|at| at.elapsed() >= FULL_SCAN_INTERVAL);
        let found = transaction::try_transaction(|| {
            match presence::of_extension() {
                Presence::Present(number) if claims_lock::try_acquire() => {
                    // A new outbox assigns ids from the start: the cursors of the old one would hide claims.
                    is_time |= self.extension.replace(number) != Some(number);
                }
                // The lock may be held for long, and this worker must not hold a snapshot for as long.
                Presence::Present(_) | Presence::BeingDropped => return None,
                Presence::Absent => leave_for_good(),
            }
            if is_time {
                self.cursors.reset();
                self.last_full_scan = Some(Instant::now());
            }
            let connected = spi::connected(|connection| -> Result<Found, std::convert::Infallible> {
                if is_time {
                    identity::check(connection);
                    self.write_backs.find_all(connection);
                }
                if is_prepared && has_prepared(connection) {
                    self.slot.note_prepared(prepared);
                }
                self.retention.enforce(connection, settings::retention());
                Ok(claim::claim_requests(connection, &mut self.cursors, self.owner))
            });
            let Ok(found) = connected;
            Some(found)
        });
        let found = match found {
            Ok(found) => found,
            Err(failure) => {
                // The rollback has undone changes that the cursors rely on.
                self.cursors.reset();
                self.last_full_scan = None;
                self.has_failed("scan for records", &failure);
                return Found::Nothing(Some(Duration::ZERO));
            }
        };
        self.failures = 0;
        if found.is_none() && is_prepared {
            self.slot.note_prepared(prepared);
        }
        self.was_locked_out = found.is_none().then(|| self.was_locked_out.unwrap_or_else(Instant::now));
        found.unwrap_or_else(|| Found::Nothing(Some(self.lock_is_tried_in())))
    }

    fn has_failed(&mut self, what: &str, failure: &Failure) {
        self.failures = has_failed(what, failure, self.failures);
    }

    /// Soon at first: other workers hold the lock for a moment. A transaction that called a verb may hold it for long.
    fn lock_is_tried_in(&self) -> Duration {
        let since = self.was_locked_out.map_or(Duration::ZERO, |since| since.elapsed());
        (since / 4).clamp(Duration::from_millis(1), Duration::from_millis(100))
    }
}

/// Whether a transaction of this database is prepared.
fn has_prepared(connection: &Connection) -> bool {
    static PREPARED: Statement<()> = Statement::new(
        "SELECT FROM pg_catalog.pg_prepared_xacts p WHERE p.database OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         LIMIT 1",
    );
    PREPARED.run(connection, ()).len() > 0
}
