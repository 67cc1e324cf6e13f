//! What differs between providers, as pure functions: no input, no output, no clock. The engine does the rest.
//!
//! The map:
//! - `stripe`       Stripe
//! - `rest`         any REST service that the configuration describes
//! - `form`         data as a form                 - `json`      pointers into JSON that stays text
//! - `path`         ids in paths                   - `times`     times as ISO 8601
//! - `retry_after`  how long a reply says to wait
//! - `text`         a provider's words, made fit for an error text; `refusal` and `redact` belong to it

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use mutation_api::request::Mutation;
use serde_json::value::RawValue;
use uuid::Uuid;

pub mod form;
pub mod json;
#[cfg(test)]
mod junk;
pub mod path;
pub mod redact;
mod refusal;
pub mod rest;
pub mod retry_after;
pub mod stripe;
#[cfg(test)]
mod testing;
pub mod text;
pub mod times;

/// One provider with the configuration of one sync.
pub trait Provider: Send + Sync {
    /// The name in error texts, as the provider spells it: `Stripe`.
    fn name(&self) -> &str;

    /// How many records of a mutation one atomic request of the provider can hold. At least 1.
    fn max_records(&self, mutation: &Mutation<'_>) -> usize;

    /// The requests that carry out the mutation. `keys` has one key for each element, in their order; a key is the
    /// same in every repetition of the mutation. The elements of the requests are disjoint and cover the mutation.
    ///
    /// # Errors
    /// The mutation cannot be expressed: an unknown collection, a kind that the provider does not have, data of the
    /// wrong shape. Nothing was sent.
    fn plan(&self, mutation: &Mutation<'_>, keys: &[Uuid]) -> Result<Vec<ProviderRequest>, Refusal>;

    /// One outcome for each element of `request`, in their order. Any reply whatsoever has one: what cannot be read
    /// is `Unknown`.
    fn judge(&self, request: &ProviderRequest, reply: &ProviderReply) -> Vec<Outcome>;

    /// The request that reads the record with this id, where a reply to a write is less than the record. None: the
    /// reply is all there is.
    fn read_back(&self, collection: &str, upstream_id: &str) -> Option<ProviderRequest>;

    /// The record in the reply to `read_back`. None if there is none in it: the write stays applied.
    fn judge_read(&self, request: &ProviderRequest, reply: &ProviderReply) -> Option<Written>;

    /// A GET that the credential must allow, for `check`. None: there is none that works for every account.
    fn probe(&self) -> Option<ProviderRequest> {
        None
    }
}

/// One request to a provider, without the address and the credential.
#[derive(Clone, Debug)]
pub struct ProviderRequest {
    pub method: Method,
    /// What follows the base URL: begins with `/`, percent-encoded, may have a query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The collection, for `judge`.
    pub collection: String,
    /// The kind of its elements, for `judge`.
    pub kind: Kind,
    /// The indices of its elements in the mutation, ascending.
    pub elements: Vec<usize>,
    /// The ids that its elements name, in their order. Empty for creates whose ids the provider chooses.
    pub upstream_ids: Vec<String>,
    pub repeat: Repeat,
}

/// The kind of a provider's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Create,
    Update,
    Delete,
    Read,
}

impl Kind {
    /// Its name in messages and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Create => "create",
            Kind::Update => "update",
            Kind::Delete => "delete",
            Kind::Read => "read",
        }
    }
}

/// Whether a request may be sent again after its outcome became unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// A second request could be a second effect.
    Never,
    /// The provider knows the key that is in the request for this long after the first request.
    Key { window: Duration },
    /// The second request meets what the first one made, and `judge` recognises it.
    UniqueId,
    /// An update or a delete: the second effect is the first one.
    Absolute,
}

/// A whole reply of a provider.
#[derive(Clone, Debug)]
pub struct ProviderReply {
    /// 100 to 999.
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What became of one record.
#[derive(Clone, Debug)]
pub enum Outcome {
    Applied(Written),
    /// The provider refused this record and did not apply it.
    Rejected(Refusal),
    /// There is no such record. A delete is applied then; an update is rejected.
    Gone(Refusal),
    /// Not applied, because of a limit or a lock. `wait` is what the provider asks for.
    Limited {
        wait: Option<Duration>,
        refusal: Refusal,
    },
    /// The provider does not accept the credential. Not applied.
    Unauthorised(Refusal),
    /// It may or may not have been applied. `may_repeat` is the provider's own word on whether to try again, which
    /// outranks [`Repeat`]: None if it says nothing.
    Unknown {
        may_repeat: Option<bool>,
        refusal: Refusal,
    },
}

/// A record as a provider shows it after a write. What the provider does not say is None, never a guess.
#[derive(Clone, Debug, Default)]
pub struct Written {
    pub upstream_id: Option<String>,
    /// The provider's fields, digit for digit.
    pub data: Option<Box<RawValue>>,
    /// ISO 8601.
    pub created_at: Option<String>,
    /// ISO 8601.
    pub updated_at: Option<String>,
    pub is_deleted: bool,
}

/// Why a provider, or the gateway for it, refused.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    /// The provider's own words, at most 1,000 characters, without control characters and without secrets.
    pub message: String,
    /// The provider's whole error body where it is JSON, after redaction.
    pub detail: Option<Box<RawValue>>,
}
