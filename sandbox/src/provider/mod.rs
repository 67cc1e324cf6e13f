//! What a mutation does to records. The in-memory provider is the first; one that speaks to a real system can take its place.
//!
//! `apply` is synchronous on purpose. A request's task may be dropped at any await, when its client hangs up; here there is
//! none between the last byte of the body and the effect, so "the request arrived whole" and "it was applied or refused" are
//! the same fact, and tests may rely on it. A provider behind a network would have to run on a thread of its own.

mod collection;
mod email;
mod memory;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::record::Record;
use crate::stamp::Stamp;
pub use memory::Memory;

/// A request that has the documented shape.
pub struct Mutation<'a> {
    pub sync_id: Arc<str>,
    pub collection_id: Arc<str>,
    pub change: Change<'a>,
}

pub enum Change<'a> {
    Create(Vec<&'a RawValue>),
    Update(Vec<(Cow<'a, str>, &'a RawValue)>),
    Delete(Vec<Cow<'a, str>>),
}

/// The provider's reason, in its words. Nothing was applied.
#[derive(Debug)]
pub struct Refusal(pub String);

/// Hands out `updated_idx`, in the order in which the stream will hold the versions.
pub struct Marks {
    pub now: Stamp,
    pub next: u64,
}

impl Marks {
    pub fn take(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

pub trait Provider: Send + Sync {
    /// The checks that need no record. They read all of the data, and so run before the stream is locked.
    fn check(&self, mutation: &Mutation) -> Result<(), Refusal>;

    /// All of the mutation or nothing. One version per change, in the order of the request, marked in that order.
    fn apply(&self, mutation: &Mutation, marks: &mut Marks) -> Result<Vec<Arc<Record>>, Refusal>;

    /// The present version of each record, deleted ones included, in order of creation.
    fn present(&self, wanted: &dyn Fn(&Record) -> bool) -> Vec<Arc<Record>>;

    fn clear(&self);
}
