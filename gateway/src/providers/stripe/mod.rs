//! Stripe: one record in a request, as a form, and a key that makes each POST repeatable.
//!
//! A collection is `stripe:` and a path under `/v1`, such as `stripe:customers` or `stripe:checkout/sessions`. It may
//! also be the name that objects have in their field `object`, such as `stripe:customer` or `stripe:checkout.session`.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mutation_api::request::{Change, Mutation};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Kind, Outcome, Provider, ProviderReply, ProviderRequest, Refusal, Repeat, Written, form, path};

mod judge;
#[cfg(test)]
mod tests;

/// The version of the API whose replies `judge` reads.
const VERSION: HeaderValue = HeaderValue::from_static("2026-10-28.endive");
const VERSION_HEADER: HeaderName = HeaderName::from_static("stripe-version");
const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Stripe may forget a key after 24 hours. The rest is a margin for clocks.
const KEY_WINDOW: Duration = Duration::from_secs(20 * 60 * 60);

/// The provider `stripe`. An account has no options of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stripe;

impl Provider for Stripe {
    fn name(&self) -> &str {
        "Stripe"
    }

    fn max_records(&self, _: &Mutation<'_>) -> usize {
        1
    }

    fn plan(&self, mutation: &Mutation<'_>, keys: &[Uuid]) -> Result<Vec<ProviderRequest>, Refusal> {
        let resource = resource(&mutation.collection_id)?;
        let planned = Planned { collection: &mutation.collection_id, resource: &resource };
        let keys = keys.iter().enumerate();
        match &mutation.change {
            Change::Create(records) => {
                keys.zip(records).map(|((at, key), record)| planned.post(at, key, None, &record.data)).collect()
            }
            Change::Update(records) => keys
                .zip(records)
                .map(|((at, key), record)| planned.post(at, key, Some(&record.upstream_id), &record.data))
                .collect(),
            Change::Delete(records) => {
                records.iter().enumerate().map(|(at, record)| planned.delete(at, &record.upstream_id)).collect()
            }
        }
    }

    fn judge(&self, request: &ProviderRequest, reply: &ProviderReply) -> Vec<Outcome> {
        vec![judge::outcome(request, reply); request.elements.len()]
    }

    /// A reply is the whole object.
    fn read_back(&self, _: &str, _: &str) -> Option<ProviderRequest> {
        None
    }

    fn judge_read(&self, _: &ProviderRequest, _: &ProviderReply) -> Option<Written> {
        None
    }

    /// Every account has customers, if only none of them.
    fn probe(&self) -> Option<ProviderRequest> {
        let planned = Planned { collection: "stripe:customers", resource: "/v1/customers?limit=1" };
        planned.request(0, Method::GET, None, Repeat::Absolute).ok()
    }
}

/// The path of a collection, from its id.
///
/// # Errors
/// The collection is not Stripe's, or its name cannot be a path.
fn resource(collection_id: &str) -> Result<String, Refusal> {
    let name = collection_id.strip_prefix("stripe:").unwrap_or_default();
    let is_segment =
        |segment: &str| !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    // An object's name is a singular, and every list of Stripe is a plural with an s.
    let resource = match name.contains('/') || name.ends_with('s') {
        true => name.to_owned(),
        false => format!("{}s", name.replace('.', "/")),
    };
    if name.is_empty() || !resource.split('/').all(is_segment) {
        let refusal = "must be stripe: and the path of a list under /v1, or an object's name";
        return Err(Refusal::new(&format!("the collection {collection_id:?} {refusal}")));
    }
    Ok(format!("/v1/{resource}"))
}

/// What the requests of one mutation share.
struct Planned<'a> {
    collection: &'a str,
    resource: &'a str,
}

impl Planned<'_> {
    /// A create, or an update of the record with this id.
    ///
    /// An update may add things, such as the items of a subscription, so its repetition is safe only under its key.
    fn post(&self, at: usize, key: &Uuid, id: Option<&str>, data: &RawValue) -> Result<ProviderRequest, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let key = HeaderValue::from_str(&key.to_string());
        headers.insert(KEY_HEADER, key.map_err(|_| Refusal::new("the key is no header"))?);
        let mut request = self.request(at, Method::POST, id, Repeat::Key { window: KEY_WINDOW })?;
        request.headers.extend(headers);
        request.kind = if id.is_some() { Kind::Update } else { Kind::Create };
        request.body = form::encode(data)?.into();
        Ok(request)
    }

    /// A delete takes no key: of a second one Stripe says that there is no such object.
    fn delete(&self, at: usize, id: &str) -> Result<ProviderRequest, Refusal> {
        self.request(at, Method::DELETE, Some(id), Repeat::Absolute)
    }

    fn request(&self, at: usize, method: Method, id: Option<&str>, repeat: Repeat) -> Result<ProviderRequest, Refusal> {
        let path = match id {
            Some(id) => format!("{}/{}", self.resource, path::segment(id)?),
            None => self.resource.to_owned(),
        };
        Ok(ProviderRequest {
            method,
            path,
            headers: HeaderMap::from_iter([(VERSION_HEADER, VERSION)]),
            body: Bytes::new(),
            collection: self.collection.to_owned(),
            kind: Kind::Delete,
            elements: vec![at],
            upstream_ids: id.into_iter().map(str::to_owned).collect(),
            repeat,
        })
    }
}
