//! Plans requests: decides which queued changes to send now.
//!
//! All rules of order, merging and batching are in the function [`plan`]. It keeps three promises:
//! - Changes with the same ordering key stay in order. A plan has at most one operation for each ordering key. A change
//!   that cannot be part of it waits for a later plan, so no change overtakes another one.
//! - No create is sent with another one unless the reply says which record is whose. A change that waits behind a create is
//!   merged into it if possible.
//! - A record that fails a whole request is isolated. Each attempt halves the batch, and changes that failed never share
//!   a request with changes that did not.
//!
//! Texts are moved and not copied. Only merged changes are read.

mod types;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::ordering_key::OrderingKey;
use crate::kind::Kind;
use crate::merge;
pub use types::{BatchKey, Change, End, Ending, Limits, Operation, Plan, Planned};

/// Plans requests for `changes`, which are sorted by id.
///
/// For each ordering key, `changes` must begin with the key's first open change and have no gaps. If that change cannot be
/// sent now (it is in flight, waits for its retry, or is unknown), `changes` must have no change of the key at all.
pub fn plan(changes: Vec<Change>, limits: &Limits) -> Plan {
    let (groups, endings) = gather(changes);
    let mut batcher = Batcher::new(limits);
    let places: Vec<Option<usize>> = groups.iter().map(|group| batcher.place(group)).collect();
    let mut requests: Vec<Planned> = Vec::with_capacity(batcher.begun);
    for (group, place) in groups.into_iter().zip(places) {
        let Some(place) = place else { continue };
        let (batch_key, kind, operation) = group.into_operation();
        // Places number the requests in the order of their first operations.
        if place == requests.len() {
            requests.push(Planned { batch_key, kind, operations: Vec::new() });
        }
        requests[place].operations.push(operation);
    }
    Plan { requests, endings }
}

/// The first operation of each ordering key, sorted by the id of its first change; and the changes that end at once.
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
    // If the first changes of a key cancelled out, its group begins with a later one.
    groups.sort_by_key(|group| group.changes[0].id);
    endings.sort_by_key(|ending| ending.id);
    (groups, endings)
}

/// The first operation of an ordering key, while it is assembled.
#[derive(Default)]
struct KeyGroup {
    /// A create with updates, updates alone, updates with a delete, or a single change. All have one batch key and one record.
    changes: Vec<Change>,
    /// A change of the key waits already, so all later ones must wait too.
    is_closed: bool,
}

/// What happens to the next change of a group.
enum Step {
    Join,
    /// It ends, and the changes of the group end with it.
    CancelOut,
    /// It ends alone.
    End(End),
    Wait,
}

impl KeyGroup {
    fn add(&mut self, change: Change, endings: &mut Vec<Ending>) {
        let step = self.step(&change);
        if !self.changes.is_empty() && matches!(step, Step::Wait) && !self.is_closed && self.is_refused() {
            // Refused changes do not block a change that cannot be merged with them.
            self.changes.clear();
            return self.add(change, endings);
        }
        match step {
            Step::Join => {
                if self.changes.is_empty() {
                    // Most keys have one change. By default a vector allocates room for four, which costs time.
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

    /// Whether all its changes were refused.
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

    /// The position of the change that absorbs the others.
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

    /// The most records of a request that has this operation.
    fn limit(&self, limits: &Limits) -> usize {
        let needs_its_own = match self.kind() {
            Kind::Create => !limits.creates_share || self.changes[0].resend_verbatim,
            Kind::Update | Kind::Delete => false,
        };
        if limits.one_record_a_request || needs_its_own {
            return 1;
        }
        // Each attempt halves the batch. So a record that fails every request is soon alone, even if the API does not say
        // which record it is.
        limits.max_batch.checked_shr(self.attempts()).unwrap_or_default().max(1)
    }

    fn into_operation(mut self) -> (Rc<BatchKey>, Kind, Operation) {
        let (kind, attempts) = (self.kind(), self.attempts());
        // The other changes have the same id, or none.
        let upstream_id = self.changes[0].upstream_id.take();
        let data = match kind {
            Kind::Create | Kind::Update => self.merged_data(),
            Kind::Delete => None,
        };
        let Change { id, idempotency_key, batch_key, ordering_key, .. } = self.changes.remove(self.head());
        let merged = self.changes.iter().map(|change| change.id).collect();
        (batch_key, kind, Operation { id, merged, ordering_key, idempotency_key, upstream_id, data, attempts })
    }

    fn merged_data(&mut self) -> Option<String> {
        let data: Vec<String> = self.changes.iter_mut().filter_map(|change| change.data.take()).collect();
        (!data.is_empty()).then(|| merge::later_wins(data))
    }
}

/// Assigns operations to requests, oldest first, so no batch key starves.
struct Batcher<'a> {
    limits: &'a Limits,
    begun: usize,
    /// The newest request for operations that can share one, by batch key, kind and attempts.
    shared: HashMap<(&'a BatchKey, Kind, u32), Shared>,
    /// The records, as sync, collection and upstream id, of all operations so far, even of those that wait.
    records: HashSet<(&'a str, &'a str, &'a str)>,
}

struct Shared {
    request: usize,
    room: usize,
}

impl<'a> Batcher<'a> {
    fn new(limits: &'a Limits) -> Batcher<'a> {
        Batcher { limits, begun: 0, shared: HashMap::new(), records: HashSet::new() }
    }

    /// The position of the request for this operation. `None` if the operation waits.
    fn place(&mut self, group: &'a KeyGroup) -> Option<usize> {
        if !self.is_first_of_its_record(group) {
            return None;
        }
        let (kind, limit) = (group.kind(), group.limit(self.limits));
        if limit == 1 {
            return self.begin();
        }
        // Operations that failed before do not share a request with others: they may be the cause of the failure.
        let alike = (&*group.changes[0].batch_key, kind, group.attempts());
        if let Some(shared) = self.shared.get_mut(&alike)
            && shared.room > 0
        {
            shared.room -= 1;
            return Some(shared.request);
        }
        let request = self.begin()?;
        self.shared.insert(alike, Shared { request, room: limit - 1 });
        Some(request)
    }

    /// Whether no earlier operation of the plan has the same record. Two ordering keys may lead to one record. Their order is
    /// undefined, but one record must not be twice in a request, or in two concurrent requests.
    fn is_first_of_its_record(&mut self, group: &'a KeyGroup) -> bool {
        let Change { batch_key, upstream_id, .. } = &group.changes[0];
        upstream_id.as_ref().is_none_or(|id| self.records.insert((&batch_key.sync_id, &batch_key.collection_id, id)))
    }

    fn begin(&mut self) -> Option<usize> {
        if self.begun >= self.limits.requests {
            return None;
        }
        self.begun += 1;
        Some(self.begun - 1)
    }
}

#[cfg(test)]
mod tests;
