//! Taking records for a worker: what is to be sent is written down and committed before any of it is sent.
//!
//! Claims are made one worker at a time, in a short transaction. Records are read in the order of their ids from where
//! this worker stopped reading; those that a commit brought below that place, the commit has told of (`pg::board`).
//! So what was delivered an hour ago is not stepped over again, however long another transaction keeps its dead rows
//! from being vacuumed.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use crate::mutation::kind::Kind;
use crate::pg::spi::{Batch, Connection};
use crate::pg::statement::{Statement, Value};
use crate::pg::{board, catalog, session, worker};
use crate::server::{self, Server, Unusable};

use super::plan::{self, Change, End, Lane, Limits, Planned};
use super::settle::{self, Fate};

/// The most requests that a worker claims at once. Each commit costs the disk a wait; a crash repeats at most so many.
const REQUESTS: usize = 16;

/// How many records are looked at, when they travel one by one.
const NARROW: usize = 64;

/// The most records that are looked at, however large batches may be.
const WIDEST: usize = 6_000;

/// Their data, about: it is all in memory at once, and some records are large.
const WIDEST_BYTES: usize = 32 << 20;

/// What a worker knows between two claims. All of it can be forgotten: then it looks at everything.
#[derive(Default)]
pub struct Places {
    /// Where to go on reading in each server's queue.
    positions: HashMap<String, i64>,
    /// The oldest claim that may still be there.
    claims_from: i64,
    /// Servers whose records travelled one by one.
    narrow: HashSet<String>,
    /// The server that was served last; the others come first.
    last: String,
    /// Servers with records that are not foreign servers any more.
    lost: Vec<String>,
}

impl Places {
    /// Goes back, to see what was committed or set free below.
    pub fn go_back(&mut self, lowest: i64) {
        for position in self.positions.values_mut() {
            *position = (*position).min(lowest);
        }
    }

    /// Looks at everything again.
    pub fn forget(&mut self) {
        let last = std::mem::take(&mut self.last);
        *self = Places { last, ..Places::default() };
    }
}

/// Requests that may be sent now, for one server.
pub struct Work {
    pub server: String,
    pub requests: Vec<Claimed>,
    /// Whether there is more to do than this.
    pub has_more: bool,
    /// Whether the server did not answer as it should the last time, to this worker or to another.
    pub is_in_trouble: bool,
}

/// A request that is written down.
pub struct Claimed {
    pub claim: i64,
    pub planned: Planned,
    /// The server as the records' role may use it.
    pub server: Server,
}

/// What a look at the queue has found.
pub enum Found {
    Work(Work),
    /// Nothing, until this time is over or somebody calls.
    Nothing(Option<Duration>),
}

static SERVERS: Statement = Statement::new(
    "SELECT s.srvname::pg_catalog.text FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper w \
     ON w.oid OPERATOR(pg_catalog.=) s.srvfdw WHERE w.fdwname OPERATOR(pg_catalog.=) 'sequin_mutations'",
);

static NAMED_SERVERS: Statement = Statement::new(concat!(
    named_servers!(),
    "SELECT n.server FROM named n WHERE n.server IS NOT NULL UNION SELECT p.server FROM sequin.parked p"
));

static CLAIMS: Statement = Statement::new(
    "SELECT c.id, c.owner, c.server, c.kind, c.ids, c.heads, c.keys FROM sequin.claims c \
     WHERE c.id OPERATOR(pg_catalog.>=) $1 ORDER BY c.id",
);

static WRITE_CLAIM: Statement = Statement::new(
    "INSERT INTO sequin.claims (id, owner, server, kind, ids, heads, keys, claimed_at) \
     VALUES (pg_catalog.nextval('sequin.outbox_id'), $1, $2, $3, $4, $5, $6, pg_catalog.clock_timestamp()) RETURNING id",
);

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

static NEXT_DUE: Statement = Statement::new(
    "SELECT pg_catalog.ceil(EXTRACT(epoch FROM p.next_attempt_at OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp()) \
     OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 FROM sequin.parked p WHERE p.server OPERATOR(pg_catalog.=) $1 \
     AND p.state OPERATOR(pg_catalog.=) 'pending' AND p.next_attempt_at OPERATOR(pg_catalog.<) 'infinity' \
     ORDER BY p.next_attempt_at LIMIT 1",
);

static CREATED: Statement = Statement::new(
    "SELECT c.relation::pg_catalog.oid, c.ordering_key, c.upstream_id FROM sequin.created c \
     WHERE c.ordering_key OPERATOR(pg_catalog.=) ANY ($1) ORDER BY c.id",
);

/// Looks at every server's queue, and claims what can be sent to the first that has something. In a transaction.
pub fn claim(connection: &Connection, places: &mut Places, owner: i64) -> Found {
    session::lock_out_other_workers();
    let under_way = UnderWay::read(connection, places);
    let pauses = settle::pauses(connection);
    let troubles = settle::troubles(connection);
    let mut next: Option<Duration> = pauses.look_again();
    for server in servers(connection, places) {
        if pauses.is_whole(&server) {
            continue;
        }
        if let Some(left) = troubles.get(&server).copied().filter(|left| !left.is_zero()) {
            next = earlier(next, Some(left));
            continue;
        }
        let mut look = Look { connection, places, server: &server, under_way: &under_way, pauses: &pauses };
        match look.plan_requests() {
            Ok((requests, has_more)) if !requests.is_empty() => {
                let requests = requests
                    .into_iter()
                    .map(|(planned, as_role)| Claimed {
                        claim: write_claim(connection, owner, &server, &planned),
                        planned,
                        server: as_role,
                    })
                    .collect();
                places.last.clone_from(&server);
                let is_in_trouble = troubles.contains_key(&server);
                return Found::Work(Work { server, requests, has_more, is_in_trouble });
            }
            Ok(_) => next = earlier(next, next_due(connection, &server)),
            Err(unusable) => settle::pause(connection, &server, 0, &unusable.to_string(), true),
        }
    }
    Found::Nothing(next)
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// All servers that may have records, those first that come after the last one served.
fn servers(connection: &Connection, places: &mut Places) -> Vec<String> {
    let names = |batch: Batch| (0..batch.len()).filter_map(|row| batch.text(row, 1)).collect::<Vec<_>>();
    let mut servers = names(SERVERS.run(connection, &[]));
    if places.positions.is_empty() {
        places.lost = names(NAMED_SERVERS.run(connection, &[]));
        places.lost.retain(|named| !servers.contains(named));
    }
    servers.extend(places.lost.iter().filter(|lost| !servers.contains(lost)).cloned().collect::<Vec<_>>());
    servers.sort_unstable();
    let after_last = servers.partition_point(|server| *server <= places.last);
    servers.rotate_left(after_last);
    servers
}

fn next_due(connection: &Connection, server: &str) -> Option<Duration> {
    let rows = NEXT_DUE.run(connection, &[Value::Text(Some(server))]);
    let millis = (rows.len() > 0).then(|| rows.int8(0, 1)).flatten()?;
    Some(Duration::from_millis(millis.max(1) as u64))
}

fn write_claim(connection: &Connection, owner: i64, server: &str, planned: &Planned) -> i64 {
    let (mut ids, mut heads) = (Vec::new(), Vec::new());
    for operation in &planned.operations {
        for id in operation.ids() {
            ids.push(id);
            heads.push(operation.id);
        }
    }
    let keys: Vec<Option<&str>> =
        planned.operations.iter().filter_map(|operation| operation.key.as_deref()).map(Some).collect();
    let values = [
        Value::Int8(owner),
        Value::Text(Some(server)),
        Value::Text(Some(planned.kind.as_str())),
        Value::Int8s(&ids),
        Value::Int8s(&heads),
        Value::Texts(&keys),
    ];
    WRITE_CLAIM.run(connection, &values).int8(0, 1).expect("an id is not NULL")
}

/// What other workers are sending.
struct UnderWay {
    ids: HashSet<i64>,
    keys: HashSet<(String, String)>,
}

impl UnderWay {
    /// Reads the claims. Those of workers that are gone are ended: what may be sent again is free, a create is unknown.
    fn read(connection: &Connection, places: &mut Places) -> UnderWay {
        let alive = board::owners();
        let claims = CLAIMS.run(connection, &[Value::Int8(places.claims_from)]);
        let mut under_way = UnderWay { ids: HashSet::new(), keys: HashSet::new() };
        let mut oldest = None;
        for row in 0..claims.len() {
            let id = claims.int8(row, 1).unwrap_or_default();
            let server = claims.text(row, 3).unwrap_or_default();
            let ids = claims.int8s(row, 5);
            places.claims_from = places.claims_from.max(id + 1);
            if !alive.contains(&claims.int8(row, 2).unwrap_or_default()) {
                let is_create = claims.text(row, 4).as_deref() == Some(Kind::Create.as_str());
                settle::end_dead_claim(connection, &server, id, is_create, &ids, &claims.int8s(row, 6));
                places.go_back(ids.iter().copied().min().unwrap_or(0));
                continue;
            }
            oldest.get_or_insert(id);
            under_way.ids.extend(ids);
            let keys = claims.texts(row, 7).unwrap_or_default().into_iter().flatten();
            under_way.keys.extend(keys.map(|key| (server.clone(), key)));
        }
        places.claims_from = oldest.unwrap_or(places.claims_from);
        under_way
    }

    fn has_key(&self, server: &str, key: Option<&Rc<str>>) -> bool {
        !self.keys.is_empty() && key.is_some_and(|key| self.keys.contains(&(server.to_owned(), key.to_string())))
    }
}

/// A look at one server's queue.
struct Look<'a> {
    connection: &'a Connection,
    places: &'a mut Places,
    server: &'a str,
    under_way: &'a UnderWay,
    pauses: &'a settle::Pauses,
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
    fn plan_requests(&mut self) -> Result<(Vec<(Planned, Server)>, bool), Unusable> {
        let has_parked = HAS_PARKED.run(self.connection, &[Value::Text(Some(self.server))]).len() > 0;
        let position = self.places.positions.get(self.server).copied().unwrap_or(i64::MIN);
        let is_narrow = self.places.narrow.contains(self.server);
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
        let width = if is_narrow { NARROW } else { (limits.max_batch * REQUESTS).clamp(NARROW, WIDEST) };
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
        let is_one_by_one = plan
            .requests
            .first()
            .is_some_and(|first| first.kind == Kind::Create && first.operations.len() == 1 && !limits.atomic_batches);
        if is_one_by_one {
            self.places.narrow.insert(self.server.to_owned());
        } else {
            self.places.narrow.remove(self.server);
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
                Err(why) => settle::pause(self.connection, self.server, planned.lane.role, &why, true),
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
        for change in changes {
            let Some(key) = change.key.clone() else { continue };
            let is_last = change.kind != Kind::Update;
            if change.kind != Kind::Create && change.upstream_id.is_none() && !ended.contains(&key) {
                let of = (relation(&key), Some(ordering_key(&key).to_owned()));
                change.upstream_id = created.get(&of).cloned().flatten();
            }
            if is_last {
                ended.insert(key);
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

/// What order is kept by: the key as it was given is one of a table's rows, or of a collection's records.
fn key(collection_id: &str, relation: Option<u32>, ordering_key: &str) -> Rc<str> {
    let relation = relation.unwrap_or_default();
    format!("{collection_id} {relation} {ordering_key}").into()
}

/// A collection's name holds no space.
pub fn ordering_key(key: &str) -> &str {
    key.splitn(3, ' ').nth(2).unwrap_or_default()
}

/// The table whose row it is, 0 if it is of none.
pub fn relation(key: &str) -> Option<u32> {
    key.split(' ').nth(1)?.parse().ok()
}

/// Makes sure that this worker is in its own database: a copy would send everything a second time.
pub fn check_home(connection: &Connection) {
    static ELSEWHERE: Statement = Statement::new(
        "DELETE FROM sequin.home h WHERE h.system_identifier OPERATOR(pg_catalog.<>) $1 OR h.database OPERATOR(pg_catalog.<>) $2",
    );
    static IS_ELSEWHERE: Statement = Statement::new(
        "SELECT FROM sequin.home h WHERE h.system_identifier OPERATOR(pg_catalog.<>) $1 OR h.database OPERATOR(pg_catalog.<>) $2",
    );
    let (system, database) = worker::home();
    let values = [Value::Int8(system), Value::Oid(database)];
    if IS_ELSEWHERE.run(connection, &values).len() == 0 {
        return;
    }
    let named = NAMED_SERVERS.run(connection, &[]);
    for server in (0..named.len()).filter_map(|row| named.text(row, 1)) {
        let reason = "this database is a copy: what is queued here may have been sent from where it was copied from";
        settle::pause(connection, &server, 0, reason, false);
    }
    ELSEWHERE.run(connection, &values);
    settle::write_home(connection, system, database);
}
