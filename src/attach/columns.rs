//! From the names in an attachment to a table's columns as they are now, and what is wrong with them.

use std::collections::HashMap;

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::jsonb::values::ArrayOf;
use crate::pg::relation::{self, Column};
use crate::pg::text::for_message;

use contract::attachment::Attachment;

/// The columns of a table that an attachment names.
pub struct Columns<'a> {
    pub table: &'a relation::Table,
    /// The primary key.
    pub key: Vec<&'a Column>,
    pub upstream_id: &'a Column,
    /// The columns that are sent, each with the provider's name of it.
    pub mapped: Vec<(&'a str, &'a Column)>,
}

impl<'a> Columns<'a> {
    /// All that is read of a row.
    pub fn all(&self) -> impl Iterator<Item = &'a Column> {
        self.key.iter().copied().chain([self.upstream_id]).chain(self.mapped.iter().map(|(_, column)| *column))
    }

    /// Prints the primary key of a row as a JSON array. It lasts as long as the current memory context.
    pub fn key_printer(&self) -> ArrayOf<'a> {
        ArrayOf::new(&self.key)
    }
}

/// The columns that `attachment` names, as they are now.
pub fn resolve<'a>(table: &'a relation::Table, attachment: &'a Attachment) -> Result<Columns<'a>, ErrorReport> {
    let by_name: HashMap<&str, &Column> = table.columns.iter().map(|column| (column.name.as_str(), column)).collect();
    let column = |wanted: &str| {
        by_name.get(wanted).copied().ok_or_else(|| {
            ErrorReport::new(
                Code::ERRCODE_UNDEFINED_COLUMN,
                for_message(format!("column \"{wanted}\" of {} does not exist", table.quoted)),
                "sequin_mutations",
            )
            .set_hint("Check its name. If it was renamed or dropped since, detach the table and attach it anew.")
        })
    };
    let upstream_id = column(&attachment.upstream_id_column)?;
    check_holds_ids(table, upstream_id)?;
    let is_sent = |column: &&Column| !column.is_in_key && column.name != upstream_id.name;
    let mapped: Vec<(&str, &Column)> = match &attachment.fields {
        Some(fields) => fields
            .iter()
            .map(|(name, field)| Ok((field.as_str(), column(name)?)))
            .collect::<Result<_, ErrorReport>>()?,
        None => table.columns.iter().filter(is_sent).map(|column| (column.name.as_str(), column)).collect(),
    };
    if let Some((_, column)) = mapped.iter().find(|(_, column)| column.is_virtual) {
        return Err(mistake(
            &format!("column \"{}\" of {} is computed when it is read, and cannot be sent", column.name, table.quoted),
            "Triggers see NULL in its place. Make it GENERATED ... STORED, or leave it out of fields.",
        ));
    }
    let key = table.key();
    if key.is_empty() {
        return Err(mistake(
            &format!("{} has no primary key", table.quoted),
            "An attached table needs one, to tell its rows apart; one that is DEFERRABLE cannot serve.",
        ));
    }
    if mapped.is_empty() {
        return Err(mistake(&format!("{} has no column to send", table.quoted), "Name columns in fields."));
    }
    Ok(Columns { table, key, upstream_id, mapped })
}

/// Whether upstream ids can be kept in `column`. It could when the table was attached, but columns change.
fn check_holds_ids(table: &relation::Table, column: &Column) -> Result<(), ErrorReport> {
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

/// An error about the table, and not about what was sent.
pub fn mistake(message: &str, hint: &str) -> ErrorReport {
    let code = Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    ErrorReport::new(code, for_message(message.to_owned()), "sequin_mutations").set_hint(hint)
}

/// The refusal of an UPDATE that makes `key` of what was the key of a row.
pub fn changed_key(table: &relation::Table, key: &str) -> ErrorReport {
    mistake(
        &format!("the UPDATE changes the primary key of a row of {} to {key}", table.quoted),
        "Which row it was before cannot be told. DELETE and INSERT it, or detach the table for such a change.",
    )
}

/// The refusal of an UPDATE that writes the key of a row in another form, which is equal to the one that it has.
pub fn rewritten_key(table: &relation::Table, key: &str) -> ErrorReport {
    mistake(
        &format!("the UPDATE writes the primary key of a row of {} in another form, {key}", table.quoted),
        "Changes of a row are delivered in the order of its key, as text. Leave the key as it is, or attach the table with \
         delivery => 'inline'.",
    )
}
