//! `sequin_mutate`: many records, one request, a set of rows.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{default, pg_extern};

use crate::call::SentRequest;
use crate::call::error_context::{self, Known};
use crate::call::server;
use crate::ereport::{self, Error};
use crate::pg::function_call::FunctionCall;
use crate::pg::jsonb::Json;
use crate::pg::result_set::{RecordSet, SetTarget};
use crate::pg::text::{Name, Text, TextArray};
use contract::outcome::Outcome;
use contract::reply::{ReplyRecords, UnusableReply};
use contract::request::{InvalidRequest, Request};

use super::verb_call::{SharedArguments, VerbCall};

#[allow(clippy::too_many_arguments, reason = "they are the SQL function's")]
#[pg_extern(volatile, parallel_unsafe)]
fn sequin_mutate(
    kind: Option<Text>,
    sync_id: Option<Text>,
    collection_id: Option<Text>,
    records: Option<Json>,
    await_consumers: default!(Option<TextArray>, "NULL"),
    timeout_ms: default!(Option<i32>, "NULL"),
    server: default!(Option<Name>, "NULL"),
    call: FunctionCall,
) -> Result<RecordSet, ErrorReport> {
    let arguments = SharedArguments { sync_id, collection_id, await_consumers, timeout_ms, server };
    Ok(mutate(kind.as_ref(), &arguments, records.as_ref(), call)?)
}

fn mutate(
    kind: Option<&Text>,
    arguments: &SharedArguments,
    records: Option<&Json>,
    call: FunctionCall,
) -> Result<RecordSet, Error> {
    let target = SetTarget::new(call);
    let call = VerbCall::begin("sequin_mutate", arguments)?;
    let target = target?;
    let mut draft = Request::draft(kind.map(|text| text.0.as_str()), &arguments.of_request())?;
    records.ok_or(InvalidRequest::Null("records"))?.print_to(draft.records_mut());
    let request = draft.finish()?;
    let server = server::find(arguments.server())?;
    let sent = call.send(&server, request)?;
    let records = call.records(&sent)?;
    call.store(&sent, || fill(target, records, &sent))
}

/// Returns a row for each record, and warns if the reply has fewer records than were sent. An error would lose the ids
/// of the records that the reply has.
fn fill(target: SetTarget, records: ReplyRecords<'_>, sent: &SentRequest<'_>) -> Result<RecordSet, UnusableReply> {
    let mut count = 0;
    let rows = target.fill(records.inspect(|_| count += 1));
    let rows = rows.map_err(|error| UnusableReply::Unreadable(error.to_string()))?;
    let facts = sent.facts();
    if count == 0 {
        return Err(UnusableReply::Missing("it has no record".to_owned()));
    }
    if count < facts.records {
        let reason = format!("it has {count} of the {} records sent", facts.records);
        error_context::set_known(Known::Unknown);
        ereport::warn(*Outcome::missing(&facts, sent.status(), &reason));
    }
    Ok(rows)
}
