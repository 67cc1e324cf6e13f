//! Crashes at random moments, again and again, under a load of all kinds of records with up to 64 requests in flight. The
//! guarantees are checked after every few crashes, and the judge is the sandbox.
//!
//! `SEQUIN_SOAK_ROUNDS=500` sets the number of crashes, and `SEQUIN_SOAK_CLUSTERS=2` divides them among as many Postgres
//! servers. `SEQUIN_SOAK_SEED` repeats the choices of another run, but not its timing.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use sequin_harness::Stop;
use serde_json::{Value, json};

use crate::support::random::{RngExt, SeedableRng, SmallRng, seed_and_rounds, variable};
use crate::support::server::PRELOADED;
use crate::support::{Session, World};

/// Few enough for `make test`.
const ROUNDS: u64 = 6;

/// The crashes between two checks.
const BETWEEN_CHECKS: u64 = 25;

/// The server option max_in_flight.
const IN_FLIGHT: usize = 64;

/// Records that are updated all the time.
const KEYS: usize = 80;

/// Records that can be deleted in each round.
const SPARE: u64 = 5;

/// How long after the last record of a round the crash comes, at most.
const MOST_MS: u64 = 60;

/// The committed records since the last check.
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
        match rng.random_range(0..7) {
            0 | 1 => {
                let name = format!("create {number}");
                cluster.enqueue("create", &json!([{"data": {"Name": name, "n": number}}]));
                self.numbers.insert(name, number);
            }
            2 => {
                let Some((name, upstream_id)) = self.spare.pop() else { return };
                cluster.enqueue_number(&upstream_id, number);
                cluster.enqueue("delete", &json!([upstream_id]));
                self.deleted.push(name);
            }
            3 => {
                let name = format!("row {number}");
                cluster.run(&format!("INSERT INTO people VALUES ({number}, '{name}', {number})"));
                cluster.run(&format!("UPDATE people SET n = n + 1 WHERE id = {number}"));
                self.next += 1;
                self.numbers.insert(name, number + 1);
            }
            4 => {
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
                let key = rng.random_range(0..KEYS);
                cluster.enqueue_number(&self.updated[key], number);
                self.numbers.insert(format!("update {key}"), number);
            }
        }
    }
}

/// The API takes its time, and answers overtake each other. Some never come. No reply is cut in its body: a create with such a
/// reply is applied, and its row gets no upstream id.
fn misbehave(cluster: &World, rng: &mut SmallRng) {
    for _ in 0..rng.random_range(0..40) {
        cluster.sandbox.fault(match rng.random_range(0..15) {
            0 | 1 => json!({"stall": "reply"}),
            2 => json!({"stall": "body_read"}),
            _ => json!({"delay_ms": rng.random_range(0..150)}),
        });
    }
    cluster.sandbox.fault(json!({"times": null, "delay_ms": rng.random_range(0..60)}));
}

/// What has happened to one cluster, and to all of them together.
#[derive(Default, Debug)]
struct Totals {
    /// Crashes of one worker, after which Postgres restarts all its processes.
    kills: u64,
    /// Crashes of the whole server.
    crashes: u64,
    /// Workers that were asked to end.
    terminations: u64,
    records: i64,
    /// Creates that were unknown, each of which a person would look for.
    unknown: usize,
    /// Requests in flight at each crash.
    in_flight: Vec<i64>,
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.kills += other.kills;
        self.crashes += other.crashes;
        self.terminations += other.terminations;
        self.records += other.records;
        self.unknown += other.unknown;
        self.in_flight.extend(other.in_flight);
    }

    fn show(&mut self) -> String {
        self.in_flight.sort_unstable();
        let at = |part: usize| self.in_flight.get(self.in_flight.len() * part / 100).or(self.in_flight.last());
        format!(
            "{} workers killed, {} servers crashed, {} workers terminated; {} records, {} creates unknown; \
             requests in flight at a crash: median {}, 90 % {}, most {}",
            self.kills,
            self.crashes,
            self.terminations,
            self.records,
            self.unknown,
            at(50).unwrap_or(&0),
            at(90).unwrap_or(&0),
            at(100).unwrap_or(&0),
        )
    }
}

/// How a round ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Crash,
    Kill,
    /// The orderly end of a worker.
    Terminate,
}

impl Way {
    fn choose(rng: &mut SmallRng) -> Way {
        match rng.random_range(0..9) {
            0..4 => Way::Crash,
            4..8 => Way::Kill,
            _ => Way::Terminate,
        }
    }
}

fn end(cluster: &mut World, way: Way, totals: &mut Totals) {
    totals.in_flight.push(cluster.one("SELECT count(*) FROM sequin.claims"));
    match way {
        Way::Crash => {
            cluster.restart(Stop::Immediate);
            totals.crashes += 1;
        }
        Way::Kill => {
            cluster.kill_worker();
            totals.kills += 1;
        }
        Way::Terminate => {
            let Some(worker) = cluster.workers().first().copied() else { return };
            cluster.run(&format!("SELECT pg_terminate_backend({worker})"));
            cluster.until(&format!("SELECT NOT {worker} = ANY (sequin.workers())"));
            totals.terminations += 1;
        }
    }
}

/// Nothing will happen any more unless a person does something.
const QUIET: &str = "SELECT NOT EXISTS (SELECT FROM sequin.outbox \
                     WHERE state = 'sending' OR state = 'pending' AND next_attempt_at IS NOT NULL)";

#[test]
fn crashes_at_random_moments_lose_and_repeat_nothing() {
    let (seed, rounds) = seed_and_rounds(ROUNDS);
    let clusters = variable("SEQUIN_SOAK_CLUSTERS").unwrap_or(1).clamp(1, rounds);
    let begun = Instant::now();
    let mut totals = Totals::default();
    thread::scope(|scope| {
        let running: Vec<_> = (0..clusters)
            .map(|n| {
                let its_rounds = rounds / clusters + u64::from(n < rounds % clusters);
                scope.spawn(move || soak(n, SmallRng::seed_from_u64(seed.wrapping_add(n)), its_rounds))
            })
            .collect();
        for cluster in running {
            totals.add(cluster.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    eprintln!("in {} s: {}; 0 lost, 0 creates twice, 0 inversions", begun.elapsed().as_secs(), totals.show());
}

/// Crashes one cluster this many times.
fn soak(number: u64, mut rng: SmallRng, rounds: u64) -> Totals {
    let mut cluster = World::with_own_server(PRELOADED);
    cluster.run(&format!(
        "ALTER SERVER sequin OPTIONS (ADD max_in_flight '{IN_FLIGHT}', ADD max_batch '3');
         CREATE TABLE people (id int PRIMARY KEY, \"Name\" text, n int, sf_id text);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', '{{\"Name\": \"Name\", \"n\": \"n\"}}')"
    ));
    let mut totals = Totals::default();
    while totals.kills + totals.crashes < rounds {
        let until = (totals.kills + totals.crashes + BETWEEN_CHECKS).min(rounds);
        let mut expected = Expected::default();
        for key in 0..KEYS {
            expected.updated.push(cluster.create(&format!("update {key}")));
        }
        while totals.kills + totals.crashes < until {
            round(&mut cluster, &mut rng, &mut expected, &mut totals);
        }
        // Records and a server that have met many ends wait for minutes.
        cluster.run(
            "SELECT sequin_resume('sequin');
             SELECT sequin_retry(id) FROM sequin.outbox WHERE state = 'pending' AND next_attempt_at > now() + interval '5 s'",
        );
        cluster.until(QUIET);
        assert_creates_were_sent_once(&cluster);
        totals.unknown += decide(&mut cluster);
        cluster.until(QUIET);
        judge(&mut cluster, &expected);
        totals.records += expected.next;
        if rounds > BETWEEN_CHECKS {
            eprintln!("cluster {number}, {until} of {rounds} crashes: {}", totals.show());
        }
        // A check takes as long as the first one.
        cluster.run("SET sequin.capture = off; DELETE FROM people; RESET sequin.capture");
        cluster.sandbox.clear_records();
        cluster.sandbox.clear_log();
    }
    totals
}

fn round(cluster: &mut World, rng: &mut SmallRng, expected: &mut Expected, totals: &mut Totals) {
    for _ in 0..SPARE {
        expected.next += 1;
        let name = format!("delete {}", expected.next);
        let upstream_id = cluster.create(&name);
        expected.spare.push((name, upstream_id));
    }
    for _ in 0..rng.random_range(0..30) {
        expected.queue(cluster, rng);
    }
    misbehave(cluster, rng);
    for _ in 0..20 + rng.random_range(0..80) {
        expected.queue(cluster, rng);
    }
    thread::sleep(Duration::from_millis(rng.random_range(0..MOST_MS)));
    end(cluster, Way::choose(rng), totals);
    cluster.sandbox.clear_faults();
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

/// The requests and the outcomes of the first open record's key.
fn history(cluster: &mut World) -> String {
    let key = cluster.rows("SELECT COALESCE(upstream_id, ordering_key), ordering_key FROM sequin.outbox LIMIT 1", &[]);
    let Some(row) = key.first() else { return String::new() };
    let (id, key): (Option<String>, Option<String>) = (row.get(0), row.get(1));
    let outcomes = cluster.rows("SELECT d::text FROM sequin.delivered d WHERE ordering_key = $1 ORDER BY id", &[&key]);
    let outcomes = outcomes.iter().map(|row| row.get::<_, String>(0));
    let log = cluster.sandbox.log();
    let id = id.unwrap_or_default();
    let requests = log.mutations().into_iter().filter(|request| request.body.contains(&id)).map(|request| {
        format!(
            "{} {:?} {:?} {} {}",
            request.at_us, request.answered_us, request.status, request.complete, request.body
        )
    });
    outcomes.chain(requests).collect::<Vec<_>>().join("\n")
}

fn judge(cluster: &mut World, expected: &Expected) {
    let open = "SELECT COALESCE(string_agg(o::text, E'\\n'), '') FROM sequin.outbox o";
    let open: String = cluster.one(open);
    assert_eq!(open, "", "all is delivered\n{}", history(cluster));
    let twice = "SELECT count(*) - count(DISTINCT id) FROM sequin.delivered";
    assert_eq!(cluster.one::<i64>(twice), 0, "nothing is delivered twice");
    let (mut found, mut ids): (HashMap<String, i64>, HashMap<String, String>) = (HashMap::new(), HashMap::new());
    for contact in cluster.contacts() {
        let name = contact["data"]["Name"].as_str().unwrap_or_default().to_owned();
        let number = contact["data"]["n"].as_i64().unwrap_or_default();
        ids.insert(name.clone(), contact["upstream_id"].as_str().unwrap_or_default().to_owned());
        assert!(found.insert(name, number).is_none(), "upstream twice: {contact}");
    }
    for (name, number) in &expected.numbers {
        assert_eq!(found.get(name), Some(number), "{name}");
    }
    for name in &expected.deleted {
        assert!(!found.contains_key(name), "{name} was not deleted");
    }
    cluster.until("SELECT NOT EXISTS (SELECT FROM sequin.pending_upstream_ids)");
    for row in cluster.rows("SELECT \"Name\", sf_id FROM people", &[]) {
        let (name, id): (String, Option<String>) = (row.get(0), row.get(1));
        assert_eq!(id.as_ref(), ids.get(&name), "{name}");
    }
    let mut last: HashMap<String, i64> = HashMap::new();
    for record in arrived(cluster, "update") {
        let number = record["data"]["n"].as_i64().unwrap_or_default();
        let before = last.insert(record["upstream_id"].to_string(), number).unwrap_or_default();
        assert!(before <= number, "{} went back from {before} to {number}", record["upstream_id"]);
    }
}
