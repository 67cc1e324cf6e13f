//! Input: a byte for the kind of the change, a byte for the headers of the reply, two bytes for its status, a line with
//! the upstream id, and the body of the reply.
//!
//! - A request goes to the record that its change names.
//! - A reply has one outcome, which its status and the shape of its body allow.
//! - Words are one harmless line, and an error body is JSON.

use std::borrow::Cow;

use gateway::providers::stripe::Stripe;
use gateway::providers::{Kind, Outcome, Provider, ProviderReply, ProviderRequest};
use http::{HeaderMap, HeaderName, HeaderValue};
use mutation_api::request::{Change, Mutation, NewRecord, RecordPatch, Removal};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::gateway_text;
use crate::input::Input;
use crate::oracle;

const HEADERS: [(&str, &str); 5] = [
    ("stripe-should-retry", "true"),
    ("stripe-should-retry", "false"),
    ("idempotent-replayed", "true"),
    ("retry-after", "7"),
    ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"),
];

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (kind, marks, status) = (input.below(3), input.byte(), 100 + input.two() % 500);
    let id = input.line();
    let Some(request) = planned(&Stripe, "stripe:customers", kind, &id, "{}") else { return };
    assert!(request.path == "/v1/customers" || request.path.starts_with("/v1/customers/"));
    gateway_text::keeps_its_path(&request.path);
    let mut headers = HeaderMap::new();
    for (bit, (name, value)) in HEADERS.into_iter().enumerate() {
        if marks & (1 << bit) != 0 {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    let body = input.rest();
    let text = String::from_utf8_lossy(body);
    let is_object = str::from_utf8(body).is_ok() && oracle::fields(text.trim_start_matches('\u{feff}')).is_some();
    let reply = ProviderReply { status, headers, body: body.to_vec().into() };
    let outcomes = Stripe.judge(&request, &reply);
    let [outcome] = &outcomes[..] else { panic!("{} outcomes of one record", outcomes.len()) };
    gateway_text::is_harmless(outcome);
    match outcome {
        Outcome::Applied(written) => {
            assert!(is_object && [200, 201].contains(&status));
            assert!(request.kind == Kind::Create || written.upstream_id.as_deref() == Some(&*id));
        }
        Outcome::Rejected(_) => assert!(is_object && (400..500).contains(&status) && status != 429),
        Outcome::Gone(_) => assert!(is_object && status == 404 && request.kind != Kind::Create),
        Outcome::Limited { .. } => assert!(status == 429 || (is_object && marks & 1 != 0)),
        Outcome::Unauthorised(_) => assert_eq!(status, 401),
        Outcome::Unknown { may_repeat, .. } => assert!(may_repeat.is_none() || status != 200 || marks & 7 != 0),
    }
}

/// The request for a change of one record. None: it is refused.
pub fn planned(
    provider: &dyn Provider,
    collection: &str,
    kind: usize,
    id: &str,
    data: &str,
) -> Option<ProviderRequest> {
    let data: Cow<RawValue> = Cow::Owned(RawValue::from_string(data.to_owned()).ok()?);
    let id = || Cow::Owned(id.to_owned());
    let change = match kind {
        0 => Change::Create(vec![NewRecord { data }]),
        1 => Change::Update(vec![RecordPatch { upstream_id: id(), data }]),
        _ => Change::Delete(vec![Removal { upstream_id: id() }]),
    };
    let mutation = Mutation { sync_id: "s".into(), collection_id: collection.into(), change };
    match provider.plan(&mutation, &[Uuid::from_u128(0x6ba7_b810_9dad_41d1_80b4_00c0_4fd4_30c8)]) {
        Ok(requests) => {
            let [request] = <[_; 1]>::try_from(requests).expect("one request for one record");
            assert_eq!(request.elements, [0]);
            Some(request)
        }
        Err(refusal) => {
            gateway_text::is_line(&refusal.message);
            None
        }
    }
}
