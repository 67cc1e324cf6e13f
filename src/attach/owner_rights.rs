//! Refuses an INSERT whose upstream ids would be written with rights that the session could abuse.
//!
//! A role that may only insert cannot write the ids into its rows. They are written as the table's owner, and so the
//! owner's triggers run as the owner. If the session has temporary objects, those triggers could use them in place of
//! the owner's. The INSERT is then refused before its first request: after it, records would exist without ids. A table
//! without code of its own is not affected.

use pgrx::pg_sys;

use crate::call::error_context::MutationContext;
use crate::ereport::Error;
use crate::pg::trigger::{Event, Fired};
use crate::pg::{relation, session, temporary_objects};
use contract::outcome::{Outcome, SqlState};

use contract::attachment::{Attachment, Delivery};

/// Checks the statement that `fired` fires for.
pub fn check(fired: &Fired, attachment: &Attachment) -> Result<(), Error> {
    let is_written_back = fired.event() == Event::Insert && attachment.delivery == Delivery::Inline;
    if !is_written_back || !session::has_temporary_schema() || !fired.has_new_rows() {
        return Ok(());
    }
    let table = fired.table();
    if table.may_be_updated() {
        return Ok(());
    }
    refuse_temporary(table.owner, &table)
}

/// Checks that the ids of rows that `role` has inserted can be written with its rights.
pub fn check_role(role: pg_sys::Oid, table: &relation::Table) -> Result<(), Error> {
    if session::has_temporary_schema() { refuse_temporary(role, table) } else { Ok(()) }
}

fn refuse_temporary(role: pg_sys::Oid, table: &relation::Table) -> Result<(), Error> {
    let Some(object) = temporary_objects::object_in_the_way(table, role) else { return Ok(()) };
    let quoted = &table.quoted;
    let message = format!(
        "cannot write upstream ids into {quoted} as its owner while the session has the temporary object {object}"
    );
    let hint = format!(
        "Nothing was sent. The owner's triggers could find {object} in place of their own objects. Run DISCARD TEMP first; \
         or GRANT SELECT, UPDATE ON {quoted} to the role, where no policy hides rows from it; or attach the table with \
         delivery => 'outbox'."
    );
    // The CONTEXT line stays for the error.
    let _ = MutationContext::enter(&format!("INSERT on {quoted}"));
    Err(Outcome::not_sent(SqlState::InsufficientPrivilege, message, hint).into())
}
