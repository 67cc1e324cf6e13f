//! The functions of the outbox: enqueue records, administer records and servers, wait for delivery.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::{SetOfIterator, TableIterator};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{default, name, pg_extern};

use crate::attach::write_ids;
use crate::call::{read_only, server};
use crate::ereport::Error;
use crate::outbox::enqueue::{self, RecordColumns, Route};
use crate::outbox::status::{self, ServerStatus};
use crate::outbox::worker::registry;
use crate::outbox::{admin, await_delivery, sent_with};
use crate::pg::jsonb::{self, Json};
use crate::pg::session;
use crate::pg::text::{Name, Text, TextArray};
use contract::reply::Timestamp;
use contract::request::{self, InvalidRequest, Request, size_limits};

use super::verb_call::SharedArguments;

#[allow(clippy::too_many_arguments, reason = "they are the SQL function's")]
#[pg_extern(volatile, parallel_unsafe)]
fn sequin_enqueue(
    kind: Option<Text>,
    sync_id: Option<Text>,
    collection_id: Option<Text>,
    records: Option<Json>,
    await_consumers: default!(Option<TextArray>, "NULL"),
    timeout_ms: default!(Option<i32>, "NULL"),
    server: default!(Option<Name>, "NULL"),
    ordering_key: default!(Option<Text>, "NULL"),
) -> Result<SetOfIterator<'static, i64>, ErrorReport> {
    let arguments = SharedArguments { sync_id, collection_id, await_consumers, timeout_ms, server };
    let (kind, ordering_key) = (kind.map(|text| text.0), ordering_key.map(|text| text.0));
    let records = records.as_ref().map(Json::to_text);
    let ids = enqueue(kind.as_deref(), &arguments, records.as_deref(), ordering_key.as_deref())?;
    Ok(SetOfIterator::new(ids))
}

fn enqueue(
    kind: Option<&str>,
    arguments: &SharedArguments,
    records: Option<&str>,
    ordering_key: Option<&str>,
) -> Result<Vec<i64>, Error> {
    if session::is_read_only() {
        return Err(read_only("sequin_enqueue()").into());
    }
    let of_request = arguments.of_request();
    let request = Request::from_records(kind, &of_request, records)?;
    if ordering_key.is_some_and(|key| key.trim().is_empty()) {
        return Err(InvalidRequest::Empty("ordering_key").into());
    }
    size_limits::check(&of_request)?;
    let server = server::find_and_lock(arguments.server())?;
    let split = request::split_records(records.unwrap_or_default());
    size_limits::check_records(&split, ordering_key)?;
    let upstream_ids: Vec<Option<&str>> = split.iter().map(|element| element.upstream_id.as_deref()).collect();
    let route = Route {
        server: &server.name,
        kind: request.kind(),
        sync_id: request.sync_id(),
        collection_id: request.collection_id(),
        await_consumers: of_request.await_consumers.as_deref().filter(|consumers| !consumers.is_empty()),
        timeout_ms: of_request.timeout_ms,
        relation: None,
    };
    let columns = RecordColumns {
        ordering_keys: ordering_key.map_or_else(|| upstream_ids.clone(), |key| vec![Some(key); split.len()]),
        upstream_ids,
        data: split.iter().map(|element| element.data.map(jsonb::to_datum)).collect(),
    };
    Ok(enqueue::append(&route, &columns))
}

fn required<T>(name: &'static str, argument: Option<T>) -> Result<T, Error> {
    argument.ok_or_else(|| InvalidRequest::Null(name).into())
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_retry(id: Option<i64>) -> Result<(), ErrorReport> {
    Ok(admin::retry(required("id", id)?, write_ids::open)?)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_discard(id: Option<i64>) -> Result<(), ErrorReport> {
    Ok(admin::discard(required("id", id)?)?)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_resolve(id: Option<i64>, upstream_id: Option<Text>) -> Result<(), ErrorReport> {
    let upstream_id = required("upstream_id", upstream_id)?.0;
    if upstream_id.trim().is_empty() {
        return Err(Error::from(InvalidRequest::Empty("upstream_id")).into());
    }
    size_limits::at_most("upstream_id", Some(&upstream_id), size_limits::UPSTREAM_ID_BYTES).map_err(Error::from)?;
    Ok(admin::resolve(required("id", id)?, &upstream_id)?)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_pause(server: Option<Name>) -> Result<(), ErrorReport> {
    Ok(admin::pause(&required("server", server)?.0)?)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_resume(server: Option<Name>) -> Result<(), ErrorReport> {
    Ok(admin::resume(&required("server", server)?.0)?)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_await_delivery(
    ids: Option<Vec<Option<i64>>>,
    timeout_ms: default!(Option<i32>, "NULL"),
) -> Result<Option<bool>, ErrorReport> {
    let ids: Vec<i64> = required("ids", ids)?.into_iter().flatten().collect();
    Ok(await_delivery::await_delivery(&ids, timeout_ms)?)
}

#[pg_extern(stable, strict, parallel_unsafe)]
fn sequin_sent_with(id: i64) -> Option<i64> {
    sent_with::sent_with(id)
}

/// Whether this database has a worker, or gets one when there is work.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn is_served() -> bool {
    registry::is_served()
}

/// The process ids of this database's workers.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn workers() -> Vec<i32> {
    registry::pids()
}

/// The numbers of `sequin.status` that are not in tables for the view to read.
#[allow(clippy::type_complexity, reason = "they are the columns of the SQL function")]
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn server_status() -> TableIterator<
    'static,
    (
        name!(server, String),
        name!(backlog, i64),
        name!(oldest, Option<TimestampWithTimeZone>),
        name!(records_per_second, f64),
        name!(rejected, i64),
        name!(unknown, i64),
        name!(write_backs, i64),
        name!(write_back_error, Option<String>),
        name!(in_flight, i64),
        name!(is_estimate, bool),
    ),
> {
    let row = |status: ServerStatus| {
        let oldest = status
            .oldest
            .map(|Timestamp(oldest)| TimestampWithTimeZone::try_from(oldest).expect("a timestamptz of a table"));
        (
            status.server,
            status.backlog,
            oldest,
            status.deliveries.records_per_second,
            status.rejected,
            status.unknown,
            status.write_backs,
            status.write_back_error,
            status.deliveries.in_flight as i64,
            status.is_estimate,
        )
    };
    TableIterator::new(status::read().into_iter().map(row))
}
