//! A look at one server's queue: what may be sent now, and what must wait.
//!
//! Records are read in the order of their ids, with those parked records that are due or have a key in common with
//! them. What is read and must wait for long is parked, so that it is not read again and again.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use crate::call::server::{self, Server, ServerError};
use crate::pg::spi::{Connection, QueryRows};
use crate::pg::statement::{Statement, Value};
use crate::pg::transaction::Failure;
use crate::pg::{catalog, security_context, session};
use contract::batching::ordering_key::OrderingKey;
use contract::kind::Kind;

use super::cursor::Cursors;
use super::decode::Reader;
use super::deferred::{self, Search};
use super::in_flight::InFlight;
use super::upstream_ids;
use crate::outbox::guard;
use crate::outbox::server_state::{self, Pauses};
use crate::outbox::settle::archive::{Finished, finish, finish_in_part};
use crate::outbox::settle::transitions::{self, Disposition};
use contract::batching::plan::{self, Change, End, Ending, Limits, Plan, Planned};

/// The most requests that a worker claims at once. Each commit costs the disk a wait; a crash repeats at most so many.
const REQUESTS: usize = 16;

/// How many records are looked at, when they travel one by one.
const NARROW: usize = 64;

/// The most records that are looked at, however large batches may be.
const WIDEST: usize = 6_000;

/// The time to the next look, if this one has left something that it could do.
pub const AT_ONCE: Duration = Duration::from_millis(1);

static WINDOW: Statement = Statement::new(
    "SELECT q.id, q.kind, q.role::pg_catalog.oid, q.sync_id, q.collection_id, q.await_consumers, q.timeout_ms, \
     q.relation::pg_catalog.oid, q.ordering_key, q.upstream_id, q.data, \
     CASE WHEN $4 THEN q.key::pg_catalog.text END \
     FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.>=) $2 \
     ORDER BY q.id LIMIT $3",
);

static HAS_PARKED: Statement =
    Statement::new("SELECT FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) $1 LIMIT 1");

/// When the next record is due that is not due yet. One that is, and was not planned, is freed by the settling of what
/// it waits for, which wakes the workers.
static NEXT_DUE: Statement = Statement::new(
    "SELECT pg_catalog.ceil(EXTRACT(epoch FROM p.next_attempt_at OPERATOR(pg_catalog.-) $2) \
     OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) $1 \
     AND p.state OPERATOR(pg_catalog.=) 'pending' AND p.next_attempt_at OPERATOR(pg_catalog.>) $2 \
     AND p.next_attempt_at OPERATOR(pg_catalog.<) 'infinity' ORDER BY p.next_attempt_at LIMIT 1",
);

/// A look at one server's queue.
pub struct QueueScan<'a> {
    pub connection: &'a Connection,
    pub cursors: &'a mut Cursors,
    pub server: &'a str,
    pub in_flight: &'a InFlight,
    pub pauses: &'a Pauses,
    /// The server is in trouble: one request finds out whether it works again.
    pub probe: Option<Probe>,
}

/// What one request to a server in trouble may be.
#[derive(Clone, Copy)]
pub struct Probe {
    /// A create that fails is work for a person, so creates are not sent as often.
    pub may_create: bool,
}

impl Probe {
    /// The request that is made: one that can be repeated if there is one, or else a single create.
    fn choose(self, requests: Vec<Planned>) -> Vec<Planned> {
        let (mut creates, repeatable): (Vec<Planned>, Vec<Planned>) =
            requests.into_iter().partition(|request| request.kind == Kind::Create);
        creates.iter_mut().for_each(|request| request.operations.truncate(1));
        creates.retain(|_| self.may_create);
        repeatable.into_iter().chain(creates).take(1).collect()
    }
}

/// What a look has found.
#[derive(Default)]
pub struct Scan {
    /// The requests that can be made now, each with the server as its role may use it.
    pub requests: Vec<(Planned, Server)>,
    /// Whether there may be more.
    pub has_more: bool,
    /// Without requests: when to look again, if nobody calls before.
    pub next: Option<Duration>,
}

impl QueueScan<'_> {
    /// Looks. What is found to need no request is ended, and what must wait is parked.
    pub fn plan_requests(&mut self) -> Result<Scan, ServerError> {
        let has_deferred = HAS_PARKED.run(self.connection, &[Value::Text(Some(self.server))]).len() > 0;
        // One time for all that is asked, so that nothing is both not due yet and due no more.
        let now = session::now();
        let position = self.cursors.positions.get(self.server).copied().unwrap_or(i64::MIN);
        let narrow = self.cursors.narrow.get(self.server).copied();
        // Before the options are read: most looks find nothing.
        let window = self.window(position, NARROW, true);
        if window.len() == 0 && !has_deferred {
            self.cursors.positions.insert(self.server.to_owned(), position);
            return Ok(Scan::default());
        }
        let options = server::options(self.server)?;
        let limits = Limits {
            max_batch: options.max_batch as usize,
            creates_share: options.atomic_batches && options.creates_per_request() > 1,
            one_record_a_request: options.idempotency_header.is_some(),
            requests: REQUESTS,
        };
        // To print them all takes time.
        let with_keys = options.idempotency_header.is_some();
        // What others are sending is read as well, and must not make this worker's requests small.
        let width = narrow.unwrap_or(limits.max_batch * REQUESTS) + self.in_flight.ids.len();
        let width = width.clamp(NARROW, WIDEST);
        let window =
            if width > NARROW && window.len() == NARROW { self.window(position, width, with_keys) } else { window };
        let mut reader = Reader::without(&self.in_flight.ids);
        let fresh = reader.read(&window, false);
        let is_full = window.len() == width || fresh.rows < window.len();
        let last = fresh.rows.checked_sub(1).and_then(|row| window.int8(row, 1));
        window.free();

        let mut sorted = self.sort(fresh.changes, has_deferred.then_some(now), &mut reader);
        let mut has_moved = sorted.has_moved | self.reject_unreadable(&reader);
        upstream_ids::fill_in(self.connection, self.server, &mut sorted.ready);
        let mut waiting: HashSet<i64> = sorted.fresh.iter().copied().collect();
        let plan = self.plan(sorted.ready, &limits);
        for ending in &plan.endings {
            waiting.remove(&ending.id);
        }
        has_moved |= self.end(&plan.endings, &sorted.cut_short);
        // Of creates one request is made at a time. What else was read would be read again for the next one.
        match plan.requests.first() {
            Some(first) if first.kind == Kind::Create => {
                let batch = if limits.creates_share { limits.max_batch } else { 1 };
                self.cursors.narrow.insert(self.server.to_owned(), batch + NARROW);
            }
            _ => drop(self.cursors.narrow.remove(self.server)),
        }

        let mut has_paused = false;
        let planned = match self.probe {
            Some(probe) => probe.choose(plan.requests),
            None => plan.requests,
        };
        let mut requests = Vec::with_capacity(planned.len());
        for planned in planned {
            match self.as_role(planned.batch_key.role) {
                Ok(server) => {
                    for id in planned.operations.iter().flat_map(|operation| operation.ids()) {
                        waiting.remove(&id);
                    }
                    requests.push((planned, server));
                }
                Err(_) => {
                    let role = planned.batch_key.role;
                    let setup = server::fingerprint(self.server, role.into());
                    // Once more, for it may have been changed since.
                    if let Err(why) = self.as_role(role) {
                        server_state::pause(self.connection, self.server, role, &why, Some(&setup));
                    }
                    has_paused = true;
                }
            }
        }
        let reached = waiting.iter().copied().min().or(last.map(|id| id + 1)).unwrap_or(position);
        self.cursors.positions.insert(self.server.to_owned(), reached);
        // Only if this look has changed something, or the next one would find the same.
        let has_left = has_paused || is_full && (has_moved || reached > position) || sorted.has_more_due && has_moved;
        let next = match requests.is_empty() {
            true if has_left => Some(AT_ONCE),
            true if has_deferred => self.next_due(now),
            _ => None,
        };
        // While a server is in trouble, another worker could do nothing for it.
        let has_more = self.probe.is_none() && (is_full || sorted.has_more_due || !waiting.is_empty());
        Ok(Scan { requests, has_more, next })
    }

    /// Plans the requests; if one key makes that fail, without it.
    fn plan(&self, ready: Vec<Change>, limits: &Limits) -> Plan {
        if !guard::is_careful() {
            return plan::plan(ready, limits);
        }
        guard::guarded(|| plan::plan(ready.clone(), limits)).unwrap_or_else(|_| self.plan_by_keys(ready, limits))
    }

    /// Plans key by key. One request is made then: two keys may lead to one record.
    fn plan_by_keys(&self, ready: Vec<Change>, limits: &Limits) -> Plan {
        let mut by_key: Vec<Vec<Change>> = Vec::new();
        let mut places: HashMap<Rc<OrderingKey>, usize> = HashMap::new();
        for change in ready {
            let new = by_key.len();
            let place = change.ordering_key.as_ref().map_or(new, |key| *places.entry(Rc::clone(key)).or_insert(new));
            if place == new {
                by_key.push(Vec::new());
            }
            by_key[place].push(change);
        }
        let mut plan = Plan::default();
        for changes in by_key {
            let ids: Vec<i64> = changes.iter().map(|change| change.id).collect();
            match guard::guarded(|| plan::plan(changes, limits)) {
                Ok(of_key) => {
                    plan.endings.extend(of_key.endings);
                    plan.requests.extend(of_key.requests);
                    plan.requests.truncate(1);
                }
                Err(failure) => ids.iter().for_each(|id| {
                    transitions::fail(self.connection, self.server, *id, "planned", &failure);
                }),
            }
        }
        plan
    }

    fn window(&self, from: i64, width: usize, with_keys: bool) -> QueryRows<'_> {
        let server = Value::Text(Some(self.server));
        let values = [server, Value::Int8(from), Value::Int8(width as i64), Value::Bool(with_keys)];
        WINDOW.run(self.connection, &values)
    }

    fn next_due(&self, now: i64) -> Option<Duration> {
        let rows = NEXT_DUE.run(self.connection, &[Value::Text(Some(self.server)), Value::Time(now)]);
        let millis = (rows.len() > 0).then(|| rows.int8(0, 1)).flatten()?;
        Some(Duration::from_millis(millis.max(1) as u64))
    }

    fn as_role(&self, role: u32) -> Result<Server, String> {
        let Some(name) = catalog::role_name(role) else {
            return Err(format!("the role {role} does not exist any more"));
        };
        security_context::looking_up_as(role.into(), || server::find(Some(self.server)))
            .map_err(|unusable| format!("role \"{name}\": {unusable}"))
    }

    /// Tells what may be sent now from what must wait, and parks what would be read again and again. `now` is None if
    /// nothing is parked.
    fn sort(&self, fresh: Vec<Change>, now: Option<i64>, reader: &mut Reader<'_>) -> Sorted {
        // Where keys wait from on: what was enqueued before a change that must wait need not.
        let mut paused: HashMap<Rc<OrderingKey>, i64> = HashMap::new();
        for change in fresh.iter().filter(|change| self.is_paused(change)) {
            if let Some(key) = &change.ordering_key {
                paused.entry(Rc::clone(key)).or_insert(change.id);
            }
        }
        let found = match now {
            Some(now) => {
                let QueueScan { connection, server, in_flight, pauses, .. } = *self;
                Search { connection, server, in_flight, pauses, now }.run(&fresh, paused, reader)
            }
            None => deferred::Found { blocked: paused, ..Default::default() },
        };
        let mut sorted = Sorted {
            ready: found.ready,
            fresh: Vec::new(),
            has_moved: found.has_stalled,
            has_more_due: found.has_more,
            cut_short: found.cut_short,
        };
        let mut follow = Vec::new();
        for change in fresh {
            let blocked_from = change.ordering_key.as_ref().and_then(|key| found.blocked.get(key));
            if blocked_from.is_some_and(|from| change.id >= *from) || self.is_paused(&change) {
                follow.push(change.id);
                continue;
            }
            sorted.fresh.push(change.id);
            if !self.in_flight.has_key(self.server, change.ordering_key.as_ref()) {
                sorted.ready.push(change);
            }
        }
        sorted.ready.sort_unstable_by_key(|change| change.id);
        sorted.has_moved |= transitions::park_waiting(self.connection, self.server, &follow) > 0;
        sorted
    }

    fn is_paused(&self, change: &Change) -> bool {
        self.pauses.is_for(self.server, change.batch_key.role) || self.pauses.is_held(self.server, change.id)
    }

    /// Rejects what could not be read. True if there was such a record.
    fn reject_unreadable(&self, reader: &Reader) -> bool {
        let reject =
            |(id, failure): &(i64, Failure)| transitions::fail(self.connection, self.server, *id, "read", failure);
        reader.unreadable.iter().filter(|unreadable| reject(unreadable)).count() > 0
    }

    /// Ends what needs no request. True if something was ended.
    fn end(&self, endings: &[Ending], cut_short: &[String]) -> bool {
        let (mut done, mut ended) = (Vec::new(), 0);
        for ending in endings {
            let outcome = match ending.end {
                End::CancelledOut => "cancelled_out",
                End::NothingToSend => "nothing_to_send",
                End::NoUpstreamId => {
                    let disposition = Disposition::rejected(
                        "not_sent",
                        "its row has no upstream id: it was never created upstream, or the reply of its create was lost",
                    );
                    let reject = |_: &[i64]| transitions::one(self.connection, self.server, ending.id, &disposition);
                    ended += guard::each_logged("rejected", &[ending.id], reject);
                    continue;
                }
            };
            done.push((ending.id, outcome));
        }
        let finished =
            |&(id, outcome): &(i64, _)| Finished { id, outcome, upstream_id: None, record: None, sent_with: None };
        let failed = guard::each_carefully(&done, |done: &[(i64, &str)]| {
            finish(self.connection, self.server, done.iter().map(finished).collect());
        });
        ended += done.len() - failed.len();
        for (one, failure) in &failed {
            ended += usize::from(
                finish_in_part(self.connection, self.server, &finished(one))
                    || transitions::fail(self.connection, self.server, one.0, "ended", failure),
            );
        }
        if !endings.is_empty() {
            // What was not read of their keys waits for an end, and this may be one.
            let keys: Vec<Option<&str>> = cut_short.iter().map(|key| Some(key.as_str())).collect();
            transitions::release(self.connection, self.server, &keys);
        }
        ended > 0
    }
}

struct Sorted {
    /// What may be sent, by id.
    ready: Vec<Change>,
    /// The ids that are still in the queue.
    fresh: Vec<i64>,
    /// Something was parked, or made to wait.
    has_moved: bool,
    /// There is more that is due than was read.
    has_more_due: bool,
    /// The ordering keys of which not all that is parked was read.
    cut_short: Vec<String>,
}
