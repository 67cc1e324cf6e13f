//! What several statements have done to a row together, as one change.
//!
//! A trigger of the application's can write the row that it fires for. Its statement ends, and is captured, before the
//! statement that the trigger fires for; so the order in which changes are captured is not the order in which they were
//! made. But the changes of one row form a chain: each finds the row as the one before has left it. So the values that
//! were left, less those that were found, are the last ones; and the other way round they are the first ones. No order
//! is needed for that.
//!
//! Everything here is a value: rows are keys and JSON texts.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use crate::mutation::json::{self, Cursor};

/// Fields of a row: names as JSON strings with their quotes, values as JSON texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// The fields of a JSON object.
    pub fn of_object(object: &str) -> Fields {
        let mut cursor = Cursor::new(object);
        let mut fields = BTreeMap::new();
        cursor.enter();
        while let Some(name) = cursor.next_key() {
            fields.insert(json::plain_key(name).into_owned(), cursor.value().to_owned());
        }
        Fields(fields)
    }

    /// The JSON object of these fields.
    pub fn to_object(&self) -> String {
        let fields: Vec<String> = self.0.iter().map(|(name, value)| [name, ":", value].concat()).collect();
        format!("{{{}}}", fields.join(","))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of these fields whose value is another one in `before`, or is not there.
    pub fn changed_since(mut self, before: &Fields) -> Fields {
        self.0.retain(|name, value| before.0.get(name) != Some(value));
        self
    }
}

/// A row: the table whose rows its key tells apart, and its primary key as a JSON array.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    pub table: u32,
    pub key: String,
}

/// How a statement found a row, or left it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// The upstream id, which is not blank.
    pub id: Option<String>,
    pub fields: Fields,
}

/// What one statement did to one row. An insert, a delete, and an update that changes the upstream id have all fields;
/// another update has only those that it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<T> {
    pub row: RowKey,
    /// Where it is sent.
    pub target: T,
    /// None: there was no such row.
    pub before: Option<Image>,
    /// None: there is no such row any more.
    pub after: Option<Image>,
}

/// What all changes of a row come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A new row without an upstream id: its record is to be created.
    Create(Fields),
    /// A new row that came with an upstream id: its record is there already.
    Arrival { id: String, fields: Fields },
    /// The row is the one that it was. `takes_id` if it had another upstream id, or none.
    Update { id: Option<String>, fields: Fields, takes_id: bool },
    /// The row is gone. The fields are those that it had first.
    Delete(Image),
}

impl Effect {
    /// Deletes come first, for a row may take the place, or the id, of one that is gone. Updates come last.
    pub fn turn(&self) -> u8 {
        match self {
            Effect::Delete(_) => 0,
            Effect::Create(_) | Effect::Arrival { .. } => 1,
            Effect::Update { .. } => 2,
        }
    }
}

/// The effect on one row, and where it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net<T> {
    pub row: RowKey,
    pub target: T,
    pub effect: Effect,
}

/// What `changes`, in the order in which they were captured, come to. Deletes come first, for a row may take the place, or
/// the upstream id, of another; then creates, then updates. `group` says which collection a target belongs to: a row that
/// is gone from one place and has arrived at another with the same upstream id was moved, and its record lives on.
pub fn net<T: Clone>(changes: Vec<Change<T>>, group: impl Fn(&T) -> usize) -> Vec<Net<T>> {
    let mut places: HashMap<RowKey, usize> = HashMap::new();
    let mut rows: Vec<Vec<Change<T>>> = Vec::new();
    for change in changes {
        let place = *places.entry(change.row.clone()).or_insert_with(|| {
            rows.push(Vec::new());
            rows.len() - 1
        });
        rows[place].push(change);
    }
    let (mut all, mut takers) = (Vec::new(), HashMap::new());
    for changes in rows {
        let effects = of_row(&changes);
        if let [Net { effect: Effect::Update { takes_id: true, .. }, .. }] = &effects[..] {
            takers.insert(all.len(), kept_fields(&changes));
        }
        all.extend(effects);
    }
    join_moves(&mut all, takers, group);
    all.sort_by_key(|net| net.effect.turn());
    all
}

/// What the changes of one row come to: mostly one effect; two if the row is another one under the same key.
fn of_row<T: Clone>(changes: &[Change<T>]) -> Vec<Net<T>> {
    let inserts = changes.iter().filter(|change| change.before.is_none()).count();
    let deletes = changes.iter().filter(|change| change.after.is_none()).count();
    // The outermost statement is captured last.
    let Some(Change { row, target, .. }) = changes.last().cloned() else { return Vec::new() };
    let (first_id, last_id) = ids(changes);
    let net = |effect| Net { row: row.clone(), target: target.clone(), effect };
    let arrived = |id: Option<String>, fields| match id {
        None => net(Effect::Create(fields)),
        Some(id) => net(Effect::Arrival { id, fields }),
    };
    if inserts > deletes {
        return vec![arrived(last_id, all_fields(changes))];
    }
    let Ends { first, last } = ends(changes);
    if deletes > inserts {
        return vec![net(Effect::Delete(Image { id: first_id, fields: first }))];
    }
    let is_same_record = inserts == 0 || first_id.is_some() && first_id == last_id;
    if is_same_record {
        let takes_id = first_id != last_id;
        let is_nothing = last.is_empty() && !takes_id;
        return if is_nothing { Vec::new() } else { vec![net(Effect::Update { id: last_id, fields: last, takes_id })] };
    }
    if first_id == last_id && first == last {
        // It was made and is gone again; or it went and came back, which is the same to those who never knew it.
        return Vec::new();
    }
    vec![net(Effect::Delete(Image { id: first_id, fields: first })), arrived(last_id, all_fields(changes))]
}

/// The upstream ids that the row had first and last.
fn ids<T>(changes: &[Change<T>]) -> (Option<String>, Option<String>) {
    let found = changes.iter().filter_map(|change| change.before.as_ref()).map(|image| &image.id).collect();
    let left = changes.iter().filter_map(|change| change.after.as_ref()).map(|image| &image.id).collect();
    let (first, last) = unmatched(found, left);
    let any = changes.iter().flat_map(|change| [&change.before, &change.after]).flatten().map(|image| &image.id).next();
    // Those that cancel each other out: the row has the one that it had.
    let both = if first.is_empty() && last.is_empty() { any } else { None };
    (first.first().copied().or(both).cloned().flatten(), last.last().copied().or(both).cloned().flatten())
}

/// The values that a row's fields had first and have last, of the fields that have changed.
struct Ends {
    first: Fields,
    last: Fields,
}

fn ends<T>(changes: &[Change<T>]) -> Ends {
    let mut values: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for change in changes {
        for (name, value) in fields_of(&change.before) {
            values.entry(name).or_default().0.push(value);
        }
        for (name, value) in fields_of(&change.after) {
            values.entry(name).or_default().1.push(value);
        }
    }
    let mut ends = Ends { first: Fields::default(), last: Fields::default() };
    for (name, (found, left)) in values {
        let (first, last) = unmatched(found, left);
        if let Some(first) = first.last() {
            ends.first.0.insert(name.to_owned(), (*first).to_owned());
        }
        if let Some(last) = latest(&last) {
            ends.last.0.insert(name.to_owned(), (*last).to_owned());
        }
    }
    ends
}

fn fields_of(image: &Option<Image>) -> impl Iterator<Item = (&str, &str)> {
    image.iter().flat_map(|image| &image.fields.0).map(|(name, value)| (name.as_str(), value.as_str()))
}

/// All fields of a row that is there now, and that an insert has made.
fn all_fields<T>(changes: &[Change<T>]) -> Fields {
    let mut all = Fields::default();
    for change in changes.iter().filter(|change| change.before.is_none()) {
        all.0.extend(fields_of(&change.after).map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    all.0.extend(ends(changes).last.0);
    all
}

/// All fields of a row that was there before, and has another upstream id now.
fn kept_fields<T>(changes: &[Change<T>]) -> Fields {
    let mut all = Fields::default();
    for change in changes {
        all.0.extend(fields_of(&change.before).map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    all.0.extend(ends(changes).last.0);
    all
}

/// What stands in one list and not in the other, each as often as it does. A row may have been written very often.
fn unmatched<'a, V: Eq + Hash + ?Sized>(found: Vec<&'a V>, left: Vec<&'a V>) -> (Vec<&'a V>, Vec<&'a V>) {
    let mut surplus: HashMap<&V, isize> = HashMap::with_capacity(left.len());
    for value in &left {
        *surplus.entry(value).or_default() += 1;
    }
    for value in &found {
        *surplus.entry(value).or_default() -= 1;
    }
    let mut take = |value: &&V, sign: isize| {
        let count = surplus.get_mut(*value).filter(|count| **count * sign > 0);
        count.map(|count| *count -= sign).is_some()
    };
    let first = found.into_iter().filter(|value| take(value, -1)).collect();
    (first, left.into_iter().filter(|value| take(value, 1)).collect())
}

/// The last value of several. In a whole chain there is one. If a write was not captured, what the statements within the
/// outermost one have left is later than what that one has.
fn latest<'a, V: ?Sized>(values: &[&'a V]) -> Option<&'a V> {
    match values {
        [within @ .., _] if !within.is_empty() => within.last().copied(),
        _ => values.last().copied(),
    }
}

/// Makes one change of a delete and of what has its upstream id now. `takers` are all fields of the rows, by their places,
/// that were there before and have another upstream id now.
fn join_moves<T>(all: &mut Vec<Net<T>>, mut takers: HashMap<usize, Fields>, group: impl Fn(&T) -> usize) {
    let gone: HashMap<(usize, String), usize> = all
        .iter()
        .enumerate()
        .filter_map(|(place, net)| match &net.effect {
            Effect::Delete(Image { id: Some(id), .. }) => Some(((group(&net.target), id.clone()), place)),
            _ => None,
        })
        .collect();
    if gone.is_empty() {
        return;
    }
    let mut lives_on = vec![false; all.len()];
    for place in 0..all.len() {
        let id = match &all[place].effect {
            Effect::Arrival { id, .. } | Effect::Update { id: Some(id), takes_id: true, .. } => id.clone(),
            _ => continue,
        };
        let Some(&was) = gone.get(&(group(&all[place].target), id)) else { continue };
        lives_on[was] = true;
        let Effect::Delete(before) = &all[was].effect else { continue };
        match &all[place].effect {
            Effect::Arrival { id, fields } => {
                let fields = fields.clone().changed_since(&before.fields);
                lives_on[place] = fields.is_empty();
                all[place].effect = Effect::Update { id: Some(id.clone()), fields, takes_id: false };
            }
            Effect::Update { id, .. } => {
                // The record has the fields of the row that is gone.
                let fields = takers.remove(&place).unwrap_or_default().changed_since(&before.fields);
                all[place].effect = Effect::Update { id: id.clone(), fields, takes_id: true };
            }
            _ => {}
        }
    }
    let mut lives_on = lives_on.into_iter();
    all.retain(|_| lives_on.next() == Some(false));
}

#[cfg(test)]
mod tests;
