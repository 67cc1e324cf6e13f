//! Crashes at random moments, again and again, under a load of all kinds of records. The guarantees are checked at the
//! end.
//!
//! `SEQUIN_SOAK_ROUNDS=500` sets the number of crashes; `SEQUIN_SOAK_SEED` repeats the choices of another run, but not
//! its timing.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use sequin_harness::Stop;
use serde_json::{Value, json};

use crate::support::random::{RngExt, SeedableRng, SmallRng, seed_and_rounds};
use crate::support::server::PRELOADED;
use crate::support::{Session, World};

/// Few enough for `make test`.
const ROUNDS: u64 = 6;

/// Records that are updated all the time, and rows of the attached table.
const KEYS: u64 = 12;

/// Records that can be deleted in each round.
const SPARE: u64 = 5;

/// How long after the last record of a round the crash comes, at most.
const MOST_MS: u64 = 60;

/// The committed records.
#[derive(Default)]
struct Expected {
    /// The upstream ids of the records that are updated.
    updated: Vec<String>,
    /// The last number of each name.
    numbers: HashMap<String, i64>,
    /// Contacts that can be deleted, by name and upstream id.
    spare: Vec<(String, String)>,
    /// The names of the deleted contacts.
    deleted: Vec<String>,
    next: i64,
}

impl Expected {
    /// Queues one record of some kind, in a transaction of its own.
    fn queue(&mut self, cluster: &mut World, rng: &mut SmallRng) {
        self.next += 1;
        let number = self.next;
        match rng.random_range(0..6) {
            0 => {
                let name = format!("create {number}");
                cluster.enqueue("create", &json!([{"data": {"Name": name, "n": number}}]));
                self.numbers.insert(name, number);
            }
            1 => {
                let Some((name, upstream_id)) = self.spare.pop() else { return };
                cluster.enqueue_number(&upstream_id, number);
                cluster.enqueue("delete", &json!([upstream_id]));
                self.deleted.push(name);
            }
            2 => {
                let name = format!("row {number}");
                cluster.run(&format!("INSERT INTO people VALUES ({number}, '{name}', {number})"));
                cluster.run(&format!("UPDATE people SET n = n + 1 WHERE id = {number}"));
                self.next += 1;
                self.numbers.insert(name, number + 1);
            }
            3 => {
                let rows = cluster.rows(
                    "UPDATE people SET n = $1 WHERE id = (SELECT id FROM people ORDER BY random() LIMIT 1) \
                     RETURNING \"Name\"",
                    &[&(number as i32)],
                );
                for row in rows {
                    self.numbers.insert(row.get(0), number);
                }
            }
            _ => {
                let key = rng.random_range(0..KEYS) as usize;
                cluster.enqueue_number(&self.updated[key], number);
                self.numbers.insert(format!("update {key}"), number);
            }
        }
    }
}

/// One of the ways in which the API takes its time.
fn misbehave(cluster: &World, rng: &mut SmallRng) {
    let fault = match rng.random_range(0..6) {
        0 => json!({"stall": "reply"}),
        1 => json!({"stall": "reply_body"}),
        2 => json!({"stall": "body_read"}),
        3 => json!({"times": null, "delay_ms": 20}),
        4 => json!({"times": null, "delay_ms": 3}),
        _ => return,
    };
    cluster.sandbox.fault(fault);
}

fn crash(cluster: &mut World, rng: &mut SmallRng) {
    if rng.random_range(0..2) == 0 {
        cluster.restart(Stop::Immediate);
    } else {
        cluster.kill_worker();
    }
}

/// Nothing will happen any more unless a person does something.
const QUIET: &str = "SELECT NOT EXISTS (SELECT FROM sequin.outbox \
                     WHERE state = 'sending' OR state = 'pending' AND next_attempt_at IS NOT NULL)";

#[test]
fn crashes_at_random_moments_lose_and_repeat_nothing() {
    let (seed, rounds) = seed_and_rounds(ROUNDS);
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut cluster = World::with_own_server(PRELOADED);
    cluster.run(
        "CREATE TABLE people (id int PRIMARY KEY, \"Name\" text, n int, sf_id text);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', '{\"Name\": \"Name\", \"n\": \"n\"}')",
    );
    let mut expected = Expected::default();
    for key in 0..KEYS {
        expected.updated.push(cluster.create(&format!("update {key}")));
    }
    for round in 0..rounds {
        for spare in 0..SPARE {
            let name = format!("delete {round} {spare}");
            let upstream_id = cluster.create(&name);
            expected.spare.push((name, upstream_id));
        }
        for _ in 0..10 + rng.random_range(0..30) {
            expected.queue(&mut cluster, &mut rng);
        }
        misbehave(&cluster, &mut rng);
        for _ in 0..10 {
            expected.queue(&mut cluster, &mut rng);
        }
        thread::sleep(Duration::from_millis(rng.random_range(0..MOST_MS)));
        crash(&mut cluster, &mut rng);
        cluster.sandbox.clear_faults();
    }
    cluster.until(QUIET);
    assert_creates_were_sent_once(&cluster);
    let unknown = decide(&mut cluster);
    eprintln!("{} records, {unknown} of them creates that were unknown", expected.next);
    cluster.until(QUIET);
    judge(&mut cluster, &expected);
}

/// The records of all requests of a kind that have arrived whole.
fn arrived(cluster: &World, kind: &str) -> Vec<Value> {
    let log = cluster.sandbox.log();
    let whole = log.mutations().into_iter().filter(|request| request.complete).map(|request| request.json());
    let records = whole.filter(|body| body["kind"] == kind);
    records.flat_map(|body| body["records"].as_array().cloned().unwrap_or_default()).collect()
}

fn assert_creates_were_sent_once(cluster: &World) {
    let mut seen = HashMap::new();
    for record in arrived(cluster, "create") {
        *seen.entry(record["data"]["Name"].to_string()).or_insert(0) += 1;
    }
    seen.retain(|_, times| *times > 1);
    assert!(seen.is_empty(), "sent more than once: {seen:?}");
}

/// Resolves unknown creates as a person would, by looking upstream. Returns their number.
fn decide(cluster: &mut World) -> usize {
    let contacts = cluster.contacts();
    let unknown = cluster.rows("SELECT id, data->>'Name' FROM sequin.outbox WHERE state = 'unknown'", &[]);
    for row in &unknown {
        let (id, name): (i64, String) = (row.get(0), row.get(1));
        match contacts.iter().find(|contact| contact["data"]["Name"] == name.as_str()) {
            Some(contact) => {
                let upstream_id = contact["upstream_id"].as_str().unwrap_or_default();
                cluster.run(&format!("SELECT sequin_resolve({id}, '{upstream_id}')"));
            }
            None => cluster.run(&format!("SELECT sequin_retry({id})")),
        }
    }
    unknown.len()
}

fn judge(cluster: &mut World, expected: &Expected) {
    let open = "SELECT COALESCE(string_agg(o::text, E'\\n'), '') FROM sequin.outbox o";
    assert_eq!(cluster.one::<String>(open), "", "all is delivered");
    let twice = "SELECT count(*) - count(DISTINCT id) FROM sequin.delivered";
    assert_eq!(cluster.one::<i64>(twice), 0, "nothing is delivered twice");
    let mut found: HashMap<String, i64> = HashMap::new();
    for contact in cluster.contacts() {
        let name = contact["data"]["Name"].as_str().unwrap_or_default().to_owned();
        let number = contact["data"]["n"].as_i64().unwrap_or_default();
        assert!(found.insert(name, number).is_none(), "upstream twice: {contact}");
    }
    for (name, number) in &expected.numbers {
        assert_eq!(found.get(name), Some(number), "{name}");
    }
    for name in &expected.deleted {
        assert!(!found.contains_key(name), "{name} was not deleted");
    }
    let mut last: HashMap<String, i64> = HashMap::new();
    for record in arrived(cluster, "update") {
        let number = record["data"]["n"].as_i64().unwrap_or_default();
        let before = last.insert(record["upstream_id"].to_string(), number).unwrap_or_default();
        assert!(before <= number, "{} went back from {before} to {number}", record["upstream_id"]);
    }
}
