//! Applies random histories plan by plan to a model of the API, and compares its records with the expected ones.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::value::RawValue;

use super::*;

/// The fields of each record at the provider, by upstream id.
type RemoteRecords = BTreeMap<String, BTreeMap<String, String>>;

/// A model of the API. It panics on a request that a real API would refuse or apply twice.
#[derive(Default)]
struct Remote {
    records: RemoteRecords,
    created: BTreeSet<String>,
}

impl Remote {
    fn create(&mut self, id: &str, data: &str) {
        assert!(self.created.insert(id.to_owned()), "{id} is created a second time");
        self.records.insert(id.to_owned(), fields(data));
    }

    fn update(&mut self, id: &str, data: &str) {
        self.records.get_mut(id).unwrap_or_else(|| panic!("{id} is updated but not there")).extend(fields(data));
    }

    fn delete(&mut self, id: &str) {
        assert!(self.records.remove(id).is_some(), "{id} is deleted but not there");
    }
}

fn fields(data: &str) -> BTreeMap<String, String> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(data).unwrap();
    fields.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
}

/// The upstream id of the record that a create makes.
fn made_by(create: i64) -> String {
    format!("made-by-{create}")
}

/// Random changes of an application: it inserts, updates and deletes rows, each with its ordering key. Some rows have a
/// record before. Returns the changes, the model after all changes were applied in order, and the records before.
fn random_history(random: &mut SmallRng) -> (Vec<Change>, Remote, RemoteRecords) {
    let keys: usize = random.random_range(1..=4);
    let before: RemoteRecords = (0..keys).map(|key| (format!("old-{key}"), BTreeMap::new())).collect();
    let mut expected = Remote { records: before.clone(), created: BTreeSet::new() };
    let mut current: Vec<Option<String>> = (0..keys).map(|key| Some(format!("old-{key}"))).collect();
    let mut changes = Vec::new();
    for id in 1..=random.random_range(1..=40) {
        let key = random.random_range(0..keys);
        let kind = Kind::ALL[random.random_range(0..3)];
        let mut change = change(id, &format!("{key} {kind}"));
        if kind != Kind::Delete {
            change.data = Some(format!(
                r#"{{"f{}": {id}.0, "f{}": "{id}"}}"#,
                random.random_range(0..3),
                random.random_range(3..6)
            ));
        }
        if random.random_bool(0.15) {
            change.batch_key = batch_key("b");
        }
        if random.random_bool(0.2) {
            change.attempts = random.random_range(0..4);
        }
        change.resend_verbatim = random.random_bool(0.1);
        // The application knows the upstream ids of old records only.
        if kind != Kind::Create {
            change.upstream_id = current[key].clone().filter(|id| id.starts_with("old"));
        }
        match (kind, &current[key], &change.data) {
            (Kind::Create, _, Some(data)) => {
                expected.create(&made_by(id), data);
                current[key] = Some(made_by(id));
            }
            (Kind::Update, Some(record), Some(data)) => expected.update(record, data),
            (Kind::Delete, Some(record), _) => {
                expected.delete(record);
                current[key] = None;
            }
            _ => {}
        }
        changes.push(change);
    }
    (changes, expected, before)
}

/// A plan must take the first open changes of each ordering key: no change overtakes another one.
fn assert_nothing_overtakes(open: &[Change], plan: &Plan) {
    let taken: BTreeSet<i64> = plan.claimed().chain(plan.endings.iter().map(|ending| ending.id)).collect();
    let count = plan.claimed().count() + plan.endings.len();
    assert_eq!(taken.len(), count, "a change is twice in a plan");
    let mut is_waiting: BTreeMap<Rc<OrderingKey>, bool> = BTreeMap::new();
    for change in open {
        let is_waiting = is_waiting.entry(change.ordering_key.clone().expect("all have a key")).or_default();
        *is_waiting |= !taken.contains(&change.id);
        assert!(!(*is_waiting && taken.contains(&change.id)), "{} overtakes", change.id);
    }
    let mut operations = BTreeSet::new();
    for operation in plan.requests.iter().flat_map(|request| &request.operations) {
        assert!(operations.insert(operation.ordering_key.clone()), "two operations of a key");
    }
}

fn apply(remote: &mut Remote, open: &mut [Change], request: &Planned) {
    for operation in &request.operations {
        let (data, upstream_id) = (operation.data.as_deref(), operation.upstream_id.as_deref());
        match request.kind {
            Kind::Create => {
                remote.create(&made_by(operation.id), data.expect("a create has data"));
                propagate_id(open, operation);
            }
            Kind::Update => remote.update(upstream_id.expect("an update has an id"), data.expect("and data")),
            Kind::Delete => remote.delete(upstream_id.expect("a delete has an id")),
        }
    }
}

/// Gives the new record's upstream id to the waiting changes of its key, up to its delete or the next create.
fn propagate_id(open: &mut [Change], create: &Operation) {
    for change in open.iter_mut().filter(|change| change.ordering_key == create.ordering_key && change.id > create.id) {
        match change.kind {
            Kind::Create => break,
            Kind::Update | Kind::Delete => {
                change.upstream_id.get_or_insert_with(|| made_by(create.id));
                if change.kind == Kind::Delete {
                    break;
                }
            }
        }
    }
}

#[test]
fn plan_after_plan_comes_to_what_was_committed() {
    let mut random = SmallRng::seed_from_u64(7);
    for round in 0..3_000 {
        let (mut open, expected, before) = random_history(&mut random);
        let history = open.clone();
        let mut remote = Remote { records: before, created: BTreeSet::new() };
        let mut plans = 0;
        while !open.is_empty() {
            let limits = Limits {
                max_batch: random.random_range(1..=5),
                creates_share: random.random_bool(0.5),
                one_record_a_request: random.random_bool(0.2),
                requests: random.random_range(1..=3),
            };
            let window = random.random_range(1..=open.len());
            let plan = plan(open[..window].to_vec(), &limits);
            assert_nothing_overtakes(&open[..window], &plan);
            assert!(plan.requests.len() <= limits.requests, "round {round}: {history:#?}");
            // Requests may be sent concurrently, so any order must work.
            plan.requests.iter().rev().for_each(|request| apply(&mut remote, &mut open, request));
            let done: BTreeSet<i64> = plan.claimed().chain(plan.endings.iter().map(|ending| ending.id)).collect();
            open.retain(|change| !done.contains(&change.id));
            plans += 1;
            assert!(!done.is_empty(), "plan {plans} does nothing; round {round}: {history:#?}");
        }
        assert_eq!(remote.records, expected.records, "round {round}: {history:#?}");
        assert!(remote.created.is_subset(&expected.created), "round {round}: {history:#?}");
        for pinned in history.iter().filter(|change| change.resend_verbatim && change.kind == Kind::Create) {
            assert!(
                remote.created.contains(&made_by(pinned.id)),
                "{} is not created; round {round}: {history:#?}",
                pinned.id
            );
        }
    }
}
