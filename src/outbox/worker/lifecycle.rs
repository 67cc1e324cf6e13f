//! How the extension's background workers start, and how they end.
//!
//! The launcher starts workers. Postgres restarts none of them: a worker whose database was dropped ends for good.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::pg_sys::Oid;

use crate::pg::bgworker::{self, Registration, Started};
use crate::pg::guc;
use crate::settings;

use super::registry::{self, End, Slot};

/// Settings that an administrator makes for the sessions of a database or a role do not apply to its worker, which must
/// write.
///
/// The worker finds rows by indexes alone. Its plans live long, and one that reads a whole table because it was empty
/// once would read it later, when it is large. Postgres up to 17 takes such a plan for one that JIT is worth.
const OWN_SETTINGS: [(&CStr, &CStr); 10] = [
    (c"role", c"none"),
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_isolation", c"read committed"),
    (c"statement_timeout", c"0"),
    (c"lock_timeout", c"0"),
    (c"row_security", c"on"),
    (c"enable_seqscan", c"off"),
    (c"jit", c"off"),
    (c"application_name", c"sequin worker"),
];

/// A worker stays if something is due earlier than this.
const SOON: Duration = Duration::from_secs(5);

/// How long a worker goes on while other databases wait for one to leave.
const SHARE: Duration = Duration::from_secs(2);

/// The time after which a worker looks at its database again at the latest, to delete records from the history.
const REVISIT_DELAYS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// Starts a worker in a database. None if the server cannot have more background workers.
pub fn start_in(database: Oid) -> Option<Started> {
    let registration = Registration {
        name: c"sequin worker",
        kind: c"sequin worker",
        symbol: c"sequin_worker_main",
        argument: u64::from(database.to_u32()),
        restart_after: None,
    };
    registration.start()
}

/// Starts the launcher. False if the server cannot have more background workers.
pub fn start_launcher() -> bool {
    launcher().start().map(Started::forget).is_some()
}

/// Registers the launcher, which starts with the server, while Postgres preloads the library.
pub fn register_launcher() {
    launcher().start_with_server();
}

/// Postgres starts it again after an error, and after a crash of the server.
fn launcher() -> Registration {
    Registration {
        name: c"sequin launcher",
        kind: c"sequin launcher",
        symbol: c"sequin_launcher_main",
        argument: 0,
        restart_after: Some(Duration::from_secs(1)),
    }
}

/// Connects a process of the extension to its database, with settings of its own.
pub fn connect_to(database: Oid) {
    // Before the connection: then Postgres does not apply the values of a database or role at all.
    for (name, value) in OWN_SETTINGS {
        guc::set_for_process(name, value);
    }
    let configured = guc::configured();
    bgworker::connect(Some(database));
    configured.restore();
    bgworker::restore_session_user();
}

/// Connects a worker to its database. `argument` is from [`start_in`].
pub fn connect(argument: u64) {
    connect_to(Oid::from(argument as u32));
}

/// Ends this worker, so that other sessions can drop its database. The launcher starts the next one when they have finished,
/// if the database is still there.
pub fn exit_and_respawn() -> ! {
    exit_until(Duration::ZERO)
}

/// Ends this worker. Its database needs one again after `due_in`.
fn exit_until(due_in: Duration) -> ! {
    registry::note_end(End::Left(due_in));
    bgworker::exit(0)
}

/// Ends this worker because the extension is gone. A transaction that creates it again signals its commits as any does.
pub fn exit_for_good() -> ! {
    registry::note_end(End::Unneeded);
    bgworker::exit(0)
}

/// How long this worker may stay.
pub struct Stay {
    since: Instant,
    idle_since: Option<Instant>,
}

impl Stay {
    pub fn begin() -> Stay {
        Stay { since: Instant::now(), idle_since: None }
    }

    /// Notes that the worker has work.
    pub fn is_busy(&mut self) {
        self.idle_since = None;
    }

    /// Whether this worker should claim no more, because it has had its share of the time and other databases wait. If its
    /// requests take too long for that, it goes on for another share.
    pub fn is_share_over(&self) -> bool {
        (self.since.elapsed().as_micros() / SHARE.as_micros()) % 2 == 1 && registry::is_asked_to_leave()
    }

    /// Ends this worker, which has no request in flight, if other databases still wait.
    pub fn yield_to_others(&self) {
        if registry::take_request_to_leave() {
            exit_and_respawn();
        }
    }

    /// Ends this worker, which has nothing to do, if that is so for long, or if other databases wait. `next` is when
    /// something is due. Returns how long it may wait for work.
    pub fn leave_if_idle(&mut self, slot: &Slot, next: Option<Duration>) -> Duration {
        let timeout = settings::worker_idle_timeout();
        let idle = self.idle_since.get_or_insert_with(Instant::now).elapsed();
        if slot.is_signalled() {
            return Duration::ZERO;
        }
        let is_over = idle >= timeout && next.is_none_or(|next| next > SOON);
        if is_over || registry::take_request_to_leave() {
            let revisit = settings::retention().clamp(REVISIT_DELAYS.0, REVISIT_DELAYS.1);
            exit_until(next.map_or(revisit, |next| next.min(revisit)));
        }
        timeout.checked_sub(idle).filter(|left| !left.is_zero()).unwrap_or(SOON)
    }
}
