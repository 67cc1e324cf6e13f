//! The launcher: the one process of the Postgres server that starts workers.
//!
//! It starts with the server if the library is preloaded, otherwise with the first commit that queues records. It is
//! connected to no database, so no DROP DATABASE and no setting of a database or role can make it fail. Postgres starts
//! it again after a crash; then it looks at all databases. Workers are never restarted by Postgres: the launcher knows
//! which database is gone, which worker has failed how often, when deferred records are due, and which database waits.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::pg_sys::Oid;

use contract::batching::backoff;

use crate::ereport;
use crate::pg::bgworker::{self, Activity, Started, main_function};
use crate::pg::wait_event::WaitEvent;
use crate::pg::{catalog, lock, random, transaction};

use super::lifecycle;
use super::registry::roster::{self, Entry};
use super::registry::{self, End};

main_function!(sequin_launcher_main, main);

/// Fallback poll, for a latch that got lost.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// How often it tries to start a worker while no background worker is free: other programs use them too.
const FULL_INTERVAL: Duration = Duration::from_millis(500);

/// How often it checks whether a database that another session drops, renames or copies is free again.
const LOCKED_INTERVAL: Duration = Duration::from_millis(200);

/// How often it checks whether a database accepts connections again.
const CLOSED_INTERVAL: Duration = Duration::from_secs(5);

/// The first and the longest wait after a worker has ended by an error.
const FAILURE_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How long an entry without a worker is kept: a commit that has prepared it may not be over yet.
const ENTRY_KEPT: Duration = Duration::from_secs(60);

fn main(_argument: u64) {
    bgworker::connect(None);
    registry::prepare();
    if !roster::take() {
        bgworker::exit(0);
    }
    let mut launcher = Launcher { databases: HashMap::new(), is_starved: false };
    launcher.look_at_all();
    while !bgworker::is_shutdown_requested() {
        let next = launcher.pass();
        bgworker::report_activity(Activity::Idle, "waiting for databases with records to deliver");
        bgworker::wait(next, WaitEvent::LauncherMain);
    }
    bgworker::exit(1);
}

struct Launcher {
    databases: HashMap<u32, Database>,
    /// Whether it has logged that no worker can be started.
    is_starved: bool,
}

/// A database with a worker, or that will need one.
struct Database {
    /// Its name when its last worker was started, for messages.
    name: String,
    state: State,
    /// When it needs a worker; None while it needs none.
    due: Option<Instant>,
    /// Workers in a row that have failed.
    failures: u32,
    failed_at: Option<Instant>,
    /// No worker is started earlier.
    not_before: Option<Instant>,
    /// Since when it has neither a worker nor a signal.
    unused_since: Instant,
}

enum State {
    /// It has no worker.
    Waiting,
    Running {
        /// None for a worker that an earlier launcher has started.
        worker: Option<Started>,
    },
}

impl Database {
    fn new() -> Database {
        let unused_since = Instant::now();
        let name = String::new();
        Database {
            name,
            state: State::Waiting,
            due: None,
            failures: 0,
            failed_at: None,
            not_before: None,
            unused_since,
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    fn is_due_by(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When the next worker may start, if one is needed.
    fn start_at(&self) -> Option<Instant> {
        let due = self.due.filter(|_| !self.is_running())?;
        Some(self.not_before.map_or(due, |not_before| due.max(not_before)))
    }

    /// Takes note of the end of its worker.
    fn has_ended(&mut self, end: End) {
        let State::Running { worker } = std::mem::replace(&mut self.state, State::Waiting) else { return };
        let now = Instant::now();
        self.unused_since = now;
        if let Some(worker) = worker {
            worker.forget();
        }
        match end {
            End::Left(due_in) => {
                (self.failures, self.failed_at, self.not_before) = (0, None, None);
                self.due = now.checked_add(due_in);
            }
            End::Unneeded => {
                (self.failures, self.failed_at, self.not_before) = (0, None, None);
                self.due = None;
            }
            End::Failed { has_worked } => {
                self.failures = if has_worked { 1 } else { self.failures.saturating_add(1) };
                let delay =
                    backoff::delay(self.failures, FAILURE_DELAYS.0, FAILURE_DELAYS.1, random::fraction().max(0.5));
                (self.failed_at, self.not_before) = (Some(now), Some(now + delay));
                self.due = Some(now);
                ereport::log(&format!(
                    "the worker of the outbox of database \"{}\" has ended by an error; failures in a row: {}; the next one \
                     starts in {} ms",
                    self.name,
                    self.failures,
                    delay.as_millis()
                ));
            }
        }
    }
}

impl Launcher {
    /// Has a worker started in each database. It ends at once if the database lacks the extension.
    fn look_at_all(&mut self) {
        let now = Instant::now();
        for database in transaction::transaction(catalog::databases) {
            if database.is_open && !database.is_template {
                self.databases.entry(database.oid.to_u32()).or_insert_with(Database::new).is_due_by(now);
            }
        }
    }

    /// Looks at what has changed, and starts what is needed. Returns how long to wait.
    fn pass(&mut self) -> Duration {
        if roster::take_overfull() {
            self.look_at_all();
        }
        let now = Instant::now();
        for oid in roster::take_wanted() {
            self.databases.entry(oid).or_insert_with(Database::new).is_due_by(now);
        }
        self.look_at_entries();
        self.note_ends();
        let waiting = self.start_due();
        self.free_entries(ENTRY_KEPT);
        self.tell(waiting);
        let now = Instant::now();
        let next =
            self.databases.values().filter_map(Database::start_at).map(|at| at.saturating_duration_since(now)).min();
        let next = next.unwrap_or(POLL_INTERVAL).min(POLL_INTERVAL);
        if waiting > 0 { next.max(FULL_INTERVAL) } else { next.max(Duration::from_millis(1)) }
    }

    /// Finds workers that an earlier launcher has started, and signals.
    fn look_at_entries(&mut self) {
        let now = Instant::now();
        for (oid, entry) in roster::entries() {
            let database = self.databases.entry(oid).or_insert_with(Database::new);
            if database.is_running() {
                continue;
            }
            if entry.has_worker() {
                database.state = State::Running { worker: None };
                continue;
            }
            if entry.is_signalled() {
                database.is_due_by(now);
            }
            if entry.take_urgent()
                && let Some(failed_at) = database.failed_at
            {
                database.not_before = database.not_before.min(Some(failed_at + FAILURE_DELAYS.0));
            }
        }
    }

    fn note_ends(&mut self) {
        let entries: HashMap<u32, Entry> = roster::entries().collect();
        for (oid, database) in &mut self.databases {
            let State::Running { worker, .. } = &database.state else { continue };
            let entry = entries.get(oid);
            let has_worker = entry.is_some_and(|entry| entry.has_worker());
            let has_ended = worker.as_ref().map_or(!has_worker, Started::has_ended);
            if has_ended && has_worker {
                // A worker of an earlier launcher has kept this one from its slot.
                database.state = State::Running { worker: None };
            } else if has_ended {
                database.has_ended(entry.map_or(End::Failed { has_worked: false }, |entry| entry.end()));
                if let Some(entry) = entry {
                    entry.note_failing(database.failures > 0);
                }
                // A commit may have come while the worker was leaving.
                if entry.is_some_and(|entry| entry.is_signalled()) {
                    database.is_due_by(Instant::now());
                }
            }
        }
    }

    /// Starts workers, those first that are due for the longest time. Returns how many databases wait for a background
    /// worker to become free.
    fn start_due(&mut self) -> usize {
        let now = Instant::now();
        let mut due: Vec<(Instant, u32)> =
            self.databases.iter().filter_map(|(oid, database)| Some((database.start_at()?, *oid))).collect();
        due.retain(|(at, _)| *at <= now);
        if due.is_empty() {
            return 0;
        }
        due.sort_unstable();
        let catalog = transaction::transaction(catalog::databases);
        let catalog: HashMap<u32, catalog::Database> =
            catalog.into_iter().map(|found| (found.oid.to_u32(), found)).collect();
        let mut waiting = 0;
        for (_, oid) in due {
            let Some(found) = catalog.get(&oid) else {
                self.forget(oid);
                continue;
            };
            let Some(database) = self.databases.get_mut(&oid) else { continue };
            database.name.clone_from(&found.name);
            if !found.is_open {
                database.not_before = Some(now + CLOSED_INTERVAL);
            } else if !lock::is_database_lock_free(Oid::from(oid)) {
                database.not_before = Some(now + LOCKED_INTERVAL);
            } else if waiting > 0 || !start(oid, database) {
                waiting += 1;
            }
        }
        if waiting > 0 && roster::is_full() {
            self.free_entries(Duration::ZERO);
        }
        waiting
    }

    /// Forgets a database that was dropped.
    fn forget(&mut self, oid: u32) {
        self.databases.remove(&oid);
        if let Some((_, entry)) = roster::entries().find(|(database, _)| *database == oid) {
            entry.free();
        }
    }

    /// Frees entries that no worker and no commit has needed for so long, and forgets databases without a further need.
    fn free_entries(&mut self, kept: Duration) {
        let mut used: HashMap<u32, ()> = HashMap::new();
        for (oid, entry) in roster::entries() {
            let Some(database) = self.databases.get_mut(&oid) else { continue };
            if database.is_running() || entry.is_signalled() || database.failures > 0 {
                database.unused_since = Instant::now();
            } else if database.unused_since.elapsed() >= kept {
                entry.free();
                continue;
            }
            used.insert(oid, ());
        }
        self.databases
            .retain(|oid, database| database.due.is_some() || database.is_running() || used.contains_key(oid));
    }

    /// Asks workers to leave for the databases that wait, and says so if there is none that could.
    fn tell(&mut self, waiting: usize) {
        let is_running = self.databases.values().any(Database::is_running);
        let is_starved = waiting > 0 && !is_running;
        if is_starved && !self.is_starved {
            ereport::log_no_worker();
        }
        self.is_starved = is_starved;
        let leaving = roster::entries().filter(|(_, entry)| entry.is_leaving()).count();
        roster::set_waiting(u32::try_from(waiting.saturating_sub(leaving)).unwrap_or(u32::MAX), is_starved);
    }
}

/// Starts a worker. False if no background worker or no entry is free.
fn start(oid: u32, database: &mut Database) -> bool {
    let Some(entry) = roster::enter(oid) else { return false };
    entry.begin();
    let Some(worker) = lifecycle::start_in(Oid::from(oid)) else { return false };
    database.state = State::Running { worker: Some(worker) };
    (database.due, database.not_before) = (None, None);
    true
}
