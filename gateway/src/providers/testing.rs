//! What the tests of all providers share: changes, replies, and outcomes in short.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use mutation_api::request::{Change, Mutation, NewRecord, RecordPatch, Removal};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Outcome, Provider, ProviderReply, ProviderRequest, Refusal};

pub const KEY: Uuid = Uuid::from_u128(0x6ba7b810_9dad_41d1_80b4_00c04fd430c8);

pub fn raw(json: &str) -> Cow<'static, RawValue> {
    Cow::Owned(RawValue::from_string(json.into()).unwrap())
}

pub fn create(data: &str) -> Change<'static> {
    Change::Create(vec![NewRecord { data: raw(data) }])
}

pub fn update(id: &str, data: &str) -> Change<'static> {
    Change::Update(vec![RecordPatch { upstream_id: id.to_owned().into(), data: raw(data) }])
}

pub fn delete(id: &str) -> Change<'static> {
    Change::Delete(vec![Removal { upstream_id: id.to_owned().into() }])
}

/// The one request of a change, under [`KEY`].
pub fn plan(provider: &dyn Provider, collection: &str, change: Change<'static>) -> Result<ProviderRequest, Refusal> {
    let mutation = Mutation { sync_id: "s".into(), collection_id: collection.into(), change };
    let mut requests = provider.plan(&mutation, &[KEY])?;
    assert_eq!(requests.len(), 1);
    Ok(requests.remove(0))
}

pub fn reply(status: u16, headers: &[(&'static str, &'static str)], body: impl Into<Vec<u8>>) -> ProviderReply {
    let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    ProviderReply { status, headers: headers.collect(), body: Bytes::from(body.into()) }
}

/// The one outcome of a request.
pub fn judge(provider: &dyn Provider, request: &ProviderRequest, reply: &ProviderReply) -> Outcome {
    let mut outcomes = provider.judge(request, reply);
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// An outcome in a line.
pub fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied(written) => {
            let id = written.upstream_id.as_deref().unwrap_or("-");
            let times = [&written.created_at, &written.updated_at];
            let times = times.into_iter().flatten().fold(String::new(), |times, time| format!("{times} {time}"));
            let deleted = if written.is_deleted { " deleted" } else { "" };
            let data = if written.data.is_some() { " data" } else { "" };
            format!("applied {id}{times}{deleted}{data}")
        }
        Outcome::Rejected(refusal) => format!("rejected {}", refusal.message),
        Outcome::Gone(refusal) => format!("gone {}", refusal.message),
        Outcome::Limited { wait, refusal } => {
            format!("limited {:?} {}", wait.map(|wait| wait.as_secs()), refusal.message)
        }
        Outcome::Unauthorised(refusal) => format!("unauthorised {}", refusal.message),
        Outcome::Unknown { may_repeat, refusal } => format!("unknown {may_repeat:?} {}", refusal.message),
    }
}
