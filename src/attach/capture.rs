//! What the triggers do: they note that a statement begins, and send what it has changed when it ends.
//!
//! Mostly its rows go straight from the transition tables into requests or into the queue. They wait if more of the same
//! rows may come: if the statement runs within a trigger of another one on an attached table; if it deletes while another
//! part of the same statement inserts, for then rows may only be moving; or if other triggers are still to fire for it.
//! All that waits is sent at the end of the outermost statement ([`super::flush`]).

use std::cell::OnceCell;
use std::ffi::CStr;
use std::sync::{Arc, Once};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::ereport;
use crate::pg::context::{self, Tally};
use crate::pg::memory_context::ScratchContext;
use crate::pg::spi::{self, Connection};
use crate::pg::statement::{Statement, Value};
use crate::pg::trigger::{Event, Fired};
use crate::pg::xact_callbacks::{
    SubtransactionEvent, TransactionEvent, on_subtransaction_event, on_transaction_event, with_snapshot,
};
use crate::pg::{relation, security_context, session};

use super::capture_inline::InlineCapture;
use super::capture_outbox::OutboxCapture;
use super::columns::{Columns, mistake, resolve};
use super::flush::flush;
use super::open_statements::{self, Target};
use super::reinserted_rows;
use super::write_back_guard::WriteBackGuard;
use super::written_rows::{DataPrinter, KeyInAnotherForm, WrittenRows};
use contract::attachment::{Attachment, Delivery, TriggerEvent};
use contract::net_change::{RowChange, RowFields, RowId, RowImage};

/// The function that the triggers of attached tables call.
const CAPTURE: &CStr = c"capture";

/// Notes that the statement begins that `fired` fires for, also if its changes are not captured: each end is that of the
/// statement that began last.
pub fn begin(fired: &Fired, is_captured: bool) -> Result<(), ErrorReport> {
    watch();
    let is_ended = fired.fires_after(fired.event(), CAPTURE);
    if is_ended {
        open_statements::begin(fired.relation(), operation_of(fired.event())).map_err(ended_early)?;
    }
    if matches!(fired.event(), Event::Insert | Event::Update) && !(is_ended && is_captured) {
        // The rows are not captured. They may be such as were deleted elsewhere, or take the ids of such.
        reinserted_rows::note_arrivals(fired.relation());
    }
    Ok(())
}

fn watch() {
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

/// The refusal to go on after a statement whose triggers never fired: what it has changed was not captured.
fn ended_early(table: pg_sys::Oid) -> ErrorReport {
    let name =
        relation::Table::open(table).map_or_else(|| format!("the relation {}", table.to_u32()), |table| table.quoted);
    mistake(
        &format!("a statement on {name} has ended without its triggers, so its changes cannot be captured"),
        "A program that runs a statement with a limit of rows (SPI, plpy.execute) ends it so. Let it return all of its rows.",
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
    let unfinished = open_statements::unfinished().map(|table| with_snapshot(|| ended_early(table)));
    let settle = || if reinserted_rows::is_likely() { with_snapshot(reinserted_rows::settle) } else { Ok(()) };
    if let Err(error) = unfinished.map_or_else(settle, Err) {
        ereport::raise(error);
    }
}

fn forget() {
    open_statements::forget();
    reinserted_rows::forget();
}

/// Sends, or keeps, what the statement has changed that `fired` fires for.
pub fn capture(fired: &Fired, attachment: &Attachment) -> Result<(), ErrorReport> {
    if fired.event() == Event::Truncate {
        return Err(mistake("a TRUNCATE cannot be captured", "Attach the table anew."));
    }
    watch();
    let operation = operation_of(fired.event());
    let table = fired.table();
    let relation = table.oid.to_u32();
    let is_of_ids = operation == TriggerEvent::Update && WriteBackGuard::is_ending(table.oid);
    let around = open_statements::surroundings(relation, operation);
    let is_within = around.is_within || WriteBackGuard::keeps_waiting();
    let is_followed = !is_within && !is_of_ids && fired.is_followed(CAPTURE);
    context::during(&format!("{} on {}", operation.keyword(), table.quoted), |tally| {
        if !is_of_ids {
            let columns = resolve(&table, attachment)?;
            let waits = is_within || around.may_move_rows || around.is_waited_for || is_followed;
            if waits {
                keep(fired, attachment, operation, &columns)?;
            } else if attachment.delivery == Delivery::Inline {
                let inline = InlineCapture { attachment, table: &table, server: OnceCell::new(), operation, tally };
                inline.send_statement(fired, &columns)?;
            } else {
                let identity = identity(&table);
                let queued = OutboxCapture { attachment, identity, operation, server: OnceCell::new() };
                queued.queue_statement(fired, &columns)?;
            }
        }
        if is_followed && ask_for_end(relation, operation) {
            return Ok(());
        }
        end(relation, operation, tally)
    })
}

/// Notes that a statement has ended whose changes are not captured.
pub fn pass_over(fired: &Fired) -> Result<(), ErrorReport> {
    let operation = operation_of(fired.event());
    if fired.event() == Event::Truncate {
        return Ok(());
    }
    context::during(operation.keyword(), |tally| end(fired.relation(), operation, tally))
}

fn end(relation: u32, operation: TriggerEvent, tally: &Tally) -> Result<(), ErrorReport> {
    let is_last = open_statements::end(relation, operation);
    if is_last && !WriteBackGuard::keeps_waiting() { flush(operation, tally) } else { Ok(()) }
}

/// Sends what waits, if the triggers of all statements have fired.
pub fn end_statement() -> Result<(), ErrorReport> {
    let Some(identity) = open_statements::take_end() else { return Ok(()) };
    // From 18 on, Postgres fires a trigger as the role that was current when its statement ran: here the outbox's owner.
    identity.run(|| context::during("the end of the statement", |tally| flush(TriggerEvent::Update, tally)))
}

/// Has [`end_statement`] called when all triggers of this statement have fired that are still to fire. False if it cannot
/// be.
///
/// A statement that is run without firing triggers of its own (as those of foreign keys are) leaves its triggers to the
/// statement that it is a part of, which fires them after its own.
fn ask_for_end(relation: u32, operation: TriggerEvent) -> bool {
    static NO_ROW: Statement<()> =
        Statement::new("UPDATE sequin.statement_end AS e SET id = e.id WHERE e.id OPERATOR(pg_catalog.<>) e.id");
    if session::is_read_only()
        || !open_statements::ask_for_end(relation, operation, security_context::Identity::current())
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

/// The table that a row's key belongs to. A partition's rows are also written through the tables above it, so it is the
/// uppermost of these that is attached.
pub fn identity(table: &relation::Table) -> u32 {
    static UPPERMOST: Statement = Statement::new(
        "SELECT a.relation::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors($1) WITH ORDINALITY AS a(relation, height) \
         WHERE EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) a.relation \
         AND t.tgfoid OPERATOR(pg_catalog.=) 'sequin.capture()'::pg_catalog.regprocedure) ORDER BY a.height DESC LIMIT 1",
    );
    let own = table.oid.to_u32();
    if !table.is_partition {
        return own;
    }
    let find = |connection: &Connection| {
        let rows = UPPERMOST.run(connection, &[Value::Oid(own)]);
        let uppermost = if rows.len() > 0 { rows.oid_number(0, 1) } else { None };
        Ok::<_, std::convert::Infallible>(uppermost.unwrap_or(own))
    };
    spi::connected(find).unwrap_or_else(|never| match never {})
}

/// Keeps what the statement has changed until the outermost one has ended.
fn keep(
    fired: &Fired,
    attachment: &Attachment,
    operation: TriggerEvent,
    columns: &Columns<'_>,
) -> Result<(), ErrorReport> {
    let target = Arc::new(Target {
        relation: columns.table.oid.to_u32(),
        attachment: attachment.clone(),
        role: session::current_role().to_u32(),
        search_path: session::search_path(),
    });
    let form = match attachment.delivery {
        Delivery::Inline => KeyInAnotherForm::Taken,
        Delivery::Outbox => KeyInAnotherForm::Refused,
    };
    let mut rows = WrittenRows::of(fired, operation, columns, form);
    let mut data = DataPrinter::new(columns);
    let (all, key, table) = (data.all(), rows.key_printer(), identity(columns.table));
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
                // A row that takes over an upstream id is compared with the row that had it.
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
    open_statements::keep(changes);
    Ok(())
}
