//! Which record of a reply belongs to which record of the request.
//!
//! The contract does not say that a reply keeps the request's order, and the ids of creates are written back into rows:
//! a wrong pair would make one row's changes go to another's record for ever. So the order is believed as long as the
//! replied data does not contradict it. It contradicts when it has, at one place, what was sent at another. A provider
//! that rewrites values (trims a name, formats a number) does not contradict, since its values were sent nowhere.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::value::RawValue;

/// The replied data fits more than one way of pairing, and not the order of the request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("its records are in another order than they were sent, and cannot be told apart")]
pub struct Ambiguous;

/// For each record sent, the position of its record in the reply. Both are the records' `data` as JSON text, and equally
/// many; a replied record without data is None.
pub fn pair(sent: &[&str], replied: &[Option<&str>]) -> Result<Vec<usize>, Ambiguous> {
    let sent: Vec<Fields<'_>> = sent.iter().map(|data| Fields::of(Some(data))).collect();
    let replied: Vec<Fields<'_>> = replied.iter().map(|data| Fields::of(*data)).collect();
    if !is_contradicted(&sent, &replied) {
        return Ok((0..sent.len()).collect());
    }

    let mut alike: HashMap<&Fields<'_>, usize> = HashMap::new();
    for record in &sent {
        *alike.entry(record).or_default() += 1;
    }
    let index = Index::of(&replied);
    let mut fitting = HashMap::with_capacity(alike.len());
    for (record, count) in alike {
        let places = index.fitting(record, &replied);
        // Records that were sent alike are as good as each other; those that only came back alike are not.
        if places.len() != count {
            return Err(Ambiguous);
        }
        fitting.insert(record, places.into_iter());
    }
    let mut is_taken = vec![false; replied.len()];
    let places = sent.iter().map(|record| {
        let free = fitting.get_mut(record)?.find(|&j| !is_taken[j])?;
        is_taken[free] = true;
        Some(free)
    });
    places.collect::<Option<_>>().ok_or(Ambiguous)
}

/// Whether a field that was sent in one record did not come back there, and did in the place of a record that was sent with
/// another value.
fn is_contradicted(sent: &[Fields<'_>], replied: &[Fields<'_>]) -> bool {
    let not_in = |other: &Fields<'_>, name: &str, value: &str| other.0.get(name) != Some(&value);
    let mut displaced = HashSet::new();
    for (sent, replied) in sent.iter().zip(replied) {
        displaced.extend(replied.iter().filter(|(name, value)| not_in(sent, name, value)));
    }
    let mut records = sent.iter().zip(replied);
    records
        .any(|(sent, replied)| sent.iter().any(|field| not_in(replied, field.0, field.1) && displaced.contains(&field)))
}

/// The replied records by each of their fields, so that not every pair has to be looked at.
struct Index<'a> {
    by_field: HashMap<(&'a str, &'a str), Vec<usize>>,
}

impl<'a> Index<'a> {
    fn of(replied: &'a [Fields<'a>]) -> Self {
        let mut by_field: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        for (j, record) in replied.iter().enumerate() {
            for field in record.iter() {
                by_field.entry(field).or_default().push(j);
            }
        }
        Index { by_field }
    }

    /// The replied records that have every field of `record`. A record without fields says nothing of its place.
    fn fitting(&self, record: &Fields<'_>, replied: &[Fields<'_>]) -> Vec<usize> {
        let candidates = record.iter().map(|field| self.by_field.get(&field));
        // The rarest of its fields leaves the fewest to look at; one that nobody has leaves none.
        let rarest = candidates.min_by_key(|places| places.map_or(0, Vec::len)).flatten();
        let fits = |&&j: &&usize| record.is_kept_by(&replied[j]);
        rarest.map_or_else(Vec::new, |places| places.iter().filter(fits).copied().collect())
    }
}

/// The fields of one record, by name, as they were written.
#[derive(PartialEq, Eq, Hash)]
struct Fields<'a>(BTreeMap<String, &'a str>);

impl<'a> Fields<'a> {
    fn of(data: Option<&'a str>) -> Self {
        let parsed: Option<BTreeMap<String, &'a RawValue>> = data.and_then(|data| serde_json::from_str(data).ok());
        let fields = parsed.unwrap_or_default();
        Fields(fields.into_iter().map(|(name, value)| (name, value.get())).collect())
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Whether every field that was sent is in `replied` with the same value.
    fn is_kept_by(&self, replied: &Fields<'_>) -> bool {
        self.0.iter().all(|(name, value)| replied.0.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paired(sent: &[&str], replied: &[&str]) -> Result<Vec<usize>, Ambiguous> {
        pair(sent, &replied.iter().map(|data| Some(*data)).collect::<Vec<_>>())
    }

    #[test]
    fn the_order_is_believed_unless_it_is_contradicted() {
        let sent = [r#"{"n":1}"#, r#"{"n":2}"#];
        assert_eq!(paired(&sent, &[r#"{"n":1,"id":"a"}"#, r#"{"n":2}"#]), Ok(vec![0, 1]));
        // Rewritten, left out, unknown: nothing that was sent elsewhere.
        assert_eq!(paired(&sent, &[r#"{"n":"one"}"#, r#"{"n":"two"}"#]), Ok(vec![0, 1]));
        assert_eq!(paired(&sent, &["{}", "{}"]), Ok(vec![0, 1]));
        assert_eq!(pair(&sent, &[None, None]), Ok(vec![0, 1]));
    }

    #[test]
    fn another_order_is_found() {
        let sent = [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#];
        assert_eq!(paired(&sent, &[r#"{"n":3}"#, r#"{"n":1}"#, r#"{"n":2}"#]), Ok(vec![1, 2, 0]));
    }

    #[test]
    fn records_that_were_sent_alike_may_take_each_other_s_place() {
        let sent = [r#"{"n":1}"#, r#"{"n":1}"#, r#"{"n":2}"#];
        assert_eq!(paired(&sent, &[r#"{"n":2}"#, r#"{"n":1}"#, r#"{"n":1}"#]), Ok(vec![1, 2, 0]));
    }

    /// Were each compared with each, this would take minutes.
    #[test]
    fn very_many_that_were_sent_alike_are_paired_at_once() {
        let last = r#"{"n":2}"#;
        let sent = [vec![r#"{"n":1}"#; 30_000], vec![last]].concat();
        let replied = [vec![last], vec![r#"{"n":1}"#; 30_000]].concat();
        let pairs: Vec<usize> = (1..=30_000).chain([0]).collect();
        assert_eq!(paired(&sent, &replied), Ok(pairs));
        // Each is rewritten where it stood, but one that says nothing.
        let replied = [vec![r#"{"n":1}"#], vec![r#"{"n":"one"}"#; 29_999], vec!["{}"]].concat();
        assert_eq!(paired(&sent, &replied), Ok((0..=30_000).collect()));
    }

    #[test]
    fn what_cannot_be_told_apart_is_said() {
        let sent = [r#"{"n":1}"#, r#"{"n":2}"#];
        assert_eq!(paired(&sent, &[r#"{"n":2}"#, r#"{"n":"one"}"#]), Err(Ambiguous));
        // Reordered and rewritten at once: the names say nothing any more, the numbers say that the order is another.
        let sent = [r#"{"name":"A ","n":1}"#, r#"{"name":"B ","n":2}"#];
        assert_eq!(paired(&sent, &[r#"{"name":"B","n":2}"#, r#"{"name":"A","n":1}"#]), Err(Ambiguous));
        // What was sent first is a part of what was sent second.
        let sent = [r#"{"n":1}"#, r#"{"n":1,"m":2}"#];
        assert_eq!(paired(&sent, &[r#"{"n":1,"m":2}"#, r#"{"n":1}"#]), Err(Ambiguous));
    }
}
