//! A round: one transaction that settles the requests that have ended, and claims others.
//!
//! A request is claimed before it is sent, and the claim is on disk before a create is sent. After a failure each of the
//! two parts gets a transaction of its own, so that neither undoes the other for long.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pgrx::pg_sys::Oid;

use contract::batching::window::{Change, Stepping};

use crate::call::stats;
use crate::ereport;
use crate::outbox::claim::{self, Budget, Claims, InFlight};
use crate::outbox::send::Flight;
use crate::outbox::settle;
use crate::outbox::store::requeue;
use crate::outbox::{claims_lock, guard, server_state};
use crate::pg::bgworker;
use crate::pg::spi::{self, Connection};
use crate::pg::statement::Statement;
use crate::pg::transaction::{self, Cause, Failure};
use crate::pg::wait_event::WaitEvent;
use crate::settings;

use super::presence::{self, Presence};
use super::retention::Retention;
use super::{DROP_EXTENSION_DELAY, FAILURE_DELAYS, FULL_SCAN_INTERVAL, MAX_SETTLE_FAILURES, Worker};
use super::{back_off, has_failed, identity, lifecycle};

/// About how many records a round settles, and how many it claims. A larger round takes longer, and the slots of requests
/// that end meanwhile are empty for as long.
const MAX_RECORDS: usize = 4_000;

/// The same for a worker that was asked to end: a transaction that takes longer than a second is cancelled then.
const MAX_RECORDS_LEAVING: usize = 200;

/// About how much data of requests in flight is in memory.
const MAX_BYTES: usize = 128 << 20;

/// The most requests that a round begins.
const MAX_REQUESTS: usize = 256;

/// The changes of a settlement that count after its commit.
#[derive(Default)]
struct Settlement {
    /// The records that were delivered, by the oid of their server.
    delivered: Vec<(Oid, usize)>,
    /// A pause could not be stored.
    is_incomplete: bool,
    /// Records stay claimed, because their results could not be stored.
    has_stuck: bool,
}

impl Worker {
    pub(super) fn round(&mut self) {
        if self.failures > 0 {
            self.settle_all();
        }
        let ended = self.begin_settling(MAX_RECORDS);
        let signal = self.slot.take_signals();
        match signal {
            Some(i64::MIN) => self.last_full_scan = None,
            Some(lowest) => self.cursors.go_back(lowest),
            None => {}
        }
        let prepared = self.slot.prepared();
        self.cursors.go_back(prepared.map_or(i64::MAX, |prepared| prepared.lowest));
        let budget = Budget {
            records: MAX_RECORDS,
            requests: if self.stay.is_share_over() { 0 } else { MAX_REQUESTS },
            slots: self.flights.room(MAX_REQUESTS),
            bytes: MAX_BYTES.saturating_sub(self.flights.bytes()),
        };
        let result = in_transaction(|connection, extension| {
            let is_new = self.note_extension(extension);
            let settlement = self.settle(connection, extension, &ended);
            if settlement.is_incomplete {
                return (settlement, None);
            }
            if is_new {
                stats::prepare();
                stats::clear_deliveries();
            }
            let is_time = is_new || self.last_full_scan.is_none_or(|at| at.elapsed() >= FULL_SCAN_INTERVAL);
            if is_time {
                self.cursors.reset();
                self.last_full_scan = Some(Instant::now());
                if !identity::check(connection) {
                    self.last_full_scan = None;
                    return (settlement, None);
                }
                self.write_backs.find_all(connection);
            }
            if is_time || settlement.has_stuck {
                let is_complete = self.in_flight.read_others(connection, &mut self.cursors, self.owner);
                self.last_full_scan = self.last_full_scan.filter(|_| is_complete);
            }
            if let Some(prepared) = &prepared
                && !has_prepared(connection)
            {
                self.slot.forget_prepared(prepared);
            }
            self.retention.enforce(connection, settings::retention());
            let Worker { cursors, in_flight, windows, unstored, owner, .. } = self;
            let claims = claim::claim_requests(connection, cursors, in_flight, windows, unstored, *owner, budget);
            (settlement, Some(claims))
        });
        let ended = self.end_settling(ended);
        requeue::end_postponed(result.is_ok());
        let (settlement, claims) = match result {
            Ok(Some((settlement, claims))) => (Some(settlement), claims),
            Ok(None) => (None, None),
            Err(failure) => {
                self.take_back(ended);
                // The rollback has undone changes that the cursors and the retention rely on.
                self.cursors.reset();
                self.retention = Retention::new();
                self.last_full_scan = None;
                self.failures = has_failed("settle and claim requests", &failure, self.failures);
                return;
            }
        };
        self.failures = 0;
        self.slot.note_worked();
        match settlement {
            Some(settlement) => self.note(&settlement),
            None => {
                self.take_back(ended);
                bgworker::wait(DROP_EXTENSION_DELAY, WaitEvent::WorkerMain);
            }
        }
        let is_behind = claims.is_some() && self.retention.is_behind();
        let claims = claims.unwrap_or_else(|| Claims { requests: Vec::new(), next: None, is_locked_out: true });
        self.was_locked_out = claims.is_locked_out.then(|| self.was_locked_out.unwrap_or_else(Instant::now));
        let locked_out = claims.is_locked_out.then(|| self.lock_is_tried_in());
        self.full_scan_from = locked_out.map(|delay| Instant::now() + delay);
        let behind = is_behind.then_some(Duration::from_millis(1));
        self.next_round =
            claims.next.into_iter().chain(locked_out).chain(behind).min().map(|delay| Instant::now() + delay);
        let Some(extension) = self.extension else { return };
        for claimed in claims.requests {
            let server = &claimed.server.name;
            self.in_flight.add(claimed.claim, server, &claimed.planned);
            let window = self.windows.get_mut(server).expect("requests are claimed for servers with a window");
            let ticket = window.start(&claimed.planned, Instant::now());
            let ended = self.flights.send(claimed, extension, ticket);
            self.note_ended(ended);
        }
        self.note_deliveries();
        // The time of the state in pg_stat_activity says when the worker looked last.
        self.reported = None;
    }

    /// Shows in `sequin.status` what is in flight, and where each queue begins.
    fn note_deliveries(&mut self) {
        for (name, server) in &self.cursors.servers {
            let position = self.cursors.positions.get(name).copied().unwrap_or(i64::MIN);
            let stepped_over = self.cursors.stepping.get(name).and_then(Stepping::from).unwrap_or(i64::MAX);
            let in_flight = self.in_flight.of(name);
            let lowest = position.min(stepped_over).min(in_flight.lowest_id());
            stats::note_deliveries(*server, in_flight.requests, lowest);
        }
    }

    /// Takes requests that have ended, with about so many records at most. [`Worker::end_settling`] gives them back. If the
    /// process is asked to end meanwhile, they are not lost.
    fn begin_settling(&mut self, most: usize) -> Rc<Vec<Flight>> {
        let mut records = 0;
        let count = self.ended.iter().take_while(|flight| {
            let has_room = records < most;
            records += flight.claimed.planned.ids().count();
            has_room
        });
        let count = count.count();
        let ended = Rc::new(self.ended.drain(..count).collect());
        self.settling = Some(Rc::clone(&ended));
        ended
    }

    /// The requests of [`Worker::begin_settling`], after their transaction.
    fn end_settling(&mut self, ended: Rc<Vec<Flight>>) -> Vec<Flight> {
        self.settling = None;
        Rc::into_inner(ended).expect("the other reference is gone")
    }

    /// Keeps requests that a transaction has failed to settle.
    pub(super) fn take_back(&mut self, ended: Vec<Flight>) {
        for flight in ended.into_iter().rev().filter(|flight| Some(flight.extension) == self.extension) {
            let claimed = &flight.claimed;
            self.in_flight.remove(claimed.claim);
            self.in_flight.add(claimed.claim, &claimed.server.name, &claimed.planned);
            self.ended.push_front(flight);
        }
    }

    /// Settles all requests that have ended. Only this worker has their results, so it goes on trying.
    pub(super) fn settle_all(&mut self) {
        let mut failures = self.failures;
        while !self.ended.is_empty() {
            let is_leaving = bgworker::is_shutdown_requested();
            let ended = self.begin_settling(if is_leaving { MAX_RECORDS_LEAVING } else { MAX_RECORDS });
            let result = in_transaction(|connection, extension| {
                self.note_extension(extension);
                self.settle(connection, extension, &ended)
            });
            let ended = self.end_settling(ended);
            match result {
                Ok(Some(settlement)) => {
                    failures = 0;
                    self.last_full_scan = self.last_full_scan.filter(|_| !settlement.has_stuck);
                    self.note(&settlement);
                }
                Ok(None) => {
                    self.take_back(ended);
                    bgworker::wait(DROP_EXTENSION_DELAY, WaitEvent::WorkerMain);
                }
                Err(failure) => {
                    self.take_back(ended);
                    // No record is at fault: the search for it found none. The next worker treats the requests as lost.
                    if failures >= MAX_SETTLE_FAILURES && failure.cause() != Cause::Surroundings {
                        failure.raise();
                    }
                    failures = has_failed("settle requests", &failure, failures);
                }
            }
        }
    }

    /// Notes the extension that the worker serves. Returns true if it is another one than before: a new outbox assigns ids
    /// from the start, so what this worker knows of the old one would hide records.
    fn note_extension(&mut self, extension: Oid) -> bool {
        let is_new = self.extension.replace(extension) != Some(extension);
        if is_new {
            self.in_flight = InFlight::default();
            self.last_full_scan = None;
        }
        is_new
    }

    /// Settles requests, server by server. Their records may be claimed again in the same transaction.
    fn settle(&mut self, connection: &Connection, extension: Oid, ended: &[Flight]) -> Settlement {
        let mut by_server: BTreeMap<&str, Vec<&Flight>> = BTreeMap::new();
        // The records of another extension went with it.
        let ended = || ended.iter().filter(|flight| flight.extension == extension);
        for flight in ended() {
            by_server.entry(&flight.claimed.server.name).or_default().push(flight);
        }
        let mut settlement = Settlement::default();
        for (server, flights) in by_server {
            let write_backs = &mut self.write_backs;
            let written = settle::write(connection, server, &flights, self.owner, write_backs);
            settlement.delivered.push((flights[0].claimed.server.oid, written.delivered));
            settlement.is_incomplete |= !written.is_noted;
            settlement.has_stuck |= written.has_stuck;
            self.cursors.go_back(written.freed.unwrap_or(i64::MAX));
        }
        ended().for_each(|flight| self.in_flight.remove(flight.claimed.claim));
        self.write_changes(connection);
        settlement
    }

    /// Stores the servers' backoffs that begin or end. A session that has the lock of a server may be ending its backoff. One
    /// that cannot be stored counts in this worker's memory.
    fn write_changes(&mut self, connection: &Connection) {
        let mut unstored: HashSet<String> = HashSet::new();
        let mut locked: HashSet<String> = HashSet::new();
        for (server, _) in &self.changes {
            if !claims_lock::try_acquire(server) {
                locked.insert(server.clone());
            }
        }
        let free: Vec<&(String, Change)> = self.changes.iter().filter(|(server, _)| !locked.contains(server)).collect();
        let failed = guard::each_carefully(&free, |changes| {
            changes.iter().for_each(|(server, change)| server_state::note(connection, server, change));
        });
        for ((server, _), failure) in failed {
            ereport::log(&format!("could not write down the state of server \"{server}\": {}", failure.message));
            unstored.insert(server.clone());
        }
        let stored = |server: &String| self.changes.iter().any(|(changed, _)| changed == server);
        self.unstored.retain(|server| !stored(server));
        self.unstored.extend(unstored);
        self.unstored.extend(locked.iter().cloned());
        self.locked = locked;
    }

    /// After the commit of a settlement.
    fn note(&mut self, settlement: &Settlement) {
        for (server, records) in &settlement.delivered {
            stats::note_delivered(*server, *records);
        }
        self.changes.retain(|(server, _)| self.locked.contains(server));
        if settlement.is_incomplete {
            // Otherwise a server that fails or refuses would be asked again at once.
            back_off(FAILURE_DELAYS.0);
        }
    }

    /// Soon at first: most transactions that hold the lock are short.
    fn lock_is_tried_in(&self) -> Duration {
        let since = self.was_locked_out.map_or(Duration::ZERO, |since| since.elapsed());
        (since / 4).clamp(Duration::from_millis(1), Duration::from_millis(100))
    }
}

/// Runs `f` in a transaction, with the oid of the extension. None, and `f` does not run, while another session drops the
/// extension. The worker ends if that has happened.
fn in_transaction<T>(f: impl FnOnce(&Connection, Oid) -> T) -> Result<Option<T>, Failure> {
    transaction::try_transaction(|| {
        let extension = match presence::of_extension() {
            Presence::Present(extension) => extension,
            Presence::BeingDropped => return None,
            Presence::Absent => lifecycle::exit_for_good(),
        };
        let Ok(result) = spi::connected(|connection| -> Result<T, Infallible> { Ok(f(connection, extension)) });
        Some(result)
    })
}

/// Whether a transaction of this database is prepared.
fn has_prepared(connection: &Connection) -> bool {
    static PREPARED: Statement<()> = Statement::new(
        "SELECT FROM pg_catalog.pg_prepared_xacts p WHERE p.database OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         LIMIT 1",
    );
    PREPARED.run(connection, ()).len() > 0
}
