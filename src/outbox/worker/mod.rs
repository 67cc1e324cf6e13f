//! The process that delivers one database's outbox.
//!
//! Each round claims requests in a short transaction, sends them with none open, and writes down what became of them in
//! another. While it waits, for the network or for work, it holds no transaction, snapshot or lock.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgrx::pg_sys::Oid;

use crate::ereport;
use crate::pg::bgworker::{self, Activity, main_function};
use crate::pg::spi::{self, Connection};
use crate::pg::statement::Statement;
use crate::pg::transaction::{self, Cause, Failure};
use crate::pg::wait_event::WaitEvent;
use crate::pg::{random, wait};
use crate::settings;
use contract::kind::Kind;

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
use crate::outbox::claim::{self, Claimed, Cursors, Found, Work};
use crate::outbox::claims_lock;
use crate::outbox::guard;
use crate::outbox::send::{self, News};
use crate::outbox::settle::transitions::Disposition;
use crate::outbox::settle::{self, Said, Sent};
use crate::outbox::write_back;
use contract::batching::backoff::{self, Health, Sign};

/// The look at everything that finds what no commit has told of: COMMIT PREPARED, a wake-up that got lost.
const SAFETY: Duration = Duration::from_secs(30);

/// How often a worker sees whether somebody wants to drop its database: that waits five seconds for it to leave.
const WANTED: Duration = Duration::from_secs(2);

/// While a transaction with queued records is prepared, nobody tells when it commits.
const PREPARED: Duration = Duration::from_secs(1);

/// How long DROP EXTENSION is left alone before it is looked again what has become of it.
const DROPPING: Duration = Duration::from_millis(50);

/// A worker beside the first one leaves when there was nothing to do for so long.
const IDLE: Duration = Duration::from_secs(10);

/// Results are written down at least this often: a crash in between repeats what it has not.
const UNSETTLED: Duration = Duration::from_millis(20);

/// The limits of the waits after transactions that failed: most errors of the surroundings pass, and a full disk is not
/// to be filled by the log.
const FAILED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How often a worker tries to write down results while an error that is not one of the surroundings prevents it.
const MOST_FAILURES: u32 = 5;

main_function!(sequin_worker_main, main);

/// Serves one database until the process ends.
fn main(argument: u64) {
    let policy = lifecycle::connect(argument);
    registry::prepare();
    if !has_extension_soon(policy) {
        registry::end_start();
        bgworker::exit(0);
    }
    // Without room for a lasting one it does the work itself.
    if policy == RestartPolicy::Once && (!registry::pids().is_empty() || lifecycle::start(RestartPolicy::Respawn)) {
        bgworker::exit(0);
    }
    let owner = random::unique_number();
    let Some(slot) = Slot::take(owner) else {
        ereport::log("there are too many workers already");
        bgworker::exit(0);
    };
    if registry::pids().len() > settings::workers() && !slot.is_first() {
        bgworker::exit(0);
    }
    // While this worker waits for an API, somebody else's records need not.
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
        health: HashMap::new(),
        looked_at_all: None,
        looked_around: Instant::now(),
        was_locked_out: None,
        failures: 0,
        retention: Retention::new(),
        write_backs: write_back::Pending::default(),
    };
    // A transaction that was cancelled because the process shall end must not be an error that brings it back.
    let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
    if bgworker::is_shutdown_requested() {
        lifecycle::exit_and_respawn();
    }
    let Err(error) = ended;
    resume_unwind(error);
}

/// Whether the extension is there. A transaction that creates it, and enqueues at once, asks for a worker just before it
/// commits.
fn has_extension_soon(policy: RestartPolicy) -> bool {
    const PATIENCE: Duration = Duration::from_secs(5);
    let begun = Instant::now();
    loop {
        if transaction::transaction(presence::of_extension) != Presence::Absent {
            return true;
        }
        if policy == RestartPolicy::Once || begun.elapsed() > PATIENCE || bgworker::is_shutdown_requested() {
            return false;
        }
        bgworker::wait(Duration::from_millis(100), WaitEvent::WorkerMain);
    }
}

/// Ends this worker because the extension is gone. If it is back, somebody may have counted on this worker, until just
/// before the commit that brings it back.
fn leave_for_good() -> ! {
    const COMMIT: Duration = Duration::from_secs(1);
    registry::give_back();
    let begun = Instant::now();
    while begun.elapsed() < COMMIT && !bgworker::is_shutdown_requested() && !presence::is_database_being_dropped() {
        if presence::of_extension() != Presence::Absent {
            lifecycle::exit_and_respawn();
        }
        bgworker::wait(COMMIT / 50, WaitEvent::WorkerMain);
    }
    bgworker::exit(0)
}

/// Starts another worker, if there may be one more. It takes some milliseconds to appear.
fn call_for_help() {
    const PATIENCE: Duration = Duration::from_secs(1);
    static CALLED: Mutex<Option<Instant>> = Mutex::new(None);
    let mut called = CALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if called.is_none_or(|at| at.elapsed() >= PATIENCE) && registry::pids().len() < settings::workers() {
        *called = Some(Instant::now());
        lifecycle::start(RestartPolicy::Respawn);
    }
}

/// Waits after a look that has found nothing, whoever calls. Where another worker sends the changes of all keys, each of
/// its requests would call this one, to look in vain with the lock that the other needs.
fn rest(most: Duration) {
    const WORTH_IT: Duration = Duration::from_millis(2);
    let until = Instant::now() + most;
    while most > WORTH_IT && !bgworker::is_shutdown_requested() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        bgworker::wait(left, WaitEvent::WorkerMain);
    }
}

/// Says that a transaction has failed, and waits before the next one. The first error that is not one of the surroundings
/// is followed at once by a careful attempt, which finds the record at fault. Gives the number of failures in a row.
fn has_failed(what: &str, failure: &Failure, before: u32) -> u32 {
    ereport::log(&format!("the outbox's worker could not {what}: {}", failure.message));
    let is_first = before == 0 && failure.cause() != Cause::Surroundings;
    guard::be_careful();
    if !is_first {
        back_off(backoff::delay(before + 1, FAILED.0, FAILED.1, random::fraction().max(0.5)));
    }
    before.saturating_add(1)
}

/// Waits, whatever is committed meanwhile. It ends for a database that is to be dropped.
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
        bgworker::wait(left.min(WANTED), WaitEvent::WorkerMain);
    }
}

struct Worker {
    owner: i64,
    slot: Slot,
    /// The one that it has looked at last.
    extension: Option<Oid>,
    cursors: Cursors,
    /// How each server has answered of late.
    health: HashMap<String, Health>,
    looked_at_all: Option<Instant>,
    /// When it was last scan whether somebody wants the database.
    looked_around: Instant,
    /// Since when somebody else has the lock.
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
            if self.looked_around.elapsed() > WANTED {
                self.looked_around = Instant::now();
                if presence::is_database_being_dropped() {
                    lifecycle::exit_and_respawn();
                }
            }
            if bgworker::is_shutdown_requested() {
                // Somebody may have asked for this process alone; and if the server shuts down, no heir is started.
                lifecycle::exit_and_respawn();
            }
            let begun = Instant::now();
            match self.look() {
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
                    if since.elapsed() > IDLE && !self.slot.is_first() {
                        // The first one may be leaving at this moment, too.
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

    /// Waits until there may be something to do, at most `next`.
    fn wait(&self, next: Option<Duration>) {
        bgworker::report_activity(Activity::Idle, "waiting for records to deliver");
        let most = if self.slot.is_prepared() { PREPARED } else { SAFETY };
        let others = if self.slot.is_first() { most } else { most.min(IDLE) };
        let until = Instant::now() + next.unwrap_or(others).min(others);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.slot.is_signalled() || bgworker::is_shutdown_requested() {
                return;
            }
            if presence::is_database_being_dropped() {
                lifecycle::exit_and_respawn();
            }
            if bgworker::wait(left.min(WANTED), WaitEvent::WorkerMain) {
                return;
            }
        }
    }

    fn look(&mut self) -> Found {
        if let Some(lowest) = self.slot.take_signals() {
            if lowest == i64::MIN { self.looked_at_all = None } else { self.cursors.go_back(lowest) }
        }
        let is_prepared = self.slot.is_prepared();
        let prepared = if is_prepared { self.slot.take_prepared() } else { i64::MAX };
        self.cursors.go_back(prepared);
        let mut is_time = self.looked_at_all.is_none_or(|at| at.elapsed() >= SAFETY);
        let found = transaction::try_transaction(|| {
            match presence::of_extension() {
                Presence::Present(number) if claims_lock::try_acquire() => {
                    // In another outbox the ids begin anew: what is known of the old one's would hide claims.
                    is_time |= self.extension.replace(number) != Some(number);
                }
                // Whoever has the lock may keep it for long, and this worker must not hold a snapshot for as long.
                Presence::Present(_) | Presence::BeingDropped => return None,
                Presence::Absent => leave_for_good(),
            }
            if is_time {
                self.cursors.forget();
                self.looked_at_all = Some(Instant::now());
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
                Ok(claim::claim(connection, &mut self.cursors, self.owner))
            });
            let Ok(found) = connected;
            Some(found)
        });
        let found = match found {
            Ok(found) => found,
            Err(failure) => {
                // What was learnt in the transaction is undone with it.
                self.cursors.forget();
                self.looked_at_all = None;
                self.has_failed("look for records", &failure);
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

    /// Soon at first: the other workers have it for a moment. A transaction that called a verb may last.
    fn lock_is_tried_in(&self) -> Duration {
        let since = self.was_locked_out.map_or(Duration::ZERO, |since| since.elapsed());
        (since / 4).clamp(Duration::from_millis(1), Duration::from_millis(100))
    }

    fn deliver(&mut self, work: Work) {
        if work.has_more {
            call_for_help();
        }
        let Work { server, requests, is_in_trouble, .. } = work;
        let mut unsettled: Vec<Sent<'_>> = Vec::new();
        let mut since = Instant::now();
        let mut is_refused = false;
        for (place, claimed) in requests.iter().enumerate() {
            let count = claimed.planned.operations.len();
            bgworker::report_activity(
                Activity::Running,
                &format!(
                    "{} of {count} in {} through server \"{server}\"",
                    claimed.planned.kind, claimed.planned.batch_key.collection_id
                ),
            );
            let (dispositions, news) = if is_refused {
                (claimed.planned.operations.iter().map(|operation| (operation, Disposition::Free)).collect(), None)
            } else {
                let (dispositions, news) = send::send(&claimed.server, &claimed.planned);
                is_refused = news != News::Answers;
                (dispositions, Some(news))
            };
            unsettled.push(Sent { claimed, dispositions, news });
            // Creates go first. What is known of them shall not wait for an update that hangs: it would be lost with
            // this worker.
            let is_create = |claimed: &Claimed| claimed.planned.kind == Kind::Create;
            let was_last_create = is_create(claimed) && requests.get(place + 1).is_some_and(|next| !is_create(next));
            if was_last_create || since.elapsed() > UNSETTLED {
                self.settle(&server, &unsettled, is_in_trouble);
                unsettled.clear();
                since = Instant::now();
            }
        }
        if !unsettled.is_empty() {
            self.settle(&server, &unsettled, is_in_trouble);
        }
        self.write_backs.write();
    }

    fn settle(&mut self, server: &str, sent: &[Sent<'_>], is_in_trouble: bool) {
        let health = self.health.entry(server.to_owned()).or_default();
        let was_well = !is_in_trouble && *health == Health::default();
        for news in sent.iter().filter_map(|sent| sent.news.as_ref()) {
            *health = health.after(match news {
                News::Answers | News::Refuses(_) => Sign::Works,
                News::Fails(..) => Sign::Fails,
                News::Unreachable(_) | News::NotNow(..) => Sign::Unreachable,
            });
        }
        let said = Said { health: *health, was_well };
        let (mut freed, mut is_noted) = (None, true);
        let write_backs = &mut self.write_backs;
        let mut settle = || {
            match presence::of_extension() {
                Presence::Present(_) => {}
                Presence::BeingDropped => return false,
                Presence::Absent => leave_for_good(),
            }
            let connected = spi::connected(|connection| -> Result<(), std::convert::Infallible> {
                let written = settle::write(connection, server, sent, &said, self.owner, write_backs);
                (freed, is_noted) = (written.freed, written.is_noted);
                Ok(())
            });
            let Ok(()) = connected;
            true
        };
        loop {
            match transaction::try_transaction(&mut settle) {
                Ok(true) => break,
                Ok(false) => {
                    bgworker::wait(DROPPING, WaitEvent::WorkerMain);
                }
                // What is known is known to this worker alone, which therefore goes on trying.
                Err(failure) => {
                    // No record is at fault, or it would have been found. The next life takes the requests for lost.
                    if self.failures >= MOST_FAILURES && failure.cause() != Cause::Surroundings {
                        failure.raise();
                    }
                    self.failures = has_failed("write down results", &failure, self.failures);
                }
            }
        }
        self.failures = 0;
        // After the commit, so that whoever looks finds it: this worker too.
        registry::wake_workers(freed.unwrap_or(i64::MAX));
        if !is_noted {
            // Otherwise a server that fails or refuses would be asked again at once.
            back_off(FAILED.0);
        }
    }
}

/// Whether a transaction of this database is prepared.
fn has_prepared(connection: &Connection) -> bool {
    static PREPARED: Statement = Statement::new(
        "SELECT FROM pg_catalog.pg_prepared_xacts p WHERE p.database OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         LIMIT 1",
    );
    PREPARED.run(connection, &[]).len() > 0
}
