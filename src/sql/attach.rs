//! `sequin_attach` and `sequin_detach`.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{default, pg_extern};

use crate::attach::attach_table;
use crate::ereport::Error;
use crate::pg::jsonb::Json;
use crate::pg::text::{Name, Regclass, Text, TextArray};
use contract::attachment::{self, AttachArgumentError, Attachment, Delivery};
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
    let target = required("target", target)?.0;
    let delivery = required("delivery", delivery)?.0;
    let operations = required("operations", operations)?.0;
    let words: Vec<&str> =
        operations.iter().map(|word| required("operations", word.as_deref())).collect::<Result<_, _>>()?;
    let attachment = Attachment {
        sync_id: required("sync_id", sync_id)?.0,
        collection_id: required("collection_id", collection_id)?.0,
        upstream_id_column: required("upstream_id_column", upstream_id_column)?.0,
        fields: fields.map(|json| attachment::parse_fields(&json.to_text())).transpose().map_err(Error::from)?,
        delivery: Delivery::from_word(&delivery).map_err(Error::from)?,
        await_consumers: await_consumers.map(|ids| consumers(ids.0)).transpose()?,
        timeout_ms,
        server: server.map(|name| name.0),
    };
    let operations = attachment::parse_operations(words).map_err(Error::from)?;
    Ok(attach_table::attach(target, &attachment, &operations)?)
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_detach(target: Option<Regclass>) -> Result<(), ErrorReport> {
    Ok(attach_table::detach(required("target", target)?.0)?)
}

/// The ids of consumers, none of them NULL.
fn consumers(ids: Vec<Option<String>>) -> Result<Vec<String>, Error> {
    let id = |(i, id): (usize, Option<String>)| id.ok_or_else(|| InvalidRequest::NullConsumer(i + 1).into());
    ids.into_iter().enumerate().map(id).collect()
}

fn required<T>(name: &'static str, argument: Option<T>) -> Result<T, Error> {
    argument.ok_or_else(|| InvalidRequest::Null(name).into())
}

impl From<AttachArgumentError> for Error {
    fn from(mistaken: AttachArgumentError) -> Error {
        Error::refused(Code::ERRCODE_INVALID_PARAMETER_VALUE, mistaken.to_string(), mistaken.hint())
    }
}
