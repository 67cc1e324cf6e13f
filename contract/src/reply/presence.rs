//! Which of the records that an update or delete has sent are in its reply.
//!
//! A reply says of each record that it names that it was applied, and nothing of the others. Records are told apart by
//! their upstream ids, which some providers spell in two ways. A record that is taken for missing is sent again, so in
//! doubt it is there.

use std::collections::HashMap;

/// Where a record that was sent is in the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    At(usize),
    /// The reply has records without an id, and this may be one of them.
    Unnamed,
    Missing,
}

/// For each upstream id that was sent, its place among those that were replied.
pub fn places(sent: &[&str], replied: &[Option<&str>]) -> Vec<Place> {
    let mut exact: HashMap<&str, usize> = HashMap::with_capacity(replied.len());
    for (place, id) in replied.iter().enumerate() {
        exact.extend(id.map(|id| (id, place)));
    }
    let places: Vec<Option<usize>> = sent.iter().map(|id| exact.get(id).copied()).collect();
    if places.iter().all(Option::is_some) {
        return places.into_iter().flatten().map(Place::At).collect();
    }
    let loosely: HashMap<String, usize> = exact.iter().map(|(id, place)| (loose(id), *place)).collect();
    let mut unnamed = replied.iter().filter(|id| id.is_none()).count();
    let place = |(place, id): (Option<usize>, &&str)| match place.or_else(|| loosely.get(&loose(id)).copied()) {
        Some(place) => Place::At(place),
        None if unnamed > 0 => {
            unnamed -= 1;
            Place::Unnamed
        }
        None => Place::Missing,
    };
    places.into_iter().zip(sent).map(place).collect()
}

/// Fails, in words, if a record that was sent is not in the reply.
pub fn all_there(sent: &[&str], replied: &[Option<&str>]) -> Result<(), String> {
    let missing = places(sent, replied).iter().filter(|place| **place == Place::Missing).count();
    match (missing, sent.len(), replied.len()) {
        (0, ..) => Ok(()),
        (1, 1, 0) => Err("it holds no record".to_owned()),
        (1, 1, _) => Err("it holds another record than the one that was sent".to_owned()),
        (missing, all, _) => Err(format!("it lacks {missing} of the {all} records that were sent")),
    }
}

/// An id without what providers write in two ways: upper and lower case, hyphens and braces of a UUID, and the last
/// three characters of Salesforce's long ids.
fn loose(id: &str) -> String {
    const SALESFORCE: [usize; 2] = [15, 18];
    let is_salesforce = id.len() == SALESFORCE[1] && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let id = if is_salesforce { &id[..SALESFORCE[0]] } else { id };
    let plain: String = id.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if plain.is_empty() { id.to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::Place::{At, Missing, Unnamed};
    use super::*;

    #[test]
    fn records_are_found_by_their_ids() {
        let some = |ids: &[&'static str]| ids.iter().map(|id| Some(*id)).collect::<Vec<_>>();
        for (sent, replied, expected) in [
            (&["a", "b"][..], some(&["b", "a"]), &[At(1), At(0)][..]),
            (&["a", "b"], some(&["a", "b", "c"]), &[At(0), At(1)]),
            (&["a", "b", "c"], some(&["c"]), &[Missing, Missing, At(0)]),
            (&["a"], vec![], &[Missing]),
            (&["a"], some(&["b"]), &[Missing]),
            // In doubt it is there.
            (&["a", "b", "c"], vec![None, Some("c")], &[Unnamed, Missing, At(1)]),
            (&["a"], vec![None], &[Unnamed]),
            (&["0018b000021Bldz"], some(&["0018b000021BldzAAS"]), &[At(0)]),
            (&["0018b000021BldzAAS"], some(&["0018b000021Bldz"]), &[At(0)]),
            (&["6F9619FF-8B86-D011-B42D-00C04FC964FF"], some(&["{6f9619ff-8b86-d011-b42d-00c04fc964ff}"]), &[At(0)]),
            // Ids that differ in case alone are two.
            (&["aB", "ab"], some(&["ab", "aB"]), &[At(1), At(0)]),
            (&["--", "-"], some(&["-"]), &[Missing, At(0)]),
        ] {
            assert_eq!(places(sent, &replied), expected, "{sent:?} {replied:?}");
        }
    }

    #[test]
    fn what_is_missing_is_counted() {
        assert_eq!(all_there(&["a", "b"], &[Some("b"), None]), Ok(()));
        assert_eq!(all_there(&[], &[]), Ok(()));
        for (sent, replied, words) in [
            (&["a"][..], &[][..], "it holds no record"),
            (&["a"], &[Some("b")], "it holds another record than the one that was sent"),
            (&["a", "b", "c"], &[Some("b")], "it lacks 2 of the 3 records that were sent"),
        ] {
            assert_eq!(all_there(sent, replied), Err(words.to_owned()));
        }
    }
}
