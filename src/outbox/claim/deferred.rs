//! Which parked records a look may send: those that are due, and all that have a key in common with them or with fresh
//! ones, as far as nothing stands in the way.
//!
//! A key that waits for a person can have more followers than fit into memory. So what stands in the way is asked first,
//! by key and without the records' data, and only what may be sent is read.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};

use super::decode::Reader;
use super::in_flight::InFlight;
use crate::outbox::guard;
use crate::outbox::server_state::Pauses;
use crate::outbox::settle::transitions;
use contract::batching::ordering_key::OrderingKey;
use contract::batching::plan::Change;

/// The most records that are read at once.
const WIDEST: usize = 6_000;

static DUE: Statement = Statement::new(
    "SELECT p.id, p.collection_id, p.relation::pg_catalog.oid, p.ordering_key, p.role::pg_catalog.oid \
     FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) $1 AND p.state OPERATOR(pg_catalog.=) 'pending' \
     AND p.next_attempt_at OPERATOR(pg_catalog.<=) $2 ORDER BY p.next_attempt_at LIMIT $3",
);

static GROUPS: Statement = Statement::new(concat!(
    "SELECT p.collection_id, p.relation::pg_catalog.oid, p.ordering_key, p.role::pg_catalog.oid, p.state, \
     p.next_attempt_at OPERATOR(pg_catalog.<=) $3, pg_catalog.min(p.id), pg_catalog.count(*) FROM sequin.deferred p \
     WHERE p.server OPERATOR(pg_catalog.=) $1 AND ",
    has_key_of!("p.ordering_key", "$2"),
    " GROUP BY 1, 2, 3, 4, 5, 6",
));

/// The records of keys below an id each: arrays of collections, tables, ordering keys and ids.
macro_rules! of_keys {
    () => {
        concat!(
            "ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) \
             AS k(collection_id, relation, ordering_key, below) WHERE p.server OPERATOR(pg_catalog.=) $1 AND ",
            same_key!("p.ordering_key", "k.ordering_key"),
            " AND p.collection_id OPERATOR(pg_catalog.=) k.collection_id \
             AND COALESCE(p.relation::pg_catalog.oid::pg_catalog.int8, 0) OPERATOR(pg_catalog.=) k.relation \
             AND p.id OPERATOR(pg_catalog.<) k.below"
        )
    };
}

static READ: Statement = Statement::new(concat!(
    "SELECT r.id, r.kind, r.role::pg_catalog.oid, r.sync_id, r.collection_id, r.await_consumers, r.timeout_ms, \
     r.relation::pg_catalog.oid, r.ordering_key, r.upstream_id, r.data, r.key::pg_catalog.text, r.attempts, \
     r.resend_verbatim, r.state FROM (SELECT p.* FROM sequin.deferred p, ",
    of_keys!(),
    " UNION ALL SELECT p.* FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) ANY ($6)) r ORDER BY r.id LIMIT $7"
));

static FROM: Statement = Statement::new(concat!(
    "SELECT p.id FROM sequin.deferred p, ",
    of_keys!(),
    " AND p.id OPERATOR(pg_catalog.>=) $6 AND p.state OPERATOR(pg_catalog.=) 'pending' \
     AND p.next_attempt_at OPERATOR(pg_catalog.<=) $7"
));

/// A search in one server's parked records.
pub struct Search<'a> {
    pub connection: &'a Connection,
    pub server: &'a str,
    pub in_flight: &'a InFlight,
    pub pauses: &'a Pauses,
    /// What is due by now.
    pub now: i64,
}

/// What may be sent, and what may not.
#[derive(Default)]
pub struct Found {
    /// By id.
    pub ready: Vec<Change>,
    /// The keys of which nothing may be sent from an id on.
    pub blocked: HashMap<Rc<OrderingKey>, i64>,
    /// There is more that is due.
    pub has_more: bool,
    /// Something that was due was made to wait.
    pub has_stalled: bool,
    /// The ordering keys of which only the first changes are in `ready`.
    pub cut_short: Vec<String>,
}

/// What is parked of a key, in short.
struct Group {
    /// From here on the key waits: for a person, or for what is paused.
    blocked_from: i64,
    /// The first record that is due.
    due_from: i64,
    /// The first one that waits for its time, or for another.
    waiting_from: i64,
    rejected: i64,
}

/// A record that is due.
struct Due {
    id: i64,
    key: Option<Rc<OrderingKey>>,
    role: u32,
}

impl Search<'_> {
    /// Looks for what may be sent with `fresh`. `paused` says from where on keys of fresh changes are paused.
    pub fn run(&self, fresh: &[Change], paused: HashMap<Rc<OrderingKey>, i64>, reader: &mut Reader<'_>) -> Found {
        let due = self.due(reader);
        let mut found = Found { blocked: paused, has_more: due.len() >= WIDEST, ..Found::default() };
        let mut keys: HashMap<&Rc<OrderingKey>, i64> = HashMap::new();
        for (key, id) in fresh.iter().filter_map(|change| change.ordering_key.as_ref().map(|key| (key, change.id))) {
            keys.entry(key).or_insert(id);
        }
        for key in due.iter().filter_map(|due| due.key.as_ref()) {
            keys.entry(key).or_insert(i64::MAX);
        }
        let mut going: Vec<Rc<OrderingKey>> = Vec::new();
        let mut rejected = 0;
        for (key, group) in self.groups(keys.keys().copied(), &found.blocked) {
            if self.in_flight.has_key(self.server, Some(&key)) {
                continue;
            }
            let first_fresh = keys.get(&key).copied().unwrap_or(i64::MAX);
            let goes = |id: i64| id < group.blocked_from;
            // What was rejected goes with the next change of its key, and what waits goes with what is due.
            if goes(group.due_from) || goes(first_fresh) && !goes(group.waiting_from) {
                rejected += group.rejected;
                if group.blocked_from < i64::MAX {
                    found.blocked.insert(Rc::clone(&key), group.blocked_from);
                }
                going.push(key);
            } else {
                found.blocked.insert(key, i64::MIN);
            }
        }
        let (mut alone, mut stall) = (Vec::new(), Vec::new());
        for due in &due {
            let is_stalled = match &due.key {
                _ if self.in_flight.ids.contains(&due.id) => false,
                Some(key) => {
                    let is_blocked = found.blocked.get(key).is_some_and(|from| due.id >= *from);
                    is_blocked && !self.in_flight.has_key(self.server, Some(key))
                }
                None => self.pauses.is_for(self.server, due.role) || self.pauses.is_held(self.server, due.id),
            };
            if is_stalled {
                stall.push(due.id);
            } else if due.key.is_none() && !self.in_flight.ids.contains(&due.id) {
                alone.push(due.id);
            }
        }
        found.has_stalled = transitions::stall(self.connection, &stall) > 0;
        if !going.is_empty() || !alone.is_empty() {
            self.read(&going, &alone, rejected as usize, reader, &mut found);
        }
        found
    }

    fn due(&self, reader: &mut Reader<'_>) -> Vec<Due> {
        let values = [Value::Text(Some(self.server)), Value::Time(self.now), Value::Int8(WIDEST as i64)];
        let rows = DUE.run(self.connection, &values);
        let due = |row| Due {
            id: rows.int8(row, 1).unwrap_or_default(),
            key: rows.text(row, 4).map(|ordering| {
                OrderingKey::new(&rows.text(row, 2).unwrap_or_default(), rows.oid_number(row, 3), &ordering)
            }),
            role: rows.oid_number(row, 5).unwrap_or_default(),
        };
        let all: Vec<usize> = (0..rows.len()).collect();
        let mut read = Vec::with_capacity(rows.len());
        let failed =
            guard::each_carefully(&all, |part| read.extend(part.iter().map(|row| due(*row)).collect::<Vec<_>>()));
        let id = |row: &usize| rows.int8(*row, 1);
        reader.unreadable.extend(failed.into_iter().filter_map(|(row, failure)| Some((id(row)?, failure))));
        read
    }

    /// What is parked of these keys, in short.
    fn groups<'k>(
        &self,
        keys: impl Iterator<Item = &'k Rc<OrderingKey>>,
        paused: &HashMap<Rc<OrderingKey>, i64>,
    ) -> HashMap<Rc<OrderingKey>, Group> {
        let ordering_keys: HashSet<&str> = keys.map(|key| key.text.as_str()).collect();
        let ordering_keys: Vec<Option<&str>> = ordering_keys.into_iter().map(Some).collect();
        let mut groups: HashMap<Rc<OrderingKey>, Group> = HashMap::new();
        if ordering_keys.is_empty() {
            return groups;
        }
        let values = [Value::Text(Some(self.server)), Value::Texts(&ordering_keys), Value::Time(self.now)];
        let rows = GROUPS.run(self.connection, &values);
        for row in 0..rows.len() {
            let text = |column| rows.text(row, column).unwrap_or_default();
            let (role, first) = (rows.oid_number(row, 4).unwrap_or_default(), rows.int8(row, 7).unwrap_or_default());
            // A record whose key cannot be read is none of these keys'.
            let read = guard::carefully(|| OrderingKey::new(&text(1), rows.oid_number(row, 2), &text(3)));
            let Ok(key) = read else { continue };
            let blocked_from = paused.get(&key).copied().unwrap_or(i64::MAX);
            let group = groups.entry(key).or_insert(Group {
                blocked_from,
                due_from: i64::MAX,
                waiting_from: i64::MAX,
                rejected: 0,
            });
            let from = match text(5).as_str() {
                // It stands in nobody's way.
                "rejected" => {
                    group.rejected += rows.int8(row, 8).unwrap_or_default();
                    continue;
                }
                "unknown" => &mut group.blocked_from,
                _ if self.pauses.is_for(self.server, role) => &mut group.blocked_from,
                _ if self.pauses.is_held(self.server, first) => &mut group.blocked_from,
                _ if rows.boolean(row, 6) => &mut group.due_from,
                _ => &mut group.waiting_from,
            };
            *from = first.min(*from);
        }
        groups
    }

    /// Reads what goes, or of too much the first part.
    fn read(
        &self,
        going: &[Rc<OrderingKey>],
        alone: &[i64],
        rejected: usize,
        reader: &mut Reader<'_>,
        found: &mut Found,
    ) {
        // Rejected ones alone make no request: there must be room for others, or it would be the same ones each time.
        let most = WIDEST + rejected;
        let text = |text| -> Option<&str> { Some(text) };
        let collections: Vec<_> = going.iter().map(|key| text(&key.collection_id)).collect();
        let relations: Vec<i64> = going.iter().map(|key| key.relation.unwrap_or_default().into()).collect();
        let ordering_keys: Vec<_> = going.iter().map(|key| text(&key.text)).collect();
        let below: Vec<i64> = going.iter().map(|key| found.blocked.get(key).copied().unwrap_or(i64::MAX)).collect();
        let of_keys = [
            Value::Text(Some(self.server)),
            Value::Texts(&collections),
            Value::Int8s(&relations),
            Value::Texts(&ordering_keys),
            Value::Int8s(&below),
        ];
        let rest = [Value::Int8s(alone), Value::Int8(most as i64)];
        let rows = READ.run(self.connection, &[&of_keys[..], &rest].concat());
        let read = reader.read(&rows, true);
        found.ready = read.changes;
        // A held record that was rejected stands in no record's way, and goes with none.
        found.ready.retain(|change| !self.pauses.is_held(self.server, change.id));
        let unread = if read.rows < rows.len() { rows.int8(read.rows, 1) } else { None };
        let last = if rows.len() == most { rows.int8(most - 1, 1).map(|last| last + 1) } else { None };
        rows.free();
        let Some(from) = unread.or(last) else { return };
        // What was not read waits, like all that comes after it, until what goes now has ended. Were it still due, then
        // an attempt that fails would be repeated with it at once.
        found.has_more = true;
        found.cut_short = going.iter().map(|key| key.text.clone()).collect();
        for key in going {
            let blocked_from = found.blocked.entry(Rc::clone(key)).or_insert(from);
            *blocked_from = from.min(*blocked_from);
        }
        let rest = [Value::Int8(from), Value::Time(self.now)];
        let rows = FROM.run(self.connection, &[&of_keys[..], &rest].concat());
        let ids: Vec<i64> = (0..rows.len()).filter_map(|row| rows.int8(row, 1)).collect();
        rows.free();
        transitions::stall(self.connection, &ids);
    }
}
