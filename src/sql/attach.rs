//! `sequin_attach` and `sequin_detach`: which tables write through.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{default, pg_extern};

use crate::attach::attach_table;
use crate::ereport;
use crate::pg::jsonb::Json;
use crate::pg::text::{Name, Regclass, Text, TextArray};
use contract::attachment::{self, AttachArgumentError, Attachment, Delivery};
use contract::outcome::Outcome;
use contract::request::InvalidRequest;

#[allow(clippy::too_many_arguments, reason = "they are the SQL function's")]
#[pg_extern(volatile, parallel_unsafe)]
fn sequin_attach(
    target: Option<Regclass>,
    sync_id: Option<Text>,
    collection_id: Option<Text>,
    upstream_id_column: Option<Name>,
    fields: default!(Option<Json>, "NULL"),
    delivery: default!(Option<Text>, "'outbox'"),
    operations: default!(Option<TextArray>, "'{insert,update,delete}'"),
    await_consumers: default!(Option<TextArray>, "NULL"),
    timeout_ms: default!(Option<i32>, "NULL"),
    server: default!(Option<Name>, "NULL"),
) -> Result<(), ErrorReport> {
    let target = target.ok_or_else(|| null("target"))?;
    let delivery = delivery.ok_or_else(|| null("delivery"))?;
    let operations = operations.ok_or_else(|| null("operations"))?;
    let words = operations.0.iter().map(|word| word.as_deref().ok_or_else(|| null("operations")));
    let words: Vec<&str> = words.collect::<Result<_, _>>()?;
    let consumers = await_consumers.map(|ids| consumers(ids.0)).transpose()?;
    let attachment = Attachment {
        sync_id: sync_id.ok_or_else(|| null("sync_id"))?.0,
        collection_id: collection_id.ok_or_else(|| null("collection_id"))?.0,
        upstream_id_column: upstream_id_column.ok_or_else(|| null("upstream_id_column"))?.0,
        fields: fields.map(|json| attachment::parse_fields(&json.to_text())).transpose().map_err(mistaken)?,
        delivery: Delivery::from_word(&delivery.0).map_err(mistaken)?,
        await_consumers: consumers,
        timeout_ms,
        server: server.map(|name| name.0),
    };
    let operations = attachment::parse_operations(words).map_err(mistaken)?;
    attach_table::attach(target.0, &attachment, &operations)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_detach(target: Option<Regclass>) -> Result<(), ErrorReport> {
    attach_table::detach(target.ok_or_else(|| null("target"))?.0)
}

/// Consumers that all have a name.
fn consumers(ids: Vec<Option<String>>) -> Result<Vec<String>, ErrorReport> {
    let named = |(i, id): (usize, Option<String>)| {
        id.ok_or_else(|| ereport::error(&Outcome::from(InvalidRequest::NullConsumer(i + 1))))
    };
    ids.into_iter().enumerate().map(named).collect()
}

fn null(argument: &'static str) -> ErrorReport {
    ereport::error(&Outcome::from(InvalidRequest::Null(argument)))
}

fn mistaken(mistake: AttachArgumentError) -> ErrorReport {
    ereport::mistake(&mistake.to_string(), mistake.hint())
}
