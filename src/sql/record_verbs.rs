//! The verbs for one record: one row in, one row out, usable wherever an expression is.

use pgrx::pg_sys::FunctionCallInfo;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{default, pg_extern};

use crate::pg::jsonb::Json;
use crate::pg::result_set::{OneRecord, OneTarget};
use crate::pg::text::{Name, Text, TextArray};
use contract::reply::matching;
use contract::reply::{Record, ReplyRecords, UnusableReply};
use contract::request::Request;

use super::call::Call;

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_create(
    sync_id: Option<Text>,
    collection_id: Option<Text>,
    data: Option<Json>,
    await_consumers: default!(Option<TextArray>, "NULL"),
    timeout_ms: default!(Option<i32>, "NULL"),
    server: default!(Option<Name>, "NULL"),
    call: FunctionCallInfo,
) -> Result<OneRecord, ErrorReport> {
    let target = OneTarget::new(call);
    let call = Call { verb: "sequin_create", sync_id, collection_id, await_consumers, timeout_ms, server };
    call.run(
        target,
        |arguments| Request::create_one(arguments, data.as_ref().map(Json::to_text).as_deref()),
        |target, records, _| the_only(target, records, None),
    )
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
    call: FunctionCallInfo,
) -> Result<OneRecord, ErrorReport> {
    let target = OneTarget::new(call);
    let call = Call { verb: "sequin_update", sync_id, collection_id, await_consumers, timeout_ms, server };
    call.run(
        target,
        |arguments| {
            let upstream_id = upstream_id.as_ref().map(|text| text.0.as_str());
            Request::update_one(arguments, upstream_id, data.as_ref().map(Json::to_text).as_deref())
        },
        |target, records, _| the_only(target, records, upstream_id.as_ref()),
    )
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_delete(
    sync_id: Option<Text>,
    collection_id: Option<Text>,
    upstream_id: Option<Text>,
    await_consumers: default!(Option<TextArray>, "NULL"),
    timeout_ms: default!(Option<i32>, "NULL"),
    server: default!(Option<Name>, "NULL"),
    call: FunctionCallInfo,
) -> Result<OneRecord, ErrorReport> {
    let target = OneTarget::new(call);
    let call = Call { verb: "sequin_delete", sync_id, collection_id, await_consumers, timeout_ms, server };
    call.run(
        target,
        |arguments| Request::delete_one(arguments, upstream_id.as_ref().map(|text| text.0.as_str())),
        |target, records, _| the_only(target, records, upstream_id.as_ref()),
    )
}

/// The record of a reply that must have one, since one was sent: that with `id`, if it had one.
fn the_only(target: OneTarget, records: ReplyRecords<'_>, id: Option<&Text>) -> Result<OneRecord, UnusableReply> {
    let records: Vec<Record<'_>> =
        records.collect::<Result<_, _>>().map_err(|error| UnusableReply::Unreadable(error.to_string()))?;
    let replied: Vec<Option<&str>> = records.iter().map(|record| record.upstream_id.as_deref()).collect();
    if let Some(id) = id {
        matching::require_all(&[&id.0], &replied).map_err(UnusableReply::Missing)?;
    }
    match &records[..] {
        [] => Err(UnusableReply::Missing("it has no record".to_owned())),
        [record] => Ok(target.fill(record)),
        _ => Err(UnusableReply::Unreadable("it has more than one record".to_owned())),
    }
}
