//! What to send now: from the changes that wait, in the order of their ids, to requests.
//!
//! Everything about order, merging and batching is this one function of values. It keeps three promises:
//! - Order holds per key. Of each key only the first operation is planned, and what cannot be part of it waits for a
//!   later plan, so nothing of a key is under way twice, and nothing overtakes.
//! - A create is sent as late and as little as can be: whatever waits behind it and fits becomes part of it, and at most
//!   one request of creates is planned, since a crash makes every claimed create unknown.
//! - A record that makes a whole request fail is soon alone, and no fresh one is ever sent with it.
//!
//! Every text is moved, none is copied, and only what is merged is read.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::ordering_key::OrderingKey;
use crate::kind::Kind;
use crate::merge;

/// What the changes of one request must have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BatchKey {
    /// Whose credentials are used: the oid of the role that enqueued.
    pub role: u32,
    pub sync_id: String,
    pub collection_id: String,
    pub await_consumers: Option<Vec<String>>,
    pub timeout_ms: Option<i32>,
}

/// A committed change that waits.
#[derive(Debug, Clone)]
pub struct Change {
    pub id: i64,
    /// May be empty where none is sent.
    pub idempotency_key: String,
    pub batch_key: Rc<BatchKey>,
    pub kind: Kind,
    /// `None`: in no order with other changes.
    pub ordering_key: Option<Rc<OrderingKey>>,
    /// One that is blank counts as none.
    pub upstream_id: Option<String>,
    /// A jsonb object as text; `None` for a delete.
    pub data: Option<String>,
    /// How often it was sent already.
    pub attempts: u32,
    /// It must go exactly as it is: a create that was perhaps applied and that a person lets be sent again, which also
    /// cannot be taken back by not sending it. Nothing becomes part of it, nor it of anything.
    pub resend_verbatim: bool,
    /// The API has refused it. It is not sent again as it is, but with a later change, which may mend what was wrong.
    pub is_refused: bool,
}

#[derive(Debug, Clone)]
pub struct Limits {
    /// Records in a request.
    pub max_batch: usize,
    /// Whether creates can share a request: the API applies all of its records or none, and its reply has them in the
    /// order of the request.
    pub creates_share: bool,
    /// Because an idempotency key is sent, of which a request has one.
    pub one_record_a_request: bool,
    /// Requests in a plan.
    pub requests: usize,
}

/// What is in neither part waits for a later plan.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order to send them. They may be sent at the same time: no two of them touch the same key or record.
    pub requests: Vec<Planned>,
    /// Changes that end without being sent, by id.
    pub endings: Vec<Ending>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Planned {
    pub batch_key: Rc<BatchKey>,
    pub kind: Kind,
    pub operations: Vec<Operation>,
}

/// One record of a request: a change, and those that became part of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// The create, or the newest of updates and a delete.
    pub id: i64,
    /// The other changes, by id.
    pub absorbed: Vec<Absorbed>,
    pub ordering_key: Option<Rc<OrderingKey>>,
    /// That of the change `id`. Updates that are sent again with a further one are thus another operation, and those
    /// that are sent again as they were are the same.
    pub idempotency_key: String,
    pub upstream_id: Option<String>,
    /// `None` for a delete.
    pub data: Option<String>,
    /// The most of all its changes.
    pub attempts: u32,
}

/// A change that is part of another's operation, and ends as that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absorbed {
    pub id: i64,
    pub absorbed_as: AbsorbedAs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbsorbedAs {
    /// Its fields are sent, unless a later change has set them as well.
    Merged,
    /// It is an update before a delete, and nothing of it is sent.
    Superseded,
}

/// A change that ends without being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    pub id: i64,
    pub end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is of a record that would have been created and deleted.
    CancelledOut,
    /// It deletes a record that was never created.
    NothingToSend,
    /// It updates a record that was never created, or was deleted: an error of whoever enqueued it.
    NoUpstreamId,
}

impl Plan {
    /// The changes that are about to be sent, which are to be claimed first.
    pub fn claimed(&self) -> impl Iterator<Item = i64> + '_ {
        self.requests.iter().flat_map(Planned::ids)
    }
}

impl Planned {
    /// Its changes: those sent by themselves, and those that became part of them.
    pub fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        self.operations.iter().flat_map(Operation::ids)
    }
}

impl Operation {
    /// Its own id, then those of the changes that became part of it.
    pub fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        std::iter::once(self.id).chain(self.absorbed.iter().map(|absorbed| absorbed.id))
    }
}

/// Plans requests for `changes`, which are in the order of their ids.
///
/// With a change there must be all earlier ones of its key that have not ended. If one of those cannot be sent now
/// (it is under way, waits for its next attempt, or needs a person), then no change of the key may be given.
pub fn plan(changes: Vec<Change>, limits: &Limits) -> Plan {
    let (groups, endings) = gather(changes);
    let mut batcher = Batcher::new(limits);
    let places: Vec<Option<usize>> = groups.iter().map(|group| batcher.place(group)).collect();
    let mut requests: Vec<Planned> = Vec::with_capacity(batcher.begun);
    for (group, place) in groups.into_iter().zip(places) {
        let Some(place) = place else { continue };
        let (batch_key, kind, operation) = group.into_operation();
        // Requests are numbered as they begin.
        if place == requests.len() {
            requests.push(Planned { batch_key, kind, operations: Vec::new() });
        }
        requests[place].operations.push(operation);
    }
    // Other requests would only lengthen the time in which a crash makes a create unknown.
    requests.sort_by_key(|request| request.kind != Kind::Create);
    Plan { requests, endings }
}

/// The first operation of each key, by the id of its first change, and the changes that end at once.
fn gather(changes: Vec<Change>) -> (Vec<KeyGroup>, Vec<Ending>) {
    let mut by_key: HashMap<Rc<OrderingKey>, usize> = HashMap::with_capacity(changes.len());
    let mut groups: Vec<KeyGroup> = Vec::with_capacity(changes.len());
    let mut endings = Vec::new();
    for mut change in changes {
        change.upstream_id.take_if(|id| id.trim().is_empty());
        let new = groups.len();
        let place = change.ordering_key.as_ref().map_or(new, |key| *by_key.entry(Rc::clone(key)).or_insert(new));
        if place == new {
            groups.push(KeyGroup::default());
        }
        groups[place].add(change, &mut endings);
    }
    groups.retain(|group| !group.is_refused());
    // A key whose first changes cancelled out begins with a later one.
    groups.sort_by_key(|group| group.changes[0].id);
    endings.sort_by_key(|ending| ending.id);
    (groups, endings)
}

/// The first operation of a key, while it is put together.
#[derive(Default)]
struct KeyGroup {
    /// A create and updates; updates; updates and a delete; or one of them. All of one batch_key and one record.
    changes: Vec<Change>,
    /// A change of the key waits already, and so must all that follow.
    is_closed: bool,
}

/// What becomes of a change that comes after those of a group.
enum Step {
    Join,
    /// It ends, and they with it.
    CancelOut,
    /// It ends by itself.
    End(End),
    Wait,
}

impl KeyGroup {
    fn add(&mut self, change: Change, endings: &mut Vec<Ending>) {
        let step = self.step(&change);
        if !self.changes.is_empty() && matches!(step, Step::Wait) && !self.is_closed && self.is_refused() {
            // What was refused does not stand in the way of what it cannot go with.
            self.changes.clear();
            return self.add(change, endings);
        }
        match step {
            Step::Join => {
                if self.changes.is_empty() {
                    // Most keys have one change, and the room for four that a vector begins with costs time.
                    self.changes.reserve_exact(1);
                }
                self.changes.push(change);
            }
            Step::CancelOut => {
                self.changes.push(change);
                endings.extend(self.changes.drain(..).map(|Change { id, .. }| Ending { id, end: End::CancelledOut }));
            }
            Step::End(_) if change.is_refused => {}
            Step::End(end) => endings.push(Ending { id: change.id, end }),
            Step::Wait => self.is_closed = true,
        }
    }

    /// Whether there is nothing in it that was not refused.
    fn is_refused(&self) -> bool {
        self.changes.iter().all(|change| change.is_refused)
    }

    fn step(&self, next: &Change) -> Step {
        let (Some(first), Some(last)) = (self.changes.first(), self.changes.last()) else {
            return match next.kind {
                Kind::Update if next.upstream_id.is_none() => Step::End(End::NoUpstreamId),
                Kind::Delete if next.upstream_id.is_none() => Step::End(End::NothingToSend),
                _ => Step::Join,
            };
        };
        if self.is_closed || first.resend_verbatim || next.resend_verbatim || next.batch_key != first.batch_key {
            return Step::Wait;
        }
        let is_of_same_record = next.upstream_id.is_none() || next.upstream_id == first.upstream_id;
        match (last.kind, next.kind) {
            (Kind::Create | Kind::Update, Kind::Update) if is_of_same_record => Step::Join,
            (Kind::Create | Kind::Update, Kind::Delete) if is_of_same_record => match first.kind {
                Kind::Create => Step::CancelOut,
                _ => Step::Join,
            },
            _ => Step::Wait,
        }
    }

    /// The change that the others become part of.
    fn head(&self) -> usize {
        match self.changes[0].kind {
            Kind::Create => 0,
            Kind::Update | Kind::Delete => self.changes.len() - 1,
        }
    }

    fn kind(&self) -> Kind {
        self.changes[self.head()].kind
    }

    fn attempts(&self) -> u32 {
        self.changes.iter().map(|change| change.attempts).max().unwrap_or_default()
    }

    /// The most records that a request with this one may have.
    fn limit(&self, limits: &Limits) -> usize {
        let needs_its_own = match self.kind() {
            Kind::Create => !limits.creates_share || self.changes[0].resend_verbatim,
            Kind::Update | Kind::Delete => false,
        };
        if limits.one_record_a_request || needs_its_own {
            return 1;
        }
        // Half as many with each attempt, so that a record that spoils every request is soon alone, even if the API
        // does not say which one it is.
        limits.max_batch.checked_shr(self.attempts()).unwrap_or_default().max(1)
    }

    fn into_operation(mut self) -> (Rc<BatchKey>, Kind, Operation) {
        let (kind, attempts) = (self.kind(), self.attempts());
        // Those that follow have the same one, or none.
        let upstream_id = self.changes[0].upstream_id.take();
        let (absorbed_as, data) = match kind {
            Kind::Create | Kind::Update => (AbsorbedAs::Merged, self.merged_data()),
            Kind::Delete => (AbsorbedAs::Superseded, None),
        };
        let Change { id, idempotency_key, batch_key, ordering_key, .. } = self.changes.remove(self.head());
        let absorbed = self.changes.iter().map(|change| Absorbed { id: change.id, absorbed_as }).collect();
        (batch_key, kind, Operation { id, absorbed, ordering_key, idempotency_key, upstream_id, data, attempts })
    }

    fn merged_data(&mut self) -> Option<String> {
        let data: Vec<String> = self.changes.iter_mut().filter_map(|change| change.data.take()).collect();
        (!data.is_empty()).then(|| merge::later_wins(data))
    }
}

/// Gives operations their places in requests, from the oldest on: so the batch_key with the oldest one is served first.
struct Batcher<'a> {
    limits: &'a Limits,
    begun: usize,
    has_creates: bool,
    /// The newest request of operations that may share one.
    shared: HashMap<(&'a BatchKey, Kind, u32), Shared>,
    /// Sync, collection and upstream id of those that had their turn, even if they found no place.
    records: HashSet<(&'a str, &'a str, &'a str)>,
}

struct Shared {
    request: usize,
    room: usize,
}

impl<'a> Batcher<'a> {
    fn new(limits: &'a Limits) -> Batcher<'a> {
        Batcher { limits, begun: 0, has_creates: false, shared: HashMap::new(), records: HashSet::new() }
    }

    /// The request for this operation, or `None` if it waits.
    fn place(&mut self, group: &'a KeyGroup) -> Option<usize> {
        if !self.is_first_of_its_record(group) {
            return None;
        }
        let (kind, limit) = (group.kind(), group.limit(self.limits));
        if limit == 1 {
            return self.begin(kind);
        }
        // Operations that failed before are kept from those that did not: they may be what spoils a request.
        let alike = (&*group.changes[0].batch_key, kind, group.attempts());
        if let Some(shared) = self.shared.get_mut(&alike)
            && shared.room > 0
        {
            shared.room -= 1;
            return Some(shared.request);
        }
        let request = self.begin(kind)?;
        self.shared.insert(alike, Shared { request, room: limit - 1 });
        Some(request)
    }

    /// Two keys may lead to one record. Nothing orders them, but within a plan they could even meet, in one request or
    /// in two at the same time.
    fn is_first_of_its_record(&mut self, group: &'a KeyGroup) -> bool {
        let Change { batch_key, upstream_id, .. } = &group.changes[0];
        upstream_id.as_ref().is_none_or(|id| self.records.insert((&batch_key.sync_id, &batch_key.collection_id, id)))
    }

    fn begin(&mut self, kind: Kind) -> Option<usize> {
        let is_create = kind == Kind::Create;
        if self.begun >= self.limits.requests || (is_create && self.has_creates) {
            return None;
        }
        self.has_creates |= is_create;
        self.begun += 1;
        Some(self.begun - 1)
    }
}

#[cfg(test)]
mod tests;
