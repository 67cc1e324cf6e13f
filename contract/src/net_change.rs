//! Combines the changes that several statements made to a row into one net change.
//!
//! An application's trigger can write the row that it fires for. That inner statement ends, and is captured, before the outer
//! one, so the order of capture is not the order of the writes. But the changes of a row form a chain: each finds the row
//! as its predecessor left it. So the last values are those that some change left and no change found, and the first values
//! are those that some change found and none left. This needs no order.
//!
//! A statement may change very many rows, most of them once. So a row's fields stay JSON text until they are compared.

mod moves;

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use crate::json::{self, Cursor};

/// RowFields of a row, a JSON object.
#[derive(Debug, Clone)]
pub struct RowFields(Box<str>);

impl RowFields {
    /// Wraps a JSON object.
    pub fn of_object(object: &str) -> RowFields {
        RowFields(object.into())
    }

    /// The JSON object.
    pub fn to_object(&self) -> String {
        String::from(&*self.0)
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        let mut cursor = Cursor::new(&self.0);
        cursor.enter();
        cursor.next_key().is_none()
    }

    /// The fields that `before` lacks, or has with another value.
    pub fn changed_since(self, before: &RowFields) -> RowFields {
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

impl Default for RowFields {
    fn default() -> RowFields {
        RowFields::of_object("{}")
    }
}

impl PartialEq for RowFields {
    fn eq(&self, other: &RowFields) -> bool {
        self.0 == other.0 || are_equal(&self.parts(), &other.parts())
    }
}

impl Eq for RowFields {}

/// The fields of a JSON object by unescaped name: the name as it is spelled, and the value.
type Parts<'a> = BTreeMap<Cow<'a, str>, (&'a str, &'a str)>;

fn are_equal(one: &Parts<'_>, other: &Parts<'_>) -> bool {
    let is_there =
        |(name, (_, value)): (&Cow<'_, str>, &(&str, &str))| other.get(name).is_some_and(|(_, own)| own == value);
    one.len() == other.len() && one.iter().all(is_there)
}

fn object_of(parts: &Parts<'_>) -> RowFields {
    let fields: Vec<String> = parts.values().map(|(name, value)| [*name, ":", *value].concat()).collect();
    RowFields(format!("{{{}}}", fields.join(",")).into())
}

/// Identifies a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// The oid of the table in which the primary key is unique.
    pub relation: u32,
    /// The primary key's values, as a JSON array.
    pub primary_key: String,
}

/// A row before or after a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowImage {
    /// The upstream id, which is never blank.
    pub id: Option<String>,
    /// The row's fields. See [`RowChange`] for which.
    pub fields: RowFields,
}

/// The change that one statement made to one row. An insert, a delete, and an update of the upstream id have all fields.
/// Any other update has only the fields that it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange<T> {
    /// The changed row.
    pub row: RowId,
    /// The attachment that sends the change.
    pub target: T,
    /// The row before the statement. `None` for an insert.
    pub before: Option<RowImage>,
    /// The row after the statement. `None` for a delete.
    pub after: Option<RowImage>,
}

/// The net effect of all changes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "id is the row's upstream id afterwards, fields its new values")]
pub enum Effect {
    /// A new row without an upstream id, whose record must be created.
    Create(RowFields),
    /// A new row with an upstream id, whose record exists already.
    Arrival { id: String, fields: RowFields },
    /// A changed row. `changes_id` is whether its upstream id was another one, or NULL.
    Update { id: Option<String>, fields: RowFields, changes_id: bool },
    /// A deleted row, with its first upstream id and its first fields.
    Delete(RowImage),
}

impl Effect {
    /// The position of an effect among all effects: deletes first, since another row may take over the primary key or the
    /// upstream id of a deleted one; then creates; updates last.
    pub fn send_order(&self) -> u8 {
        match self {
            Effect::Delete(_) => 0,
            Effect::Create(_) | Effect::Arrival { .. } => 1,
            Effect::Update { .. } => 2,
        }
    }
}

/// The net effect on one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetChange<T> {
    /// The row.
    pub row: RowId,
    /// The attachment that sends the change: that of the row's last captured change.
    pub target: T,
    /// The effect.
    pub effect: Effect,
}

/// The net changes of `changes`, which are in the order of their capture. The result is sorted by
/// [`send_order`](Effect::send_order). `group` numbers the collection of a target: if a row was deleted and another row of
/// the same collection has its upstream id, the row was moved, and its record is not deleted.
pub fn net_changes<T: Clone>(changes: Vec<RowChange<T>>, group: impl Fn(&T) -> usize) -> Vec<NetChange<T>> {
    let further = further_changes(&changes);
    let mut changes: Vec<Option<RowChange<T>>> = changes.into_iter().map(Some).collect();
    let (mut all, mut adopters) = (Vec::with_capacity(changes.len()), HashMap::new());
    for position in 0..changes.len() {
        let Some(change) = changes[position].take() else { continue };
        let Some(further) = further.get(&position) else {
            if let (Some(before), Some(after)) = (&change.before, &change.after)
                && before.id != after.id
            {
                adopters.insert(all.len(), after.fields.clone());
            }
            all.extend(of_change(change));
            continue;
        };
        let mut of_one = vec![change];
        of_one.extend(further.iter().filter_map(|position| changes[*position].take()));
        let effects = of_row(&of_one);
        if let [NetChange { effect: Effect::Update { changes_id: true, .. }, .. }] = &effects[..] {
            adopters.insert(all.len(), kept_fields(&of_one));
        }
        all.extend(effects);
    }
    moves::join(&mut all, adopters, group);
    all.sort_by_key(|net| net.effect.send_order());
    all
}

/// The positions of the further changes of each row that has several, by the position of the row's first change.
fn further_changes<T>(changes: &[RowChange<T>]) -> HashMap<usize, Vec<usize>> {
    let mut first: HashMap<&RowId, usize> = HashMap::with_capacity(changes.len());
    let mut further: HashMap<usize, Vec<usize>> = HashMap::new();
    for (position, change) in changes.iter().enumerate() {
        match first.entry(&change.row) {
            Entry::Vacant(new) => drop(new.insert(position)),
            Entry::Occupied(known) => further.entry(*known.get()).or_default().push(position),
        }
    }
    further
}

/// The net change of a row with a single change. `None` if it changed nothing.
fn of_change<T>(change: RowChange<T>) -> Option<NetChange<T>> {
    let RowChange { row, target, before, after } = change;
    let effect = match (before, after) {
        (None, None) => return None,
        (None, Some(RowImage { id: None, fields })) => Effect::Create(fields),
        (None, Some(RowImage { id: Some(id), fields })) => Effect::Arrival { id, fields },
        (Some(image), None) => Effect::Delete(image),
        (Some(before), Some(RowImage { id, fields })) => {
            let (changes_id, fields) = (before.id != id, fields.changed_since(&before.fields));
            if fields.is_empty() && !changes_id {
                return None;
            }
            Effect::Update { id, fields, changes_id }
        }
    };
    Some(NetChange { row, target, effect })
}

/// The net changes of a row with several changes. There are two if a new row has the primary key of a deleted one.
fn of_row<T: Clone>(changes: &[RowChange<T>]) -> Vec<NetChange<T>> {
    let inserts = changes.iter().filter(|change| change.before.is_none()).count();
    let deletes = changes.iter().filter(|change| change.after.is_none()).count();
    // The outermost statement is captured last.
    let Some(RowChange { row, target, .. }) = changes.last() else { return Vec::new() };
    let (first_id, last_id) = ids(changes);
    let net = |effect| NetChange { row: row.clone(), target: target.clone(), effect };
    let arrived = |id: Option<String>, fields| match id {
        None => net(Effect::Create(fields)),
        Some(id) => net(Effect::Arrival { id, fields }),
    };
    if inserts > deletes {
        return vec![arrived(last_id, all_fields(changes))];
    }
    let FirstAndLast { first, last } = first_and_last(changes);
    if deletes > inserts {
        return vec![net(Effect::Delete(RowImage { id: first_id, fields: object_of(&first) }))];
    }
    let is_same_record = inserts == 0 || first_id.is_some() && first_id == last_id;
    if is_same_record {
        let changes_id = first_id != last_id;
        let is_nothing = last.is_empty() && !changes_id;
        return if is_nothing {
            Vec::new()
        } else {
            vec![net(Effect::Update { id: last_id, fields: object_of(&last), changes_id })]
        };
    }
    if first_id == last_id && are_equal(&first, &last) {
        // The row was inserted and deleted, or deleted and inserted again unchanged.
        return Vec::new();
    }
    vec![
        net(Effect::Delete(RowImage { id: first_id, fields: object_of(&first) })),
        arrived(last_id, all_fields(changes)),
    ]
}

/// The first and the last upstream id of the row.
fn ids<T>(changes: &[RowChange<T>]) -> (Option<String>, Option<String>) {
    let found = changes.iter().filter_map(|change| change.before.as_ref()).map(|image| &image.id).collect();
    let left = changes.iter().filter_map(|change| change.after.as_ref()).map(|image| &image.id).collect();
    let (first, last) = unmatched(found, left);
    let any = changes.iter().flat_map(|change| [&change.before, &change.after]).flatten().map(|image| &image.id).next();
    // If all found and left ids cancel out, the row kept its id.
    let both = if first.is_empty() && last.is_empty() { any } else { None };
    (first.first().copied().or(both).cloned().flatten(), last.last().copied().or(both).cloned().flatten())
}

/// The first and the last values of a row's changed fields.
#[derive(Default)]
struct FirstAndLast<'a> {
    first: Parts<'a>,
    last: Parts<'a>,
}

fn first_and_last<T>(changes: &[RowChange<T>]) -> FirstAndLast<'_> {
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
    let mut ends = FirstAndLast::default();
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

fn parts_of(image: &Option<RowImage>) -> Parts<'_> {
    image.as_ref().map(|image| image.fields.parts()).unwrap_or_default()
}

/// All fields of a row that an insert has made.
fn all_fields<T>(changes: &[RowChange<T>]) -> RowFields {
    let inserted = changes.iter().filter(|change| change.before.is_none()).map(|change| &change.after);
    with_last(inserted, changes)
}

/// All fields of an existing row whose upstream id has changed.
fn kept_fields<T>(changes: &[RowChange<T>]) -> RowFields {
    with_last(changes.iter().map(|change| &change.before), changes)
}

/// The fields of `images`, where a later image wins, with the last values of `changes`.
fn with_last<'a, T>(images: impl Iterator<Item = &'a Option<RowImage>>, changes: &'a [RowChange<T>]) -> RowFields {
    let mut all: Parts<'_> = images.flat_map(parts_of).collect();
    all.extend(first_and_last(changes).last);
    object_of(&all)
}

/// The elements of each list that are not in the other, by multiplicity. Hashing keeps the time linear: a row may have very
/// many changes.
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

/// The latest of the values that no change found. A complete chain has one such value. If a write was not captured, there
/// are several; inner statements write later than the outermost one, which is captured last.
fn latest<'a, V: ?Sized>(values: &[&'a V]) -> Option<&'a V> {
    match values {
        [within @ .., _] if !within.is_empty() => within.last().copied(),
        _ => values.last().copied(),
    }
}

#[cfg(test)]
mod tests;
