//! Finds the sent records of an update or delete in its reply, by upstream id.
//!
//! A record in the reply was applied. The reply says nothing about records that it omits, so the outbox sends those again.
//! Some providers spell one id in two ways; an ambiguous record therefore counts as found, or it would be sent forever.

use std::collections::HashMap;

/// Where a sent record is in the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordMatch {
    /// At this position, from 0.
    At(usize),
    /// The reply has records without an id, and one of them may be this record.
    Unnamed,
    /// Not in the reply.
    Missing,
}

/// Matches sent upstream ids to replied ones. The result has one entry for each element of `sent`.
pub fn match_by_id(sent: &[&str], replied: &[Option<&str>]) -> Vec<RecordMatch> {
    let mut by_id: HashMap<&str, usize> = HashMap::with_capacity(replied.len());
    for (position, id) in replied.iter().enumerate() {
        by_id.extend(id.map(|id| (id, position)));
    }
    let exact: Vec<Option<usize>> = sent.iter().map(|id| by_id.get(id).copied()).collect();
    if exact.iter().all(Option::is_some) {
        return exact.into_iter().flatten().map(RecordMatch::At).collect();
    }
    let by_normalized_id: HashMap<String, usize> =
        by_id.iter().map(|(id, position)| (normalized(id), *position)).collect();
    let mut unnamed = replied.iter().filter(|id| id.is_none()).count();
    let find =
        |(exact, id): (Option<usize>, &&str)| match exact.or_else(|| by_normalized_id.get(&normalized(id)).copied()) {
            Some(position) => RecordMatch::At(position),
            None if unnamed > 0 => {
                unnamed -= 1;
                RecordMatch::Unnamed
            }
            None => RecordMatch::Missing,
        };
    exact.into_iter().zip(sent).map(find).collect()
}

/// Checks that the reply has every sent record. The error text completes [`Outcome::missing`]'s message.
///
/// [`Outcome::missing`]: crate::outcome::Outcome::missing
pub fn require_all(sent: &[&str], replied: &[Option<&str>]) -> Result<(), String> {
    let missing = match_by_id(sent, replied).iter().filter(|found| **found == RecordMatch::Missing).count();
    match (missing, sent.len(), replied.len()) {
        (0, ..) => Ok(()),
        (1, 1, 0) => Err("it has no record".to_owned()),
        (1, 1, _) => Err("it has another record than the one sent".to_owned()),
        (missing, all, _) => Err(format!("it lacks {missing} of the {all} records sent")),
    }
}

/// An id without the parts that providers spell in two ways: upper and lower case, the hyphens and braces of a UUID, and
/// the last three characters of a long Salesforce id.
fn normalized(id: &str) -> String {
    const SALESFORCE: [usize; 2] = [15, 18];
    let is_salesforce = id.len() == SALESFORCE[1] && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let id = if is_salesforce { &id[..SALESFORCE[0]] } else { id };
    let plain: String = id.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if plain.is_empty() { id.to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::RecordMatch::{At, Missing, Unnamed};
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
            // An ambiguous record counts as found.
            (&["a", "b", "c"], vec![None, Some("c")], &[Unnamed, Missing, At(1)]),
            (&["a"], vec![None], &[Unnamed]),
            (&["0018b000021Bldz"], some(&["0018b000021BldzAAS"]), &[At(0)]),
            (&["0018b000021BldzAAS"], some(&["0018b000021Bldz"]), &[At(0)]),
            (&["6F9619FF-8B86-D011-B42D-00C04FC964FF"], some(&["{6f9619ff-8b86-d011-b42d-00c04fc964ff}"]), &[At(0)]),
            // Ids that differ only in case are different ids if the reply has both.
            (&["aB", "ab"], some(&["ab", "aB"]), &[At(1), At(0)]),
            (&["--", "-"], some(&["-"]), &[Missing, At(0)]),
        ] {
            assert_eq!(match_by_id(sent, &replied), expected, "{sent:?} {replied:?}");
        }
    }

    #[test]
    fn missing_records_are_counted() {
        assert_eq!(require_all(&["a", "b"], &[Some("b"), None]), Ok(()));
        assert_eq!(require_all(&[], &[]), Ok(()));
        for (sent, replied, words) in [
            (&["a"][..], &[][..], "it has no record"),
            (&["a"], &[Some("b")], "it has another record than the one sent"),
            (&["a", "b", "c"], &[Some("b")], "it lacks 2 of the 3 records sent"),
        ] {
            assert_eq!(require_all(sent, replied), Err(words.to_owned()));
        }
    }
}
