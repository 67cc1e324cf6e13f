//! Finds the columns that an attachment names, and checks them.

use std::collections::HashMap;

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys;

use crate::ereport::Error;
use crate::pg::jsonb::values::ArrayOf;
use crate::pg::relation::{self, Column};

use contract::attachment::Attachment;

use super::error::wrong_state;

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
    /// All columns that are read.
    pub fn all(&self) -> impl Iterator<Item = &'a Column> {
        self.key.iter().copied().chain([self.upstream_id]).chain(self.mapped.iter().map(|(_, column)| *column))
    }

    /// Prints the primary key of a row as a JSON array. The printer lives in the current memory context.
    pub fn key_printer(&self) -> ArrayOf<'a> {
        ArrayOf::new(&self.key)
    }
}

/// The current columns of `table` that `attachment` names.
pub fn resolve<'a>(table: &'a relation::Table, attachment: &'a Attachment) -> Result<Columns<'a>, Error> {
    let by_name: HashMap<&str, &Column> = table.columns.iter().map(|column| (column.name.as_str(), column)).collect();
    let column = |wanted: &str| {
        by_name.get(wanted).copied().ok_or_else(|| {
            Error::refused(
                Code::ERRCODE_UNDEFINED_COLUMN,
                format!("column \"{wanted}\" of {} does not exist", table.quoted),
                "Check its name. If the column was renamed or dropped, detach the table and attach it again.",
            )
        })
    };
    let upstream_id = column(&attachment.upstream_id_column)?;
    check_holds_ids(table, upstream_id)?;
    let is_sent = |column: &&Column| !column.is_in_key && column.name != upstream_id.name;
    let mapped: Vec<(&str, &Column)> = match &attachment.fields {
        Some(fields) => {
            fields.iter().map(|(name, field)| Ok((field.as_str(), column(name)?))).collect::<Result<_, Error>>()?
        }
        None => table.columns.iter().filter(is_sent).map(|column| (column.name.as_str(), column)).collect(),
    };
    if let Some((_, column)) = mapped.iter().find(|(_, column)| column.is_virtual) {
        return Err(wrong_state(
            &format!("column \"{}\" of {} is computed when it is read, and cannot be sent", column.name, table.quoted),
            "Triggers read NULL in its place. Make it GENERATED ... STORED, or leave it out of fields.",
        ));
    }
    let key = table.key();
    if key.is_empty() {
        return Err(wrong_state(
            &format!("{} has no primary key", table.quoted),
            "An attached table needs a primary key that is not DEFERRABLE, to identify its rows.",
        ));
    }
    if mapped.is_empty() {
        return Err(wrong_state(&format!("{} has no column to send", table.quoted), "Name columns in fields."));
    }
    Ok(Columns { table, key, upstream_id, mapped })
}

/// Checks that `column` can hold upstream ids. It could when the table was attached, but columns change.
fn check_holds_ids(table: &relation::Table, column: &Column) -> Result<(), Error> {
    let (why, hint) = if column.base_type != pg_sys::TEXTOID && column.base_type != pg_sys::VARCHAROID {
        ("it is not text", "Upstream ids are text, even if they look like numbers.")
    } else if column.is_generated {
        ("it is generated", "Name a column that can be written.")
    } else if column.is_in_key {
        ("it is in the primary key", "A row is inserted before its upstream id is known.")
    } else if column.is_not_null {
        ("it is NOT NULL", "A row is inserted before its upstream id is known.")
    } else {
        return Ok(());
    };
    let message = format!("column \"{}\" of {} cannot hold upstream ids: {why}", column.name, table.quoted);
    let code = Code::ERRCODE_INVALID_PARAMETER_VALUE;
    Err(Error::refused(code, message, hint))
}
