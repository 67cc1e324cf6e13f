//! A look at one server's queue: what may be sent now, and what must wait.
//!
//! Records are read in the order of their ids, with those parked records that are due or have a key in common with
//! them. What is read and must wait for long is parked, so that it is not read again and again.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::mutation::kind::Kind;
use crate::pg::spi::{Batch, Connection};
use crate::pg::statement::{Statement, Value};
use crate::pg::{catalog, session};
use crate::server::{self, Server, Unusable};

use super::claim::Places;
use super::key::{key, ordering_key, relation};
use super::plan::{self, Change, End, Lane, Limits, Planned};
use super::servers::{self, Pauses};
use super::settle::{self, Fate};
use super::under_way::UnderWay;

/// The most requests that a worker claims at once. Each commit costs the disk a wait; a crash repeats at most so many.
const REQUESTS: usize = 16;

/// How many records are looked at, when they travel one by one.
const NARROW: usize = 64;

/// The most records that are looked at, however large batches may be.
const WIDEST: usize = 6_000;

/// Their data, about: it is all in memory at once, and some records are large.
const WIDEST_BYTES: usize = 32 << 20;

static WINDOW: Statement = Statement::new(
    "SELECT q.id, q.kind, q.role::pg_catalog.oid, q.sync_id, q.collection_id, q.await_consumers, q.timeout_ms, \
     q.relation::pg_catalog.oid, q.ordering_key, q.upstream_id, q.data, CASE WHEN $4 THEN q.key::pg_catalog.text END \
     FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.>=) $2 \
     ORDER BY q.id LIMIT $3",
);

static DUE: Statement = Statement::new(
    "SELECT p.id, p.ordering_key FROM sequin.parked p WHERE p.server OPERATOR(pg_catalog.=) $1 \
     AND p.state OPERATOR(pg_catalog.=) 'pending' \
     AND p.next_attempt_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() \
     ORDER BY p.next_attempt_at LIMIT $2",
);

static HAS_PARKED: Statement =
    Statement::new("SELECT FROM sequin.parked p WHERE p.server OPERATOR(pg_catalog.=) $1 LIMIT 1");

static PARKED: Statement = Statement::new(
    "SELECT p.id, p.kind, p.role::pg_catalog.oid, p.sync_id, p.collection_id, p.await_consumers, p.timeout_ms, \
     p.relation::pg_catalog.oid, p.ordering_key, p.upstream_id, p.data, p.key::pg_catalog.text, p.attempts, \
     p.is_pinned, p.state, p.next_attempt_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() \
     FROM sequin.parked p WHERE p.server OPERATOR(pg_catalog.=) $1 \
     AND (p.ordering_key OPERATOR(pg_catalog.=) ANY ($2) OR p.id OPERATOR(pg_catalog.=) ANY ($3)) ORDER BY p.id",
);

/// The upstream ids that records have been given since they were read.
static GIVEN: Statement = Statement::new(
    "SELECT q.id, q.upstream_id FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 \
     AND q.id OPERATOR(pg_catalog.=) ANY ($2) AND q.upstream_id IS NOT NULL UNION ALL \
     SELECT p.id, p.upstream_id FROM sequin.parked p WHERE p.id OPERATOR(pg_catalog.=) ANY ($2) \
     AND p.upstream_id IS NOT NULL",
);

static CREATED: Statement = Statement::new(
    "SELECT c.relation::pg_catalog.oid, c.ordering_key, c.upstream_id FROM sequin.created c \
     WHERE c.ordering_key OPERATOR(pg_catalog.=) ANY ($1) ORDER BY c.id",
);

/// A look at one server's queue.
pub struct Look<'a> {
    pub connection: &'a Connection,
    pub places: &'a mut Places,
    pub server: &'a str,
    pub under_way: &'a UnderWay,
    pub pauses: &'a Pauses,
}

/// A record that was tried before, or waits behind one.
struct Parked {
    change: Change,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Due,
    Waiting,
    Rejected,
    Unknown,
}

impl Look<'_> {
    /// The requests that can be made now, each with the server as its role may use it, and whether there may be more.
    pub fn plan_requests(&mut self) -> Result<(Vec<(Planned, Server)>, bool), Unusable> {
        let has_parked = HAS_PARKED.run(self.connection, &[Value::Text(Some(self.server))]).len() > 0;
        let position = self.places.positions.get(self.server).copied().unwrap_or(i64::MIN);
        let narrow = self.places.narrow.get(self.server).copied();
        // Before the options are read: most looks find nothing.
        let window = self.window(position, NARROW);
        if window.len() == 0 && !has_parked {
            self.places.positions.insert(self.server.to_owned(), position);
            return Ok((Vec::new(), false));
        }
        let options = server::options(self.server)?;
        let limits = Limits {
            max_batch: options.max_batch as usize,
            atomic_batches: options.atomic_batches,
            one_record_a_request: options.idempotency_header.is_some(),
            requests: REQUESTS,
        };
        // What others are sending is read as well, and must not make this worker's requests small.
        let width = narrow.unwrap_or(limits.max_batch * REQUESTS) + self.under_way.ids.len();
        let width = width.clamp(NARROW, WIDEST);
        let window = if width > NARROW && window.len() == NARROW { self.window(position, width) } else { window };
        let mut lanes = Lanes::default();
        let mut fresh: Vec<Change> = Vec::with_capacity(window.len());
        let mut bytes = 0;
        for row in 0..window.len() {
            if bytes > WIDEST_BYTES {
                break;
            }
            let change = lanes.change(&window, row);
            bytes += change.data.as_ref().map_or(0, String::len);
            fresh.push(change);
        }
        let is_full = window.len() == width || fresh.len() < window.len();
        window.free();
        let last = fresh.last().map(|change| change.id);

        let sorted = self.sort(fresh, has_parked, &mut lanes);
        let mut changes = sorted.ready;
        self.fill_in_upstream_ids(&mut changes);
        let mut waiting: HashSet<i64> = sorted.fresh.iter().copied().collect();
        let plan = plan::plan(changes, &limits);
        for ending in &plan.endings {
            waiting.remove(&ending.id);
            let fate = match ending.end {
                End::CancelledOut => Fate::ended("cancelled_out"),
                End::NothingToSend => Fate::ended("nothing_to_send"),
                End::NoUpstreamId => Fate::rejected(
                    "not_sent",
                    "its row has no upstream id: it was never created upstream, or the reply of its create was lost",
                ),
            };
            settle::one(self.connection, self.server, ending.id, &fate);
        }
        // Of creates one request is made at a time. What else was read would be read again for the next one.
        match plan.requests.first() {
            Some(first) if first.kind == Kind::Create => {
                let batch = if limits.atomic_batches { limits.max_batch } else { 1 };
                self.places.narrow.insert(self.server.to_owned(), batch + NARROW);
            }
            _ => drop(self.places.narrow.remove(self.server)),
        }

        let mut requests = Vec::with_capacity(plan.requests.len());
        for planned in plan.requests {
            match self.as_role(planned.lane.role) {
                Ok(server) => {
                    for id in planned.operations.iter().flat_map(|operation| operation.ids()) {
                        waiting.remove(&id);
                    }
                    requests.push((planned, server));
                }
                Err(why) => servers::pause(self.connection, self.server, planned.lane.role, &why, true),
            }
        }
        let next = waiting.iter().copied().min().or(last.map(|id| id + 1)).unwrap_or(position);
        self.places.positions.insert(self.server.to_owned(), next);
        Ok((requests, is_full || !waiting.is_empty()))
    }

    fn window(&self, from: i64, width: usize) -> Batch {
        let values = [Value::Text(Some(self.server)), Value::Int8(from), Value::Int8(width as i64), Value::Bool(true)];
        WINDOW.run(self.connection, &values)
    }

    fn as_role(&self, role: u32) -> Result<Server, String> {
        let Some(name) = catalog::role_name(role) else {
            return Err(format!("the role {role} does not exist any more"));
        };
        session::acting_as(role.into(), || server::find(Some(self.server)))
            .map_err(|unusable| format!("role \"{name}\": {unusable}"))
    }

    /// Tells what may be sent now from what must wait, and parks what would be read again and again.
    fn sort(&self, fresh: Vec<Change>, has_parked: bool, lanes: &mut Lanes) -> Sorted {
        let mut groups: HashMap<Rc<str>, Vec<Parked>> = HashMap::new();
        let mut alone: Vec<Parked> = Vec::new();
        if has_parked {
            for parked in self.parked(&fresh, lanes) {
                match &parked.change.key {
                    Some(key) => groups.entry(Rc::clone(key)).or_default().push(parked),
                    None => alone.push(parked),
                }
            }
        }
        let mut sorted = Sorted::default();
        let (mut follow, mut stall) = (Vec::new(), Vec::new());
        let fresh_keys: HashSet<Rc<str>> = fresh.iter().filter_map(|change| change.key.clone()).collect();
        let mut blocked: HashSet<Rc<str>> = HashSet::new();
        for (key, group) in groups {
            if self.under_way.has_key(self.server, Some(&key)) {
                continue;
            }
            let is = |state| group.iter().any(|parked| parked.state == state);
            let is_revived = !is(State::Waiting) && fresh_keys.contains(&key);
            let is_stopped = is(State::Unknown) || group.iter().any(|parked| self.is_paused(&parked.change));
            if !is_stopped && (is(State::Due) || is_revived) {
                sorted.ready.extend(group.into_iter().map(|parked| parked.change));
            } else {
                stall.extend(group.iter().filter(|parked| parked.state == State::Due).map(|parked| parked.change.id));
                blocked.insert(key);
            }
        }
        for Parked { change, .. } in alone {
            if self.under_way.ids.contains(&change.id) {
                continue;
            }
            if self.is_paused(&change) { stall.push(change.id) } else { sorted.ready.push(change) }
        }
        for change in fresh {
            if self.under_way.ids.contains(&change.id) {
                continue;
            }
            let is_blocked = change.key.as_ref().is_some_and(|key| blocked.contains(key));
            if is_blocked || self.is_paused(&change) {
                blocked.extend(change.key.clone());
                follow.push(change.id);
            } else if self.under_way.has_key(self.server, change.key.as_ref()) {
                sorted.fresh.push(change.id);
            } else {
                sorted.fresh.push(change.id);
                sorted.ready.push(change);
            }
        }
        sorted.ready.retain(|change| change.key.as_ref().is_none_or(|key| !blocked.contains(key)));
        sorted.ready.sort_unstable_by_key(|change| change.id);
        settle::park_behind(self.connection, self.server, &follow);
        settle::stall(self.connection, &stall);
        sorted
    }

    fn is_paused(&self, change: &Change) -> bool {
        self.pauses.is_for(self.server, change.lane.role)
    }

    /// The parked records that are due, and all that have a key in common with them or with `fresh`.
    fn parked(&self, fresh: &[Change], lanes: &mut Lanes) -> Vec<Parked> {
        let due = DUE.run(self.connection, &[Value::Text(Some(self.server)), Value::Int8(WIDEST as i64)]);
        let mut keys: HashSet<String> = (0..due.len()).filter_map(|row| due.text(row, 2)).collect();
        keys.extend(fresh.iter().filter_map(|change| change.key.as_deref().map(|key| ordering_key(key).to_owned())));
        let keys: Vec<Option<&str>> = keys.iter().map(|key| Some(key.as_str())).collect();
        let ids: Vec<i64> =
            (0..due.len()).filter(|row| due.text(*row, 2).is_none()).filter_map(|row| due.int8(row, 1)).collect();
        let values = [Value::Text(Some(self.server)), Value::Texts(&keys), Value::Int8s(&ids)];
        let rows = PARKED.run(self.connection, &values);
        (0..rows.len())
            .map(|row| {
                let mut change = lanes.change(&rows, row);
                change.attempts = rows.int4(row, 13).unwrap_or_default() as u32;
                change.is_pinned = rows.boolean(row, 14);
                let state = match rows.text(row, 15).as_deref() {
                    Some("rejected") => State::Rejected,
                    Some("unknown") => State::Unknown,
                    _ if rows.boolean(row, 16) => State::Due,
                    _ => State::Waiting,
                };
                change.is_refused = state == State::Rejected;
                Parked { change, state }
            })
            .collect()
    }

    /// A change of a row whose create was delivered, but came too early to have its upstream id.
    fn fill_in_upstream_ids(&self, changes: &mut [Change]) {
        let lacks = |change: &&mut Change| change.kind != Kind::Create && change.upstream_id.is_none();
        let keys: Vec<String> = changes
            .iter_mut()
            .filter(lacks)
            .filter_map(|change| change.key.as_deref().map(|key| ordering_key(key).to_owned()))
            .collect();
        if keys.is_empty() {
            return;
        }
        let keys: Vec<Option<&str>> = keys.iter().map(|key| Some(key.as_str())).collect();
        let rows = CREATED.run(self.connection, &[Value::Texts(&keys)]);
        let created: HashMap<(Option<u32>, Option<String>), Option<String>> =
            (0..rows.len()).map(|row| ((rows.oid_number(row, 1), rows.text(row, 2)), rows.text(row, 3))).collect();
        // What comes after a delete, or a create, of the same key is about another record.
        let mut ended: HashSet<Rc<str>> = HashSet::new();
        let mut missing = Vec::new();
        for change in changes.iter_mut() {
            let Some(key) = change.key.clone() else { continue };
            let is_last = change.kind != Kind::Update;
            if change.kind != Kind::Create && change.upstream_id.is_none() && !ended.contains(&key) {
                let of = (relation(&key), Some(ordering_key(&key).to_owned()));
                change.upstream_id = created.get(&of).cloned().flatten();
                if change.upstream_id.is_none() {
                    missing.push(change.id);
                }
            }
            if is_last {
                ended.insert(key);
            }
        }
        // Another worker may have written the id back after these records were read, and before `created` was.
        if !missing.is_empty() {
            let rows = GIVEN.run(self.connection, &[Value::Text(Some(self.server)), Value::Int8s(&missing)]);
            let given: HashMap<Option<i64>, Option<String>> =
                (0..rows.len()).map(|row| (rows.int8(row, 1), rows.text(row, 2))).collect();
            for change in changes.iter_mut().filter(|change| change.kind != Kind::Create) {
                if let Some(upstream_id) = given.get(&Some(change.id)) {
                    change.upstream_id.clone_from(upstream_id);
                }
            }
        }
    }
}

#[derive(Default)]
struct Sorted {
    /// What may be sent, by id.
    ready: Vec<Change>,
    /// The ids that are still in the queue.
    fresh: Vec<i64>,
}

/// Reads rows of the queue, and keeps what many of them have in common once.
#[derive(Default)]
struct Lanes(HashSet<Rc<Lane>>);

impl Lanes {
    fn change(&mut self, rows: &Batch, row: usize) -> Change {
        let text = |column| rows.text(row, column).unwrap_or_default();
        let lane = Lane {
            role: rows.oid_number(row, 3).unwrap_or_default(),
            sync_id: text(4),
            collection_id: text(5),
            await_consumers: rows.texts(row, 6).map(|ids| ids.into_iter().flatten().collect()),
            timeout_ms: rows.int4(row, 7),
        };
        let key = rows.text(row, 9).map(|ordering| key(&lane.collection_id, rows.oid_number(row, 8), &ordering));
        let lane = match self.0.get(&lane) {
            Some(known) => Rc::clone(known),
            None => {
                let lane = Rc::new(lane);
                self.0.insert(Rc::clone(&lane));
                lane
            }
        };
        Change {
            id: rows.int8(row, 1).unwrap_or_default(),
            idempotency_key: text(12),
            lane,
            kind: text(2).parse().unwrap_or(Kind::Update),
            key,
            upstream_id: rows.text(row, 10),
            data: rows.jsonb(row, 11).map(|_| rows.json(row, 11)),
            attempts: 0,
            is_pinned: false,
            is_refused: false,
        }
    }
}
