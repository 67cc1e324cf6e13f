//! One mutation of the model, of one record.

use serde_json::{Value, json};

use super::super::http::Answer;
use super::super::proxy::Passage;
use super::Data;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Create,
    Update,
    Delete,
}

/// A mutation and all that became of it.
#[derive(Clone, Debug)]
pub struct Mutation {
    pub kind: Kind,
    pub mark: String,
    pub key: Option<String>,
    /// Of updates and deletes.
    pub upstream_id: String,
    /// Of creates and updates.
    pub data: Data,
    /// Whether the product refuses it, or has no such record.
    pub is_refused: bool,
    /// Whether the gateway may send it again while its outcome is unknown.
    pub repeats: bool,
    /// Whether all attempts are one, under a key that the product knows.
    pub is_keyed: bool,
    /// Whether another client sends the same at once.
    pub is_twin: bool,
    /// How many requests the proxy had seen before.
    pub from: usize,
    pub answers: Vec<Answer>,
}

impl Mutation {
    /// The body of the request.
    pub fn body(&self, (sync, collection): (&str, &str)) -> Value {
        match self.kind {
            Kind::Create => json!({"kind": "create", "sync_id": sync, "collection_id": collection,
                "records": [{"data": self.data}]}),
            Kind::Update => json!({"kind": "update", "sync_id": sync, "collection_id": collection,
                "records": [{"upstream_id": self.upstream_id, "data": self.data}]}),
            Kind::Delete => json!({"kind": "delete", "sync_id": sync, "collection_id": collection,
                "upstream_ids": [self.upstream_id]}),
        }
    }

    /// Whether this is a request of the mutation. Reads that follow a write are not.
    pub fn owns(&self, passage: &Passage) -> bool {
        match self.kind {
            Kind::Create | Kind::Update => passage.body.contains(&self.mark),
            Kind::Delete => passage.method == "DELETE" && passage.path.ends_with(&self.upstream_id),
        }
    }

    /// The last reply's status.
    pub fn status(&self) -> u16 {
        self.answers.last().map_or(0, |answer| answer.status)
    }

    /// Whether the gateway has said what became of it.
    pub fn is_settled(&self) -> bool {
        matches!(self.status(), 200 | 400)
    }
}
