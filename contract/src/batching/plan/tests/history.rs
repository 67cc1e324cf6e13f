//! Random histories, plan after plan, against a remote API that is a map.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use super::*;

/// The remote records: fields by upstream id.
type Records = BTreeMap<String, BTreeMap<String, String>>;

/// The API, and what it was asked.
#[derive(Default)]
struct Remote {
    records: Records,
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

/// Numbers that are the same in each run, by Marsaglia's xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn often(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The upstream id of the record that a create makes.
fn made_by(create: i64) -> String {
    format!("made-by-{create}")
}

/// What an application does: rows that come, change and go, each with its key, some of which had a record before.
/// With them what the records are once all has been applied, one change after another.
fn random_history(dice: &mut Dice) -> (Vec<Change>, Remote, Records) {
    let keys = 1 + dice.below(4);
    let before: Records = (0..keys).map(|key| (format!("old-{key}"), BTreeMap::new())).collect();
    let mut expected = Remote { records: before.clone(), created: BTreeSet::new() };
    let mut current: Vec<Option<String>> = (0..keys).map(|key| Some(format!("old-{key}"))).collect();
    let mut changes = Vec::new();
    for id in 1..=1 + dice.below(40) as i64 {
        let key = dice.below(keys) as usize;
        let kind = Kind::ALL[dice.below(3) as usize];
        let mut change = change(id, &format!("{key} {kind}"));
        if kind != Kind::Delete {
            change.data = Some(format!(r#"{{"f{}": {id}.0, "f{}": "{id}"}}"#, dice.below(3), 3 + dice.below(3)));
        }
        if dice.often(15) {
            change.batch_key = batch_key("b");
        }
        if dice.often(20) {
            change.attempts = dice.below(4) as u32;
        }
        change.resend_verbatim = dice.often(10);
        // An application knows the ids of old records only, and those it always gives at first.
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

/// The ids that a plan takes of each key must be the first ones that are open: nothing overtakes.
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
                tell_the_next(open, operation);
            }
            Kind::Update => remote.update(upstream_id.expect("an update has an id"), data.expect("and data")),
            Kind::Delete => remote.delete(upstream_id.expect("a delete has an id")),
        }
    }
}

/// Gives the record's id to the changes that wait for it: up to its delete, or up to the next create.
fn tell_the_next(open: &mut [Change], create: &Operation) {
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
    let mut dice = Dice(0x5EED_0FA7_E57E_D000);
    for round in 0..3_000 {
        let (mut open, expected, before) = random_history(&mut dice);
        let history = open.clone();
        let mut remote = Remote { records: before, created: BTreeSet::new() };
        let mut plans = 0;
        while !open.is_empty() {
            let limits = Limits {
                max_batch: 1 + dice.below(5) as usize,
                creates_share: dice.often(50),
                one_record_a_request: dice.often(20),
                requests: 1 + dice.below(3) as usize,
            };
            let window = 1 + dice.below(open.len() as u64) as usize;
            let plan = plan(open[..window].to_vec(), &limits);
            assert_nothing_overtakes(&open[..window], &plan);
            assert!(plan.requests.len() <= limits.requests, "round {round}: {history:#?}");
            assert!(
                plan.requests.iter().filter(|request| request.kind == Kind::Create).count() <= 1,
                "round {round}: {history:#?}"
            );
            // They may be sent at the same time, so any order must do.
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
