//! The work of the triggers of attached tables: they note that a statement begins, and capture its changes when it
//! ends.
//!
//! Mostly the changes go straight from the transition tables into requests or into the queue. They are held if the same
//! rows may change again:
//! - the statement runs within a trigger of another statement on an attached table;
//! - it deletes while another part of the same statement inserts: rows may only be moving;
//! - other triggers are still to fire for it.
//!
//! All held changes are sent at the end of the outermost statement ([`super::flush`]).

use std::cell::OnceCell;
use std::ffi::CStr;
use std::sync::{Arc, Once};

use pgrx::pg_sys;

use crate::call::error_context::StatementContext;
use crate::ereport::{self, Error};
use crate::pg::memory_context::ScratchContext;
use crate::pg::spi::{self, Connection};
use crate::pg::statement::Statement;
use crate::pg::trigger::{Event, Fired};
use crate::pg::xact_callbacks::{
    SubtransactionEvent, TransactionEvent, on_subtransaction_event, on_transaction_event, with_snapshot,
};
use crate::pg::{relation, security_context, session};

use super::capture_inline::InlineCapture;
use super::capture_outbox::OutboxCapture;
use super::columns::{Columns, resolve};
use super::error::wrong_state;
use super::flush::flush;
use super::open_statements::{self, Target};
use super::partitions::key_scope;
use super::reinserted_rows;
use super::write_back_guard::WriteBackGuard;
use super::written_rows::{DataPrinter, KeyInAnotherForm, WrittenRows};
use contract::attachment::{Attachment, Delivery, TriggerEvent};
use contract::net_change::{RowChange, RowFields, RowId, RowImage};

/// The function that the triggers of attached tables call.
const CAPTURE: &CStr = c"capture";

/// Notes the beginning of the statement that `fired` fires for, even if its changes are not captured: an end belongs to
/// the statement that began last.
pub fn begin(fired: &Fired, is_captured: bool) -> Result<(), Error> {
    watch_transaction();
    let has_end = fired.fires_after(fired.event(), CAPTURE);
    if has_end {
        open_statements::begin(fired.relation(), operation_of(fired.event())).map_err(ended_without_triggers)?;
    }
    if matches!(fired.event(), Event::Insert | Event::Update) && !(has_end && is_captured) {
        // Rows that are not captured may bring back upstream ids that were deleted elsewhere.
        reinserted_rows::note_arrivals(fired.relation());
    }
    Ok(())
}

fn watch_transaction() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        on_transaction_event(|event| match event {
            TransactionEvent::BeforeCommit | TransactionEvent::BeforePrepare => before_commit(),
            TransactionEvent::Committed | TransactionEvent::Prepared | TransactionEvent::Aborted => forget(),
        });
        on_subtransaction_event(|event, number| {
            if event == SubtransactionEvent::Undone {
                open_statements::forget_subtransaction(number);
            }
        });
    });
}

/// The refusal to go on after a statement whose triggers never fired: its changes were not captured.
fn ended_without_triggers(table: pg_sys::Oid) -> Error {
    let name =
        relation::Table::open(table).map_or_else(|| format!("the relation {}", table.to_u32()), |table| table.quoted);
    wrong_state(
        &format!("a statement on {name} has ended without its triggers, so its changes cannot be captured"),
        "A program that runs a statement with a limit of rows (SPI, plpy.execute) ends it this way. Let the statement \
         return all of its rows.",
    )
}

fn operation_of(event: Event) -> TriggerEvent {
    match event {
        Event::Insert => TriggerEvent::Insert,
        Event::Update => TriggerEvent::Update,
        Event::Delete | Event::Truncate => TriggerEvent::Delete,
    }
}

fn before_commit() {
    if let Err(error) = finish_transaction() {
        ereport::raise(error.into());
    }
}

fn finish_transaction() -> Result<(), Error> {
    if let Some(table) = open_statements::unfinished() {
        return Err(with_snapshot(|| ended_without_triggers(table)));
    }
    if reinserted_rows::are_likely() {
        return with_snapshot(reinserted_rows::reconcile);
    }
    Ok(())
}

fn forget() {
    open_statements::forget();
    reinserted_rows::forget();
}

/// Sends, queues or holds the changes of the statement that `fired` fires for.
pub fn capture(fired: &Fired, attachment: &Attachment) -> Result<(), Error> {
    if fired.event() == Event::Truncate {
        return Err(wrong_state("a TRUNCATE cannot be captured", "Detach the table and attach it again."));
    }
    watch_transaction();
    let operation = operation_of(fired.event());
    let table = fired.table();
    let relation = table.oid.to_u32();
    let is_write_back = operation == TriggerEvent::Update && WriteBackGuard::is_ending(table.oid);
    let surroundings = open_statements::surroundings(relation, operation);
    let is_within = surroundings.is_within || WriteBackGuard::keeps_waiting();
    let is_followed = !is_within && !is_write_back && fired.is_followed(CAPTURE);
    let statement = StatementContext::enter(&format!("{} on {}", operation.keyword(), table.quoted));
    if !is_write_back {
        let columns = resolve(&table, attachment)?;
        let server = OnceCell::new();
        if is_within || surroundings.may_move_rows || surroundings.has_held_changes || is_followed {
            hold(fired, attachment, operation, &columns)?;
        } else if attachment.delivery == Delivery::Inline {
            let inline = InlineCapture { attachment, table: &table, operation, statement: &statement, server };
            inline.send_statement(fired, &columns)?;
        } else {
            let outbox = OutboxCapture { attachment, key_scope: key_scope(&table), operation, server };
            outbox.queue_statement(fired, &columns)?;
        }
    }
    if !(is_followed && defer_end(relation, operation)) {
        end(relation, operation, &statement)?;
    }
    statement.leave();
    Ok(())
}

/// Notes the end of a statement whose changes are not captured.
pub fn pass_over(fired: &Fired) -> Result<(), Error> {
    let operation = operation_of(fired.event());
    if fired.event() == Event::Truncate {
        return Ok(());
    }
    let statement = StatementContext::enter(operation.keyword());
    end(fired.relation(), operation, &statement)?;
    statement.leave();
    Ok(())
}

fn end(relation: u32, operation: TriggerEvent, statement: &StatementContext) -> Result<(), Error> {
    let is_outermost = open_statements::end(relation, operation);
    if is_outermost && !WriteBackGuard::keeps_waiting() { flush(operation, statement) } else { Ok(()) }
}

/// Sends the held changes, if the triggers of all statements have fired.
pub fn end_statement() -> Result<(), Error> {
    let Some(identity) = open_statements::take_deferred_end() else { return Ok(()) };
    // PostgreSQL 18 and later fire a trigger as the role that was current when its statement ran: here the extension's
    // owner.
    identity.run(|| {
        let statement = StatementContext::enter("the end of the statement");
        flush(TriggerEvent::Update, &statement)?;
        statement.leave();
        Ok(())
    })
}

/// Has [`end_statement`] called after all triggers of this statement. Returns false if that is not possible.
///
/// A foreign key's statement does not fire its own triggers. The enclosing statement fires them, after its own.
fn defer_end(relation: u32, operation: TriggerEvent) -> bool {
    static NO_ROW: Statement<()> =
        Statement::new("UPDATE sequin.statement_end AS e SET id = e.id WHERE e.id OPERATOR(pg_catalog.<>) e.id");
    if session::is_read_only()
        || !open_statements::defer_end(relation, operation, security_context::Identity::current())
    {
        return false;
    }
    security_context::as_queue_owner(|| {
        let ask = |connection: &Connection| {
            NO_ROW.leave_triggers_to_caller(connection);
            Ok::<_, std::convert::Infallible>(true)
        };
        spi::connected(ask).unwrap_or_else(|never| match never {})
    })
}

/// Holds the changes of the statement until the outermost one has ended.
fn hold(fired: &Fired, attachment: &Attachment, operation: TriggerEvent, columns: &Columns<'_>) -> Result<(), Error> {
    let target = Arc::new(Target {
        relation: columns.table.oid.to_u32(),
        attachment: attachment.clone(),
        role: session::current_role().to_u32(),
        search_path: session::search_path(),
    });
    let form = match attachment.delivery {
        Delivery::Inline => KeyInAnotherForm::Accepted,
        Delivery::Outbox => KeyInAnotherForm::Refused,
    };
    let mut rows = WrittenRows::of(fired, operation, columns, form);
    let mut data = DataPrinter::new(columns);
    let (all, key, table) = (data.all(), rows.key_printer(), key_scope(columns.table));
    let depends_on = data.depends_on().max(rows.key_depends_on());
    let scratch = ScratchContext::enter();
    let changes = rows.gather(usize::MAX, depends_on, |rows| {
        let row = rows.row();
        let id = rows.id(&row);
        let mut image =
            |row: &_, id, places: &[usize]| RowImage { id, fields: RowFields::of_object(&data.text(row, places)) };
        let (before, after) = match operation {
            TriggerEvent::Insert => (None, Some(image(&row, id, &all))),
            TriggerEvent::Delete => (Some(image(&row, id, &all)), None),
            TriggerEvent::Update => {
                let (old, changed) = (rows.old_row(), rows.changed());
                let old_id = rows.id(&old);
                if changed.is_empty() && id == old_id {
                    scratch.reset();
                    return None;
                }
                // A row with another upstream id is compared with the row that had this id before.
                let places = if id == old_id { changed } else { &all[..] };
                (Some(image(&old, old_id, places)), Some(image(&row, id, places)))
            }
        };
        let row = RowId { relation: table, primary_key: key.text(&row) };
        scratch.reset();
        Some(RowChange { row, target: Arc::clone(&target), before, after })
    })?;
    scratch.leave();
    rows.close();
    open_statements::hold(changes);
    Ok(())
}
