//! Copies of a database, made in every way there is: a copy sends nothing by itself, and loses nothing.

use std::io::Write;
use std::process::Stdio;

use sequin_harness::{Request, Stop};
use serde_json::{Value, json};

use super::cluster::{APP, Cluster, enqueue_in, must, standby_of};
use crate::network::eventually;

const STATES: &str = "SELECT COALESCE(string_agg(id || ' ' || state, ', ' ORDER BY id), '') FROM sequin.outbox";

const PAUSED: &str = "SELECT COALESCE(bool_and(paused AND last_error LIKE 'this database is a copy%'), false) \
                      FROM sequin.status WHERE server = 'sequin'";

/// The names of the contacts upstream, once each.
fn names(cluster: &Cluster) -> Vec<String> {
    let mut names: Vec<String> = cluster.contacts().iter().map(|contact| contact["data"]["Name"].to_string()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_copied_database_is_paused_and_sends_nothing_a_second_time() {
    let mut cluster = Cluster::start("");
    let id = cluster.create("Paul");
    cluster.set_unreachable();
    cluster.enqueue("create", &json!([{"data": {"Name": "Chani"}}, {"data": {"Name": "Leto"}}]));
    cluster.enqueue_update(&id, 1);
    let Cluster { client, server, sandbox } = cluster;
    drop(client);
    let mut admin = server.connect("postgres");
    eventually("the session has ended", || {
        let sessions =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND backend_type = 'client backend'";
        admin.query_one(sessions, &[]).unwrap().get::<_, i64>(0) == 0
    });
    admin.batch_execute("CREATE DATABASE copy TEMPLATE app").unwrap();
    let mut copy = Cluster { client: server.connect("copy"), server, sandbox };
    copy.sandbox.clear_log();
    copy.set_reachable();
    // Its worker begins with a record of its own.
    copy.enqueue_create("Jessica");
    copy.until(PAUSED);
    assert_eq!(copy.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE state = 'pending'"), 4);
    let Cluster { client: mut copied, server, sandbox } = copy;

    let mut cluster = Cluster { client: server.connect(APP), server, sandbox };
    assert!(cluster.sandbox.log().mutations().is_empty());
    assert!(!cluster.one::<bool>("SELECT paused FROM sequin.status"), "the original goes on");
    cluster.set_reachable();
    cluster.settled();
    assert_eq!(names(&cluster), ["\"Chani\"", "\"Leto\"", "\"Paul\""]);
    assert_eq!(cluster.sandbox.log().mutations().len(), 3);

    // What was sent by the original, a person takes out of the copy; the rest goes on.
    copied
        .batch_execute(
            "SELECT sequin_discard(id) FROM sequin.outbox WHERE data->>'Name' IS DISTINCT FROM 'Jessica';
             SELECT sequin_resume('sequin')",
        )
        .unwrap();
    eventually("the copy delivers", || cluster.sandbox.log().mutations().len() == 4);
    assert_eq!(names(&cluster), ["\"Chani\"", "\"Jessica\"", "\"Leto\"", "\"Paul\""]);
}

#[test]
fn a_restored_dump_has_all_that_was_open_and_is_paused_until_it_is_resumed() {
    let mut cluster = Cluster::start("");
    let id = cluster.create("Paul");
    let other = cluster.create("Leto");
    // Rejected, unknown, and waiting for its next attempt; then one in the air, and those that wait behind it.
    let rejected = cluster.enqueue("update", &json!([{"upstream_id": other, "data": {"Email": "nobody"}}]))[0];
    cluster.settled();
    cluster.sandbox.fault(json!({"reset": true, "match": {"kind": "create"}}));
    let unknown = cluster.enqueue_create("Chani");
    cluster.until("SELECT count(*) = 1 FROM sequin.outbox WHERE state = 'unknown'");
    cluster.run("SELECT sequin_pause('sequin')");
    let retried = cluster.enqueue_update(&id, 1);
    cluster.sandbox.fault(json!({"times": null, "status": 503, "match": {"kind": "update"}}));
    cluster.sandbox.fault(json!({"stall": "reply", "match": {"kind": "create"}}));
    cluster.run("SELECT sequin_resume('sequin')");
    cluster.until(&format!("SELECT attempts >= 1 FROM sequin.outbox WHERE id = {retried}"));
    cluster.sandbox.clear_log();
    let claimed = cluster.enqueue_create("Jessica");
    let is_create = |request: &Request| request.complete && request.json()["kind"] == "create";
    eventually("it is in the air", || cluster.sandbox.log().mutations().into_iter().any(is_create));
    cluster.run("SELECT sequin_pause('sequin')");
    let fresh = cluster.enqueue_create("Alia");
    let all = cluster.one::<String>("SELECT string_agg((id, key, data)::text, ' ' ORDER BY id) FROM sequin.outbox");

    let dump = cluster.server.program("pg_dump").args(["-d", &cluster.server.dsn(APP)]).output().unwrap();
    must(&dump);
    cluster.run("CREATE DATABASE restored");
    // Not with -c: a dump holds commands of psql's own.
    let mut psql = cluster.server.psql_command("restored");
    let mut psql = psql.args(["-v", "ON_ERROR_STOP=1"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    psql.stdin.take().unwrap().write_all(&dump.stdout).unwrap();
    must(&psql.wait_with_output().unwrap());

    // The original has come to its end: what is left is the copy's. Its worker need not wait for an answer any more.
    let Cluster { client, server, sandbox } = cluster;
    drop(client);
    sandbox.clear_faults();
    server.connect("postgres").batch_execute("DROP DATABASE app WITH (FORCE)").unwrap();
    sandbox.clear_log();
    let mut cluster = Cluster { client: server.connect("restored"), server, sandbox };
    assert_eq!(
        cluster.one::<String>("SELECT string_agg((id, key, data)::text, ' ' ORDER BY id) FROM sequin.outbox"),
        all
    );
    let own = cluster.enqueue_create("Irulan");
    assert!(own > fresh, "the numbers go on where they were");
    let states = [(rejected, "rejected"), (unknown, "unknown"), (retried, "pending"), (claimed, "unknown")];
    let states = [&states[..], &[(fresh, "pending"), (own, "pending")]].concat();
    let states: Vec<String> = states.iter().map(|(id, state)| format!("{id} {state}")).collect();
    // The claim of the original's worker is that of a worker that is gone.
    cluster.until(&format!("SELECT ({STATES}) = '{}'", states.join(", ")));
    cluster.until("SELECT paused AND last_error IS NOT NULL FROM sequin.status");
    assert!(cluster.sandbox.log().mutations().is_empty(), "a restore sends nothing");

    cluster.run("SELECT sequin_resume('sequin')");
    cluster.settled();
    assert_eq!(cluster.one::<String>(STATES), format!("{rejected} rejected, {unknown} unknown, {claimed} unknown"));
    let sent: Vec<Value> = cluster.mutations();
    assert_eq!(sent.len(), 3, "the update, and the two creates that were never sent: {sent:?}");
}

#[test]
fn a_standby_keeps_still_and_delivers_the_rest_after_its_promotion() {
    // One worker, so that the rest waits behind the request in the air.
    let mut cluster = Cluster::start("sequin.workers = 1");
    let id = cluster.create("Paul");
    cluster.enqueue_update(&id, 1);
    cluster.settled();
    let standby = standby_of(&cluster.server);

    cluster.sandbox.clear_log();
    cluster.sandbox.fault(json!({"stall": "reply"}));
    let claimed = cluster.enqueue_create("Chani");
    cluster.in_the_air();
    let update = cluster.enqueue_update(&id, 2);
    let create = cluster.enqueue_create("Leto");
    let mut follower = standby.connect(APP);
    eventually("the standby has it all", || {
        let rows = "SELECT count(*) FROM sequin.outbox WHERE id >= $1";
        follower.query_one(rows, &[&claimed]).unwrap().get::<_, i64>(0) == 3
    });

    let workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'sequin%'";
    assert_eq!(follower.query_one(workers, &[]).unwrap().get::<_, i64>(0), 0);
    for call in [
        r#"sequin_enqueue('create', 'sync', 'salesforce:contact', '[{"data":{"Name":"Alia"}}]')"#,
        "sequin_pause('sequin')",
        "sequin_resume('sequin')",
        "sequin_retry(1)",
    ] {
        let error = follower.query(&format!("SELECT {call}"), &[]).unwrap_err();
        assert_eq!(error.code().map(postgres::error::SqlState::code), Some("25006"), "{call}: {error:?}");
    }
    assert_eq!(follower.query("SELECT * FROM sequin.status", &[]).unwrap().len(), 1, "the views can be read");
    assert_eq!(cluster.sandbox.log().mutations().len(), 1);

    // The primary is lost, and the standby takes its place. Nobody enqueues anything.
    cluster.server.stop(Stop::Immediate);
    follower.batch_execute("SELECT pg_promote()").unwrap();
    let Cluster { client, server: primary, sandbox } = cluster;
    drop(client);
    let mut cluster = Cluster { client: follower, server: standby, sandbox };
    cluster.until("SELECT cardinality(sequin.workers()) > 0");
    cluster.settled();
    assert_eq!(cluster.state(claimed), "unknown", "it may have been applied");
    assert_eq!((cluster.state(update), cluster.state(create)), ("applied".into(), "applied".into()));
    assert_eq!(names(&cluster), ["\"Chani\"", "\"Leto\"", "\"Paul\""]);
    let creates = cluster.mutations().iter().filter(|mutation| mutation["kind"] == "create").count();
    assert_eq!(creates, 2, "none of them twice");
    enqueue_in(&mut cluster.client, "create", &json!([{"data": {"Name": "Alia"}}]));
    cluster.settled();
    assert_eq!(cluster.contacts().len(), 4);
    drop(primary);
}
