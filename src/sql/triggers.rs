//! The trigger functions of attached tables.

use std::borrow::Cow;

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_extern;
use pgrx::pg_sys::panic::ErrorReport;

use crate::attach::{capture, owner_rights, partition_moves};
use crate::ereport::Error;
use crate::pg::function_call::FunctionCall;
use crate::pg::row_trigger::{RowUpdate, StoredRow};
use crate::pg::text::database_is_utf8;
use crate::pg::trigger::{Fired, NoRow};
use crate::settings;
use contract::attachment::{self, Attachment};

/// Called when all other triggers of a statement have fired.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn end_statement(call: FunctionCall) -> Result<NoRow, ErrorReport> {
    fired(call)?;
    capture::end_statement()?;
    Ok(NoRow)
}

/// The function of all triggers of attached tables, except for the one that refuses TRUNCATE. It is one function, so that a
/// role that attaches tables needs EXECUTE on one. Before a statement it notes the beginning. Before the update of a row
/// it keeps the row's upstream id and its partition. After a statement it captures the changes.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn capture(call: FunctionCall) -> Result<StoredRow, ErrorReport> {
    if let Some(update) = RowUpdate::of(call) {
        if settings::capture() {
            partition_moves::check(&update)?;
        }
        return Ok(keep_upstream_id(&update));
    }
    let fired = fired(call)?;
    if fired.is_before() {
        capture::begin(&fired, settings::capture())?;
    } else if settings::capture() {
        let attachment = attachment_of(&fired)?;
        owner_rights::check(&fired, &attachment)?;
        capture::capture(&fired, &attachment)?;
    } else {
        capture::pass_over(&fired)?;
    }
    Ok(StoredRow::NONE)
}

fn attachment_of(fired: &Fired) -> Result<Attachment, Error> {
    let argument = fired.arguments().into_iter().next().unwrap_or_default();
    Attachment::from_argument(&argument).map_err(|reason| {
        let message = format!("the trigger's argument is not an attachment: {reason}");
        Error::refused(Code::ERRCODE_INVALID_PARAMETER_VALUE, message, "Make such triggers with sequin_attach.")
    })
}

/// The row that an UPDATE writes, with its old upstream id if the UPDATE would erase it. A program that saves whole rows
/// may write a row that it has read before the id was known.
fn keep_upstream_id(update: &RowUpdate) -> StoredRow {
    let is_blank = |text: Option<Cow<'_, str>>| text.is_none_or(|text| text.trim().is_empty());
    // Without the column both are None. The trigger of the statement reports that error.
    let is_erased = is_blank(update.new_text()) && !is_blank(update.old_text());
    if is_erased && settings::capture() { update.with_old_value() } else { update.as_written() }
}

/// Whether `sequin.attachments` can show a trigger's argument, given without the zero byte at its end.
#[pg_extern(schema = "sequin", immutable, parallel_safe)]
fn is_attachment(argument: &[u8]) -> bool {
    attachment::is_displayable(argument, database_is_utf8())
}

/// Refuses TRUNCATE, for which Postgres passes no rows to triggers.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn refuse_truncate(call: FunctionCall) -> Result<NoRow, ErrorReport> {
    let fired = fired(call)?;
    if !settings::capture() {
        return Ok(NoRow);
    }
    let message = format!("cannot truncate {}, which is attached", fired.table().quoted);
    let hint = "A trigger does not see the rows that TRUNCATE removes. Use DELETE; or SET sequin.capture = off to truncate \
        the table here and leave the records upstream.";
    Err(Error::refused(Code::ERRCODE_FEATURE_NOT_SUPPORTED, message, hint).into())
}

fn fired(call: FunctionCall) -> Result<Fired, Error> {
    Fired::of(call).ok_or_else(|| {
        let code = Code::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED;
        Error::refused(code, "only a trigger for a statement can call this function", "")
    })
}
