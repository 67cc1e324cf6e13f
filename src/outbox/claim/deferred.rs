//! The deferred records that a scan may send: those that are due, and all that share an ordering key with due or fresh ones,
//! unless something blocks the key.
//!
//! A key that waits for a person can have more records behind it than fit into memory. So a scan first asks what blocks a
//! key, without the records' data, and reads only records that may be sent.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use contract::batching::ordering_key::OrderingKey;
use contract::batching::plan::Change;
use contract::batching::window::Stepping;
use contract::reply::Timestamp;

use crate::outbox::guard;
use crate::outbox::server_state::Pauses;
use crate::outbox::store::requeue;
use crate::outbox::store::row::State;
use crate::outbox::store::scan::{self, KeysBelow};
use crate::pg::spi::Connection;

use super::decode::Decoder;
use super::in_flight::ServerInFlight;

/// The most records that are read at once.
const MAX_RECORDS: usize = 6_000;

/// A search in one server's deferred records.
pub struct DeferredSearch<'a> {
    pub connection: &'a Connection,
    pub server: &'a str,
    pub in_flight: &'a ServerInFlight,
    pub pauses: &'a Pauses,
    pub stepping: &'a Stepping,
    /// Records are due by this time.
    pub now: Timestamp,
    /// The most due records that are read.
    pub most: usize,
}

/// The deferred records that may be sent, and the keys that may not.
#[derive(Default)]
pub struct DeferredScan {
    /// By id.
    pub ready: Vec<Change>,
    /// The ordering keys that are blocked, each from an id on.
    pub blocked: HashMap<Rc<OrderingKey>, i64>,
    /// More records are due.
    pub has_more: bool,
    /// A due record waits for another record now.
    pub has_stalled: bool,
    /// The ordering keys with further changes that are not in `ready`.
    pub cut_short: Vec<String>,
}

/// A summary of a key's deferred records.
struct KeySummary {
    /// From this id on the key waits, for a person or for the end of a pause.
    blocked_from: i64,
    /// The first record that is due.
    due_from: i64,
    /// The first record that waits for its time, or for another record.
    waiting_from: i64,
    rejected: i64,
}

/// A record that is due.
struct DueRecord {
    id: i64,
    key: Option<Rc<OrderingKey>>,
    role: u32,
}

impl DeferredSearch<'_> {
    /// Finds the records that may be sent with `fresh`. `paused` has, for each key with paused fresh changes, the first
    /// paused id.
    pub fn run(
        &self,
        fresh: &[Change],
        paused: HashMap<Rc<OrderingKey>, i64>,
        decoder: &mut Decoder<'_>,
    ) -> DeferredScan {
        let (due, has_more) = self.due(decoder);
        let mut found = DeferredScan { blocked: paused, has_more, ..DeferredScan::default() };
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
            if self.in_flight.has_key(Some(&key)) {
                continue;
            }
            let first_fresh = keys.get(&key).copied().unwrap_or(i64::MAX);
            let goes = |id: i64| id < group.blocked_from;
            // A rejected record goes with the next change of its key, and a waiting record with a due one.
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
                    is_blocked && !self.in_flight.has_key(Some(key))
                }
                None => self.pauses.is_for(self.server, due.role) || self.pauses.is_held(self.server, due.id),
            };
            if is_stalled {
                stall.push(due.id);
            } else if due.key.is_none() && !self.in_flight.ids.contains(&due.id) {
                alone.push(due.id);
            }
        }
        found.has_stalled = requeue::stall(self.connection, &stall) > 0;
        if !going.is_empty() || !alone.is_empty() {
            self.read(&going, &alone, rejected as usize, decoder, &mut found);
        }
        found
    }

    /// The records that are due, and whether there are more. Records of scopes that wait stay due, and are not among
    /// them: they could hide all others.
    fn due(&self, decoder: &mut Decoder<'_>) -> (Vec<DueRecord>, bool) {
        // Those in flight are due, too, and must not hide others.
        let most = self.most + self.in_flight.ids.len();
        let mut waiting = scan::Waiting::default();
        waiting.creates = self.stepping.creates_wait();
        self.stepping.callers().for_each(|caller| waiting.push(caller.role, &caller.sync_id));
        let rows = scan::due(self.connection, self.server, self.now, &waiting, most);
        let due = |row: usize| {
            let due: scan::Due<'_> = rows.get(row);
            let relation = due.relation.map(|relation| relation.to_u32());
            let key = due.ordering_key.map(|text| OrderingKey::new(&due.collection_id, relation, &text));
            DueRecord { id: due.id, key, role: due.role.to_u32() }
        };
        let all: Vec<usize> = (0..rows.len()).collect();
        let mut read = Vec::with_capacity(rows.len());
        let failed =
            guard::each_carefully(&all, |part| read.extend(part.iter().map(|row| due(*row)).collect::<Vec<_>>()));
        let id = |row: &usize| rows.int8(*row, 1);
        decoder.undecodable.extend(failed.into_iter().filter_map(|(row, failure)| Some((id(row)?, failure))));
        (read, rows.len() >= most)
    }

    /// The summaries of these keys.
    fn groups<'k>(
        &self,
        keys: impl Iterator<Item = &'k Rc<OrderingKey>>,
        paused: &HashMap<Rc<OrderingKey>, i64>,
    ) -> HashMap<Rc<OrderingKey>, KeySummary> {
        let ordering_keys: HashSet<&str> = keys.map(|key| key.text.as_str()).collect();
        let ordering_keys: Vec<&str> = ordering_keys.into_iter().collect();
        let mut groups: HashMap<Rc<OrderingKey>, KeySummary> = HashMap::new();
        if ordering_keys.is_empty() {
            return groups;
        }
        let rows = scan::groups(self.connection, self.server, &ordering_keys, self.now);
        for row in 0..rows.len() {
            // A record whose key cannot be decoded belongs to none of these keys.
            let read = guard::carefully(|| {
                let group: scan::Group<'_> = rows.get(row);
                let relation = group.relation.map(|relation| relation.to_u32());
                (OrderingKey::new(&group.collection_id, relation, &group.ordering_key), group)
            });
            let Ok((key, group)) = read else { continue };
            let scan::Group { role, state, is_due, first, count, .. } = group;
            let waits = self.stepping.waits(role.to_u32(), &group.sync_id, group.is_create);
            let is_paused = self.pauses.is_for(self.server, role.to_u32());
            let blocks = self.pauses.blocks(self.server, &key, first);
            let blocked_from = paused.get(&key).copied().unwrap_or(i64::MAX);
            let summary = groups.entry(key).or_insert(KeySummary {
                blocked_from,
                due_from: i64::MAX,
                waiting_from: i64::MAX,
                rejected: 0,
            });
            let from = match state {
                // It blocks no other record.
                State::Rejected => {
                    summary.rejected += count;
                    continue;
                }
                State::Unknown => &mut summary.blocked_from,
                State::Pending if is_paused && !blocks => continue,
                State::Pending if is_paused || waits => &mut summary.blocked_from,
                State::Pending if self.pauses.is_held(self.server, first) => &mut summary.blocked_from,
                State::Pending if is_due => &mut summary.due_from,
                State::Pending => &mut summary.waiting_from,
            };
            *from = first.min(*from);
        }
        groups
    }

    /// Reads the records to send, or the first of them if there are too many.
    fn read(
        &self,
        going: &[Rc<OrderingKey>],
        alone: &[i64],
        rejected: usize,
        decoder: &mut Decoder<'_>,
        found: &mut DeferredScan,
    ) {
        // Rejected records alone make no request: without room for others, each scan would read the same ones.
        let most = MAX_RECORDS + rejected;
        let mut keys = KeysBelow::default();
        for key in going {
            keys.push(key, found.blocked.get(key).copied().unwrap_or(i64::MAX));
        }
        let paused = self.pauses.roles(self.server);
        let rows = scan::deferred(self.connection, self.server, &keys, alone, &paused, most);
        let decoded = decoder.decode(&rows);
        found.ready = decoded.changes;
        // A held rejected record blocks no other record, and is sent with none. A rejected record that waits goes on: with a
        // later change it makes one request, which waits for room.
        let waits = |change: &Change| !change.is_refused && self.stepping.is_waiting(change);
        found.ready.retain(|change| !self.pauses.is_held(self.server, change.id) && !waits(change));
        let unread = if decoded.rows < rows.len() { rows.int8(decoded.rows, 1) } else { None };
        let last = if rows.len() == most { rows.int8(most - 1, 1).map(|last| last + 1) } else { None };
        rows.free();
        let Some(from) = unread.or(last) else { return };
        // Unread records wait until the current ones are settled. If they stayed due, a failed attempt would be
        // repeated with them at once.
        found.has_more = true;
        found.cut_short = going.iter().map(|key| key.text.clone()).collect();
        for key in going {
            let blocked_from = found.blocked.entry(Rc::clone(key)).or_insert(from);
            *blocked_from = from.min(*blocked_from);
        }
        requeue::stall(self.connection, &scan::due_from(self.connection, self.server, &keys, from, self.now));
    }
}
