//! The trigger functions of attached tables.

use std::borrow::Cow;

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_extern;
use pgrx::pg_sys::FunctionCallInfo;
use pgrx::pg_sys::panic::ErrorReport;

use crate::attach::{capture, owner_rights, partition_moves};
use crate::pg::row_trigger::{RowUpdate, StoredRow};
use crate::pg::text::{database_is_utf8, for_message};
use crate::pg::trigger::{Fired, NoRow};
use crate::settings;
use contract::attachment::{self, Attachment};

/// Called when all other triggers of a statement have fired.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn end_statement(call: FunctionCallInfo) -> Result<NoRow, ErrorReport> {
    fired(call)?;
    capture::end_statement()?;
    Ok(NoRow)
}

/// What all triggers of attached tables call but the one that refuses TRUNCATE: one function, so that a role that
/// attaches a table needs EXECUTE on one. Before a statement it notes that it begins, before the update of a row it keeps
/// the row's upstream id and its partition, after a statement it sends what has changed.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn capture(call: FunctionCallInfo) -> Result<StoredRow, ErrorReport> {
    if let Some(update) = RowUpdate::of(call) {
        if settings::capture() {
            partition_moves::refuse(&update)?;
        }
        return Ok(keep_upstream_id(&update));
    }
    let fired = fired(call)?;
    if fired.is_before() {
        capture::begin(&fired, settings::capture())?;
    } else if settings::capture() {
        let argument = fired.arguments().into_iter().next().unwrap_or_default();
        let attachment = Attachment::from_argument(&argument).map_err(|reason| {
            let message = format!("the trigger's argument is not an attachment: {reason}");
            ErrorReport::new(Code::ERRCODE_INVALID_PARAMETER_VALUE, for_message(message), "sequin_mutations")
                .set_hint("Make such triggers with sequin_attach.")
        })?;
        owner_rights::check(&fired, &attachment)?;
        capture::capture(&fired, &attachment)?;
    } else {
        capture::pass_over(&fired)?;
    }
    Ok(StoredRow::NONE)
}

/// The row that an UPDATE writes, with its old upstream id if the UPDATE would erase it: a program that saves whole rows
/// writes back what it has read, from before the id was known.
fn keep_upstream_id(update: &RowUpdate) -> StoredRow {
    let is_blank = |text: Option<Cow<'_, str>>| text.is_none_or(|text| text.trim().is_empty());
    // Without such a column both are None, and the statement's own trigger says what is wrong.
    let is_erased = is_blank(update.new_text()) && !is_blank(update.old_text());
    if is_erased && settings::capture() { update.with_old_value() } else { update.as_written() }
}

/// Whether a trigger's argument, without the zero byte at its end, is one that `sequin.attachments` can show.
#[pg_extern(schema = "sequin", immutable, parallel_safe)]
fn is_attachment(argument: &[u8]) -> bool {
    attachment::is_displayable(argument, database_is_utf8())
}

/// Refuses TRUNCATE, which tells a trigger of no rows.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn refuse_truncate(call: FunctionCallInfo) -> Result<NoRow, ErrorReport> {
    let fired = fired(call)?;
    if !settings::capture() {
        return Ok(NoRow);
    }
    let message = format!("cannot truncate {}, which is attached", fired.table().quoted);
    Err(ErrorReport::new(Code::ERRCODE_FEATURE_NOT_SUPPORTED, for_message(message), "sequin_mutations").set_hint(
        "TRUNCATE does not tell which rows there were. Use DELETE; or SET sequin.capture = off to truncate here and leave \
         the records upstream.",
    ))
}

fn fired(call: FunctionCallInfo) -> Result<Fired, ErrorReport> {
    Fired::of(call).ok_or_else(|| {
        ErrorReport::new(
            Code::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            "only a trigger for a statement can call this function",
            "sequin_mutations",
        )
    })
}
