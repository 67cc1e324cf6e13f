//! `sequin_mutate`: many records, one request, a set of rows.

use pgrx::pg_sys::FunctionCallInfo;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{default, pg_extern};

use crate::mutation::request::Request;
use crate::pg::jsonb::JsonText;
use crate::pg::rows::{RecordSet, SetTarget};
use crate::pg::text::{Name, Text, TextArray};

use super::exchange::Call;

#[allow(clippy::too_many_arguments, reason = "they are the SQL function's")]
#[pg_extern(volatile, parallel_unsafe)]
fn sequin_mutate(
    kind: Option<Text>,
    sync_id: Option<Text>,
    collection_id: Option<Text>,
    records: Option<JsonText>,
    await_consumers: default!(Option<TextArray>, "NULL"),
    timeout_ms: default!(Option<i32>, "NULL"),
    server: default!(Option<Name>, "NULL"),
    call: FunctionCallInfo,
) -> Result<RecordSet, ErrorReport> {
    let target = SetTarget::new(call);
    let call = Call { verb: "sequin_mutate", sync_id, collection_id, await_consumers, timeout_ms, server };
    call.run(
        |arguments| {
            let kind = kind.as_ref().map(|text| text.0.as_str());
            let request = Request::from_records(kind, arguments, records.as_ref().map(JsonText::as_str).as_deref());
            records.map(JsonText::release);
            request
        },
        |records| target.fill(records).map_err(|error| error.to_string()),
    )
}
