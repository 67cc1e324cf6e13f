//! Sessions that have called a function of the outbox, and keep their transaction open: the worker goes on with the other
//! servers, and catches up afterwards.

use serde_json::json;

use crate::support::{Session, World};

/// A rejected record of the server `sequin`, and a second server.
fn world() -> (World, i64) {
    let mut world = World::new();
    world.sandbox.fault(json!({"status": 400, "body": "{\"error\": \"no\"}"}));
    let rejected = world.enqueue("create", &json!([{"data": {"n": 0}}]))[0];
    world.until("SELECT count(*) = 1 FROM sequin.dead_letters");
    world.database.create_server_named("another", world.sandbox.url(), world.sandbox.token());
    (world, rejected)
}

fn delivered_by_another(world: &mut World) {
    let id: i64 =
        world.one("SELECT sequin_enqueue('create', 'sync', 'salesforce:lead', '{\"data\": {}}', server => 'another')");
    world.until(&format!("SELECT EXISTS (SELECT FROM sequin.delivered WHERE id = {id})"));
}

#[test]
fn an_open_transaction_holds_up_its_own_server_alone() {
    let (mut world, rejected) = world();
    for verb in [
        format!("sequin_retry({rejected})"),
        format!("sequin_discard({rejected})"),
        "sequin_pause('sequin')".to_owned(),
        "sequin_resume('sequin')".to_owned(),
    ] {
        let mut other = world.database.connect();
        other.run(&format!("BEGIN; SELECT {verb}"));
        let waiting = world.enqueue("create", &json!([{"data": {"verb": verb}}]));
        delivered_by_another(&mut world);
        assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.queue WHERE server = 'sequin'"), 1, "{verb}");
        other.run("ROLLBACK");
        assert!(world.one_of::<bool>("SELECT sequin_await_delivery($1, 60000)", &[&waiting]), "{verb}");
    }
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.dead_letters"), 1);
}

#[test]
fn a_server_that_is_renamed_in_an_open_transaction_holds_up_no_other() {
    let (mut world, _) = world();
    let mut other = world.database.connect();
    other.run("BEGIN; ALTER SERVER sequin RENAME TO renamed");
    delivered_by_another(&mut world);
    other.run("ROLLBACK");
    let ids = world.enqueue("create", &json!([{"data": {"n": 1}}]));
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery($1, 60000)", &[&ids]));
}

/// The session changes a record that waits for one in flight, whose end would free it.
#[test]
fn what_ends_meanwhile_is_settled_and_what_waits_for_it_follows() {
    for ending in ["ROLLBACK", "COMMIT"] {
        let mut world = World::new();
        let id = world.create("Paul");
        world.settled();
        world.sandbox.fault(json!({"times": 1, "status": 500, "body": "{\"error\": \"once\"}"}));
        world.sandbox.fault(json!({"times": 1, "hold": true, "match": {"kind": "update"}}));
        let first = world.enqueue_number(&id, 1);
        world.until("SELECT EXISTS (SELECT FROM sequin.outbox WHERE state = 'sending' AND attempts = 1)");
        let second = world.enqueue_number(&id, 2);
        let mut other = world.database.connect();
        other.run(&format!("BEGIN; SELECT sequin_retry({second})"));
        world.sandbox.clear_faults();
        world.until(&format!("SELECT EXISTS (SELECT FROM sequin.delivered WHERE id = {first})"));
        other.run(ending);
        assert!(world.one_of::<bool>("SELECT sequin_await_delivery(ARRAY[$1::bigint], 60000)", &[&second]));
        assert_eq!(world.contacts()[0]["data"]["n"], 2, "{ending}");
    }
}

/// The key of the later record could not be freed while its row was locked.
#[test]
fn what_waits_for_it_follows_though_the_worker_has_ended_in_between() {
    let mut world = World::new();
    let contacts = world.contacts_made(2);
    world.sandbox.fault(json!({"times": 1, "status": 500, "body": "{\"error\": \"once\"}"}));
    world.sandbox.fault(json!({"times": 1, "hold": true}));
    // They are of one key and of two records, so they are not merged.
    let enqueue = "SELECT sequin_enqueue('update', 'sync', 'salesforce:contact',
                   jsonb_build_object('upstream_id', $1::text, 'data', '{\"n\": 7}'::jsonb), ordering_key => 'k')";
    let ids: Vec<i64> = contacts.iter().map(|contact| world.one_of(enqueue, &[contact])).collect();
    let state = |id: i64, condition: &str| format!("SELECT {condition} FROM sequin.deferred WHERE id = {id}");
    world.until(&state(ids[1], "count(*) = 1 AND bool_and(next_attempt_at = 'infinity')"));
    world.arrived(2);
    let mut other = world.database.connect();
    other.run(&format!("BEGIN; SELECT sequin_retry({})", ids[1]));
    world.sandbox.clear_faults();
    world.until(&format!("SELECT EXISTS (SELECT FROM sequin.delivered WHERE id = {})", ids[0]));
    let worker = world.worker();
    world.run(&format!("SELECT pg_terminate_backend({worker})"));
    world.until(&format!("SELECT NOT {worker} = ANY (sequin.workers())"));
    other.run("ROLLBACK");
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery(ARRAY[$1::bigint], 60000)", &[&ids[1]]));
}

/// The later record waits for the first one, and is sent with its second attempt.
#[test]
fn a_resume_keeps_no_request_in_flight_from_being_settled() {
    let mut world = World::new();
    let id = world.create("Paul");
    world.settled();
    world.sandbox.fault(json!({"times": 1, "status": 500, "body": "{\"error\": \"once\"}"}));
    world.sandbox.fault(json!({"times": 1, "hold": true, "match": {"kind": "update"}}));
    let first = world.enqueue_number(&id, 1);
    world.until("SELECT EXISTS (SELECT FROM sequin.deferred WHERE attempts = 1)");
    let later = world.enqueue_number(&id, 2);
    world.until(&format!("SELECT EXISTS (SELECT FROM sequin.outbox WHERE id = {first} AND state = 'sending')"));
    let mut other = world.database.connect();
    other.run("BEGIN; SELECT sequin_resume('sequin')");
    world.sandbox.clear_faults();
    world.until(&format!("SELECT sequin_sent_with({first}) IN (SELECT id FROM sequin.delivered)"));
    other.run("ROLLBACK");
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery(ARRAY[$1::bigint], 60000)", &[&later]));
    assert_eq!(world.contacts()[0]["data"]["n"], 2);
}
