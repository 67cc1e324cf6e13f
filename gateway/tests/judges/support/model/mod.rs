//! Random mutations through the gateway and a proxy that does harm, into a product. In the end the product holds what
//! a model holds, and each reply was the truth that the gateway could know.
//!
//! `SEQUIN_JUDGES_SEED` repeats a run, `SEQUIN_JUDGES_ROUNDS` is its length: the mutations of each worker.

mod mutation;
mod truth;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use rand::rngs::SmallRng;
use serde_json::{Map, Value};

use super::gateway::{Gateway, Section};
use super::http::Answer;
use super::marker;
use super::proxy::{Choice, FaultProxy, Rate};
use super::variable;
use worker::Worker;

/// Workers at once, all in one sync.
const WORKERS: u64 = 4;
const ROUNDS: u64 = 30;
/// Of a hundred requests.
const HARM: u32 = 35;

/// The fields of a record.
pub type Data = Map<String, Value>;

/// What the model must know of a product.
pub trait Judge: Sync {
    /// The sync and the collection, as the gateway knows them.
    fn address(&self) -> (&'static str, &'static str);

    /// The address of its API, without a path.
    fn product(&self) -> String;

    /// The gateway's sync for it, at this address, which has no path.
    fn section(&self, address: &str) -> Section;

    /// Whether a second create under the same key is known to be the same one.
    fn repeats_creates(&self) -> bool;

    /// Whether the gateway sends a key, under which all attempts are one. Elsewhere a refusal after a lost attempt says
    /// nothing about that attempt: what it refuses may be what the first has changed.
    fn knows_keys(&self) -> bool {
        false
    }

    /// Whether replies may be lost. Not where the product does not know what the gateway believes that it knows.
    fn loses_replies(&self) -> bool {
        true
    }

    /// Whether it has deletes.
    fn deletes(&self) -> bool {
        true
    }

    /// Whether a second delete finds that the record is gone.
    fn deletes_again(&self) -> bool {
        true
    }

    /// An id that no record has.
    fn unknown_id(&self) -> &'static str;

    /// The field that carries the mark of the last mutation.
    fn mark_field(&self) -> &'static str;

    /// Fields of a new record, or of a change, other than the mark.
    fn fields(&self, rng: &mut SmallRng) -> Data;

    /// Fields of a create that it refuses.
    fn refused(&self) -> Data;

    /// All its records by id, asked of the product directly.
    fn records(&self) -> BTreeMap<String, Data>;
}

/// Runs the workers, and compares the end.
pub fn holds(judge: &dyn Judge) {
    let seed = variable("SEQUIN_JUDGES_SEED").unwrap_or_else(rand::random);
    let rounds = variable("SEQUIN_JUDGES_ROUNDS").unwrap_or(ROUNDS);
    eprintln!("{}: SEQUIN_JUDGES_SEED={seed} SEQUIN_JUDGES_ROUNDS={rounds}", judge.address().0);
    let rate = if judge.loses_replies() { Rate::Percent(HARM) } else { Rate::PercentBefore(HARM) };
    let proxy = FaultProxy::before(judge.product(), Choice::new(seed, rate));
    let section = judge.section(&proxy.url()).with("timeout = \"6s\"\nrequest_timeout = \"4s\"");
    let gateway = Gateway::start(&[section]);
    let workers: Vec<Worker> = thread::scope(|scope| {
        let run = |number| {
            let mut worker = Worker::new(number, seed, judge, &gateway, &proxy);
            scope.spawn(move || {
                (0..rounds).for_each(|_| worker.step());
                worker
            })
        };
        let running: Vec<_> = (0..WORKERS).map(run).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    compare(judge, &workers, &proxy, &gateway);
}

/// The product's records are those that were applied, and some of those that may have been.
fn compare(judge: &dyn Judge, workers: &[Worker], proxy: &FaultProxy, gateway: &Gateway) {
    let found = judge.records();
    let expected: BTreeMap<&String, &Data> = workers.iter().flat_map(|worker| &worker.live).collect();
    let unknown: BTreeSet<&String> = workers.iter().flat_map(|worker| &worker.unknown).collect();
    for (id, data) in &expected {
        let found = found.get(*id);
        let differs = |found: &Data| data.iter().any(|(name, value)| found.get(name) != Some(value));
        assert!(!found.is_none_or(differs), "{id} is {found:?} and should be {data:?}\n{}", gateway.log());
    }
    let mut seen = BTreeSet::new();
    for (id, data) in &found {
        let mark = data.get(judge.mark_field()).and_then(Value::as_str).and_then(marker::within);
        let mark = mark.unwrap_or_else(|| panic!("{id} has no mark: {data:?}")).to_owned();
        let is_one = expected.contains_key(id) || unknown.contains(&mark);
        let passages = proxy.passages_of(|passage| passage.body.contains(&mark));
        assert!(is_one, "{id} was never applied: {data:?}\n{passages:#?}\n{}", gateway.log());
        assert!(seen.insert(mark), "{id} was applied twice: {data:?}\n{passages:#?}\n{}", gateway.log());
    }
    // A run in which nothing happened would prove nothing.
    let passages = proxy.passages();
    let harmed = passages.iter().filter(|passage| !passage.is_told()).count();
    eprintln!("{} records, {} unknown, {harmed} of {} requests harmed", found.len(), unknown.len(), passages.len());
    assert!(!expected.is_empty() && harmed > 0);
}

/// Records in a JSON array, by their member `id`.
pub fn by_id(records: &Value) -> BTreeMap<String, Data> {
    let records = records.as_array().unwrap_or_else(|| panic!("no records: {records}"));
    let record = |record: &Value| Some((record.get("id")?.as_str()?.to_owned(), record.as_object()?.clone()));
    records.iter().map(|it| record(it).unwrap_or_else(|| panic!("no record: {it}"))).collect()
}

/// All pages of a list of Stripe's. `ask` gets what the query must end in.
pub fn pages(ask: impl Fn(&str) -> Answer) -> BTreeMap<String, Data> {
    let (mut records, mut after) = (BTreeMap::new(), String::new());
    loop {
        let page = ask(&after);
        records.extend(by_id(&page.at("/data")));
        let last = page.json()["data"]
            .as_array()
            .and_then(|page| page.last())
            .and_then(|it| it["id"].as_str().map(str::to_owned));
        match last {
            Some(last) if page.at("/has_more") == true => after = format!("&starting_after={last}"),
            _ => return records,
        }
    }
}
