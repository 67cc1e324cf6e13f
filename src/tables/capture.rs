//! What the triggers do: they note that a statement begins, and send what it has changed when it ends.
//!
//! Mostly its rows go straight from the transition tables into requests or into the queue. They wait if more of the same
//! rows may come: if the statement runs within a trigger of another one on an attached table; if it deletes while another
//! part of the same statement inserts, for then rows may only be moving; or if other triggers are still to fire for it.
//! All that waits is sent at the end of the outermost statement, one change for each row ([`super::net`]).

use std::cell::OnceCell;
use std::sync::Arc;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::mutation::kind::Kind;
use crate::pg::context::{self, Tally};
use crate::pg::scratch::Scratch;
use crate::pg::spi::{self, Connection};
use crate::pg::statement::{Statement, Value};
use crate::pg::trigger::{Event, Fired};
use crate::pg::xact_end::{self, Callbacks};
use crate::pg::{relation, session};

use super::attachment::{Attachment, Delivery, Operation};
use super::columns::{Columns, mistake, resolve};
use super::inline::{Inline, no_upstream_id};
use super::moved;
use super::net::{self, Change, Effect, Fields, Image, Net, RowKey};
use super::owner_rights;
use super::pending::{self, Target};
use super::queued::Queued;
use super::rows::{DataPrinter, KeyInAnotherForm, WrittenRows};
use super::write_back::{Afterwards, WritingBack};

/// How often the triggers that run while upstream ids are written may write further rows that need some. A trigger that
/// inserts a row for each row that gets its id would never end.
const MOST_ROUNDS: usize = 100;

/// Notes that the statement begins that `fired` fires for.
pub fn begin(fired: &Fired) {
    static CAPTURE: &std::ffi::CStr = c"capture";
    xact_end::watch(Callbacks { before_commit, ended: forget, subtransaction_undone: pending::forget_subtransaction });
    if fired.fires_after(fired.event(), CAPTURE) {
        pending::begin(fired.relation(), operation_of(fired.event()));
    } else if matches!(fired.event(), Event::Insert | Event::Update) {
        // The rows are not captured. They may be such as were deleted elsewhere, or take the ids of such.
        moved::note_arrivals(fired.relation());
    }
}

fn operation_of(event: Event) -> Operation {
    match event {
        Event::Insert => Operation::Insert,
        Event::Update => Operation::Update,
        Event::Delete | Event::Truncate => Operation::Delete,
    }
}

fn before_commit() {
    // A statement that a program has ended early never said that it has.
    pending::end_all();
    let send = || context::during("COMMIT", |tally| send_waiting(Operation::Update, tally));
    let sent = if pending::is_empty() { Ok(()) } else { xact_end::with_snapshot(send) };
    let settled = sent.and_then(|()| if moved::is_likely() { xact_end::with_snapshot(moved::settle) } else { Ok(()) });
    if let Err(error) = settled {
        error.report(pgrx::PgLogLevel::ERROR);
    }
}

fn forget() {
    pending::forget();
    moved::forget();
}

/// Sends, or keeps, what the statement has changed that `fired` fires for.
pub fn capture(fired: &Fired, attachment: &Attachment) -> Result<(), ErrorReport> {
    if fired.event() == Event::Truncate {
        return Err(mistake("a TRUNCATE cannot be captured", "Attach the table anew."));
    }
    let operation = operation_of(fired.event());
    let table = fired.table();
    let relation = table.oid.to_u32();
    let of_ids = WritingBack::is_ending(table.oid).filter(|_| operation == Operation::Update);
    let around = pending::surroundings(relation, operation);
    let is_followed = !around.is_within && of_ids.is_none() && fired.is_followed(c"capture");
    context::during(&format!("{} on {}", operation.keyword(), table.quoted), |tally| {
        if of_ids.is_none() {
            let columns = resolve(&table, attachment)?;
            let waits = around.is_within || around.may_move_rows || around.is_waited_for || is_followed;
            if waits {
                keep(fired, attachment, operation, &columns)?;
            } else if attachment.delivery == Delivery::Inline {
                let inline = Inline { attachment, table: &table, server: OnceCell::new(), operation, tally };
                inline.send_statement(fired, &columns)?;
            } else {
                let identity = identity(&table);
                let queued = Queued { attachment, identity, operation, server: OnceCell::new() };
                queued.queue_statement(fired, &columns)?;
            }
        }
        if is_followed && ask_for_end()? {
            return Ok(());
        }
        let is_last = pending::end(relation, operation);
        if is_last && of_ids != Some(Afterwards::Waiting) { send_waiting(operation, tally) } else { Ok(()) }
    })
}

/// Notes that a statement has ended whose changes are not captured.
pub fn pass_over(fired: &Fired) -> Result<(), ErrorReport> {
    let operation = operation_of(fired.event());
    if fired.event() != Event::Truncate && pending::end(fired.relation(), operation) {
        return context::during(operation.keyword(), |tally| send_waiting(operation, tally));
    }
    Ok(())
}

/// Sends what waits: all triggers of the outermost statement have fired.
pub fn end_statement() -> Result<(), ErrorReport> {
    let Some(identity) = pending::take_end() else { return Ok(()) };
    pending::end_all();
    // From 18 on, Postgres fires a trigger as the role that was current when its statement ran: here the outbox's owner.
    identity.run(|| context::during("the end of the statement", |tally| send_waiting(Operation::Update, tally)))
}

/// Has [`end_statement`] called when all triggers of this statement have fired that are still to fire.
///
/// A statement that is run without firing triggers of its own (as those of foreign keys are) leaves its triggers to the
/// statement that it is a part of, which fires them after its own.
fn ask_for_end() -> Result<bool, ErrorReport> {
    if session::is_read_only() {
        return Ok(false);
    }
    pending::ask_for_end(session::Identity::current());
    session::as_queue_owner(|| {
        spi::connected(|connection| {
            connection.leave_triggers_to_caller(
                "UPDATE sequin.statement_end AS e SET id = e.id WHERE e.id OPERATOR(pg_catalog.<>) e.id",
            );
            Ok(true)
        })
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
    operation: Operation,
    columns: &Columns<'_>,
) -> Result<(), ErrorReport> {
    let target = Arc::new(Target {
        relation: columns.table.oid.to_u32(),
        attachment: attachment.clone(),
        role: session::current_role().to_u32(),
    });
    let form = match attachment.delivery {
        Delivery::Inline => KeyInAnotherForm::Taken,
        Delivery::Outbox => KeyInAnotherForm::Refused,
    };
    let mut rows = WrittenRows::of(fired, operation, columns, form);
    let mut data = DataPrinter::new(columns);
    let (all, key, table) = (data.all(), rows.key_printer(), identity(columns.table));
    let depends_on = data.depends_on().max(rows.key_depends_on());
    let scratch = Scratch::enter();
    let changes = rows.gather(usize::MAX, depends_on, |rows| {
        let row = rows.row();
        let id = rows.id(&row);
        let mut image =
            |row: &_, id, places: &[usize]| Image { id, fields: Fields::of_object(&data.text(row, places)) };
        let (before, after) = match operation {
            Operation::Insert => (None, Some(image(&row, id, &all))),
            Operation::Delete => (Some(image(&row, id, &all)), None),
            Operation::Update => {
                let (old, changed) = (rows.old_row(), rows.changed());
                let old_id = rows.id(&old);
                if changed.is_empty() && id == old_id {
                    scratch.reset();
                    return None;
                }
                (Some(image(&old, old_id, changed)), Some(image(&row, id, changed)))
            }
        };
        let row = RowKey { table, key: key.text(&row) };
        scratch.reset();
        Some(Change { row, target: Arc::clone(&target), before, after })
    })?;
    scratch.leave();
    rows.close();
    pending::keep(changes);
    Ok(())
}

/// Sends what waits, and what is captured meanwhile.
fn send_waiting(operation: Operation, tally: &Tally) -> Result<(), ErrorReport> {
    for _ in 0..MOST_ROUNDS {
        let waiting = pending::take();
        if waiting.is_empty() {
            return Ok(());
        }
        let groups: Vec<Arc<Target>> = waiting.iter().map(|change| Arc::clone(&change.target)).collect();
        let collection = |target: &Target| {
            let Attachment { server, sync_id, collection_id, .. } = &target.attachment;
            (server.clone(), sync_id.clone(), collection_id.clone())
        };
        let mut collections: Vec<_> = groups.iter().map(|target| collection(target)).collect();
        collections.sort();
        collections.dedup();
        let group = |target: &Arc<Target>| collections.binary_search(&collection(target)).unwrap_or_default();
        let all = net::net(waiting, group);
        check(&all)?;
        for part in all.chunk_by(goes_with) {
            send_part(part, operation, tally)?;
        }
    }
    Err(mistake(
        "the triggers that run while upstream ids are written keep writing further rows",
        "A trigger seems to insert a row for each row that gets its upstream id. Let it fire only when other columns change.",
    ))
}

/// Whether two changes can be of one request.
fn goes_with(one: &Net<Arc<Target>>, other: &Net<Arc<Target>>) -> bool {
    one.target == other.target && kind_of(&one.effect) == kind_of(&other.effect)
}

/// None: there is nothing to send.
fn kind_of(effect: &Effect) -> Option<Kind> {
    match effect {
        Effect::Create(_) => Some(Kind::Create),
        Effect::Arrival { .. } => None,
        Effect::Update { .. } => Some(Kind::Update),
        Effect::Delete(_) => Some(Kind::Delete),
    }
}

/// Refuses what cannot be sent, before anything is.
fn check(all: &[Net<Arc<Target>>]) -> Result<(), ErrorReport> {
    let is_lost = |net: &&Net<Arc<Target>>| {
        net.target.attachment.delivery == Delivery::Inline
            && matches!(&net.effect, Effect::Update { id: None, fields, .. } if !fields.is_empty())
    };
    match all.iter().find(is_lost) {
        Some(net) => Err(no_upstream_id(&open(net.target.relation)?, &net.row.key)),
        None => Ok(()),
    }
}

fn open(oid: u32) -> Result<relation::Table, ErrorReport> {
    relation::Table::open(pg_sys::Oid::from(oid))
        .ok_or_else(|| mistake("an attached table is no table any more", "Attach it anew."))
}

/// Sends changes of one kind and one table.
fn send_part(part: &[Net<Arc<Target>>], operation: Operation, tally: &Tally) -> Result<(), ErrorReport> {
    let Some(Net { target, effect, row }) = part.first() else { return Ok(()) };
    let send = || -> Result<(), ErrorReport> {
        let attachment = &target.attachment;
        match (attachment.delivery, kind_of(effect)) {
            (Delivery::Outbox, kind) => {
                let queued = Queued { attachment, identity: row.table, operation, server: OnceCell::new() };
                queue_part(&queued, kind, target, part)
            }
            (Delivery::Inline, None) => Ok(()),
            (Delivery::Inline, Some(kind)) => {
                let table = open(target.relation)?;
                let inline = Inline { attachment, table: &table, server: OnceCell::new(), operation, tally };
                send_inline(&inline, kind, part)
            }
        }
    };
    let role = pg_sys::Oid::from(target.role);
    if role == session::current_role() {
        return send();
    }
    // A SECURITY DEFINER trigger has written these rows. The table's triggers run when their ids are written.
    if target.attachment.delivery == Delivery::Inline && kind_of(effect) == Some(Kind::Create) {
        owner_rights::check_role(role, &open(target.relation)?)?;
    }
    session::acting_as(role, send)
}

fn queue_part(
    queued: &Queued<'_>,
    kind: Option<Kind>,
    target: &Target,
    part: &[Net<Arc<Target>>],
) -> Result<(), ErrorReport> {
    let mut changes = Vec::with_capacity(part.len());
    for Net { row, effect, .. } in part {
        let key = row.key.as_str();
        match effect {
            Effect::Create(fields) => changes.push((key, None, fields.to_object())),
            Effect::Arrival { id, .. } => moved::note_arrival(target.relation, id),
            Effect::Update { id, fields, takes_id } => {
                if let (Some(id), true) = (id, takes_id) {
                    moved::note_arrival(target.relation, id);
                }
                if !fields.is_empty() {
                    changes.push((key, id.as_deref(), fields.to_object()));
                }
            }
            Effect::Delete(Image { id, fields }) => changes.push((key, id.as_deref(), fields.to_object())),
        }
    }
    match kind {
        Some(kind) if !changes.is_empty() => queued.queue(kind, &changes),
        _ => Ok(()),
    }
}

fn send_inline(inline: &Inline<'_>, kind: Kind, part: &[Net<Arc<Target>>]) -> Result<(), ErrorReport> {
    match kind {
        Kind::Create => {
            let columns = resolve(inline.table, inline.attachment)?;
            let rows = part.iter().filter_map(|net| match &net.effect {
                Effect::Create(fields) => Some((net.row.key.clone(), fields.to_object())),
                _ => None,
            });
            inline.create_rows(&columns, &rows.collect::<Vec<_>>())
        }
        Kind::Update => {
            let changes = part.iter().filter_map(|net| match &net.effect {
                Effect::Update { id: Some(id), fields, .. } if !fields.is_empty() => {
                    Some((id.clone(), fields.to_object()))
                }
                _ => None,
            });
            inline.update_records(changes.collect())
        }
        Kind::Delete => {
            let ids = part.iter().filter_map(|net| match &net.effect {
                Effect::Delete(image) => image.id.clone(),
                _ => None,
            });
            inline.delete_records(&ids.collect::<Vec<_>>())
        }
    }
}
