//! Finds rows that moved: deleted in one place, inserted or adopted in another, with the same upstream id.
//!
//! A move that was sent as a delete and a create would lose the record and everything that refers to it at the provider.

use std::collections::HashMap;

use super::{Effect, NetChange, RowFields, RowImage};

/// Turns a delete, and a row that now has the deleted row's upstream id, into one update. `adopters` has all fields of the
/// existing rows whose upstream id has changed, by their positions in `all`.
pub(super) fn join<T>(
    all: &mut Vec<NetChange<T>>,
    mut adopters: HashMap<usize, RowFields>,
    group: impl Fn(&T) -> usize,
) {
    let new_id = |effect: &Effect| match effect {
        Effect::Arrival { id, .. } | Effect::Update { id: Some(id), changes_id: true, .. } => Some(id.clone()),
        _ => None,
    };
    let arrived: Vec<(usize, (usize, String))> = all
        .iter()
        .enumerate()
        .filter_map(|(position, net)| Some((position, (group(&net.target), new_id(&net.effect)?))))
        .collect();
    if arrived.is_empty() {
        return;
    }
    let gone: HashMap<(usize, String), usize> = all
        .iter()
        .enumerate()
        .filter_map(|(position, net)| match &net.effect {
            Effect::Delete(RowImage { id: Some(id), .. }) => Some(((group(&net.target), id.clone()), position)),
            _ => None,
        })
        .collect();
    if gone.is_empty() {
        return;
    }
    let mut is_dropped = vec![false; all.len()];
    for (position, id) in arrived {
        let Some(&was) = gone.get(&id) else { continue };
        is_dropped[was] = true;
        let Effect::Delete(before) = &all[was].effect else { continue };
        match &all[position].effect {
            Effect::Arrival { id, fields } => {
                let fields = fields.clone().changed_since(&before.fields);
                is_dropped[position] = fields.is_empty();
                all[position].effect = Effect::Update { id: Some(id.clone()), fields, changes_id: false };
            }
            Effect::Update { id, .. } => {
                // The record has the fields of the deleted row.
                let fields = adopters.remove(&position).unwrap_or_default().changed_since(&before.fields);
                all[position].effect = Effect::Update { id: id.clone(), fields, changes_id: true };
            }
            _ => {}
        }
    }
    let mut is_dropped = is_dropped.into_iter();
    all.retain(|_| is_dropped.next() == Some(false));
}
