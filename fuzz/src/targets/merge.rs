//! Input: the first byte is a number of records, each following line the data of a change to one of them in turn.
//!
//! - Merged changes are valid JSON: the union of their fields, with the latest value of each, spelled as in the input.
//! - A value sent at another position contradicts the order of a reply. An echo of the request never does.

use std::collections::BTreeMap;

use crate::input::Input;
use crate::oracle::{self, Field};
use contract::{merge, reply::pairing};

/// Enough to find errors; more only takes time.
const RECORDS: usize = 64;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let records = 1 + input.below(4);
    let mut lines: Vec<String> = Vec::new();
    while !input.is_empty() && lines.len() < RECORDS {
        lines.push(input.line().into_owned());
    }
    // Any input terminates, and a single text is returned unchanged.
    merge::later_wins(lines.clone());
    if let Some(first) = lines.first() {
        assert_eq!(merge::later_wins(vec![first.clone()]), *first);
    }
    lines.retain(|line| oracle::is_json(line));
    are_merged(&lines);
    are_merged_by_id(&lines, records);
    are_paired(&lines);
}

/// The last value of each field, by unescaped name.
fn fold<'a>(objects: &[&'a str]) -> BTreeMap<String, &'a str> {
    let fields = objects.iter().flat_map(|object| oracle::fields(object).unwrap_or_default());
    fields.map(|(name, value): Field<'a>| (name.unwrap_or_default(), value)).collect()
}

fn has_plain_names(object: &str) -> bool {
    oracle::fields(object).is_none_or(|fields| fields.iter().all(|(name, _)| name.is_some()))
}

fn are_merged(objects: &[String]) {
    let merged = merge::later_wins(objects.to_vec());
    assert!(oracle::is_json(&merged) || objects.is_empty(), "{merged}");
    if objects.len() != 1 && objects.iter().all(|object| has_plain_names(object)) {
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        let fields = oracle::fields(&merged).expect("an object");
        assert_eq!(fold(&[&merged]), fold(&objects));
        assert_eq!(fields.len(), fold(&objects).len(), "a name twice in {merged}");
    }
}

fn are_merged_by_id(objects: &[String], records: usize) {
    let id = |n: usize| format!("{}", n % records);
    let merged = merge::by_id(objects.iter().enumerate().map(|(n, object)| (id(n), object.clone())).collect());
    assert_eq!(merged.len(), records.min(objects.len()));
    for (n, (of, data)) in merged.iter().enumerate() {
        assert_eq!(*of, id(n), "the order of the first changes is kept");
        let own = objects.iter().skip(n).step_by(records).cloned().collect();
        assert_eq!(*data, merge::later_wins(own));
    }
}

fn are_paired(objects: &[String]) {
    let sent: Vec<&str> = objects.iter().map(String::as_str).collect();
    let kept: Vec<Option<&str>> = sent.iter().map(|data| Some(*data)).collect();
    assert!(!pairing::contradicts(&sent, &kept), "echoed as they were sent");
    assert!(!pairing::contradicts(&sent, &vec![None; sent.len()]), "without data");

    let backwards: Vec<Option<&str>> = kept.iter().rev().copied().collect();
    if pairing::contradicts(&sent, &backwards) && objects.iter().all(|object| has_plain_names(object)) {
        let first = sent.first().map(|data| fold(&[data]));
        assert!(sent.iter().any(|data| Some(fold(&[data])) != first), "records that are alike have no order");
    }
    let spaced: Vec<String> = sent.iter().map(|data| format!(" {data}\n")).collect();
    let spaced: Vec<Option<&str>> = spaced.iter().map(|data| Some(data.as_str())).collect();
    assert!(!pairing::contradicts(&sent, &spaced), "with white space around");
}
