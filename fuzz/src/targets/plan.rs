//! Input: four bytes are the limits, each further six bytes a queued change.
//!
//! The history test in `contract/src/batching/plan/` simulates an application. Here the changes are arbitrary: refused, sent
//! verbatim, without an ordering key, of records that no create has made.
//!
//! - No change overtakes another one of its ordering key, and none is in a plan twice.
//! - The limits and the promises about creates hold.
//! - Merged data has the latest value of each field, as it was enqueued.
//! - If a change can be sent or ended, the plan is not empty.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::input::Input;
use crate::oracle;
use contract::batching::ordering_key::OrderingKey;
use contract::batching::plan::{BatchKey, Change, End, Ending, Limits, Operation, Plan, Planned, plan};
use contract::kind::Kind;

const DATA: [&str; 6] =
    ["{}", r#"{"a": 1.10}"#, r#"{"a": null, "b": [1, 2]}"#, r#"{"c": "}{\""}"#, r#"{"\u0061": 2}"#, r#"{"": 1e400}"#];
const IDS: [Option<&str>; 5] = [None, Some("r1"), Some("r2"), Some(" "), Some("r3")];
const CHANGES: usize = 300;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limits = Limits {
        max_batch: input.below(8),
        creates_share: input.below(2) == 1,
        one_record_a_request: input.below(4) == 1,
        requests: input.below(6),
    };
    let batch_keys: Vec<Rc<BatchKey>> = ["a", "b", "c"].map(batch_key).into();
    let mut changes = Vec::new();
    while !input.is_empty() && changes.len() < CHANGES {
        changes.push(change(&mut input, changes.len(), &batch_keys));
    }
    let plan = plan(changes.clone(), &limits);
    Judge { changes: changes.iter().map(|change| (change.id, change)).collect(), limits: &limits }.judge(&plan);
}

fn batch_key(sync_id: &str) -> Rc<BatchKey> {
    let (sync_id, collection_id) = (sync_id.to_owned(), "salesforce:contact".to_owned());
    Rc::new(BatchKey { role: 10, sync_id, collection_id, await_consumers: None, timeout_ms: None })
}

fn change(input: &mut Input<'_>, n: usize, batch_keys: &[Rc<BatchKey>]) -> Change {
    let kind = input.one_of(&Kind::ALL);
    let key = input.below(6);
    let batch_key = &batch_keys[input.below(batch_keys.len())];
    let upstream_id = input.one_of(&IDS).filter(|_| kind != Kind::Create).map(str::to_owned);
    let data = input.one_of(&DATA);
    let flags = input.byte();
    Change {
        id: 10 + 3 * n as i64,
        idempotency_key: format!("key-{n}"),
        batch_key: Rc::clone(batch_key),
        kind,
        ordering_key: (key > 0).then(|| OrderingKey::new("c", None, &format!("key {key}"))),
        upstream_id,
        data: (kind != Kind::Delete).then(|| data.to_owned()),
        attempts: [0, 0, 1, 40][usize::from(flags & 3)],
        resend_verbatim: flags & 12 == 12,
        is_refused: flags & 48 == 48,
    }
}

struct Judge<'a> {
    changes: BTreeMap<i64, &'a Change>,
    limits: &'a Limits,
}

impl Judge<'_> {
    fn judge(&self, plan: &Plan) {
        let mut taken = BTreeSet::new();
        for id in plan.claimed().chain(plan.endings.iter().map(|ending| ending.id)) {
            assert!(self.changes.contains_key(&id) && taken.insert(id), "{id} is twice in the plan, or from nowhere");
        }
        self.nothing_overtakes(&taken);
        assert!(plan.requests.len() <= self.limits.requests);
        let (mut keys, mut records) = (BTreeSet::new(), BTreeSet::new());
        for request in &plan.requests {
            self.is_within_limits(request);
            for operation in &request.operations {
                assert!(operation.ordering_key.is_none() || keys.insert(operation.ordering_key.clone()), "a key twice");
                let record = operation.upstream_id.as_ref().map(|id| (&request.batch_key.sync_id, id));
                assert!(record.is_none() || records.insert(record), "a record twice");
                self.is_right(request, operation);
            }
        }
        plan.endings.iter().for_each(|ending| self.ends_rightly(ending));
        let can_do = self.limits.requests > 0 && self.changes.values().any(|change| !change.is_refused);
        assert!(!can_do || !taken.is_empty(), "nothing is done");
    }

    /// Only a refused change may wait while a later one of its ordering key is taken.
    fn nothing_overtakes(&self, taken: &BTreeSet<i64>) {
        let mut waiting = BTreeSet::new();
        for change in self.changes.values().filter(|change| change.ordering_key.is_some()) {
            if taken.contains(&change.id) {
                assert!(!waiting.contains(&change.ordering_key), "{} overtakes", change.id);
            } else if !change.is_refused {
                waiting.insert(change.ordering_key.clone());
            }
        }
    }

    fn is_within_limits(&self, request: &Planned) {
        let count = request.operations.len();
        assert!((1..=self.limits.max_batch.max(1)).contains(&count));
        let stands_alone = self.limits.one_record_a_request
            || (request.kind == Kind::Create && !self.limits.creates_share)
            || request.operations.iter().any(|operation| operation.attempts > 30)
            || (request.kind == Kind::Create && request.ids().any(|id| self.changes[&id].resend_verbatim));
        assert!(!stands_alone || count == 1, "{request:?}");
        let attempts: BTreeSet<u32> = request.operations.iter().map(|operation| operation.attempts).collect();
        assert_eq!(attempts.len(), 1, "fresh ones are with those that failed: {request:?}");
    }

    fn is_right(&self, request: &Planned, operation: &Operation) {
        let own = self.changes[&operation.id];
        let mut all: Vec<&Change> = operation.ids().map(|id| self.changes[&id]).collect();
        all.sort_by_key(|change| change.id);
        assert_eq!((own.kind, &operation.idempotency_key), (request.kind, &own.idempotency_key));
        assert!(
            all.iter()
                .all(|change| change.batch_key == request.batch_key && change.ordering_key == operation.ordering_key)
        );
        assert!(all.iter().any(|change| !change.is_refused), "it was refused as it is");
        assert!(
            all.len() == 1 || all.iter().all(|change| !change.resend_verbatim),
            "something became part of a pinned one"
        );
        assert_eq!(Some(operation.attempts), all.iter().map(|change| change.attempts).max());

        let head = if request.kind == Kind::Create { all.first() } else { all.last() };
        assert_eq!(head.map(|change| change.id), Some(operation.id));
        assert!(operation.merged.iter().all(|id| self.changes[id].kind == Kind::Update));

        let id = operation.upstream_id.as_deref();
        assert_eq!(id.is_none(), request.kind == Kind::Create);
        assert!(id.is_none_or(|id| !id.trim().is_empty()));
        for change in &all {
            let other = change.upstream_id.as_deref().filter(|id| !id.trim().is_empty());
            assert!(other.is_none() || other == id, "{other:?} went to {id:?}");
        }
        let fields = |text: &str| {
            let fields = oracle::fields(text).expect("an object").into_iter();
            fields.map(|(name, value)| (name.expect("a name"), value.to_owned())).collect::<Vec<_>>()
        };
        let written: BTreeMap<_, _> = all.iter().filter_map(|change| change.data.as_deref()).flat_map(fields).collect();
        let sent: Option<BTreeMap<_, _>> = operation.data.as_deref().map(|data| fields(data).into_iter().collect());
        assert_eq!(sent, (request.kind != Kind::Delete).then_some(written));
    }

    fn ends_rightly(&self, ending: &Ending) {
        let change = self.changes[&ending.id];
        let has_no_id = change.upstream_id.as_deref().is_none_or(|id| id.trim().is_empty());
        let is_right = match ending.end {
            End::CancelledOut => !change.resend_verbatim && change.ordering_key.is_some(),
            End::NothingToSend => change.kind == Kind::Delete && has_no_id && !change.is_refused,
            End::NoUpstreamId => change.kind == Kind::Update && has_no_id && !change.is_refused,
        };
        assert!(is_right, "{ending:?} of {change:?}");
    }
}
