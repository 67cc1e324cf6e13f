//! `sequin_mutate`: many records, one request, a set of rows.

use pgrx::pg_sys::FunctionCallInfo;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{default, pg_extern};

use crate::ereport;
use crate::pg::context;
use crate::pg::jsonb::Json;
use crate::pg::result_set::{RecordSet, SetTarget};
use crate::pg::text::{Name, Text, TextArray};
use contract::outcome::Outcome;
use contract::reply::UnusableReply;
use contract::request::{InvalidRequest, Request};

use super::call::{Call, Sent};

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
    call: FunctionCallInfo,
) -> Result<RecordSet, ErrorReport> {
    let target = SetTarget::new(call);
    let call = Call { verb: "sequin_mutate", sync_id, collection_id, await_consumers, timeout_ms, server };
    call.run(
        target,
        |arguments| {
            let mut draft = Request::draft(kind.as_ref().map(|text| text.0.as_str()), arguments)?;
            records.as_ref().ok_or(InvalidRequest::Null("records"))?.print_to(draft.records_mut());
            draft.finish()
        },
        |target, records, sent| {
            let mut count = 0;
            let rows = target.fill(records.inspect(|_| count += 1));
            let rows = rows.map_err(|error| UnusableReply::Unreadable(error.to_string()))?;
            tell_of_missing(count, sent)?;
            Ok(rows)
        },
    )
}

/// Says what is not known of a reply with fewer records than were sent. The records that it has are worth more than an
/// error: they hold the ids of what was created.
fn tell_of_missing(count: usize, Sent { facts, status }: &Sent<'_>) -> Result<(), UnusableReply> {
    match count {
        0 => return Err(UnusableReply::Missing("it has no record".to_owned())),
        _ if count < facts.records => {
            let reason = format!("it has {count} of the {} records sent", facts.records);
            context::now_known(c"whether it was applied is unknown");
            ereport::warn(&Outcome::missing(facts, *status, &reason));
        }
        _ => {}
    }
    Ok(())
}
