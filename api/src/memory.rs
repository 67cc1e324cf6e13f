//! The effect of a mutation on records: a provider in memory, as strict as the documentation's examples.
//!
//! An unknown or deleted id is refused like invalid data (400). A 404 would mean that the endpoint does not exist. A
//! client must be able to tell a lost record from a wrong address.
//!
//! All of it is synchronous on purpose. A request's task may be dropped at any await, when its client closes. There is
//! no await between the last byte of the body and the effect. So a request that arrived whole was applied or refused,
//! and tests may rely on it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::value::RawValue;

use crate::email;
use crate::ids;
use crate::json;
use crate::record::Record;
use crate::request::{Change, Mutation, RecordPatch, Removal};

/// The provider's reason, in its words. Nothing was applied.
#[derive(Debug)]
pub struct Refusal(pub String);

/// Assigns `updated_idx`, in the order in which the stream will hold the versions.
pub struct Marks {
    /// The time of the change.
    pub now: SystemTime,
    /// The `updated_idx` of the next version.
    pub next: u64,
}

impl Marks {
    fn take(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

/// The records by sync and collection, and in each by upstream id.
#[derive(Default)]
pub struct Memory(HashMap<(Arc<str>, Arc<str>), Collection>);

type Collection = HashMap<Arc<str>, Arc<Record>>;

/// The checks that need no record. They read all data, so they run before the stream is locked.
pub fn check(mutation: &Mutation) -> Result<(), Refusal> {
    let is_good = match &mutation.change {
        Change::Create(records) => records.iter().all(|record| email::is_good(&record.data)),
        Change::Update(records) => records.iter().all(|record| email::is_good(&record.data)),
        Change::Delete(_) => true,
    };
    if is_good { Ok(()) } else { Err(Refusal("Invalid email".into())) }
}

impl Memory {
    /// Applies all of the mutation or nothing. Appends one version per change, numbered in the order of the request.
    pub fn apply(&mut self, mutation: &Mutation, marks: &mut Marks) -> Result<Vec<Arc<Record>>, Refusal> {
        let key = (mutation.sync_id.clone(), mutation.collection_id.clone());
        let collection = self.0.entry(key).or_default();
        match &mutation.change {
            Change::Create(records) => {
                Ok(records.iter().map(|record| create(collection, mutation, &record.data, marks)).collect())
            }
            Change::Update(records) => {
                records.iter().try_for_each(|record| find(collection, &record.upstream_id).map(drop))?;
                let update = |record: &RecordPatch| {
                    let before = find(collection, &record.upstream_id)?.clone();
                    Ok(replace(collection, &before, json::patch(&before.data, &record.data), false, marks))
                };
                records.iter().map(update).collect()
            }
            Change::Delete(removals) => {
                let mut named = HashSet::with_capacity(removals.len());
                for Removal { upstream_id } in removals {
                    find(collection, upstream_id)?;
                    if !named.insert(&**upstream_id) {
                        return Err(not_found(upstream_id));
                    }
                }
                let delete = |removal: &Removal| {
                    let before = find(collection, &removal.upstream_id)?.clone();
                    Ok(replace(collection, &before, before.data.clone(), true, marks))
                };
                removals.iter().map(delete).collect()
            }
        }
    }

    /// The current version of each record, including deleted ones, in order of creation.
    pub fn present(&self, wanted: impl Fn(&Record) -> bool) -> Vec<Arc<Record>> {
        let all = self.0.values().flat_map(HashMap::values);
        let mut present: Vec<_> = all.filter(|record| wanted(record)).cloned().collect();
        present.sort_unstable_by_key(|record| record.number);
        present
    }
}

fn create(collection: &mut Collection, mutation: &Mutation, data: &RawValue, marks: &mut Marks) -> Arc<Record> {
    let number = marks.take();
    let record = Arc::new(Record {
        number,
        sync_id: mutation.sync_id.clone(),
        collection_id: mutation.collection_id.clone(),
        upstream_id: ids::upstream(&mutation.collection_id, number).into(),
        created_at: marks.now,
        updated_at: marks.now,
        updated_idx: number,
        data: data.to_owned(),
        deleted: false,
    });
    collection.insert(record.upstream_id.clone(), record.clone());
    record
}

/// Replaces the version `before` of a record by the next one.
fn replace(
    collection: &mut Collection,
    before: &Record,
    data: Box<RawValue>,
    deleted: bool,
    marks: &mut Marks,
) -> Arc<Record> {
    let record = Arc::new(Record {
        number: before.number,
        sync_id: before.sync_id.clone(),
        collection_id: before.collection_id.clone(),
        upstream_id: before.upstream_id.clone(),
        created_at: before.created_at,
        updated_at: marks.now,
        updated_idx: marks.take(),
        data,
        deleted,
    });
    collection.insert(record.upstream_id.clone(), record.clone());
    record
}

fn find<'a>(collection: &'a Collection, id: &str) -> Result<&'a Arc<Record>, Refusal> {
    collection.get(id).filter(|record| !record.deleted).ok_or_else(|| not_found(id))
}

fn not_found(id: &str) -> Refusal {
    Refusal(format!("Record not found: {id}"))
}
