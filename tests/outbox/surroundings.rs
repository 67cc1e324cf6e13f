//! The outbox beside other activity in its database: no activity may stop the delivery for good.

use std::time::Duration;

use serde_json::json;

use super::BOOK;
use crate::support::network::Pending;
use crate::support::{Session, World};

#[test]
fn a_publication_of_all_tables_does_not_stop_it() {
    let mut world = World::new();
    world.run("CREATE PUBLICATION all_tables FOR ALL TABLES");
    let ids = world.enqueue("create", &json!([{"data": {"n": 1}}]));
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery($1, 10000)", &[&ids]));
    world.run("DELETE FROM sequin.origin WHERE false; DELETE FROM sequin.history WHERE false");
}

#[test]
fn a_verb_in_an_open_transaction_keeps_delivery_waiting_and_no_longer() {
    let mut world = World::new();
    let mut other = world.database.connect();
    other.run("BEGIN; SELECT sequin_pause('sequin')");
    let ids = world.enqueue("create", &json!([{"data": {"n": 1}}]));
    assert_eq!(world.one_of::<Option<bool>>("SELECT sequin_await_delivery($1, 300)", &[&ids]), None);
    // It waits without a snapshot, and can be ended.
    let busy =
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'sequin worker' AND datname = current_database()
                AND wait_event_type = 'Lock'";
    assert_eq!(world.one::<i64>(busy), 0);
    world.run("SELECT pg_terminate_backend(pid) FROM unnest(sequin.workers()) pid");
    other.run("ROLLBACK");
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery($1, 10000)", &[&ids]));
}

#[test]
fn a_verb_needs_to_see_what_was_sent() {
    let mut world = World::new();
    for call in [
        "sequin_retry(1)",
        "sequin_discard(1)",
        "sequin_resolve(1, 'x')",
        "sequin_pause('sequin')",
        "sequin_resume('sequin')",
    ] {
        world.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        assert_eq!(world.error(&format!("SELECT {call}")).code().code(), "25001", "{call}");
        world.run("ROLLBACK");
    }
}

/// A refusal that took longer than the life of cached results once counted as two, one of them for all roles.
#[test]
fn a_slow_refusal_pauses_the_role_that_was_refused_and_no_other() {
    let mut world = World::new();
    world.sandbox.fault(json!({"status": 401, "delay_ms": 200}));
    world.enqueue("create", &json!([{"data": {"n": 1}}]));
    world.until("SELECT paused FROM sequin.status");
    world.until("SELECT NOT EXISTS (SELECT FROM sequin.claims)");
    let roles = world.rows("SELECT role::oid::regrole::text FROM sequin.pauses", &[]);
    assert_eq!(roles.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), ["postgres"]);
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    assert_eq!(world.contact_count(), 1);
}

#[test]
fn the_extension_can_be_dropped_under_load() {
    let mut world = World::new();
    world.run(BOOK);
    for _ in 0..5 {
        world
            .run("DELETE FROM people; INSERT INTO people (id, name) SELECT n, 'n' || n FROM generate_series(1, 500) n");
        world.run("DROP EXTENSION sequin_mutations CASCADE; CREATE EXTENSION sequin_mutations");
        world.database.create_server(world.sandbox.url(), world.sandbox.token());
        world.run(BOOK.split_once(';').unwrap().1);
    }
}

/// The worker visits a row that another session has locked again and again. If it touched the tables of an extension
/// that is being dropped, the two could wait for each other.
#[test]
fn a_worker_keeps_away_from_an_extension_that_is_being_dropped() {
    let mut world = World::new();
    world.run(BOOK);
    world.hold_next();
    world.run("INSERT INTO people (id, name) VALUES (1, 'Paul')");
    world.arrived(1);
    let mut holder = world.database.connect();
    holder.run("BEGIN; SELECT FROM people FOR UPDATE");
    world.release();
    world.settled();
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.pending_upstream_ids"), 1);
    let worker = world.one::<i32>("SELECT (sequin.workers())[1]");

    let mut dropper = world.database.connect();
    let pid = dropper.pid();
    let drop = Pending::start(dropper, "DROP EXTENSION sequin_mutations CASCADE");
    world.until(&format!("SELECT EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)"));
    // Some visits long.
    for _ in 0..100 {
        let waits = format!("SELECT EXISTS (SELECT FROM pg_locks WHERE pid = {worker} AND NOT granted)");
        assert!(!world.one::<bool>(&waits));
        std::thread::sleep(Duration::from_millis(10));
    }
    holder.run("ROLLBACK");
    drop.end("the drop").1.unwrap();
}
