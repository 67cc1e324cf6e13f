//! A scan of one server's queue: which records may be sent now, and which must wait.
//!
//! Records are read in the order of their ids, together with deferred records that are due or share an ordering key with
//! them. A queued record that must wait for long is deferred, so that it is not read again and again.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use contract::batching::ordering_key::OrderingKey;
use contract::batching::plan::{Change, Limits, Planned};
use contract::batching::window::{Scope, Stepping, Stored, Window, WindowLimits};
use contract::kind::Kind;
use contract::options::ServerOptions;
use contract::reply::Timestamp;

use crate::call::server::{self, Server, ServerError};
use crate::outbox::server_state::Pauses;
use crate::outbox::settle::transitions;
use crate::outbox::store::scan;
use crate::pg::session;
use crate::pg::spi::Connection;

use super::assign;
use super::budget::Budget;
use super::cursor::Cursors;
use super::decode::Decoder;
use super::deferred::{DeferredScan, DeferredSearch};
use super::in_flight::ServerInFlight;
use super::upstream_ids;

/// The fewest records that a scan reads.
const MIN_RECORDS: usize = 64;

/// The most records that a scan reads, however large batches may be.
const MAX_RECORDS: usize = 6_000;

/// The records that a scan reads at first for a probe, which is one request. A record that fails goes behind the
/// others.
const PROBE_RECORDS: usize = 1_000;

/// The time to the next scan if this one has left possible work.
pub const AT_ONCE: Duration = Duration::from_millis(1);

/// A scan of one server's queue.
pub struct QueueScan<'a> {
    pub connection: &'a Connection,
    pub cursors: &'a mut Cursors,
    pub server: &'a str,
    pub in_flight: &'a ServerInFlight,
    pub pauses: &'a Pauses,
    pub windows: &'a mut HashMap<String, Window>,
    /// The stored backoffs of the server.
    pub stored: Vec<Stored>,
    /// How much may still be claimed for this server in this transaction.
    pub budget: &'a mut Budget,
    pub now: Instant,
}

/// The options that a window obeys.
pub fn limits(options: &ServerOptions) -> WindowLimits {
    WindowLimits {
        max_in_flight: options.max_in_flight,
        max_requests_per_second: options.max_requests_per_second,
        max_await: options.max_await,
    }
}

/// The result of a scan.
#[derive(Default)]
pub struct Scan {
    /// The requests that can be made now, each with the server as its role may use it.
    pub requests: Vec<(Planned, Server)>,
    /// When to scan again, if no wake-up and no end of a request comes before.
    pub next: Option<Duration>,
}

/// The records of the queue that a scan has read.
struct Fresh {
    changes: Vec<Change>,
    /// There may be more records than were read.
    is_full: bool,
    /// A wider scan would read more.
    can_widen: bool,
    last: Option<i64>,
}

/// The records of a scan, sorted by what may happen to them now.
struct Sorted {
    /// The changes that may be sent, by id.
    ready: Vec<Change>,
    /// The ids that are still in the queue.
    queued: Vec<i64>,
    /// A record was deferred, or made to wait.
    has_moved: bool,
    /// More records are due than were read.
    has_more_due: bool,
    /// The ordering keys with deferred records that were not read.
    cut_short: Vec<String>,
}

impl QueueScan<'_> {
    /// Scans the queue. Records that need no request are settled, and records that must wait are deferred.
    pub fn run(&mut self) -> Result<Scan, ServerError> {
        let has_deferred = scan::has_deferred(self.connection, self.server);
        // One time for all queries, so that each record is either due or not.
        let now = Timestamp(session::now());
        let back = self.begin_stepping();
        let position = self.cursors.positions.get(self.server).copied().unwrap_or(i64::MIN);
        let position = back.map_or(position, |from| position.min(from));
        // Before anything can fail: the records that were stepped over are known to this scan alone now.
        self.cursors.positions.insert(self.server.to_owned(), position);
        let mut decoder = Decoder::new(&self.in_flight.ids);
        let Some((fresh, limits, room)) = self.read_queue(position, has_deferred, &mut decoder)? else {
            return Ok(Scan::default());
        };
        let Fresh { is_full, can_widen, last, .. } = fresh;
        let mut sorted = self.sort(fresh.changes, has_deferred.then_some(now), &mut decoder);
        let mut has_moved = sorted.has_moved | self.fail_undecodable(&decoder);
        upstream_ids::fill_in(self.connection, self.server, &mut sorted.ready);
        self.leave_records_in_flight(&mut sorted.ready);

        let mut waiting: HashSet<i64> = sorted.queued.iter().copied().collect();
        let plan = assign::plan(self.connection, self.server, sorted.ready, &limits);
        for ending in &plan.endings {
            waiting.remove(&ending.id);
        }
        has_moved |= assign::settle_endings(self.connection, self.server, &plan.endings, &sorted.cut_short);
        self.note_width(plan.requests.first(), &limits);
        let mut planned = self.window().choose(plan.requests, self.now);
        // Too many records at the head of the queue wait for requests in flight.
        let is_too_narrow = can_widen && planned.len() < room;
        self.widen(is_too_narrow);
        let has_room = planned.len() < room;
        let may_create = self.note_probe(planned.is_empty() && !is_full && !sorted.has_more_due);
        let chosen = planned.len();
        self.budget.spend(&mut planned);
        let is_cut = !planned.is_empty() && planned.len() < chosen;
        let (requests, has_paused) = assign::assign(self.connection, self.server, planned);
        for id in requests.iter().flat_map(|(planned, _)| planned.ids()) {
            waiting.remove(&id);
        }

        let reached = waiting.iter().copied().min().or(last.map(|id| id + 1)).unwrap_or(position);
        self.cursors.positions.insert(self.server.to_owned(), reached);
        // Only if this scan has changed something: otherwise the next one would find the same.
        let has_left = has_paused
            || is_too_narrow
            || may_create
            || is_full && (has_moved || reached > position)
            || sorted.has_more_due && (has_moved || !requests.is_empty());
        let next = if is_cut || has_room && has_left {
            Some(AT_ONCE)
        } else if has_deferred {
            scan::next_due(self.connection, self.server, now)
        } else {
            None
        };
        Ok(Scan { requests, next })
    }

    fn window(&self) -> &Window {
        &self.windows[self.server]
    }

    /// Decides what this scan steps over. Returns the id that it must go back to, if that is less than before.
    fn begin_stepping(&mut self) -> Option<i64> {
        let mut scopes = Vec::new();
        if let Some(window) = self.windows.get(self.server) {
            scopes = window.waiting(self.now);
            // A create that fails is work for a person, so updates and deletes find out whether the server works again.
            let is_probing = window.is_probing(self.now);
            if is_probing && !self.cursors.creates_only.contains(self.server) && !scopes.contains(&Scope::Creates) {
                scopes.push(Scope::Creates);
            }
        }
        self.cursors.stepping.entry(self.server.to_owned()).or_default().begin(scopes)
    }

    fn stepping(&mut self) -> &mut Stepping {
        self.cursors.stepping.entry(self.server.to_owned()).or_default()
    }

    /// Lets the next scan find a create if the server must be probed and nothing else can do it: `has_none`. Returns true
    /// if that is new.
    fn note_probe(&mut self, has_none: bool) -> bool {
        if has_none && self.window().is_probing(self.now) {
            self.cursors.creates_only.insert(self.server.to_owned())
        } else {
            self.cursors.creates_only.remove(self.server);
            false
        }
    }

    /// Reads the queue from a position on. None if there is nothing to send, which most scans find before they read the
    /// server's options.
    fn read_queue(
        &mut self,
        position: i64,
        has_deferred: bool,
        decoder: &mut Decoder<'_>,
    ) -> Result<Option<(Fresh, Limits, usize)>, ServerError> {
        let read = |width, with_keys| scan::queued(self.connection, self.server, position, width, with_keys);
        let rows = read(MIN_RECORDS, true);
        if rows.len() == 0 && !has_deferred {
            return Ok(None);
        }
        let options = server::options(self.server)?;
        self.obey(&options);
        let room = self.window().room(self.now).min(self.budget.requests);
        if room == 0 {
            return Ok(None);
        }
        let sends_idempotency_keys = options.idempotency_header.is_some();
        let limits = Limits {
            max_batch: options.max_batch as usize,
            creates_share: options.atomic_batches && options.creates_per_request() > 1,
            one_record_a_request: sends_idempotency_keys,
            // The window chooses among all.
            requests: usize::MAX,
        };
        let narrow = self.cursors.narrow.get(self.server).copied();
        let widening = self.cursors.widening.get(self.server).copied().unwrap_or(1);
        let width = narrow.unwrap_or(limits.max_batch).saturating_mul(room).saturating_add(MIN_RECORDS);
        let width = if self.window().is_probing(self.now) { PROBE_RECORDS } else { width };
        let width = width.saturating_mul(widening).min(MAX_RECORDS);
        let is_wider = width > MIN_RECORDS && rows.len() == MIN_RECORDS;
        let rows = if is_wider { read(width, sends_idempotency_keys) } else { rows };
        let decoded = decoder.decode(&rows);
        let fresh = Fresh {
            is_full: rows.len() == width || decoded.rows < rows.len(),
            can_widen: rows.len() == width && width < MAX_RECORDS,
            last: decoded.rows.checked_sub(1).and_then(|row| rows.int8(row, 1)),
            changes: decoded.changes,
        };
        rows.free();
        Ok(Some((fresh, limits, room)))
    }

    /// Lets the server's window follow the options. The first scan makes it.
    fn obey(&mut self, options: &ServerOptions) {
        let limits = limits(options);
        if let Some(window) = self.windows.get_mut(self.server) {
            window.set_limits(limits);
            return;
        }
        let mut window = Window::new(limits);
        window.load(&self.stored, self.now);
        self.windows.insert(self.server.to_owned(), window);
        // It has stepped over nothing yet.
        self.begin_stepping();
    }

    /// Notes how many records the next scan reads for each request. A create mostly has a request of its own.
    fn note_width(&mut self, first: Option<&Planned>, limits: &Limits) {
        match first {
            Some(first) if first.kind == Kind::Create => {
                let batch = if limits.creates_share { limits.max_batch } else { 1 };
                self.cursors.narrow.insert(self.server.to_owned(), batch);
            }
            _ => drop(self.cursors.narrow.remove(self.server)),
        }
    }

    /// Makes the next scan read more than this one, or else as many records as usual.
    fn widen(&mut self, is_too_narrow: bool) {
        const STEP: usize = 4;
        if is_too_narrow {
            let widening = self.cursors.widening.entry(self.server.to_owned()).or_insert(1);
            *widening = widening.saturating_mul(STEP);
        } else {
            self.cursors.widening.remove(self.server);
        }
    }

    /// Separates the records that may be sent now from those that must wait, and defers the latter. `now` is None if no
    /// record is deferred.
    fn sort(&mut self, mut fresh: Vec<Change>, now: Option<Timestamp>, decoder: &mut Decoder<'_>) -> Sorted {
        let stepping = self.stepping();
        fresh.retain(|change| !stepping.steps_over(change));
        // For each waiting key, its first waiting id: records before that id may be sent.
        let mut paused: HashMap<Rc<OrderingKey>, i64> = HashMap::new();
        for change in fresh.iter().filter(|change| self.is_paused(change)) {
            if let Some(key) =
                change.ordering_key.as_ref().filter(|key| self.pauses.blocks(self.server, key, change.id))
            {
                paused.entry(Rc::clone(key)).or_insert(change.id);
            }
        }
        let mut found = match now {
            Some(now) => {
                let QueueScan { connection, server, in_flight, pauses, .. } = *self;
                let stepping = &self.cursors.stepping[server];
                let most = if self.window().is_probing(self.now) { PROBE_RECORDS } else { MAX_RECORDS };
                DeferredSearch { connection, server, in_flight, pauses, stepping, now, most }
                    .run(&fresh, paused, decoder)
            }
            None => DeferredScan { blocked: paused, ..Default::default() },
        };
        let stepping = self.stepping();
        found.ready.retain(|change| !stepping.has_key(change.ordering_key.as_deref()));
        let mut sorted = Sorted {
            ready: found.ready,
            queued: Vec::new(),
            has_moved: found.has_stalled,
            has_more_due: found.has_more,
            cut_short: found.cut_short,
        };
        let mut deferred = Vec::new();
        for change in fresh {
            let blocked_from = change.ordering_key.as_ref().and_then(|key| found.blocked.get(key));
            if blocked_from.is_some_and(|from| change.id >= *from) || self.is_paused(&change) {
                deferred.push(change.id);
                continue;
            }
            sorted.queued.push(change.id);
            if !self.in_flight.has_key(change.ordering_key.as_deref()) {
                sorted.ready.push(change);
            }
        }
        sorted.ready.sort_unstable_by_key(|change| change.id);
        sorted.has_moved |= transitions::defer_waiting(self.connection, self.server, &deferred) > 0;
        sorted
    }

    /// Removes changes whose record is in flight under another ordering key, with later changes of their own key.
    fn leave_records_in_flight(&self, ready: &mut Vec<Change>) {
        let mut waiting: HashSet<Rc<OrderingKey>> = HashSet::new();
        ready.retain(|change| {
            let key = change.ordering_key.as_ref();
            let waits = key.is_some_and(|key| waiting.contains(key)) || self.in_flight.has_record(change);
            if waits {
                waiting.extend(key.cloned());
            }
            !waits
        });
    }

    fn is_paused(&self, change: &Change) -> bool {
        self.pauses.is_for(self.server, change.batch_key.role) || self.pauses.is_held(self.server, change.id)
    }

    /// Fails the records that could not be decoded. Returns true if there was one.
    fn fail_undecodable(&self, decoder: &Decoder<'_>) -> bool {
        let fail = |id, failure| transitions::fail(self.connection, self.server, id, "read", failure);
        decoder.undecodable.iter().filter(|(id, failure)| fail(*id, failure)).count() > 0
    }
}
