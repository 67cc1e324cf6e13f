//! The provider in memory, for a first look and for tests. It is as strict as the contract's examples, and can show what
//! a real provider does at its worst: an e-mail address at a special domain chooses the outcome.
//!
//! | `email` or `Email` in the data of a create or an update | outcome |
//! |---|---|
//! | `...@timeout.example` | applied, but answered with 504, as if the provider's reply was lost |
//! | `...@limit.example` | 429 with `retry-after: 1`; nothing is applied |
//! | not an address | 400; nothing is applied |

use std::sync::Arc;
use std::time::Duration;

use mutation_api::consumers::Awaited;
use mutation_api::email;
use mutation_api::record::{Record, provider_name};
use mutation_api::reply::Reply;
use mutation_api::request::{Change, Mutation};
use mutation_api::stream::Stream;
use serde_json::value::RawValue;

use super::reply::{self, About, End};
use super::verdict::Fault;
use crate::providers::{Refusal, Written};

const TIMEOUT: &str = "@timeout.example";
const LIMIT: &str = "@limit.example";

/// The end of the mutation, and its reply. An applied one has the records of the stream, `updated_idx` and all, once the
/// consumers have processed them.
pub async fn carry_out(stream: &Stream, mutation: &Mutation<'_>, awaited: &Awaited) -> (End, Reply) {
    let (end, records) = end(stream, mutation);
    let reply = match &end {
        End::Applied(_) => match awaited.have_processed(&records).await {
            Ok(()) => Reply::records(records.iter().map(Arc::as_ref)),
            Err(late) => late,
        },
        end => {
            let about = About {
                provider: &provider_name(&mutation.collection_id),
                sync_id: &mutation.sync_id,
                collection_id: &mutation.collection_id,
            };
            reply::of(end, &about)
        }
    };
    (end, reply)
}

fn end(stream: &Stream, mutation: &Mutation) -> (End, Vec<Arc<Record>>) {
    if is_at(LIMIT, mutation) {
        return (End::Limited { wait: Duration::from_secs(1), faults: Vec::new() }, Vec::new());
    }
    match stream.mutate(mutation) {
        Ok(_) if is_at(TIMEOUT, mutation) => (End::Unknown(Vec::new()), Vec::new()),
        Ok(records) => (End::Applied(vec![Written::default(); records.len()]), records),
        Err(refused) => {
            let refusal = Refusal { message: refused.0, detail: None };
            (End::Rejected(vec![Fault { index: None, refusal, is_gone: false }]), Vec::new())
        }
    }
}

/// Whether the email of any element ends with `domain`.
fn is_at(domain: &str, mutation: &Mutation) -> bool {
    let is_at = |data: &RawValue| email::addresses(data).iter().any(|address| address.ends_with(domain));
    match &mutation.change {
        Change::Create(records) => records.iter().any(|record| is_at(&record.data)),
        Change::Update(records) => records.iter().any(|record| is_at(&record.data)),
        Change::Delete(_) => false,
    }
}
