//! Copies of a database, made in every way there is: a copy sends nothing by itself, and loses nothing.

use std::io::Write;
use std::process::Stdio;

use sequin_harness::{Request, Stop};
use serde_json::{Value, json};

use crate::support::network::eventually;
use crate::support::server::{APP, must, standby_of};
use crate::support::{Session, World, enqueue_in};

const STATES: &str = "SELECT COALESCE(string_agg(id || ' ' || state, ', ' ORDER BY id), '') FROM sequin.outbox";

const HELD: &str = "SELECT NOT paused AND last_error LIKE 'this database is a copy%' \
                    FROM sequin.status WHERE server = 'sequin'";

/// The names of the contacts upstream, once each.
fn names(cluster: &World) -> Vec<String> {
    let mut names: Vec<String> = cluster.contacts().iter().map(|contact| contact["data"]["Name"].to_string()).collect();
    names.sort_unstable();
    names
}

/// Makes a database of the one that the cluster's session is in, which ends, and gives a session in it.
fn copy_of(cluster: World, name: &str) -> World {
    let (client, server, sandbox) = cluster.into_parts();
    drop(client);
    let mut admin = server.connect("postgres");
    eventually("the sessions have ended", || {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL \
                        AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
        admin.one::<i64>(sessions) == 0
    });
    admin.run(&format!("CREATE DATABASE {name} TEMPLATE app"));
    World::at(&server, name, sandbox)
}

#[test]
fn a_copied_database_sends_nothing_a_second_time_and_what_is_new_at_once() {
    let mut cluster = World::with_own_server("");
    let id = cluster.create("Paul");
    cluster.set_unreachable();
    cluster.enqueue("create", &json!([{"data": {"Name": "Chani"}}, {"data": {"Name": "Leto"}}]));
    cluster.enqueue_number(&id, 1);
    let mut copy = copy_of(cluster, "copy");
    copy.sandbox.clear_log();
    copy.set_reachable();
    // Its worker begins with a record of its own.
    let own = copy.enqueue_create("Jessica");
    copy.until(&format!("SELECT count(*) = 1 FROM sequin.delivered WHERE id = {own}"));
    copy.until(HELD);
    copy.until("SELECT count(*) = 3 AND bool_and(error LIKE 'this database is a copy: %sequin_resume%') FROM sequin.outbox WHERE state = 'pending'");
    assert_eq!(names(&copy), ["\"Jessica\"", "\"Paul\""]);
    let (mut copied, server, sandbox) = copy.into_parts();

    let mut cluster = World::at(&server, APP, sandbox);
    assert_eq!(cluster.sandbox.log().mutations().len(), 1);
    assert!(!cluster.one::<bool>("SELECT paused FROM sequin.status"), "the original goes on");
    cluster.set_reachable();
    cluster.settled();
    assert_eq!(names(&cluster), ["\"Chani\"", "\"Jessica\"", "\"Leto\"", "\"Paul\""]);
    assert_eq!(cluster.sandbox.log().mutations().len(), 4);

    // A person discards the records that the original has sent; the others are delivered.
    copied.run(
        "SELECT sequin_discard(id) FROM sequin.outbox WHERE data->>'Name' IS DISTINCT FROM 'Leto';
             SELECT sequin_resume('sequin')",
    );
    eventually("the copy delivers", || cluster.sandbox.log().mutations().len() == 5);
    assert_eq!(names(&cluster), ["\"Chani\"", "\"Jessica\"", "\"Leto\"", "\"Leto\"", "\"Paul\""]);
    let left = "SELECT count(*) FROM sequin.status WHERE paused OR last_error IS NOT NULL";
    assert_eq!(copied.one::<i64>(left), 0);
}

#[test]
fn a_database_made_from_a_template_delivers_its_first_record() {
    let mut cluster = World::with_own_server("");
    cluster.create("Paul");
    // Delivered in the template, so that nothing is queued there.
    cluster.enqueue_create("Leto");
    // It comes along, and wants to know which rows are deleted.
    cluster.run("CREATE PUBLICATION all_of_it FOR ALL TABLES");
    cluster.settled();
    let mut copy = copy_of(cluster, "copy");
    copy.sandbox.clear_log();
    for name in ["Jessica", "Alia"] {
        copy.enqueue_create(name);
        copy.settled();
    }
    assert_eq!(copy.sandbox.log().mutations().len(), 2);
    assert_eq!(copy.one::<i64>("SELECT count(*) FROM sequin.status WHERE paused OR last_error IS NOT NULL"), 0);
    // Through an attached table as well, and in a session whose first record was rolled back.
    let (client, server, sandbox) = copy.into_parts();
    drop(client);
    let mut copy = copy_of(World::at(&server, APP, sandbox), "again");
    copy.run("BEGIN");
    copy.enqueue_create("nobody");
    copy.run(
        "ROLLBACK; CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id');
         INSERT INTO people VALUES (1, 'Duncan')",
    );
    copy.until("SELECT count(sf_id) = 1 FROM people");
    assert_eq!(copy.one::<i64>("SELECT count(*) FROM sequin.status WHERE paused OR last_error IS NOT NULL"), 0);
}

#[test]
fn a_new_record_waits_behind_one_of_its_key_from_before_the_copy() {
    let mut cluster = World::with_own_server("");
    let (paul, chani) = (cluster.create("Paul"), cluster.create("Chani"));
    // Rejected, and alone of its key; two that wait, of one key and another; and one that was tried and failed.
    let rejected = cluster.enqueue("update", &json!([{"upstream_id": chani, "data": {"Email": "nobody"}}]))[0];
    cluster.settled();
    cluster.run("SELECT sequin_pause('sequin')");
    let first = cluster.enqueue_number(&paul, 1);
    let second = cluster.enqueue_number(&paul, 2);
    let mut copy = copy_of(cluster, "copy");
    copy.run("SELECT sequin_resume('sequin')");
    copy.sandbox.clear_log();
    let other = copy.enqueue_number(&chani, 7);
    let behind = copy.enqueue_number(&paul, 3);
    let free = copy.enqueue_create("Jessica");
    copy.until(&format!("SELECT count(*) = 2 FROM sequin.delivered WHERE id IN ({other}, {free})"));
    let state = format!(
        "SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) = '{rejected} rejected, {first} pending, {second} pending, {behind} pending' FROM sequin.outbox"
    );
    copy.until(&state);
    let sent = copy.mutations();
    assert_eq!(sent.len(), 2, "{sent:?}");
    let update = sent.iter().find(|mutation| mutation["kind"] == "update").unwrap();
    assert_eq!(update["records"], json!([{"upstream_id": chani, "data": {"n": 7}}]), "nothing of the rejected one");

    // Freeing the key frees no held record.
    copy.run(&format!("SELECT sequin_discard({first})"));
    copy.run(&format!("SELECT sequin_retry({second})"));
    let more = copy.enqueue_create("Alia");
    copy.until(&format!("SELECT count(*) = 1 FROM sequin.delivered WHERE id = {more}"));
    copy.until(&format!("SELECT next_attempt_at = 'infinity' FROM sequin.deferred WHERE id = {second}"));
    assert_eq!(copy.sandbox.log().mutations().len(), 3);

    copy.run("SELECT sequin_resume('sequin')");
    copy.settled();
    let sent = copy.mutations();
    assert_eq!(sent.last().unwrap()["records"], json!([{"upstream_id": paul, "data": {"n": 3}}]));
    assert_eq!(copy.state(second), "applied");
}

#[test]
fn records_of_sessions_that_enqueue_at_the_same_time_in_a_new_copy_are_all_delivered() {
    let mut cluster = World::with_own_server("");
    cluster.run("SELECT sequin_pause('sequin')");
    cluster.enqueue_create("from before");
    let mut copy = copy_of(cluster, "copy");
    copy.run("SELECT sequin_resume('sequin')");
    let mut other = copy.server.connect("copy");
    let mut early = other.transaction().unwrap();
    let sql = "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\": {\"Name\": \"early\"}}')";
    early.execute(sql, &[]).unwrap();
    let late = copy.enqueue_create("late");
    copy.until(&format!("SELECT count(*) = 1 FROM sequin.delivered WHERE id = {late}"));
    early.commit().unwrap();
    copy.until("SELECT count(*) = 2 FROM sequin.delivered");
    assert_eq!(names(&copy), ["\"early\"", "\"late\""]);
    copy.until(HELD);

    // A hold is of the server, whatever its name, and ends with the last record that it holds.
    copy.run("ALTER SERVER sequin RENAME TO crm");
    copy.until("SELECT last_error LIKE 'this database is a copy%' FROM sequin.status WHERE server = 'crm'");
    copy.run("SELECT sequin_discard(id) FROM sequin.outbox; SELECT sequin_pause('crm'), sequin_resume('crm')");
    assert_eq!(copy.one::<i64>("SELECT count(*) FROM sequin.holds"), 0);
}

#[test]
fn a_copy_of_a_copy_holds_what_was_queued_in_both() {
    let mut cluster = World::with_own_server("");
    cluster.run("SELECT sequin_pause('sequin')");
    cluster.enqueue_create("original");
    let mut copy = copy_of(cluster, "copy");
    // Paused like the original: records enqueued here stay.
    copy.enqueue_create("copy");
    copy.until("SELECT count(*) = 1 FROM sequin.holds");
    let (client, server, sandbox) = copy.into_parts();
    drop(client);
    let mut admin = server.connect("postgres");
    eventually("the copy can be copied", || admin.batch_execute("CREATE DATABASE second TEMPLATE copy").is_ok());
    let mut second = World::at(&server, "second", sandbox);
    second.run("DELETE FROM sequin.pauses");
    let own = second.enqueue_create("second");
    second.until(&format!("SELECT count(*) = 1 FROM sequin.delivered WHERE id = {own}"));
    second.until("SELECT count(*) = 2 AND bool_and(error LIKE 'this database is a copy%') FROM sequin.outbox");
    assert_eq!(names(&second), ["\"second\""]);
}

#[test]
fn a_restored_dump_has_all_that_was_open_and_is_paused_until_it_is_resumed() {
    let mut cluster = World::with_own_server("");
    let id = cluster.create("Paul");
    let other = cluster.create("Leto");
    // Rejected, unknown, and waiting for its next attempt; then one in flight, and those that wait behind it.
    let rejected = cluster.enqueue("update", &json!([{"upstream_id": other, "data": {"Email": "nobody"}}]))[0];
    cluster.settled();
    cluster.sandbox.fault(json!({"reset": true, "match": {"kind": "create"}}));
    let unknown = cluster.enqueue_create("Chani");
    cluster.until("SELECT count(*) = 1 FROM sequin.outbox WHERE state = 'unknown'");
    cluster.run("SELECT sequin_pause('sequin')");
    let retried = cluster.enqueue_number(&id, 1);
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

    // The original is finished: the remaining requests are the copy's. Its worker need not wait for an answer any more.
    let (client, server, sandbox) = cluster.into_parts();
    drop(client);
    sandbox.clear_faults();
    server.connect("postgres").run("DROP DATABASE app WITH (FORCE)");
    sandbox.clear_log();
    let mut cluster = World::at(&server, "restored", sandbox);
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
    // One request at a time, so that the rest waits behind the request in the air.
    let mut cluster = World::with_own_server("");
    cluster.run("ALTER SERVER sequin OPTIONS (ADD max_in_flight '1')");
    let id = cluster.create("Paul");
    cluster.enqueue_number(&id, 1);
    cluster.settled();
    let standby = standby_of(&cluster.server);

    cluster.sandbox.clear_log();
    cluster.sandbox.fault(json!({"stall": "reply"}));
    let claimed = cluster.enqueue_create("Chani");
    cluster.in_the_air();
    let update = cluster.enqueue_number(&id, 2);
    let create = cluster.enqueue_create("Leto");
    let mut follower = standby.connect(APP);
    eventually("the standby has it all", || {
        let rows = "SELECT count(*) FROM sequin.outbox WHERE id >= $1";
        follower.one_of::<i64>(rows, &[&claimed]) == 3
    });

    let workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'sequin%'";
    assert_eq!(follower.one::<i64>(workers), 0);
    for call in [
        r#"sequin_enqueue('create', 'sync', 'salesforce:contact', '[{"data":{"Name":"Alia"}}]')"#,
        "sequin_pause('sequin')",
        "sequin_resume('sequin')",
        "sequin_retry(1)",
    ] {
        let error = follower.query(&format!("SELECT {call}"), &[]).unwrap_err();
        assert_eq!(error.code().map(postgres::error::SqlState::code), Some("25006"), "{call}: {error:?}");
    }
    assert_eq!(follower.rows("SELECT * FROM sequin.status", &[]).len(), 1, "the views can be read");
    assert_eq!(cluster.sandbox.log().mutations().len(), 1);

    // The primary is lost, and the standby takes its place. Nothing is enqueued.
    cluster.server.stop(Stop::Immediate);
    follower.run("SELECT pg_promote()");
    let (client, primary, sandbox) = cluster.into_parts();
    drop(client);
    let mut cluster = World::at(&standby, APP, sandbox);
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
