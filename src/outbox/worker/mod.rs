//! The process that delivers one database's outbox.
//!
//! Its main thread alone talks to Postgres. Each round is a short transaction that settles the requests that have ended, and
//! claims others as far as each server has room. The requests themselves are on their way on threads. While the worker waits,
//! for the network or for work, it holds no transaction, snapshot or lock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use pgrx::pg_sys::Oid;

use crate::ereport;
use crate::pg::bgworker::{self, Activity};
use crate::pg::random;
use crate::pg::transaction::{self, Cause, Failure};
use crate::pg::wait_event::WaitEvent;

pub mod identity;
mod launcher;
pub mod lifecycle;
pub mod presence;
pub mod registry;
mod retention;
mod round;
pub mod wake_at_commit;

use self::lifecycle::Stay;
use self::registry::Slot;
use self::retention::Retention;
use crate::outbox::claim::{Cursors, InFlight};
use crate::outbox::guard;
use crate::outbox::send::{Flight, Flights};
use crate::outbox::write_back::{self, OpenAttached};
use contract::batching::backoff;
use contract::batching::window::{Change, Window};

/// Fallback poll. Finds work that no wake-up announced, such as that of a session with an older library.
const FULL_SCAN_INTERVAL: Duration = Duration::from_secs(30);

/// How often a worker checks whether its database is to be dropped: DROP DATABASE waits five seconds for it to leave.
/// An idle worker also checks for DROP EXTENSION. That session cannot wake it: without the library it must succeed,
/// too.
const DROP_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The poll while a transaction with queued records is prepared: a session without this library may commit it.
const PREPARED_SCAN_INTERVAL: Duration = Duration::from_secs(1);

/// How often a worker that claims nothing looks whether other databases still wait for its place.
const YIELD_INTERVAL: Duration = Duration::from_millis(100);

/// How long a worker waits for a DROP EXTENSION to commit or roll back before it checks again.
const DROP_EXTENSION_DELAY: Duration = Duration::from_millis(50);

/// How long the requests in flight may still take when the process is asked to end. Most requests are answered by then, and
/// an unanswered create is work for a person. Postgres waits five seconds for the sessions of a database that is dropped.
const REQUEST_GRACE: Duration = Duration::from_secs(3);

/// The first and the longest wait after a failed transaction. Most causes pass, and a full disk must not be filled by the
/// log.
const FAILURE_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How often a worker tries to settle requests while an error other than one of the surroundings prevents it.
const MAX_SETTLE_FAILURES: u32 = 5;

/// Runs a worker to its end.
pub fn main(argument: u64, open: OpenAttached) {
    lifecycle::connect(argument);
    registry::prepare();
    let owner = random::unique_number();
    let Some(slot) = Slot::take(owner) else { bgworker::exit(0) };
    let mut worker = Worker {
        owner,
        slot,
        stay: Stay::begin(),
        extension: None,
        cursors: Cursors::default(),
        in_flight: InFlight::default(),
        flights: Flights::new(),
        ended: VecDeque::new(),
        settling: None,
        next_round: None,
        windows: HashMap::new(),
        changes: Vec::new(),
        locked: HashSet::new(),
        unstored: HashSet::new(),
        last_full_scan: None,
        full_scan_from: None,
        last_drop_check: Instant::now(),
        was_locked_out: None,
        failures: 0,
        retention: Retention::new(),
        write_backs: write_back::Handover::new(open),
        reported: None,
    };
    let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
    if bgworker::is_shutdown_requested() {
        // A long transaction was cancelled, which is no failure of the worker. What it was to settle goes into shorter ones.
        transaction::abort();
        let _ = catch_unwind(AssertUnwindSafe(|| worker.leave()));
        lifecycle::exit_and_respawn();
    }
    let Err(error) = ended;
    // Its threads end before the slot is free.
    drop(worker);
    resume_unwind(error);
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
    stay: Stay,
    /// The extension of the last scan, by its oid.
    extension: Option<Oid>,
    cursors: Cursors,
    in_flight: InFlight,
    flights: Flights,
    /// Requests that have ended and are not settled.
    ended: VecDeque<Flight>,
    /// Those that the current transaction settles.
    settling: Option<Rc<Vec<Flight>>>,
    /// When the next round is due, if nothing wakes the worker before. None: at the next full scan.
    next_round: Option<Instant>,
    windows: HashMap<String, Window>,
    /// The servers' backoffs that begin or end, and are not stored.
    changes: Vec<(String, Change)>,
    /// The servers whose changes wait until another session gives the server's lock back.
    locked: HashSet<String>,
    /// The servers whose backoffs count as this worker has them in memory, because not all could be stored.
    unstored: HashSet<String>,
    last_full_scan: Option<Instant>,
    /// The next full scan waits until then, because another session had the lock of a server.
    full_scan_from: Option<Instant>,
    last_drop_check: Instant,
    /// Since when another process has the lock.
    was_locked_out: Option<Instant>,
    /// Transactions in a row that have failed.
    failures: u32,
    retention: Retention,
    write_backs: write_back::Handover,
    /// The number of requests in flight that pg_stat_activity shows.
    reported: Option<usize>,
}

impl Worker {
    fn run(&mut self) -> ! {
        loop {
            if self.last_drop_check.elapsed() > DROP_CHECK_INTERVAL {
                self.last_drop_check = Instant::now();
                if presence::is_database_being_dropped() {
                    self.leave();
                }
                if self.flights.len() == 0 && self.ended.is_empty() && presence::is_extension_dropped() {
                    self.next_round = Some(Instant::now());
                }
            }
            if bgworker::is_shutdown_requested() {
                self.leave();
            }
            self.take_ended(false);
            let is_share_over = self.stay.is_share_over();
            if !self.ended.is_empty() || !is_share_over && self.is_round_due() {
                self.round();
            }
            self.write_backs.after_commit();
            if self.ended.is_empty() {
                if is_share_over && self.flights.len() == 0 {
                    self.stay.yield_to_others();
                }
                self.wait();
            }
        }
    }

    fn take_ended(&mut self, is_leaving: bool) {
        let ended = self.flights.take_ended(is_leaving);
        self.note_ended(ended);
    }

    /// Keeps requests that have ended until they are settled, and gives their places in the window back.
    fn note_ended(&mut self, ended: impl IntoIterator<Item = Flight>) {
        for mut flight in ended {
            let server = &flight.claimed.server.name;
            if let (Some(window), Some(ticket)) = (self.windows.get_mut(server), flight.ticket.take()) {
                let now = Instant::now();
                window.note_parts(flight.exchanges.saturating_sub(1), now);
                let has_lost = flight.has_lost_creates();
                let changes = window.end(ticket, flight.state.as_ref(), has_lost, now, random::fraction());
                self.changes.extend(changes.into_iter().map(|change| (server.clone(), change)));
            }
            self.ended.push_back(flight);
        }
    }

    fn is_round_due(&self) -> bool {
        let next = self.next_round.into_iter().chain([self.next_full_scan()]).min();
        self.slot.is_signalled() || next.is_some_and(|at| at <= Instant::now())
    }

    /// The fallback poll, which is due at once after a restart.
    fn next_full_scan(&self) -> Instant {
        let at_once = || self.full_scan_from.unwrap_or_else(Instant::now);
        self.last_full_scan.map_or_else(at_once, |last| last + FULL_SCAN_INTERVAL)
    }

    /// Waits for a wake-up, the end of a request, or the next thing that is due. Ends the worker if there is nothing to do for
    /// long.
    fn wait(&mut self) {
        self.report_activity();
        let now = Instant::now();
        let prepared = self.slot.is_prepared().then(|| now + PREPARED_SCAN_INTERVAL);
        let write_back = self.write_backs.due_in().map(|delay| now + delay);
        let due = self.next_round.into_iter().chain(prepared).chain(write_back).min();
        let most = if self.flights.len() > 0 {
            self.stay.is_busy();
            FULL_SCAN_INTERVAL
        } else {
            self.stay.leave_if_idle(&self.slot, due.map(|at| at.saturating_duration_since(now)))
        };
        let until = due.into_iter().fold(self.next_full_scan().min(now + most), Instant::min);
        let is_share_over = self.stay.is_share_over();
        let left = until.saturating_duration_since(Instant::now());
        // While it yields, what is due waits for the end of the requests.
        let left = if is_share_over { YIELD_INTERVAL } else { left };
        if left.is_zero() || !is_share_over && self.slot.is_signalled() || bgworker::is_shutdown_requested() {
            return;
        }
        self.flights.wait(left.min(DROP_CHECK_INTERVAL));
        if prepared.is_some_and(|at| at <= Instant::now()) {
            self.next_round = Some(Instant::now());
        }
    }

    /// Shows the number of requests in flight in pg_stat_activity.
    fn report_activity(&mut self) {
        let count = self.flights.len();
        if self.reported.replace(count) == Some(count) {
            return;
        }
        match count {
            0 => bgworker::report_activity(Activity::Idle, "waiting for records to deliver"),
            1 => bgworker::report_activity(Activity::Running, "1 request in flight"),
            _ => bgworker::report_activity(Activity::Running, &format!("{count} requests in flight")),
        }
    }

    /// Ends the worker. The requests in flight may still be answered for a while, and all are settled.
    fn leave(&mut self) -> ! {
        let settling = self.settling.take().and_then(Rc::into_inner);
        self.take_back(settling.unwrap_or_default());
        let until = Instant::now() + REQUEST_GRACE;
        loop {
            self.take_ended(true);
            let left = until.saturating_duration_since(Instant::now());
            if self.flights.len() == 0 || left.is_zero() {
                break;
            }
            if self.ended.is_empty() {
                self.flights.wait(left);
            } else {
                self.settle_all();
            }
        }
        // No thread sends another byte when this worker's slot is free.
        let stopped = self.flights.stop();
        self.note_ended(stopped);
        self.settle_all();
        // If only this process was asked to end, the next one starts. If the server shuts down, none does.
        lifecycle::exit_and_respawn();
    }
}
