//! From the names in an attachment to a table's columns as they are now, and what is wrong with them.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::relation;
use crate::pg::text::{database_is_utf8, for_message};

use super::attachment::Attachment;
use super::queries::{Column, Mapped, Table};

/// The columns that `attachment` names, as they are now.
pub fn resolve(described: &relation::Table, attachment: &Attachment) -> Result<Table, ErrorReport> {
    let column = |wanted: &str| {
        described.column(wanted).ok_or_else(|| {
            ErrorReport::new(
                Code::ERRCODE_UNDEFINED_COLUMN,
                for_message(format!("column \"{wanted}\" of {} does not exist", described.quoted)),
                "sequin_mutations",
            )
            .set_hint("Check its name. If it was renamed or dropped since, detach the table and attach it anew.")
        })
    };
    let upstream_id = column(&attachment.upstream_id_column)?;
    check_holds_ids(described, upstream_id)?;
    let is_sent = |column: &&relation::Column| !column.is_in_key && column.name != upstream_id.name;
    let mapped = match &attachment.fields {
        Some(fields) => fields
            .iter()
            .map(|(name, field)| mapped(described, column(name)?, field))
            .collect::<Result<Vec<_>, ErrorReport>>()?,
        None => described
            .columns
            .iter()
            .filter(is_sent)
            .map(|column| mapped(described, column, &column.name))
            .collect::<Result<Vec<_>, ErrorReport>>()?,
    };
    let key: Vec<Column> = described.key().into_iter().map(sql_column).collect();
    if key.is_empty() {
        return Err(mistake(
            &format!("{} has no primary key", described.quoted),
            "An attached table needs one, to tell its rows apart; one that is DEFERRABLE cannot serve.",
        ));
    }
    if mapped.is_empty() {
        return Err(mistake(&format!("{} has no column to send", described.quoted), "Name columns in fields."));
    }
    Ok(Table {
        quoted: described.quoted.clone(),
        is_partitioned: described.is_partitioned,
        key,
        upstream_id: upstream_id.quoted.clone(),
        mapped,
        is_utf8: database_is_utf8(),
    })
}

fn mapped(table: &relation::Table, column: &relation::Column, field: &str) -> Result<Mapped, ErrorReport> {
    if column.is_virtual {
        return Err(mistake(
            &format!("column \"{}\" of {} is computed when it is read, and cannot be sent", column.name, table.quoted),
            "Triggers see NULL in its place. Make it GENERATED ... STORED, or leave it out of fields.",
        ));
    }
    Ok(Mapped { column: sql_column(column), field: field.to_owned() })
}

/// Whether upstream ids can be kept in `column`. It could when the table was attached, but columns change.
fn check_holds_ids(table: &relation::Table, column: &relation::Column) -> Result<(), ErrorReport> {
    let (why, hint) = if column.base_type != pg_sys::TEXTOID && column.base_type != pg_sys::VARCHAROID {
        ("it is not text", "Upstream ids are text, whatever they look like.")
    } else if column.is_generated {
        ("it is generated", "Name a column that can be written.")
    } else if column.is_in_key {
        ("it is in the primary key", "A row is there before its upstream id is known.")
    } else if column.is_not_null {
        ("it is NOT NULL", "A row is there before its upstream id is known.")
    } else {
        return Ok(());
    };
    let message = format!("column \"{}\" of {} cannot hold upstream ids: {why}", column.name, table.quoted);
    let code = Code::ERRCODE_INVALID_PARAMETER_VALUE;
    Err(ErrorReport::new(code, for_message(message), "sequin_mutations").set_hint(hint))
}

fn sql_column(column: &relation::Column) -> Column {
    let equality = column.equality.as_ref().map(|operator| operator.qualified.clone());
    Column { quoted: column.quoted.clone(), equality }
}

/// An error about the table, and not about what was sent.
pub fn mistake(message: &str, hint: &str) -> ErrorReport {
    let code = Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    ErrorReport::new(code, for_message(message.to_owned()), "sequin_mutations").set_hint(hint)
}

/// The refusal of an UPDATE that makes `key` of what was the key of a row.
pub fn changed_key(table: &Table, key: &str) -> ErrorReport {
    mistake(
        &format!("the UPDATE changes the primary key of a row of {} to {key}", table.quoted),
        "Which row it was before cannot be told. DELETE and INSERT it, or detach the table for such a change.",
    )
}
