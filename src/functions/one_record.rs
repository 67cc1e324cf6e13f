//! The verbs for one record: one row in, one row out, usable wherever an expression is.

use pgrx::pg_sys::FunctionCallInfo;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{default, pg_extern};

use crate::mutation::reply::Records;
use crate::mutation::request::Request;
use crate::pg::jsonb::Json;
use crate::pg::rows::{OneRecord, OneTarget};
use crate::pg::text::{Name, Text, TextArray};

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
    call.run(target, |arguments| Request::create_one(arguments, data.as_ref().map(Json::to_text).as_deref()), the_only)
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
        the_only,
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
        the_only,
    )
}

/// The record of a reply that must have one, since one was sent.
fn the_only(target: OneTarget, mut records: Records<'_>) -> Result<OneRecord, String> {
    let first = records.next().ok_or("it holds no record")?.map_err(|error| error.to_string())?;
    if records.next().is_some() {
        return Err("it holds more than the one record".to_owned());
    }
    Ok(target.fill(&first))
}
