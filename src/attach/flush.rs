//! Sending what waits for the end of the outermost statement: one change for each row, and one request for as many rows as
//! possible.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::context::Tally;
use crate::pg::{relation, security_context, session};
use contract::kind::Kind;

use super::capture_inline::{InlineCapture, no_upstream_id};
use super::capture_outbox::{OutboxCapture, ROWS};
use super::columns::{mistake, resolve};
use super::open_statements::{self, Target};
use super::owner_rights;
use super::reinserted_rows;
use contract::attachment::{Attachment, Delivery, TriggerEvent};
use contract::net_change::{self, Effect, NetChange, RowChange, RowImage};

/// How often the triggers that run while upstream ids are written may write further rows that need some. A trigger that
/// inserts a row for each row that gets its id would never end.
const MOST_ROUNDS: usize = 100;

/// Sends what waits, and what is captured meanwhile.
pub fn flush(operation: TriggerEvent, tally: &Tally) -> Result<(), ErrorReport> {
    for _ in 0..MOST_ROUNDS {
        let waiting = open_statements::take();
        if waiting.is_empty() {
            return Ok(());
        }
        let targets = Targets::of(&waiting);
        let mut all = net_change::net_changes(waiting, |target| targets.collection(target));
        check(&all)?;
        all.sort_by_key(|net| (net.effect.send_order(), targets.place(&net.target), kind_of(&net.effect).is_none()));
        for part in all.chunk_by(|one, other| targets.are_of_one_request(one, other)) {
            send_part(part, operation, tally)?;
        }
    }
    Err(mistake(
        "the triggers that run while upstream ids are written keep writing further rows",
        "A trigger seems to insert a row for each row that gets its upstream id. Let it fire only when other columns change.",
    ))
}

/// The targets of what waits, each once, in the order in which they were first captured. Each statement brings its own.
struct Targets {
    distinct: Vec<Arc<Target>>,
    places: HashMap<*const Target, usize>,
    /// For each of them the first one that has the same records.
    collections: Vec<usize>,
}

impl Targets {
    fn of(waiting: &[RowChange<Arc<Target>>]) -> Targets {
        let mut targets = Targets { distinct: Vec::new(), places: HashMap::new(), collections: Vec::new() };
        for change in waiting {
            targets.places.entry(Arc::as_ptr(&change.target)).or_insert_with(|| {
                let place = targets.distinct.iter().position(|other| *other == change.target);
                place.unwrap_or_else(|| {
                    targets.distinct.push(Arc::clone(&change.target));
                    targets.distinct.len() - 1
                })
            });
        }
        let records = |target: &Target| {
            let Attachment { server, sync_id, collection_id, .. } = &target.attachment;
            (server.clone(), sync_id.clone(), collection_id.clone())
        };
        let all: Vec<_> = targets.distinct.iter().map(|target| records(target)).collect();
        targets.collections =
            all.iter().map(|own| all.iter().position(|other| other == own).unwrap_or_default()).collect();
        targets
    }

    fn place(&self, target: &Arc<Target>) -> usize {
        self.places.get(&Arc::as_ptr(target)).copied().unwrap_or_default()
    }

    /// A number of the records that the target writes.
    fn collection(&self, target: &Arc<Target>) -> usize {
        self.collections.get(self.place(target)).copied().unwrap_or_default()
    }

    fn are_of_one_request(&self, one: &NetChange<Arc<Target>>, other: &NetChange<Arc<Target>>) -> bool {
        self.place(&one.target) == self.place(&other.target) && kind_of(&one.effect) == kind_of(&other.effect)
    }
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
fn check(all: &[NetChange<Arc<Target>>]) -> Result<(), ErrorReport> {
    let is_lost = |net: &&NetChange<Arc<Target>>| {
        net.target.attachment.delivery == Delivery::Inline
            && matches!(&net.effect, Effect::Update { id: None, fields, .. } if !fields.is_empty())
    };
    match all.iter().find(is_lost) {
        Some(net) => Err(no_upstream_id(&open(net.target.relation)?, &net.row.primary_key)),
        None => Ok(()),
    }
}

fn open(oid: u32) -> Result<relation::Table, ErrorReport> {
    relation::Table::open(pg_sys::Oid::from(oid))
        .ok_or_else(|| mistake("an attached table is no table any more", "Attach it anew."))
}

/// Sends changes of one kind and one table.
fn send_part(part: &[NetChange<Arc<Target>>], operation: TriggerEvent, tally: &Tally) -> Result<(), ErrorReport> {
    let Some(NetChange { target, effect, row }) = part.first() else { return Ok(()) };
    let send = || -> Result<(), ErrorReport> {
        let attachment = &target.attachment;
        match (attachment.delivery, kind_of(effect)) {
            (Delivery::Outbox, kind) => {
                let queued = OutboxCapture { attachment, identity: row.relation, operation, server: OnceCell::new() };
                part.chunks(ROWS).try_for_each(|rows| queue_part(&queued, kind, target, rows))
            }
            (Delivery::Inline, None) => Ok(()),
            (Delivery::Inline, Some(kind)) => {
                let table = open(target.relation)?;
                let inline = InlineCapture { attachment, table: &table, server: OnceCell::new(), operation, tally };
                send_inline(&inline, kind, part)
            }
        }
    };
    let role = pg_sys::Oid::from(target.role);
    if role == session::current_role() && target.search_path == session::search_path() {
        return send();
    }
    // A SECURITY DEFINER trigger has written these rows. The table's triggers run when their ids are written.
    if role != session::current_role()
        && target.attachment.delivery == Delivery::Inline
        && kind_of(effect) == Some(Kind::Create)
    {
        owner_rights::check_role(role, &open(target.relation)?)?;
    }
    security_context::acting_as(role, &target.search_path, send)
}

fn queue_part(
    queued: &OutboxCapture<'_>,
    kind: Option<Kind>,
    target: &Target,
    part: &[NetChange<Arc<Target>>],
) -> Result<(), ErrorReport> {
    let mut changes = Vec::with_capacity(part.len());
    for NetChange { row, effect, .. } in part {
        let key = row.primary_key.as_str();
        match effect {
            Effect::Create(fields) => changes.push((key, None, fields.to_object())),
            Effect::Arrival { id, .. } => reinserted_rows::note_arrival(target.relation, id),
            Effect::Update { id, fields, changes_id } => {
                if let (Some(id), true) = (id, changes_id) {
                    reinserted_rows::note_arrival(target.relation, id);
                }
                if !fields.is_empty() {
                    changes.push((key, id.as_deref(), fields.to_object()));
                }
            }
            Effect::Delete(RowImage { id, fields }) => changes.push((key, id.as_deref(), fields.to_object())),
        }
    }
    match kind {
        Some(kind) if !changes.is_empty() => queued.queue(kind, &changes),
        _ => Ok(()),
    }
}

fn send_inline(inline: &InlineCapture<'_>, kind: Kind, part: &[NetChange<Arc<Target>>]) -> Result<(), ErrorReport> {
    match kind {
        Kind::Create => {
            let columns = resolve(inline.table, inline.attachment)?;
            let rows = part.iter().filter_map(|net| match &net.effect {
                Effect::Create(fields) => Some((net.row.primary_key.clone(), fields.to_object())),
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
