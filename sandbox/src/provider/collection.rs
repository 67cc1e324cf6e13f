//! The records of one collection by upstream id. The hash stands beside each record: a table that grows would otherwise
//! visit every record in memory to hash it again, which took a fifth of a large create.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::record::Record;

#[derive(Default)]
pub struct Collection {
    records: HashTable<(u64, Arc<Record>)>,
    hashes: RandomState,
}

impl Collection {
    pub fn reserve(&mut self, more: usize) {
        self.records.reserve(more, |(hash, _)| *hash);
    }

    pub fn get(&self, upstream_id: &str) -> Option<&Arc<Record>> {
        let hash = self.hashes.hash_one(upstream_id);
        let found = self.records.find(hash, |(_, record)| *record.upstream_id == *upstream_id);
        found.map(|(_, record)| record)
    }

    /// The record's id must be new here.
    pub fn insert(&mut self, record: Arc<Record>) {
        let hash = self.hashes.hash_one(&*record.upstream_id);
        self.records.insert_unique(hash, (hash, record), |(hash, _)| *hash);
    }

    /// A later version of a record that is here.
    pub fn replace(&mut self, record: Arc<Record>) {
        let hash = self.hashes.hash_one(&*record.upstream_id);
        let same = |(_, before): &(u64, Arc<Record>)| before.upstream_id == record.upstream_id;
        if let Some(entry) = self.records.find_mut(hash, same) {
            entry.1 = record;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.iter().map(|(_, record)| record)
    }
}
