//! Making and dropping the triggers that attach a table.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;

use crate::mutation::outcome::Outcome;
use crate::mutation::request::Request;
use crate::pg::relation::{self, is_owned};
use crate::pg::report;
use crate::pg::spi;
use crate::pg::text::for_message;
use crate::server;

use super::attachment::{Attachment, Operation};
use super::capture::resolve;
use super::queries::{NEW, OLD, literal};

/// Attaches the table `target`, after everything that can be known now to be wrong.
pub fn attach(target: Oid, attachment: &Attachment, operations: &[Operation]) -> Result<(), ErrorReport> {
    let table = owned_table(target)?;
    // Sync, collection and consumers are checked as for a request, when there is none yet.
    attachment
        .with_arguments(|arguments| Request::draft(Some("create"), arguments).map(drop))
        .map_err(|invalid| report::error(&Outcome::from(invalid)))?;
    check_columns(&table, attachment)?;
    let server = server::find(attachment.server.as_deref()).map_err(|unusable| report::error(&unusable.into()))?;
    // By name, so that no role that writes the table can turn its rows to another server with a setting.
    let attachment = Attachment { server: Some(server.name), ..attachment.clone() };
    spi::connected(|connection| {
        if !connection.texts(&triggers_of(target)).is_empty() {
            let message = format!("{} is already attached", table.quoted);
            let name = table.quoted.replace('\'', "''");
            let hint = format!("A table has one attachment. SELECT sequin_detach('{name}') ends it.");
            return Err(error(Code::ERRCODE_DUPLICATE_OBJECT, message, &hint));
        }
        let argument = literal(&attachment.to_argument());
        for operation in operations {
            let (name, keyword) = (operation.as_str(), operation.keyword());
            let referencing = match operation {
                Operation::Insert => format!("NEW TABLE AS {NEW}"),
                Operation::Update => format!("NEW TABLE AS {NEW} OLD TABLE AS {OLD}"),
                Operation::Delete => format!("OLD TABLE AS {OLD}"),
            };
            connection.execute(&format!(
                "CREATE TRIGGER sequin_{name} AFTER {keyword} ON {} REFERENCING {referencing} FOR EACH STATEMENT \
                 EXECUTE FUNCTION sequin.capture({argument})",
                table.quoted
            ));
        }
        connection.execute(&format!(
            "CREATE TRIGGER sequin_truncate BEFORE TRUNCATE ON {} FOR EACH STATEMENT EXECUTE FUNCTION \
             sequin.refuse_truncate()",
            table.quoted
        ));
        Ok(())
    })
}

/// Drops the triggers of `target`.
pub fn detach(target: Oid) -> Result<(), ErrorReport> {
    let table = owned_table(target)?;
    spi::connected(|connection| {
        let triggers = connection.texts(&triggers_of(target));
        if triggers.is_empty() {
            let message = format!("{} is not attached", table.quoted);
            return Err(error(Code::ERRCODE_UNDEFINED_OBJECT, message, "The view sequin.attachments shows what is."));
        }
        for trigger in triggers.into_iter().flatten() {
            connection.execute(&format!("DROP TRIGGER {trigger} ON {}", table.quoted));
        }
        Ok(())
    })
}

/// The triggers of ours on a table, quoted.
fn triggers_of(target: Oid) -> String {
    format!(
        "SELECT pg_catalog.quote_ident(t.tgname) FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
         WHERE t.tgrelid OPERATOR(pg_catalog.=) {} AND n.nspname OPERATOR(pg_catalog.=) 'sequin' \
         AND p.proname OPERATOR(pg_catalog.=) ANY (ARRAY['capture', 'refuse_truncate']::pg_catalog.name[])",
        target.to_u32()
    )
}

fn owned_table(target: Oid) -> Result<relation::Table, ErrorReport> {
    let table = relation::Table::open(target).ok_or_else(|| {
        let message = "only a table can be attached".to_owned();
        error(Code::ERRCODE_WRONG_OBJECT_TYPE, message, "It may be partitioned, but not a view or a foreign table.")
    })?;
    if is_owned(target) {
        Ok(table)
    } else {
        let message = format!("must be owner of table {}", table.quoted);
        Err(error(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, message, "Its owner can attach and detach it."))
    }
}

fn check_columns(table: &relation::Table, attachment: &Attachment) -> Result<(), ErrorReport> {
    resolve(table, attachment)?;
    let name = &attachment.upstream_id_column;
    if attachment.fields.as_ref().is_some_and(|fields| fields.contains_key(name)) {
        let message = format!("column \"{name}\" of {} cannot be in fields: it holds the upstream ids", table.quoted);
        return Err(error(Code::ERRCODE_INVALID_PARAMETER_VALUE, message, "Leave it out of fields."));
    }
    Ok(())
}

fn error(code: Code, message: String, hint: &str) -> ErrorReport {
    ErrorReport::new(code, for_message(message), "sequin_mutations").set_hint(for_message(hint.to_owned()))
}
