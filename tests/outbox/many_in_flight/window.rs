//! How many requests are in flight: as many as `max_in_flight` allows, and never more.

use postgres::Client;
use sequin_harness::most_at_once;
use serde_json::json;

use super::outcomes;
use crate::support::network::{eventually, threads};
use crate::support::{Session, World, enqueue_in};

#[test]
fn as_many_requests_are_in_flight_as_the_server_allows_and_no_more() {
    for (options, expected) in [
        ("max_batch '1', max_in_flight '16'", 16),
        ("max_batch '1', max_in_flight '1'", 1),
        // The default.
        ("max_batch '1'", 8),
    ] {
        let mut world = World::with_options(options);
        world.hold_contacts();
        let ids = world.enqueue_creates(40);
        world.full(expected);
        // A record that is claimed and not sent would be unknown after a crash.
        assert_eq!(world.in_state("sending"), expected as i64, "{options}");
        world.sandbox.clear_faults();
        world.settled();
        assert_eq!(world.tally(&ids), outcomes(&[("applied", 40)]), "{options}");
        world.assert_created_once(40);
        let log = world.sandbox.log();
        let contacts: Vec<_> = log.mutations().into_iter().filter(|r| r.body.contains(":contact")).collect();
        assert_eq!(most_at_once(&contacts), expected, "{options}");
    }
}

#[test]
fn updates_and_deletes_of_different_records_are_in_flight_together() {
    let mut world = World::with_window(24);
    let contacts = world.contacts_made(24);
    world.hold_contacts();
    let updates = world.update_each(&contacts[..12], |n| json!({"n": 100 + n}));
    let deletes = world.enqueue("delete", &json!(contacts[12..]));
    world.full(24);
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&[updates, deletes].concat()), outcomes(&[("applied", 24)]));
    let mut numbers: Vec<i64> = world.contacts().iter().filter_map(|contact| contact["data"]["n"].as_i64()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(100..112));
}

#[test]
fn the_limit_is_one_for_all_roles_and_syncs() {
    let mut world = World::with_window(10);
    let mut roles: Vec<(String, Client)> = Vec::new();
    for n in 0..3 {
        let name = format!("sender_{n}_{}", world.database.name());
        world.run(&format!(
            "CREATE ROLE {name} LOGIN; GRANT USAGE ON FOREIGN SERVER sequin TO {name};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {name}"
        ));
        let session = world.database.connect_as(&name);
        roles.push((name, session));
    }
    world.hold_contacts();
    for (n, (_, session)) in roles.iter_mut().enumerate() {
        enqueue_in(session, "create", &json!((0..10).map(|i| json!({"data": {"n": 10 * n + i}})).collect::<Vec<_>>()));
        let other_sync = "SELECT sequin_enqueue('create', 'sync ' || n, 'salesforce:contact', \
                          jsonb_build_object('data', jsonb_build_object('n', n))) FROM generate_series($1::int, $1 + 4) n";
        session.query(other_sync, &[&(30 + 5 * n as i32)]).unwrap();
    }
    world.full(10);
    world.sandbox.clear_faults();
    world.settled();
    world.assert_created_once(45);
    let log = world.sandbox.log();
    let contacts: Vec<_> = log.mutations().into_iter().filter(|r| r.body.contains(":contact")).collect();
    assert_eq!(most_at_once(&contacts), 10);
    for (name, session) in roles {
        drop(session);
        world.run(&format!("DROP OWNED BY {name} CASCADE; DROP ROLE {name}"));
    }
}

#[test]
fn a_limit_that_changes_holds_at_once() {
    let mut world = World::with_window(4);
    world.hold_contacts();
    world.enqueue_creates(60);
    world.full(4);
    world.run("ALTER SERVER sequin OPTIONS (SET max_in_flight '12')");
    world.another_round();
    world.full(12);
    // Those in flight stay, and the next ones begin when few enough are left.
    world.run("ALTER SERVER sequin OPTIONS (SET max_in_flight '3')");
    world.another_round();
    world.full(12);
    world.sandbox.clear_faults();
    world.settled();
    world.assert_created_once(60);
    let log = world.sandbox.log();
    let contacts: Vec<_> = log.mutations().into_iter().filter(|r| r.body.contains(":contact")).collect();
    let most = most_at_once(&contacts[12..]);
    assert!(most <= 3, "{most} at once after the limit was 3");
}

#[test]
fn ten_thousand_creates_go_through_64_requests_and_as_many_connections() {
    const COUNT: usize = 10_000;
    let mut world = World::with_window(64);
    // A change of any server makes the worker connect anew.
    world.another_round();
    world.sandbox.clear_log();
    world.hold_contacts();
    let ids = world.enqueue_creates(COUNT);
    world.full(64);
    let worker = world.worker();
    world.sandbox.clear_faults();
    world.sandbox.fault(json!({"times": null, "delay_ms": 5}));
    world.settled();
    let last = format!("SELECT count(*) FROM sequin.delivered WHERE outcome = 'applied' AND id >= {}", ids[0]);
    assert!(world.one::<i64>(&last) >= COUNT as i64);
    world.assert_created_once(COUNT);
    let mut numbers: Vec<i64> = world.contacts().iter().filter_map(|contact| contact["data"]["n"].as_i64()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..COUNT as i64));
    let log = world.sandbox.log();
    let contacts: Vec<_> = log.mutations().into_iter().filter(|r| r.body.contains(":contact")).collect();
    assert_eq!(most_at_once(&contacts), 64);
    // The 65th is that of the server `another`.
    assert!(log.connections <= 65, "{} connections", log.connections);
    let threads = threads(worker);
    assert!(threads <= 72, "the worker has {threads} threads");
}

#[test]
fn a_worker_that_waits_for_many_answers_holds_nothing_and_does_nothing() {
    let mut world = World::with_own_server_and_window("autovacuum = off", 32);
    world.hold_contacts();
    world.enqueue_creates(40);
    world.full(32);
    let worker = world.worker();
    eventually("it waits", || {
        let sql = "SELECT backend_xmin IS NULL AND backend_xid IS NULL AND xact_start IS NULL AND wait_event IS NOT NULL
                   AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.classid IS DISTINCT FROM 'pg_database'::regclass)
                   FROM pg_stat_activity a WHERE pid = $1";
        (0..50).all(|_| world.one_of::<bool>(sql, &[&worker]))
    });
    world.run("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n; DELETE FROM t");
    eventually("VACUUM removes all rows", || {
        world.run("VACUUM t");
        world.one::<i64>("SELECT pg_relation_size('t')") == 0
    });
    assert_eq!(world.unanswered(), 32);
}
