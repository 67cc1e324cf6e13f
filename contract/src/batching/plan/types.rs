//! The values that [`plan`](super::plan) takes and returns.

use std::rc::Rc;

use crate::batching::ordering_key::OrderingKey;
use crate::kind::Kind;

/// The properties that all changes of one request share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BatchKey {
    /// The oid of the role that enqueued the change. The request uses its user mapping.
    pub role: u32,
    /// The sync that the collection belongs to.
    pub sync_id: String,
    /// The collection that the records belong to.
    pub collection_id: String,
    /// The consumers that the API waits for.
    pub await_consumers: Option<Vec<String>>,
    /// The API's limit for the wait, in milliseconds.
    pub timeout_ms: Option<i32>,
}

/// A queued change whose transaction has committed.
#[derive(Debug, Clone)]
pub struct Change {
    /// The queue's id. Ids grow in the order of enqueuing.
    pub id: i64,
    /// The UUID for the idempotency header. May be empty if the server has no such header.
    pub idempotency_key: String,
    /// The request that the change can be part of.
    pub batch_key: Rc<BatchKey>,
    /// The kind of the mutation.
    pub kind: Kind,
    /// `None` if the change has no order with other changes.
    pub ordering_key: Option<Rc<OrderingKey>>,
    /// The record's id at the provider. A blank one counts as `None`.
    pub upstream_id: Option<String>,
    /// A jsonb object as text. `None` for a delete.
    pub data: Option<String>,
    /// How often the change was sent.
    pub attempts: u32,
    /// Send the change as it is, and never merge or cancel it: a create with an unknown outcome that a person has released
    /// for a retry. Its record may already exist.
    pub resend_verbatim: bool,
    /// The API has refused the change. It is sent again only together with a later change, which may correct it.
    pub is_refused: bool,
}

/// The limits of a plan.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most records of a request.
    pub max_batch: usize,
    /// Whether creates can share a request: the API applies a batch as a whole, and replies in the order of the request.
    pub creates_share: bool,
    /// Every record needs its own request, because the server has an idempotency header and a request has one key.
    pub one_record_a_request: bool,
    /// The most requests of a plan.
    pub requests: usize,
}

/// The result of [`plan`]. A change that is in neither list waits for a later plan.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The requests, in the order to send them. They may also be sent concurrently: no two of them have the same ordering
    /// key or the same record.
    pub requests: Vec<Planned>,
    /// The changes that end without a request, sorted by id.
    pub endings: Vec<Ending>,
}

/// A planned request.
#[derive(Debug, PartialEq, Eq)]
pub struct Planned {
    /// The properties that all its changes share.
    pub batch_key: Rc<BatchKey>,
    /// The kind of the mutation.
    pub kind: Kind,
    /// Its records, at least one.
    pub operations: Vec<Operation>,
}

/// One record of a planned request: a change, and the changes merged into it.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// The id of the change that gives the operation its identity: the create, the delete, or the newest update.
    pub id: i64,
    /// The ids of the other changes, sorted. Their fields are sent, except those that a later change sets too, and those
    /// of updates before a delete. They settle with this change.
    pub merged: Vec<i64>,
    /// The ordering key of all its changes.
    pub ordering_key: Option<Rc<OrderingKey>>,
    /// The idempotency key of the change `id`. A retry of the same updates has the same key; a retry with a further update
    /// has a new one.
    pub idempotency_key: String,
    /// The record's id at the provider. `None` for a create.
    pub upstream_id: Option<String>,
    /// The merged fields, a JSON object as text. `None` for a delete.
    pub data: Option<String>,
    /// The highest number of attempts of its changes.
    pub attempts: u32,
}

/// A change that ends without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The change's id.
    pub id: i64,
    /// Why it ends.
    pub end: End,
}

/// Why a change ends without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The record was created and deleted before any of it was sent.
    CancelledOut,
    /// A delete of a record that was never created.
    NothingToSend,
    /// An update of a record that was never created, or was deleted: an error of the application.
    NoUpstreamId,
}

impl Plan {
    /// The ids of all changes in the plan's requests. The worker claims them before it sends.
    pub fn claimed(&self) -> impl Iterator<Item = i64> + '_ {
        self.requests.iter().flat_map(Planned::ids)
    }
}

impl Planned {
    /// The ids of all its changes, with the merged ones.
    pub fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        self.operations.iter().flat_map(Operation::ids)
    }

    /// The size of its data.
    pub fn bytes(&self) -> usize {
        self.operations.iter().filter_map(|operation| operation.data.as_ref()).map(String::len).sum()
    }
}

impl Operation {
    /// Its own id, then those of the merged changes.
    pub fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        std::iter::once(self.id).chain(self.merged.iter().copied())
    }
}
