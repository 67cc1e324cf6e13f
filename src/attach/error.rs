//! Errors about an attached table or one of its rows.

use pgrx::PgSqlErrorCode as Code;

use crate::ereport::Error;
use crate::pg::relation::Table;

/// A table that is not in the state that a command or a trigger needs.
pub fn wrong_state(message: &str, hint: &str) -> Error {
    Error::refused(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message, hint)
}

pub fn no_upstream_id(table: &Table, key: &str) -> Error {
    wrong_state(
        &format!("the row {key} of {} has no upstream id", table.quoted),
        "Its upstream id is NULL or blank: the row was never created upstream, so its change cannot be sent there. Write \
         the id of its record into the column, or DELETE and INSERT the row.",
    )
}

pub fn changed_key(table: &Table, new_key: &str) -> Error {
    wrong_state(
        &format!("the UPDATE changes the primary key of a row of {} to {new_key}", table.quoted),
        "The trigger cannot tell which row it was before. DELETE and INSERT the row, or detach the table for such a change.",
    )
}

/// The new key is equal to the old one, and has another text.
pub fn rewritten_key(table: &Table, new_key: &str) -> Error {
    wrong_state(
        &format!("the UPDATE writes the primary key of a row of {} in another form, {new_key}", table.quoted),
        "Changes of a row are delivered in the order of its key, as text. Leave the key as it is, or attach the table with \
         delivery => 'inline'.",
    )
}
