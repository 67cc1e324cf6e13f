//! The delivery worker's side: it notes upstream ids in the transaction that settles their creates, and sees to it that
//! another process writes them into their rows.
//!
//! If Postgres has no background worker for that process, the delivery worker makes the visits itself. Then a visit has
//! [`OWN_LIMIT`], and all visits together have one part of [`OWN_SHARE`] of the time: delivery goes on.

use std::time::{Duration, Instant};

use contract::batching::plan::{Operation, Planned};
use contract::batching::visits::LONGEST_BACKOFF;
use contract::kind::Kind;

use crate::ereport;
use crate::outbox::disposition::Disposition;
use crate::outbox::guard;
use crate::outbox::store::upstream_ids::{self, Created};
use crate::outbox::worker::{presence, registry};
use crate::pg::bgworker::Started;
use crate::pg::spi::{self, Connection};
use crate::pg::transaction;

use super::visit::OpenAttached;
use super::writer::{Gone, Writer};
use super::{process, slot};

/// How often the delivery worker checks whether a process still runs that an earlier worker has started. An idle worker may
/// end meanwhile.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// How often the delivery worker tries to start a process while there is no room for one.
const START_INTERVAL: Duration = Duration::from_secs(1);

/// How often the log may say that no background worker is free.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The longest visit that the delivery worker makes itself.
const OWN_LIMIT: Duration = Duration::from_millis(100);

/// Its own visits may take one part of the time in this number.
const OWN_SHARE: u32 = 10;

/// The hand-over of upstream ids to the write-back process.
pub struct Handover {
    open: OpenAttached,
    /// The lowest create that was noted since the last call of [`Handover::after_commit`], `i64::MAX` if none was.
    noted: i64,
    /// When to see to pending ids; None if none is pending.
    check_at: Option<Instant>,
    /// The process that this worker has started.
    process: Option<Started>,
    /// Makes the visits while no process can be started.
    own: Option<OwnVisits>,
    /// When to try to start a process again.
    start_at: Instant,
    logged_at: Option<Instant>,
}

/// The visits of the delivery worker itself.
struct OwnVisits {
    writer: Writer,
    rests_until: Instant,
}

impl Handover {
    pub fn new(open: OpenAttached) -> Handover {
        let start_at = Instant::now();
        Handover { open, noted: i64::MAX, check_at: None, process: None, own: None, start_at, logged_at: None }
    }

    /// Notes the delivered creates, in the transaction that settles them.
    pub fn note(
        &mut self,
        connection: &Connection,
        server: &str,
        planned: &Planned,
        dispositions: &[(&Operation, &Disposition)],
    ) {
        if planned.kind != Kind::Create {
            return;
        }
        let creates =
            dispositions.iter().filter_map(|(operation, disposition)| created(planned, operation, disposition));
        let creates: Vec<Created<'_>> = creates.collect();
        let failed = guard::each_carefully(&creates, |creates| {
            let noted = upstream_ids::note(connection, server, creates);
            self.noted = noted.into_iter().min().unwrap_or(i64::MAX).min(self.noted);
        });
        for (create, failure) in failed {
            guard::note("noted for its write-back", create.id, &failure);
        }
    }

    /// Looks for ids that an earlier worker has left, or a person has noted by `sequin_resolve`.
    pub fn find_all(&mut self, connection: &Connection) {
        if upstream_ids::has_any(connection) {
            self.check_at = Some(Instant::now());
        }
    }

    /// The time to the next call of [`Handover::after_commit`]; None if no id is pending. A delivery worker that ends for
    /// lack of work must be started again by then: it starts the write-back process when the next attempt is due.
    pub fn due_in(&self) -> Option<Duration> {
        let at = self.check_at?;
        // Postgres sets the latch of this process when the process that it has started ends.
        let has_ended = self.process.as_ref().is_some_and(Started::has_ended);
        Some(if has_ended { Duration::ZERO } else { at.saturating_duration_since(Instant::now()) })
    }

    /// Starts or wakes the write-back process if ids were noted, or the last check is some time ago. Runs with no
    /// transaction open.
    pub fn after_commit(&mut self) {
        let noted = std::mem::replace(&mut self.noted, i64::MAX);
        let has_noted = noted != i64::MAX;
        if has_noted && slot::wake(noted) {
            self.own = None;
            self.check_at.get_or_insert_with(|| Instant::now() + WATCH_INTERVAL);
            return;
        }
        if !has_noted && self.due_in() != Some(Duration::ZERO) {
            return;
        }
        let ended = self.process.take_if(|process| process.has_ended());
        let has_ended = ended.map(Started::forget).is_some();
        self.check_at = self.check(noted, has_ended).map(|wait| Instant::now() + wait);
    }

    /// Sees to pending ids. `noted` is the lowest create that was noted, `i64::MAX` if none was. Returns the time to the
    /// next check; None if no id is pending.
    fn check(&mut self, noted: i64, has_ended: bool) -> Option<Duration> {
        if slot::is_running() {
            self.own = None;
            return Some(WATCH_INTERVAL);
        }
        if presence::is_database_being_dropped() {
            return Some(START_INTERVAL);
        }
        if noted == i64::MAX && self.own.is_none() {
            match next_attempt_in() {
                Ok(None) => return None,
                // A longer one was stored before the clock was set back.
                Ok(Some(wait)) if !wait.is_zero() && wait <= LONGEST_BACKOFF => return Some(wait),
                // The process was ended, or has left its place to another database, which must be quicker.
                Ok(Some(_)) if has_ended => return Some(START_INTERVAL),
                Ok(Some(_)) => {}
                Err(Gone::ForNow) => return Some(START_INTERVAL),
                Err(Gone::ForGood) => return None,
            }
        }
        if (self.own.is_none() || Instant::now() >= self.start_at) && self.start() {
            self.own = None;
            return Some(WATCH_INTERVAL);
        }
        self.visit_itself(noted)
    }

    /// Starts a process, unless one is starting. Returns false if there is no room for it.
    fn start(&mut self) -> bool {
        self.start_at = Instant::now() + START_INTERVAL;
        // A database without a delivery worker needs the place more.
        if registry::is_asked_to_leave() {
            return false;
        }
        if !slot::reserve() {
            return slot::is_running();
        }
        let started = process::start();
        if started.is_none() {
            slot::cancel_reservation();
            return false;
        }
        if let Some(before) = std::mem::replace(&mut self.process, started) {
            before.forget();
        }
        true
    }

    /// Makes a visit in this process.
    fn visit_itself(&mut self, noted: i64) -> Option<Duration> {
        let visited = self.own_visits(noted).and_then(|own| {
            let begun = Instant::now();
            if own.rests_until <= begun && own.writer.visit_next()? {
                own.rests_until = Instant::now() + begun.elapsed() * (OWN_SHARE - 1);
            }
            let rest = own.rests_until.saturating_duration_since(Instant::now());
            Ok(own.writer.due_in().map(|due| due.max(rest)))
        });
        visited.unwrap_or_else(|gone| {
            self.own = None;
            (gone == Gone::ForNow).then_some(START_INTERVAL)
        })
    }

    /// The visits of this process, with the ids that were noted.
    fn own_visits(&mut self, noted: i64) -> Result<&mut OwnVisits, Gone> {
        match self.own.as_mut() {
            Some(own) if noted != i64::MAX => own.writer.find_since(noted)?,
            Some(_) => {}
            None => {
                if self.logged_at.is_none_or(|at| at.elapsed() > LOG_INTERVAL) {
                    self.logged_at = Some(Instant::now());
                    ereport::log(
                        "no background worker is free for the write-backs of the outbox: the delivery worker makes \
                         them, with a part of its time; raise max_worker_processes",
                    );
                }
                let mut writer = Writer::new(self.open, OWN_LIMIT)?;
                writer.find_since(i64::MIN)?;
                self.own = Some(OwnVisits { writer, rests_until: Instant::now() });
            }
        }
        Ok(self.own.as_mut().expect("it is set"))
    }
}

/// The create of an attached row, if it has brought an upstream id.
fn created<'a>(planned: &Planned, operation: &'a Operation, disposition: &'a Disposition) -> Option<Created<'a>> {
    let Disposition::Done { upstream_id: Some(upstream_id), .. } = disposition else { return None };
    let key = operation.ordering_key.as_deref()?;
    let (id, role) = (operation.id, planned.batch_key.role);
    Some(Created { id, relation: key.relation?, row_key: &key.text, upstream_id, role })
}

/// Drops the ids of rows whose delete is delivered. Runs in the transaction that settles the delete, before it writes the
/// queue: later rows may have the same keys.
pub fn forget_deleted(connection: &Connection, kind: Kind, dispositions: &[(&Operation, &Disposition)]) {
    if kind != Kind::Delete {
        return;
    }
    let (mut deletes, mut relations, mut row_keys) = (Vec::new(), Vec::new(), Vec::new());
    let is_done = |disposition: &Disposition| matches!(disposition, Disposition::Done { .. });
    for (operation, _) in dispositions.iter().filter(|(_, disposition)| is_done(disposition)) {
        let Some(key) = operation.ordering_key.as_deref() else { continue };
        let Some(relation) = key.relation else { continue };
        deletes.push(operation.id);
        relations.push(i64::from(relation));
        row_keys.push(key.text.as_str());
    }
    if !deletes.is_empty() {
        upstream_ids::delete_replaced(connection, &deletes, &relations, &row_keys);
    }
}

/// The time to the first attempt of any pending id; None if there is none. An error is logged, and counts as gone for
/// now.
fn next_attempt_in() -> Result<Option<Duration>, Gone> {
    let read = transaction::try_transaction(|| match presence::of_extension() {
        presence::Presence::Present(_) => {
            let connected = spi::connected(|connection| -> Result<_, std::convert::Infallible> {
                Ok(upstream_ids::next_attempt_in(connection))
            });
            let Ok(next) = connected;
            Ok(next)
        }
        presence::Presence::BeingDropped => Err(Gone::ForNow),
        presence::Presence::Absent => Err(Gone::ForGood),
    });
    read.unwrap_or_else(|failure| {
        ereport::log(&format!("could not read the pending upstream ids: {}", failure.message));
        Err(Gone::ForNow)
    })
}
