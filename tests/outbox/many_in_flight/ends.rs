//! The end of a worker, a database, an extension or a server's name while many requests are in flight.

use std::thread;

use sequin_harness::{Server, Stop};
use serde_json::json;

use super::outcomes;
use crate::support::network::eventually;
use crate::support::server::{APP, PRELOADED};
use crate::support::{Session, World};

/// How the worker with the requests ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Terminate,
    Cancel,
    Kill,
    StopFast,
    StopImmediately,
}

/// 16 creates and 16 updates are in flight, none of which is answered, and as many wait.
fn end_unanswered(way: Way) {
    let mut world = World::with_own_server_and_window(PRELOADED, 32);
    let contacts = world.contacts_made(32);
    world.hold_contacts();
    let creates = world.enqueue_creates(16);
    let updates = world.update_each(&contacts[..16], |n| json!({"m": n}));
    world.full(32);
    let more = json!((16..32).map(|n| json!({"data": {"n": n}})).collect::<Vec<_>>());
    let waiting =
        [world.enqueue("create", &more), world.update_each(&contacts[16..], |n| json!({"m": 16 + n}))].concat();
    world.full(32);
    match way {
        Way::Terminate | Way::Cancel => {
            let worker = world.worker();
            let function = if way == Way::Cancel { "pg_cancel_backend" } else { "pg_terminate_backend" };
            world.run(&format!("SELECT {function}({worker})"));
            world.until(&format!("SELECT NOT {worker} = ANY (sequin.workers())"));
        }
        Way::Kill => world.kill_worker(),
        Way::StopFast => world.restart(Stop::Fast),
        Way::StopImmediately => world.restart(Stop::Immediate),
    }
    // The held requests are answered, and their connections are gone.
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&creates), outcomes(&[("unknown", 16)]), "{way:?}: they may have been applied");
    assert_eq!(world.tally(&updates), outcomes(&[("applied", 16)]), "{way:?}: they are sent again");
    assert_eq!(world.tally(&waiting), outcomes(&[("applied", 32)]), "{way:?}: they were never in flight");
    world.assert_created_once(32);
    let mut numbers: Vec<i64> = world.contacts().iter().filter_map(|contact| contact["data"]["m"].as_i64()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..32), "{way:?}");
    if way != Way::Kill {
        assert_unharmed(&world.server, way == Way::StopImmediately);
    }
}

#[test]
fn a_terminated_worker_leaves_its_creates_unknown_and_its_updates_are_repeated() {
    end_unanswered(Way::Terminate);
}

#[test]
fn a_cancelled_worker_leaves_its_creates_unknown_and_its_updates_are_repeated() {
    end_unanswered(Way::Cancel);
}

#[test]
fn a_killed_worker_leaves_its_creates_unknown_and_its_updates_are_repeated() {
    end_unanswered(Way::Kill);
}

#[test]
fn a_fast_shutdown_leaves_its_creates_unknown_and_its_updates_are_repeated() {
    end_unanswered(Way::StopFast);
}

#[test]
fn a_crash_leaves_its_creates_unknown_and_its_updates_are_repeated() {
    end_unanswered(Way::StopImmediately);
}

#[test]
fn the_requests_that_are_answered_while_a_terminated_worker_leaves_are_settled() {
    let mut world = World::with_own_server_and_window(PRELOADED, 64);
    world.hold_contacts();
    let ids = world.enqueue_creates(64);
    world.full(64);
    let worker = world.worker();
    world.run(&format!("SELECT pg_terminate_backend({worker})"));
    world.sandbox.clear_faults();
    world.until(&format!("SELECT NOT {worker} = ANY (sequin.workers())"));
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 64)]));
    world.assert_created_once(64);
}

#[test]
fn the_requests_that_are_answered_during_a_fast_shutdown_are_settled() {
    let mut world = World::with_own_server_and_window(PRELOADED, 64);
    world.hold_contacts();
    let ids = world.enqueue_creates(64);
    world.full(64);
    let (client, server, sandbox) = world.into_parts();
    drop(client);
    thread::scope(|scope| {
        let stop = scope.spawn(|| server.stop(Stop::Fast));
        eventually("the shutdown begins", || server.log().contains("received fast shutdown request"));
        sandbox.clear_faults();
        stop.join().unwrap();
    });
    server.restart();
    let mut world = World::at(&server, APP, sandbox);
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 64)]));
    world.assert_created_once(64);
    assert_unharmed(&world.server, false);
}

#[test]
fn a_database_is_dropped_by_force_while_many_requests_are_in_flight() {
    let mut world = World::with_own_server_and_window("", 64);
    for round in 0..3 {
        if round > 0 {
            world.run("CREATE DATABASE app");
            world.client = world.server.connect(APP);
            world.run("CREATE EXTENSION sequin_mutations");
            world.create_server();
            world.run("ALTER SERVER sequin OPTIONS (max_batch '1', max_in_flight '64')");
        }
        world.sandbox.clear_log();
        world.hold_contacts();
        world.enqueue_creates(100);
        world.full(64);
        world.client = world.server.connect("postgres");
        world.run("DROP DATABASE app WITH (FORCE)");
        world.until("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'sequin worker')");
        eventually("its connections are closed", || world.sandbox.log().open == 0);
        world.sandbox.clear_faults();
    }
    assert_unharmed(&world.server, false);
}

#[test]
fn the_extension_is_dropped_and_made_again_while_many_requests_are_in_flight() {
    let mut world = World::with_own_server_and_window("", 32);
    for round in 0..3 {
        world.sandbox.clear_log();
        world.hold_contacts();
        world.enqueue_creates(40);
        world.full(32);
        world.run("DROP EXTENSION sequin_mutations CASCADE; CREATE EXTENSION sequin_mutations");
        world.create_server();
        world.run("ALTER SERVER sequin OPTIONS (max_batch '1', max_in_flight '32')");
        // Their numbers begin anew, and are those of the records that were in flight.
        let records = json!((100..140).map(|n| json!({"data": {"n": n}})).collect::<Vec<_>>());
        let ids = world.enqueue("create", &records);
        world.sandbox.clear_faults();
        world.settled();
        assert_eq!(world.tally(&ids), outcomes(&[("applied", 40)]), "round {round}");
        let times = world.creates_by_number();
        assert!(times.values().all(|times| *times == 1), "round {round}: {times:?}");
        assert!((100..140).all(|n| times.contains_key(&n)), "round {round}: {times:?}");
    }
    assert_unharmed(&world.server, false);
}

#[test]
fn a_server_is_renamed_when_the_requests_in_flight_are_answered() {
    let mut world = World::with_window(32);
    world.hold_contacts();
    let ids = world.enqueue_creates(40);
    world.full(32);
    let error = world.error("ALTER SERVER sequin RENAME TO crm");
    assert_eq!(error.code().code(), "55006", "{error:?}");
    world.run("SELECT sequin_pause('sequin')");
    world.sandbox.clear_faults();
    world.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state = 'sending')");
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 32), ("pending", 8)]));
    world.run("ALTER SERVER sequin RENAME TO crm");
    world.run("SELECT sequin_resume('crm')");
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 40)]));
    world.assert_created_once(40);
}

/// The server of a claim is dropped before its answer comes, and another one gets its name.
#[test]
fn a_server_is_dropped_and_made_again_while_its_requests_are_in_flight() {
    let mut world = World::with_window(16);
    world.hold_contacts();
    let ids = world.enqueue_creates(24);
    world.full(16);
    world.run("DROP SERVER sequin CASCADE");
    world.create_server();
    world.run("ALTER SERVER sequin OPTIONS (max_batch '1', max_in_flight '16')");
    world.another_round();
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 24)]));
    world.assert_created_once(24);
}

/// No process of the server died.
fn assert_unharmed(server: &Server, has_crashed: bool) {
    let log = server.log();
    let signs = ["PANIC", "was terminated by signal", "immediate shutdown", "not properly shut down"];
    for sign in &signs[..if has_crashed { 2 } else { 4 }] {
        assert!(!log.contains(sign), "{sign}: {log}");
    }
}

/// A worker that leaves gives up a request whose reply does not come. The delete that was applied is sent again.
#[test]
fn a_record_that_is_changed_and_deleted_while_its_worker_leaves_is_deleted_and_nothing_is_rejected() {
    let mut world = World::with_own_server_and_window(PRELOADED, 16);
    for stall in ["reply", "reply_body", "body_read"] {
        for is_merged in [true, false] {
            let contacts = world.contacts_made(8);
            world.sandbox.fault(json!({"times": 8, "stall": stall}));
            if is_merged {
                world.run("SELECT sequin_pause('sequin')");
            }
            let mut ids = world.update_each(&contacts, |n| json!({ "n": n }));
            if !is_merged {
                eventually("they are in flight", || world.sandbox.log().mutations().len() == 8);
            }
            ids.extend(world.enqueue("delete", &json!(contacts)));
            if is_merged {
                world.run("SELECT sequin_resume('sequin')");
                eventually("they are in flight", || world.sandbox.log().mutations().len() == 8);
            }
            let worker = world.worker();
            world.run(&format!("SELECT pg_terminate_backend({worker})"));
            world.until(&format!("SELECT NOT {worker} = ANY (sequin.workers())"));
            world.sandbox.clear_faults();
            world.settled();
            assert_all_were_applied(&mut world, &ids, &format!("{stall}, merged: {is_merged}"));
        }
    }
}

/// The connections of many requests break, once or again and again, after the API has done its work.
#[test]
fn a_record_that_is_changed_and_deleted_is_deleted_however_often_the_reply_is_lost() {
    for times in [1, 2, 4] {
        let mut world = World::with_options("max_batch '3', max_in_flight '16'");
        let contacts = world.contacts_made(12);
        world.run("SELECT sequin_pause('sequin')");
        let mut ids = world.update_each(&contacts, |n| json!({ "n": n }));
        ids.extend(world.enqueue("delete", &json!(contacts)));
        world.sandbox.fault(json!({"times": 4 * times, "cut_after": 0}));
        // Each resume ends the rest that the lost replies have caused.
        eventually("all are settled", || {
            world.run("SELECT sequin_resume('sequin')");
            world.one("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state IN ('pending', 'sending'))")
        });
        assert_all_were_applied(&mut world, &ids, &format!("{times} times"));
    }
}

#[track_caller]
fn assert_all_were_applied(world: &mut World, ids: &[i64], what: &str) {
    let tally = world.tally(ids);
    assert!(tally.keys().all(|outcome| outcome.starts_with("applied")), "{what}: {tally:?}");
    assert_eq!(world.contact_count(), 0, "{what}");
}
