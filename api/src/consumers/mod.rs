//! Consumers read the stream, each at its own position. A mutation can wait for them.

pub mod postgres;
pub mod pull;
pub mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::record::Record;

pub struct Consumer {
    pub id: String,
    /// None: every collection.
    pub collection_id: Option<String>,
    pub kind: ConsumerKind,
}

pub enum ConsumerKind {
    Pull(pull::Pull),
    Postgres(postgres::Postgres),
}

impl Consumer {
    /// Ends when the consumer has processed all of `records`, the versions that one mutation appended.
    ///
    /// Records outside the consumer's filter count as processed: it will never see them, and the request would
    /// otherwise wait until its timeout.
    pub async fn processed(&self, records: &[Arc<Record>]) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return;
        };
        if self.takes(first) {
            // One mutation appends under one lock, so its versions are a range.
            let range = first.updated_idx..=last.updated_idx;
            match &self.kind {
                ConsumerKind::Pull(pull) => pull.processed(range).await,
                ConsumerKind::Postgres(postgres) => postgres.processed(range).await,
            }
        }
    }

    fn takes(&self, record: &Record) -> bool {
        takes(self.collection_id.as_deref(), record)
    }
}

pub fn takes(filter: Option<&str>, record: &Record) -> bool {
    filter.is_none_or(|wanted| wanted == &*record.collection_id)
}

#[derive(Default)]
pub struct Consumers(RwLock<BTreeMap<String, Arc<Consumer>>>);

impl Consumers {
    pub fn get(&self, id: &str) -> Option<Arc<Consumer>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// A consumer of the same id is replaced, and starts anew.
    pub fn put(&self, consumer: Consumer) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(consumer.id.clone(), Arc::new(consumer));
    }

    pub fn remove(&self, id: &str) -> Option<Arc<Consumer>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    pub fn all(&self) -> Vec<Arc<Consumer>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }
}
