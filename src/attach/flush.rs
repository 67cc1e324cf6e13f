//! Sends the held changes when the outermost statement ends: one change for each row, in as few requests as possible.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use pgrx::pg_sys;

use crate::call::error_context::StatementContext;
use crate::ereport::Error;
use crate::pg::{relation, security_context, session};
use contract::kind::Kind;

use super::capture_inline::InlineCapture;
use super::capture_outbox::{BATCH_ROWS, OutboxCapture};
use super::columns::resolve;
use super::error::{no_upstream_id, wrong_state};
use super::open_statements::{self, Target};
use super::owner_rights;
use super::reinserted_rows;
use contract::attachment::{Attachment, Delivery, TriggerEvent};
use contract::net_change::{self, Effect, NetChange, RowChange, RowImage};

/// How often triggers may insert further rows while upstream ids are written. A trigger that inserts a row for each row
/// that gets its id would never end.
const MAX_ROUNDS: usize = 100;

/// Sends the held changes, and the changes that are captured meanwhile.
pub fn flush(operation: TriggerEvent, statement: &StatementContext) -> Result<(), Error> {
    for _ in 0..MAX_ROUNDS {
        let held = open_statements::take();
        if held.is_empty() {
            return Ok(());
        }
        let targets = Targets::of(&held);
        let mut all = net_change::net_changes(held, |target| targets.collection(target));
        check(&all)?;
        all.sort_by_key(|net| (net.effect.send_order(), targets.place(&net.target), kind_of(&net.effect).is_none()));
        for part in all.chunk_by(|one, other| targets.are_of_one_request(one, other)) {
            send_part(part, operation, statement)?;
        }
    }
    Err(wrong_state(
        "the triggers that run while upstream ids are written keep inserting further rows",
        "A trigger seems to insert a row for each row that gets its upstream id. Let it fire only when other columns change.",
    ))
}

/// The distinct targets of the held changes, in the order of first capture. Each statement has its own.
struct Targets {
    distinct: Vec<Arc<Target>>,
    places: HashMap<*const Target, usize>,
    /// For each target, the index of the first one with the same collection.
    collections: Vec<usize>,
}

impl Targets {
    fn of(held: &[RowChange<Arc<Target>>]) -> Targets {
        let mut targets = Targets { distinct: Vec::new(), places: HashMap::new(), collections: Vec::new() };
        for change in held {
            targets.places.entry(Arc::as_ptr(&change.target)).or_insert_with(|| {
                let place = targets.distinct.iter().position(|other| *other == change.target);
                place.unwrap_or_else(|| {
                    targets.distinct.push(Arc::clone(&change.target));
                    targets.distinct.len() - 1
                })
            });
        }
        let collection = |target: &Target| {
            let Attachment { server, sync_id, collection_id, .. } = &target.attachment;
            (server.clone(), sync_id.clone(), collection_id.clone())
        };
        let all: Vec<_> = targets.distinct.iter().map(|target| collection(target)).collect();
        let first = |own| all.iter().position(|other| other == own).expect("a target is one of all targets");
        targets.collections = all.iter().map(first).collect();
        targets
    }

    fn place(&self, target: &Arc<Target>) -> usize {
        self.places[&Arc::as_ptr(target)]
    }

    /// A number that targets with the same collection share.
    fn collection(&self, target: &Arc<Target>) -> usize {
        self.collections[self.place(target)]
    }

    fn are_of_one_request(&self, one: &NetChange<Arc<Target>>, other: &NetChange<Arc<Target>>) -> bool {
        self.place(&one.target) == self.place(&other.target) && kind_of(&one.effect) == kind_of(&other.effect)
    }
}

/// None if nothing is to be sent.
fn kind_of(effect: &Effect) -> Option<Kind> {
    match effect {
        Effect::Create(_) => Some(Kind::Create),
        Effect::Arrival { .. } => None,
        Effect::Update { .. } => Some(Kind::Update),
        Effect::Delete(_) => Some(Kind::Delete),
    }
}

/// Refuses changes that cannot be sent, before the first request.
fn check(all: &[NetChange<Arc<Target>>]) -> Result<(), Error> {
    let is_lost = |net: &&NetChange<Arc<Target>>| {
        net.target.attachment.delivery == Delivery::Inline
            && matches!(&net.effect, Effect::Update { id: None, fields, .. } if !fields.is_empty())
    };
    match all.iter().find(is_lost) {
        Some(net) => Err(no_upstream_id(&open(net.target.relation)?, &net.row.primary_key)),
        None => Ok(()),
    }
}

fn open(oid: u32) -> Result<relation::Table, Error> {
    relation::Table::open(pg_sys::Oid::from(oid))
        .ok_or_else(|| wrong_state("an attached table is not a table any more", "Detach it and attach it again."))
}

/// Sends changes of one kind and one table, as the role that made them.
fn send_part(
    part: &[NetChange<Arc<Target>>],
    operation: TriggerEvent,
    statement: &StatementContext,
) -> Result<(), Error> {
    let Some(NetChange { target, effect, .. }) = part.first() else { return Ok(()) };
    let role = pg_sys::Oid::from(target.role);
    if role == session::current_role() && target.search_path == session::search_path() {
        return send_as_current_role(part, operation, statement);
    }
    // A SECURITY DEFINER trigger wrote these rows. The table's triggers run when the ids of the rows are written.
    if role != session::current_role()
        && target.attachment.delivery == Delivery::Inline
        && kind_of(effect) == Some(Kind::Create)
    {
        owner_rights::check_role(role, &open(target.relation)?)?;
    }
    security_context::acting_as(role, &target.search_path, || send_as_current_role(part, operation, statement))
}

fn send_as_current_role(
    part: &[NetChange<Arc<Target>>],
    operation: TriggerEvent,
    statement: &StatementContext,
) -> Result<(), Error> {
    let Some(NetChange { target, effect, row }) = part.first() else { return Ok(()) };
    let (attachment, server) = (&target.attachment, OnceCell::new());
    match (attachment.delivery, kind_of(effect)) {
        (Delivery::Outbox, kind) => {
            let outbox = OutboxCapture { attachment, key_scope: row.relation, operation, server };
            part.chunks(BATCH_ROWS).try_for_each(|rows| queue_part(&outbox, kind, target, rows))
        }
        (Delivery::Inline, None) => Ok(()),
        (Delivery::Inline, Some(kind)) => {
            let table = open(target.relation)?;
            let inline = InlineCapture { attachment, table: &table, operation, statement, server };
            send_inline(&inline, kind, part)
        }
    }
}

fn queue_part(
    outbox: &OutboxCapture<'_>,
    kind: Option<Kind>,
    target: &Target,
    part: &[NetChange<Arc<Target>>],
) -> Result<(), Error> {
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
        Some(kind) if !changes.is_empty() => outbox.queue(kind, &changes),
        _ => Ok(()),
    }
}

fn send_inline(inline: &InlineCapture<'_>, kind: Kind, part: &[NetChange<Arc<Target>>]) -> Result<(), Error> {
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
