//! A mutation: records of one collection, and how to change them.
//!
//! Elements are structs, so that a later field of an element changes no signature.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

/// The part of a request that a provider is concerned with.
#[derive(Clone, Debug)]
pub struct Mutation<'a> {
    pub sync_id: Arc<str>,
    pub collection_id: Arc<str>,
    pub change: Change<'a>,
}

/// At least one element, in the order of the request.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    Create(Vec<NewRecord<'a>>),
    Update(Vec<RecordPatch<'a>>),
    Delete(Vec<Removal<'a>>),
}

/// One element of a create.
#[derive(Clone, Debug)]
pub struct NewRecord<'a> {
    /// A JSON object.
    pub data: Cow<'a, RawValue>,
}

/// One element of an update: a PATCH, in which only the keys that are sent change.
#[derive(Clone, Debug)]
pub struct RecordPatch<'a> {
    pub upstream_id: Cow<'a, str>,
    /// A JSON object.
    pub data: Cow<'a, RawValue>,
}

/// One element of a delete.
#[derive(Clone, Debug)]
pub struct Removal<'a> {
    pub upstream_id: Cow<'a, str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Create,
    Update,
    Delete,
}

impl Kind {
    /// The value of the field `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Create => "create",
            Kind::Update => "update",
            Kind::Delete => "delete",
        }
    }

    /// The name of the field that holds the elements.
    pub fn list(self) -> &'static str {
        match self {
            Kind::Create | Kind::Update => "records",
            Kind::Delete => "upstream_ids",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Kind> {
        [Kind::Create, Kind::Update, Kind::Delete].into_iter().find(|kind| kind.name() == name)
    }
}

impl Change<'_> {
    pub fn kind(&self) -> Kind {
        match self {
            Change::Create(_) => Kind::Create,
            Change::Update(_) => Kind::Update,
            Change::Delete(_) => Kind::Delete,
        }
    }

    /// The number of elements. It is never 0 in a parsed request.
    #[expect(clippy::len_without_is_empty, reason = "a request without elements is refused")]
    pub fn len(&self) -> usize {
        match self {
            Change::Create(records) => records.len(),
            Change::Update(records) => records.len(),
            Change::Delete(records) => records.len(),
        }
    }

    /// Copies what is borrowed.
    pub fn into_owned(self) -> Change<'static> {
        fn text(text: Cow<str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        fn json(data: Cow<RawValue>) -> Cow<'static, RawValue> {
            Cow::Owned(data.into_owned())
        }
        match self {
            Change::Create(records) => {
                Change::Create(records.into_iter().map(|r| NewRecord { data: json(r.data) }).collect())
            }
            Change::Update(records) => {
                let owned = |r: RecordPatch| RecordPatch { upstream_id: text(r.upstream_id), data: json(r.data) };
                Change::Update(records.into_iter().map(owned).collect())
            }
            Change::Delete(records) => {
                Change::Delete(records.into_iter().map(|r| Removal { upstream_id: text(r.upstream_id) }).collect())
            }
        }
    }
}

impl Mutation<'_> {
    /// Copies what is borrowed.
    pub fn into_owned(self) -> Mutation<'static> {
        let Mutation { sync_id, collection_id, change } = self;
        Mutation { sync_id, collection_id, change: change.into_owned() }
    }
}
