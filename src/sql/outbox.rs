//! The functions of the outbox: enqueuing, waiting, and the verbs for a record or a server.

use pgrx::iter::SetOfIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{default, pg_extern};

use crate::attach::write_ids;
use crate::call::read_only;
use crate::call::server;
use crate::ereport;
use crate::outbox::enqueue::{self, Columns, Route};
use crate::outbox::worker::registry;
use crate::outbox::{admin, await_delivery};
use crate::pg::jsonb::{self, Json};
use crate::pg::session;
use crate::pg::text::{Name, Text, TextArray};
use contract::outcome::Outcome;
use contract::request::{self, Arguments, InvalidRequest, Request, size_limits};

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
    if session::is_read_only() {
        return Err(ereport::error(&read_only("sequin_enqueue()")));
    }
    let consumers: Option<Vec<Option<&str>>> =
        await_consumers.as_ref().map(|array| array.0.iter().map(Option::as_deref).collect());
    let arguments = Arguments {
        sync_id: sync_id.as_ref().map(|text| text.0.as_str()),
        collection_id: collection_id.as_ref().map(|text| text.0.as_str()),
        await_consumers: consumers.as_deref(),
        timeout_ms,
    };
    let kind = kind.as_ref().map(|text| text.0.as_str());
    let records = records.as_ref().map(Json::to_text);
    let request = Request::from_records(kind, &arguments, records.as_deref()).map_err(invalid)?;
    if ordering_key.as_ref().is_some_and(|key| key.0.trim().is_empty()) {
        return Err(invalid(InvalidRequest::Empty("ordering_key")));
    }
    size_limits::check(&arguments).map_err(invalid)?;
    let server = server::find_and_keep(server.as_ref().map(|name| name.0.as_str()))
        .map_err(|unusable| ereport::error(&Outcome::from(unusable)))?;
    let records = request::split_records(records.as_deref().unwrap_or_default());
    size_limits::check_records(&records, ordering_key.as_ref().map(|key| key.0.as_str())).map_err(invalid)?;
    let upstream_ids: Vec<Option<&str>> = records.iter().map(|element| element.upstream_id.as_deref()).collect();
    let ordering_keys = match &ordering_key {
        Some(key) => vec![Some(key.0.as_str()); records.len()],
        None => upstream_ids.clone(),
    };
    let route = Route {
        server: &server.name,
        kind: request.kind(),
        sync_id: request.sync_id(),
        collection_id: request.collection_id(),
        await_consumers: consumers.as_deref().filter(|consumers| !consumers.is_empty()),
        timeout_ms,
        relation: None,
    };
    let data = records.iter().map(|element| element.data.map(jsonb::to_datum)).collect();
    Ok(SetOfIterator::new(enqueue::append(&route, &Columns { ordering_keys, upstream_ids, data })))
}

fn invalid(invalid: InvalidRequest) -> ErrorReport {
    ereport::error(&Outcome::from(invalid))
}

fn given<T>(name: &'static str, argument: Option<T>) -> Result<T, ErrorReport> {
    argument.ok_or_else(|| invalid(InvalidRequest::Null(name)))
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_retry(id: Option<i64>) -> Result<(), ErrorReport> {
    admin::retry(given("id", id)?, write_ids::open)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_discard(id: Option<i64>) -> Result<(), ErrorReport> {
    admin::discard(given("id", id)?)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_resolve(id: Option<i64>, upstream_id: Option<Text>) -> Result<(), ErrorReport> {
    let upstream_id = given("upstream_id", upstream_id)?.0;
    if upstream_id.trim().is_empty() {
        return Err(invalid(InvalidRequest::Empty("upstream_id")));
    }
    size_limits::at_most("upstream_id", Some(&upstream_id), size_limits::UPSTREAM_ID_BYTES).map_err(invalid)?;
    admin::resolve(given("id", id)?, &upstream_id)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_pause(server: Option<Name>) -> Result<(), ErrorReport> {
    admin::pause(&given("server", server)?.0)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_resume(server: Option<Name>) -> Result<(), ErrorReport> {
    admin::resume(&given("server", server)?.0)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_await_delivery(
    ids: Option<Vec<Option<i64>>>,
    timeout_ms: default!(Option<i32>, "NULL"),
) -> Result<Option<bool>, ErrorReport> {
    let ids: Vec<i64> = given("ids", ids)?.into_iter().flatten().collect();
    await_delivery::await_delivery(&ids, timeout_ms)
}

/// The process ids of this database's workers.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn workers() -> Vec<i32> {
    registry::pids()
}
