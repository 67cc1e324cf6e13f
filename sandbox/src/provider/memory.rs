//! The in-memory provider: collections as sets of records, strict as the documentation's examples are.
//!
//! An id that is unknown, or deleted, is refused like invalid data is (400). A 404 would say that the endpoint is not
//! there, and a client must be able to tell a lost record from a wrong address.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;

use super::collection::Collection;
use super::email::check as check_email;
use super::{Change, Marks, Mutation, Provider, Refusal};
use crate::ids;
use crate::json;
use crate::record::Record;

#[derive(Default)]
pub struct Memory {
    collections: Mutex<Collections>,
}

/// By sync and collection.
type Collections = HashMap<(Arc<str>, Arc<str>), Collection>;

impl Provider for Memory {
    fn check(&self, mutation: &Mutation) -> Result<(), Refusal> {
        match &mutation.change {
            Change::Create(records) => records.iter().try_for_each(|data| check_email(data)),
            Change::Update(records) => records.iter().try_for_each(|(_, data)| check_email(data)),
            Change::Delete(_) => Ok(()),
        }
    }

    fn apply(&self, mutation: &Mutation, marks: &mut Marks) -> Result<Vec<Arc<Record>>, Refusal> {
        let key = (mutation.sync_id.clone(), mutation.collection_id.clone());
        let mut collections = self.lock();
        let collection = collections.entry(key).or_default();
        match &mutation.change {
            Change::Create(records) => {
                collection.reserve(records.len());
                Ok(records.iter().map(|data| create(collection, mutation, data, marks)).collect())
            }
            Change::Update(records) => {
                for (id, _) in records {
                    find(collection, id)?;
                }
                records.iter().map(|(id, data)| update(collection, id, data, marks)).collect()
            }
            Change::Delete(ids) => {
                let mut named = HashSet::with_capacity(ids.len());
                for id in ids {
                    find(collection, id)?;
                    if !named.insert(&**id) {
                        return Err(not_found(id));
                    }
                }
                ids.iter().map(|id| delete(collection, id, marks)).collect()
            }
        }
    }

    fn present(&self, wanted: &dyn Fn(&Record) -> bool) -> Vec<Arc<Record>> {
        let collections = self.lock();
        let all = collections.values().flat_map(Collection::iter);
        let mut present: Vec<_> = all.filter(|record| wanted(record)).cloned().collect();
        drop(collections);
        present.sort_unstable_by_key(|record| record.number);
        present
    }

    fn clear(&self) {
        self.lock().clear();
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Collections> {
        self.collections.lock().unwrap_or_else(PoisonError::into_inner)
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
    collection.insert(record.clone());
    record
}

fn update(collection: &mut Collection, id: &str, data: &RawValue, marks: &mut Marks) -> Result<Arc<Record>, Refusal> {
    let before = find(collection, id)?;
    let data = json::patch(&before.data, data);
    Ok(replace(collection, successor(before, data, false, marks)))
}

fn delete(collection: &mut Collection, id: &str, marks: &mut Marks) -> Result<Arc<Record>, Refusal> {
    let before = find(collection, id)?;
    let data = before.data.clone();
    Ok(replace(collection, successor(before, data, true, marks)))
}

fn successor(before: &Record, data: Box<RawValue>, deleted: bool, marks: &mut Marks) -> Record {
    Record {
        number: before.number,
        sync_id: before.sync_id.clone(),
        collection_id: before.collection_id.clone(),
        upstream_id: before.upstream_id.clone(),
        created_at: before.created_at,
        updated_at: marks.now,
        updated_idx: marks.take(),
        data,
        deleted,
    }
}

fn replace(collection: &mut Collection, record: Record) -> Arc<Record> {
    let record = Arc::new(record);
    collection.replace(record.clone());
    record
}

fn find<'a>(collection: &'a Collection, id: &str) -> Result<&'a Arc<Record>, Refusal> {
    match collection.get(id) {
        Some(record) if !record.deleted => Ok(record),
        _ => Err(not_found(id)),
    }
}

fn not_found(id: &str) -> Refusal {
    Refusal(format!("Record not found: {id}"))
}
