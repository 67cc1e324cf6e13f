//! What several statements have done to a row together, as one change.
//!
//! A trigger of the application's can write the row that it fires for. Its statement ends, and is captured, before the
//! statement that the trigger fires for; so the order in which changes are captured is not the order in which they were
//! made. But the changes of one row form a chain: each finds the row as the one before has left it. So the values that
//! were left, less those that were found, are the last ones; and the other way round they are the first ones. No order
//! is needed for that.
//!
//! Everything here is a value: rows are keys and JSON texts. A statement may have very many rows, most of them with one
//! change. So the text of a row's fields is cut into its parts only where changes are compared.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use crate::json::{self, Cursor};

/// Fields of a row, a JSON object.
#[derive(Debug, Clone)]
pub struct Fields(Box<str>);

impl Fields {
    /// The fields of a JSON object.
    pub fn of_object(object: &str) -> Fields {
        Fields(object.into())
    }

    /// The JSON object of these fields.
    pub fn to_object(&self) -> String {
        String::from(&*self.0)
    }

    pub fn is_empty(&self) -> bool {
        let mut cursor = Cursor::new(&self.0);
        cursor.enter();
        cursor.next_key().is_none()
    }

    /// Those of these fields whose value is another one in `before`, or is not there.
    pub fn changed_since(self, before: &Fields) -> Fields {
        let (mut own, before) = (self.parts(), before.parts());
        let count = own.len();
        own.retain(|name, (_, value)| before.get(name).is_none_or(|(_, was)| was != value));
        if own.len() == count { self } else { object_of(&own) }
    }

    fn parts(&self) -> Parts<'_> {
        let mut cursor = Cursor::new(&self.0);
        let mut parts = Parts::new();
        cursor.enter();
        while let Some(name) = cursor.next_key() {
            parts.insert(json::plain_key(name), (name, cursor.value()));
        }
        parts
    }
}

impl Default for Fields {
    fn default() -> Fields {
        Fields::of_object("{}")
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Fields) -> bool {
        self.0 == other.0 || are_equal(&self.parts(), &other.parts())
    }
}

impl Eq for Fields {}

/// The parts of a JSON object by their names in plain spelling: each name as it is spelled, and its value.
type Parts<'a> = BTreeMap<Cow<'a, str>, (&'a str, &'a str)>;

fn are_equal(one: &Parts<'_>, other: &Parts<'_>) -> bool {
    let is_there =
        |(name, (_, value)): (&Cow<'_, str>, &(&str, &str))| other.get(name).is_some_and(|(_, own)| own == value);
    one.len() == other.len() && one.iter().all(is_there)
}

fn object_of(parts: &Parts<'_>) -> Fields {
    let fields: Vec<String> = parts.values().map(|(name, value)| [*name, ":", *value].concat()).collect();
    Fields(format!("{{{}}}", fields.join(",")).into())
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
    let further = further_changes(&changes);
    let mut changes: Vec<Option<Change<T>>> = changes.into_iter().map(Some).collect();
    let (mut all, mut takers) = (Vec::with_capacity(changes.len()), HashMap::new());
    for place in 0..changes.len() {
        let Some(change) = changes[place].take() else { continue };
        let Some(further) = further.get(&place) else {
            if let (Some(before), Some(after)) = (&change.before, &change.after)
                && before.id != after.id
            {
                takers.insert(all.len(), after.fields.clone());
            }
            all.extend(of_change(change));
            continue;
        };
        let mut of_one = vec![change];
        of_one.extend(further.iter().filter_map(|place| changes[*place].take()));
        let effects = of_row(&of_one);
        if let [Net { effect: Effect::Update { takes_id: true, .. }, .. }] = &effects[..] {
            takers.insert(all.len(), kept_fields(&of_one));
        }
        all.extend(effects);
    }
    join_moves(&mut all, takers, group);
    all.sort_by_key(|net| net.effect.turn());
    all
}

/// By the place of a row's first change: the places of its other ones.
fn further_changes<T>(changes: &[Change<T>]) -> HashMap<usize, Vec<usize>> {
    let mut first: HashMap<&RowKey, usize> = HashMap::with_capacity(changes.len());
    let mut further: HashMap<usize, Vec<usize>> = HashMap::new();
    for (place, change) in changes.iter().enumerate() {
        match first.entry(&change.row) {
            Entry::Vacant(new) => drop(new.insert(place)),
            Entry::Occupied(known) => further.entry(*known.get()).or_default().push(place),
        }
    }
    further
}

/// What the only change of a row comes to.
fn of_change<T>(change: Change<T>) -> Option<Net<T>> {
    let Change { row, target, before, after } = change;
    let effect = match (before, after) {
        (None, None) => return None,
        (None, Some(Image { id: None, fields })) => Effect::Create(fields),
        (None, Some(Image { id: Some(id), fields })) => Effect::Arrival { id, fields },
        (Some(image), None) => Effect::Delete(image),
        (Some(before), Some(Image { id, fields })) => {
            let (takes_id, fields) = (before.id != id, fields.changed_since(&before.fields));
            if fields.is_empty() && !takes_id {
                return None;
            }
            Effect::Update { id, fields, takes_id }
        }
    };
    Some(Net { row, target, effect })
}

/// What several changes of one row come to: mostly one effect; two if the row is another one under the same key.
fn of_row<T: Clone>(changes: &[Change<T>]) -> Vec<Net<T>> {
    let inserts = changes.iter().filter(|change| change.before.is_none()).count();
    let deletes = changes.iter().filter(|change| change.after.is_none()).count();
    // The outermost statement is captured last.
    let Some(Change { row, target, .. }) = changes.last() else { return Vec::new() };
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
        return vec![net(Effect::Delete(Image { id: first_id, fields: object_of(&first) }))];
    }
    let is_same_record = inserts == 0 || first_id.is_some() && first_id == last_id;
    if is_same_record {
        let takes_id = first_id != last_id;
        let is_nothing = last.is_empty() && !takes_id;
        return if is_nothing {
            Vec::new()
        } else {
            vec![net(Effect::Update { id: last_id, fields: object_of(&last), takes_id })]
        };
    }
    if first_id == last_id && are_equal(&first, &last) {
        // It was made and is gone again; or it went and came back, which is the same to those who never knew it.
        return Vec::new();
    }
    vec![net(Effect::Delete(Image { id: first_id, fields: object_of(&first) })), arrived(last_id, all_fields(changes))]
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
#[derive(Default)]
struct Ends<'a> {
    first: Parts<'a>,
    last: Parts<'a>,
}

fn ends<T>(changes: &[Change<T>]) -> Ends<'_> {
    #[derive(Default)]
    struct Values<'a> {
        spelled: &'a str,
        found: Vec<&'a str>,
        left: Vec<&'a str>,
    }
    let mut values: BTreeMap<Cow<'_, str>, Values<'_>> = BTreeMap::new();
    for change in changes {
        for (name, (spelled, value)) in parts_of(&change.before) {
            let values = values.entry(name).or_default();
            values.spelled = spelled;
            values.found.push(value);
        }
        for (name, (spelled, value)) in parts_of(&change.after) {
            let values = values.entry(name).or_default();
            values.spelled = spelled;
            values.left.push(value);
        }
    }
    let mut ends = Ends::default();
    for (name, Values { spelled, found, left }) in values {
        let (first, last) = unmatched(found, left);
        if let Some(first) = first.last() {
            ends.first.insert(name.clone(), (spelled, *first));
        }
        if let Some(last) = latest(&last) {
            ends.last.insert(name, (spelled, last));
        }
    }
    ends
}

fn parts_of(image: &Option<Image>) -> Parts<'_> {
    image.as_ref().map(|image| image.fields.parts()).unwrap_or_default()
}

/// All fields of a row that is there now, and that an insert has made.
fn all_fields<T>(changes: &[Change<T>]) -> Fields {
    let inserted = changes.iter().filter(|change| change.before.is_none()).map(|change| &change.after);
    with_last(inserted, changes)
}

/// All fields of a row that was there before, and has another upstream id now.
fn kept_fields<T>(changes: &[Change<T>]) -> Fields {
    with_last(changes.iter().map(|change| &change.before), changes)
}

/// The fields of these images, of a later one rather than of an earlier one, with the values that `changes` have left.
fn with_last<'a, T>(images: impl Iterator<Item = &'a Option<Image>>, changes: &'a [Change<T>]) -> Fields {
    let mut all: Parts<'_> = images.flat_map(parts_of).collect();
    all.extend(ends(changes).last);
    object_of(&all)
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
    let new_id = |effect: &Effect| match effect {
        Effect::Arrival { id, .. } | Effect::Update { id: Some(id), takes_id: true, .. } => Some(id.clone()),
        _ => None,
    };
    let arrived: Vec<(usize, (usize, String))> = all
        .iter()
        .enumerate()
        .filter_map(|(place, net)| Some((place, (group(&net.target), new_id(&net.effect)?))))
        .collect();
    if arrived.is_empty() {
        return;
    }
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
    for (place, id) in arrived {
        let Some(&was) = gone.get(&id) else { continue };
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
