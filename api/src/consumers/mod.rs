//! Consumers read the stream, each at its own position. A mutation can wait for them.

pub mod postgres;
pub mod pull;
pub mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use crate::record::Record;
use crate::reply::Reply;

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

    /// The consumers that a request names.
    ///
    /// # Errors
    /// The 422 for an unknown one. No wait for it could succeed, so it is refused before anything is applied.
    pub fn awaited(&self, ids: &[String], timeout: Duration) -> Result<Awaited, Reply> {
        let mut consumers = Vec::with_capacity(ids.len());
        for id in ids {
            consumers.push(self.get(id).ok_or_else(|| {
                Reply::invalid_field("Unknown consumer", "await_consumer_ids", format!("unknown consumer: {id}"))
            })?);
        }
        Ok(Awaited { consumers, timeout })
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

/// The consumers that a mutation waits for.
pub struct Awaited {
    consumers: Vec<Arc<Consumer>>,
    timeout: Duration,
}

impl Awaited {
    /// Waits until all have processed the records of a mutation. The clock starts with this call: the provider has
    /// accepted the mutation.
    ///
    /// # Errors
    /// The 500 for the first one that was not in time. It has no records, although they were written.
    pub async fn have_processed(&self, records: &[Arc<Record>]) -> Result<(), Reply> {
        let now = Instant::now();
        // Any u64 is a valid number of milliseconds; a clock cannot hold all of them.
        let deadline = now.checked_add(self.timeout).unwrap_or(now + Duration::from_secs(86_400 * 365));
        for consumer in &self.consumers {
            if timeout_at(deadline, consumer.processed(records)).await.is_err() {
                let text = format!("Timed out waiting for consumers: {}", consumer.id);
                return Err(Reply::error(StatusCode::INTERNAL_SERVER_ERROR, &text));
            }
        }
        Ok(())
    }
}
