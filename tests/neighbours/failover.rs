//! The primary is lost in the middle of thousands of deliveries, and a standby takes its place.
//!
//! The judge is the sandbox's log. Nothing is lost, no record returns to an earlier state, and no create is sent twice.
//! The exception is an asynchronous standby that lags: docs/operations.md, Guarantees.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use sequin_harness::{Request, Sandbox, Server, Stop};
use serde_json::{Value, json};

use crate::support::network::eventually;
use crate::support::server::{APP, PRELOADED, standby_of};
use crate::support::{Session, World};

const CREATES: usize = 1_000;
const UPDATED: usize = 500;
const ROUNDS: usize = 4;

/// As many creates are over when the primary is lost, or at first the standby. More than a round has.
const BEFORE: usize = 300;

const WORKERS: usize = 1;

const PATIENCE: Duration = Duration::from_secs(180);

/// A primary with all of it queued and nothing sent, and the upstream ids of what will be updated.
fn full_outbox() -> (World, Vec<String>) {
    let mut cluster = World::with_own_server(&format!("{PRELOADED}\nmax_wal_senders = 4"));
    cluster.run(
        "CREATE TABLE people (id int PRIMARY KEY, \"Name\" text, n int, sf_id text);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id')",
    );
    let made = "SELECT upstream_id FROM sequin_mutate('create', 'sync', 'salesforce:contact',
        (SELECT jsonb_agg(jsonb_build_object('data', jsonb_build_object('n', 0))) FROM generate_series(1, $1) n))";
    let made: Vec<String> = cluster.rows(made, &[&i32::try_from(UPDATED).unwrap()]).iter().map(|r| r.get(0)).collect();
    cluster.run(
        "ALTER SERVER sequin OPTIONS (ADD max_batch '20', ADD max_in_flight '1', ADD request_timeout_ms '600000');
         SELECT sequin_pause('sequin')",
    );
    let a_round = CREATES / 2 / ROUNDS;
    for round in 1..=ROUNDS {
        // Half of the creates by an attached table, whose rows are to have their ids in the end.
        let numbers = format!("generate_series({}, {}) n", (round - 1) * a_round + 1, round * a_round);
        cluster.run(&format!(
            "INSERT INTO people SELECT n, 'row ' || n, 1 FROM {numbers};
             SELECT count(*) FROM sequin_enqueue('create', 'sync', 'salesforce:contact',
               (SELECT jsonb_agg(jsonb_build_object('data', jsonb_build_object('Name', 'queued ' || n, 'n', 1)))
                FROM {numbers}))"
        ));
        // Each in its own order, so that waiting records are merged in some places and not in others.
        let enqueue = "SELECT count(*) FROM sequin_enqueue('update', 'sync', 'salesforce:contact',
            (SELECT jsonb_agg(jsonb_build_object('upstream_id', id, 'data', jsonb_build_object('n', $2::bigint))
                              ORDER BY md5(id || $2)) FROM unnest($1::text[]) id), await_consumers => $3)";
        // Records that wait for other consumers are not merged: `{}` and NULL are two.
        let consumers: Option<Vec<String>> = (round % 2 == 0).then(Vec::new);
        cluster.rows(enqueue, &[&made, &(round as i64), &consumers]);
    }
    cluster.sandbox.clear_log();
    (cluster, made)
}

/// Has this many more creates delivered. After them each worker sends one create, which is applied, but gets no reply:
/// there the queue stands still. No worker claims more then. All deliveries are on disk, because a claim of a create
/// waits for that.
fn deliver(cluster: &mut World, creates: usize) {
    let done = "SELECT count(*) FROM sequin.delivered WHERE kind = 'create'";
    let done = cluster.one::<i64>(done) + creates as i64;
    let before = unanswered(&cluster.sandbox);
    cluster.sandbox.fault(json!({"times": creates, "match": {"kind": "create"}}));
    cluster.sandbox.fault(json!({"times": null, "stall": "reply", "match": {"kind": "create"}}));
    cluster.run("SELECT sequin_resume('sequin')");
    patiently(cluster, &format!("SELECT count(*) = {done} FROM sequin.delivered WHERE kind = 'create'"));
    eventually("each worker's request is in the air", || unanswered(&cluster.sandbox) == before + WORKERS);
}

/// The creates that were not answered. Updates are, a moment later.
fn unanswered(sandbox: &Sandbox) -> usize {
    let is_open_create = |request: &&&Request| request.status.is_none() && request.json()["kind"] == "create";
    sandbox.log().mutations().iter().filter(|request| request.complete).filter(is_open_create).count()
}

/// Loses the primary, with requests in flight; the rest stands on `standby`.
fn lose(cluster: World, standby: Server) -> World {
    cluster.server.stop(Stop::Immediate);
    let (client, primary, sandbox) = cluster.into_parts();
    drop(client);
    sandbox.clear_faults();
    let mut follower = standby.connect(APP);
    follower.run("SELECT pg_promote()");
    // Its directory goes, so that there is no way back.
    drop(primary);
    let mut cluster = World::at(&standby, APP, sandbox);
    patiently(&mut cluster, "SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state IN ('pending', 'sending'))");
    cluster
}

/// Waits as long as thousands of requests take on a busy machine.
fn patiently(cluster: &mut World, sql: &str) {
    let begun = Instant::now();
    while !cluster.one::<bool>(sql) {
        let left = "SELECT count(*) FROM sequin.outbox";
        assert!(begun.elapsed() < PATIENCE, "{} are left after {PATIENCE:?}: {sql}", cluster.one::<i64>(left));
        thread::sleep(Duration::from_millis(20));
    }
}

/// How often each create has arrived as a whole, by its name.
fn creates(cluster: &World) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for body in complete(cluster).iter().filter(|body| body["kind"] == "create") {
        for record in body["records"].as_array().unwrap() {
            *times.entry(record["data"]["Name"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    times
}

/// The requests for each updated record, in order.
fn updates(cluster: &World) -> BTreeMap<String, Vec<i64>> {
    let mut numbers: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for body in complete(cluster).iter().filter(|body| body["kind"] == "update") {
        for record in body["records"].as_array().unwrap() {
            let id = record["upstream_id"].as_str().unwrap().to_owned();
            numbers.entry(id).or_default().push(record["data"]["n"].as_i64().unwrap());
        }
    }
    numbers
}

fn complete(cluster: &World) -> Vec<Value> {
    cluster.sandbox.log().mutations().iter().filter(|request| request.complete).map(|request| request.json()).collect()
}

/// The guarantees in any case.
fn assert_nothing_is_lost(cluster: &mut World, made: &[String]) {
    // Each create is upstream, or a person is asked about it.
    let present: BTreeSet<String> =
        cluster.contacts().iter().filter_map(|contact| contact["data"]["Name"].as_str().map(str::to_owned)).collect();
    let names = "SELECT data->>'Name' FROM sequin.dead_letters WHERE state = 'unknown' AND kind = 'create'";
    let unknown: BTreeSet<String> = cluster.rows(names, &[]).iter().map(|row| row.get(0)).collect();
    let all = (1..=CREATES / 2).flat_map(|n| [format!("row {n}"), format!("queued {n}")]);
    for name in all {
        assert!(present.contains(&name) || unknown.contains(&name), "{name} is lost");
    }
    assert_eq!(cluster.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE state <> 'unknown'"), 0);
    // Every row knows its record but those in doubt.
    let rows = "SELECT count(*) FROM people WHERE sf_id IS NULL
                AND \"Name\" NOT IN (SELECT data->>'Name' FROM sequin.dead_letters)";
    cluster.until(&format!("SELECT ({rows}) = 0"));

    // The last committed change has won.
    let last: BTreeMap<String, i64> = cluster
        .contacts()
        .iter()
        .map(|contact| (contact["upstream_id"].as_str().unwrap().to_owned(), contact["data"]["n"].as_i64().unwrap()))
        .collect();
    assert!(made.iter().all(|id| last[id] == ROUNDS as i64), "{last:?}");
}

#[test]
fn a_synchronous_standby_loses_nothing_and_sends_no_create_twice() {
    let (mut cluster, made) = full_outbox();
    let standby = standby_of(&cluster.server);
    cluster.run("ALTER SYSTEM SET synchronous_standby_names = '*'");
    cluster.run("SELECT pg_reload_conf()");
    cluster.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'");
    deliver(&mut cluster, BEFORE);
    let mut cluster = lose(cluster, standby);

    assert_nothing_is_lost(&mut cluster, &made);
    let times = creates(&cluster);
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for (id, numbers) in updates(&cluster) {
        assert!(numbers.is_sorted(), "{id} went back: {numbers:?}");
    }
    let unknown: i64 = cluster.one("SELECT count(*) FROM sequin.outbox");
    assert!((1..=WORKERS as i64).contains(&unknown), "what was under way, one a worker: {unknown}");
    eprintln!("synchronous: {} creates sent once, {unknown} unknown", times.len());
}

#[test]
fn an_asynchronous_standby_may_repeat_what_it_had_not_heard_of_and_nothing_else() {
    let (mut cluster, made) = full_outbox();
    let standby = standby_of(&cluster.server);
    deliver(&mut cluster, BEFORE);
    let delivered: String = cluster.one("SELECT pg_current_wal_flush_lsn()::text");
    let mut follower = standby.connect(APP);
    let has_heard = format!("SELECT pg_last_wal_replay_lsn() >= '{delivered}'");
    eventually("it has heard of all this", || follower.one(&has_heard));
    // From here on the standby receives nothing, and will continue from its current state.
    follower.run("ALTER SYSTEM SET primary_conninfo = ''");
    follower.run("SELECT pg_reload_conf()");
    let is_cut = "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)";
    eventually("it is cut off", || follower.one(is_cut));
    let known = "SELECT data->>'Name' FROM sequin.outbox WHERE kind = 'create'";
    let known: BTreeSet<String> = follower.rows(known, &[]).iter().map(|row| row.get(0)).collect();
    drop(follower);
    cluster.run("SELECT sequin_pause('sequin')");
    cluster.sandbox.clear_faults();
    cluster.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state = 'sending')");
    deliver(&mut cluster, BEFORE);
    let mut cluster = lose(cluster, standby);

    assert_nothing_is_lost(&mut cluster, &made);
    let times = creates(&cluster);
    let twice: Vec<&String> = times.iter().filter(|(_, times)| **times > 1).map(|(name, _)| name).collect();
    assert!(times.values().all(|times| *times <= 2), "{times:?}");
    assert!(twice.iter().all(|name| known.contains(*name)), "only what was open at the standby: {twice:?}");
    // The exception in docs/operations.md: records delivered after the cut, and the requests in flight then.
    assert!((BEFORE + 1..=BEFORE + WORKERS).contains(&twice.len()), "{} creates sent twice", twice.len());
    eprintln!("asynchronous, {BEFORE} creates behind: {} sent twice", twice.len());
}
