//! The verbs for one record: one row in, one row out, usable wherever an expression is.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{default, pg_extern};

use crate::call::server;
use crate::ereport::Error;
use crate::pg::function_call::FunctionCall;
use crate::pg::jsonb::Json;
use crate::pg::result_set::{OneRecord, OneTarget};
use crate::pg::text::{Name, Text, TextArray};
use contract::reply::matching;
use contract::reply::{Record, ReplyRecords, UnusableReply};
use contract::request::Request;

use super::verb_call::{SharedArguments, VerbCall};

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_create(
    sync_id: Option<Text>,
    collection_id: Option<Text>,
    data: Option<Json>,
    await_consumers: default!(Option<TextArray>, "NULL"),
    timeout_ms: default!(Option<i32>, "NULL"),
    server: default!(Option<Name>, "NULL"),
    call: FunctionCall,
) -> Result<OneRecord, ErrorReport> {
    let arguments = SharedArguments { sync_id, collection_id, await_consumers, timeout_ms, server };
    Ok(create(&arguments, data.as_ref(), call)?)
}

#[allow(clippy::too_many_arguments, reason = "they are the SQL function's")]
#[pg_extern(volatile, parallel_unsafe)]
fn sequin_update(
    sync_id: Option<Text>,
    collection_id: Option<Text>,
    upstream_id: Option<Text>,
    data: Option<Json>,
    await_consumers: default!(Option<TextArray>, "NULL"),
    timeout_ms: default!(Option<i32>, "NULL"),
    server: default!(Option<Name>, "NULL"),
    call: FunctionCall,
) -> Result<OneRecord, ErrorReport> {
    let arguments = SharedArguments { sync_id, collection_id, await_consumers, timeout_ms, server };
    Ok(update(&arguments, upstream_id.as_ref(), data.as_ref(), call)?)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_delete(
    sync_id: Option<Text>,
    collection_id: Option<Text>,
    upstream_id: Option<Text>,
    await_consumers: default!(Option<TextArray>, "NULL"),
    timeout_ms: default!(Option<i32>, "NULL"),
    server: default!(Option<Name>, "NULL"),
    call: FunctionCall,
) -> Result<OneRecord, ErrorReport> {
    let arguments = SharedArguments { sync_id, collection_id, await_consumers, timeout_ms, server };
    Ok(delete(&arguments, upstream_id.as_ref(), call)?)
}

fn create(arguments: &SharedArguments, data: Option<&Json>, call: FunctionCall) -> Result<OneRecord, Error> {
    let target = OneTarget::new(call);
    let call = VerbCall::begin("sequin_create", arguments)?;
    let target = target?;
    let request = Request::create_one(&arguments.of_request(), data.map(Json::to_text).as_deref())?;
    send(call, target, arguments, request, None)
}

fn update(
    arguments: &SharedArguments,
    upstream_id: Option<&Text>,
    data: Option<&Json>,
    call: FunctionCall,
) -> Result<OneRecord, Error> {
    let target = OneTarget::new(call);
    let call = VerbCall::begin("sequin_update", arguments)?;
    let target = target?;
    let upstream_id = upstream_id.map(|text| text.0.as_str());
    let request = Request::update_one(&arguments.of_request(), upstream_id, data.map(Json::to_text).as_deref())?;
    send(call, target, arguments, request, upstream_id)
}

fn delete(arguments: &SharedArguments, upstream_id: Option<&Text>, call: FunctionCall) -> Result<OneRecord, Error> {
    let target = OneTarget::new(call);
    let call = VerbCall::begin("sequin_delete", arguments)?;
    let target = target?;
    let upstream_id = upstream_id.map(|text| text.0.as_str());
    let request = Request::delete_one(&arguments.of_request(), upstream_id)?;
    send(call, target, arguments, request, upstream_id)
}

/// Sends `request`, which has one record, and returns the record of the reply.
fn send(
    call: VerbCall,
    target: OneTarget,
    arguments: &SharedArguments,
    request: Request<'_>,
    upstream_id: Option<&str>,
) -> Result<OneRecord, Error> {
    let server = server::find(arguments.server())?;
    let sent = call.send(&server, request)?;
    let records = call.records(&sent)?;
    call.store(&sent, || fill(target, records, upstream_id))
}

/// The reply must have one record, with the upstream id that was sent.
fn fill(target: OneTarget, records: ReplyRecords<'_>, upstream_id: Option<&str>) -> Result<OneRecord, UnusableReply> {
    let records: Vec<Record<'_>> =
        records.collect::<Result<_, _>>().map_err(|error| UnusableReply::Unreadable(error.to_string()))?;
    if let Some(upstream_id) = upstream_id {
        let replied: Vec<Option<&str>> = records.iter().map(|record| record.upstream_id.as_deref()).collect();
        matching::require_all(&[upstream_id], &replied).map_err(UnusableReply::Missing)?;
    }
    match &records[..] {
        [] => Err(UnusableReply::Missing("it has no record".to_owned())),
        [record] => Ok(target.fill(record)),
        _ => Err(UnusableReply::Unreadable("it has more than one record".to_owned())),
    }
}
