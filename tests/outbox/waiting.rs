//! Waiting for a delivery, and the notification of it.

use std::time::{Duration, Instant};

use postgres::fallible_iterator::FallibleIterator;
use serde_json::{Value, json};

use crate::support::network::{PATIENCE, reset_statement_timeout};
use crate::support::{Session, World};

#[test]
fn awaiting_says_what_became_of_the_records() {
    let mut world = World::new();
    let good = world.enqueue_data(&json!({"n": 1}));
    let bad = world.enqueue_data(&json!({"Email": "nobody"}));
    let awaited = |world: &mut World, ids: Vec<i64>, ms: Option<i32>| {
        world.one_of::<Option<bool>>("SELECT sequin_await_delivery($1, $2)", &[&ids, &ms])
    };
    assert_eq!(awaited(&mut world, vec![good], None), Some(true));
    assert_eq!(awaited(&mut world, vec![good, bad], None), Some(false), "one is rejected");
    assert_eq!(awaited(&mut world, vec![], Some(0)), Some(true));
    world.run("SELECT sequin_pause('sequin')");
    let waits = world.enqueue_data(&json!({"n": 2}));
    assert_eq!(awaited(&mut world, vec![waits], Some(30)), None, "the time is over");
    assert_eq!(awaited(&mut world, vec![waits, bad], Some(0)), Some(false));
    let many: Vec<i64> = world.enqueue("create", &Value::Array(vec![json!({"data": {"n": 4}}); 100]));
    assert_eq!(awaited(&mut world, many.clone(), Some(30)), None);
    let behind = [&many[..], &[bad]].concat();
    assert_eq!(awaited(&mut world, behind, Some(30)), Some(false), "one behind many open ones is rejected");
    assert_eq!(awaited(&mut world, vec![waits], Some(0)), None);
    world.run("SET statement_timeout = '500ms'");
    let error = world.error(&format!("SELECT sequin_await_delivery('{{{waits}}}')"));
    assert_eq!(error.code().code(), "57014");
    reset_statement_timeout(&mut world.client);
    world.run("SELECT sequin_resume('sequin')");
    assert_eq!(awaited(&mut world, vec![waits], None), Some(true));
    assert_eq!(awaited(&mut world, many, None), Some(true));
    let unknown = world.unknown_create(&json!({"n": 3}));
    assert_eq!(awaited(&mut world, vec![unknown], None), Some(false));
}

#[test]
fn awaiting_is_refused_where_it_would_wait_for_ever() {
    let mut world = World::new();
    world.run("BEGIN");
    let id = world.enqueue_data(&json!({"n": 1}));
    let error = world.error(&format!("SELECT sequin_await_delivery('{{{id}}}')"));
    assert_eq!(error.code().code(), "55000", "{error:?}");
    world.run("ROLLBACK");
    let id = world.enqueue_data(&json!({"n": 1}));
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        world.run(&format!("BEGIN ISOLATION LEVEL {level}"));
        let error = world.error(&format!("SELECT sequin_await_delivery('{{{id}}}')"));
        assert_eq!(error.code().code(), "25001", "{level}: {error:?}");
        world.run("ROLLBACK");
    }
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery($1, 20000)", &[&vec![id]]));
}

#[test]
fn a_listener_is_notified() {
    let mut world = World::new();
    let mut listener = world.database.connect();
    listener.run("LISTEN sequin_outbox");
    world.enqueue("create", &json!([{"data": {"n": 1}}, {"data": {"Email": "nobody"}}]));
    let begun = Instant::now();
    let (mut delivered, mut rejected) = (0, 0);
    while delivered + rejected < 2 {
        assert!(begun.elapsed() < PATIENCE, "told of {delivered} and {rejected}");
        let next = listener.notifications().timeout_iter(Duration::from_secs(5)).next().unwrap();
        let Some(notification) = next else { continue };
        assert_eq!(notification.channel(), "sequin_outbox");
        let told: Value = serde_json::from_str(notification.payload()).unwrap();
        assert_eq!((&told["server"], &told["unknown"]), (&json!("sequin"), &json!(0)), "{told}");
        delivered += told["delivered"].as_i64().unwrap();
        rejected += told["rejected"].as_i64().unwrap();
        // A listener finds the record.
        let settled: i64 =
            world.one("SELECT (SELECT count(*) FROM sequin.delivered) + (SELECT count(*) FROM sequin.dead_letters)");
        assert!(settled >= delivered + rejected);
    }
    assert_eq!((delivered, rejected), (1, 1));
}
