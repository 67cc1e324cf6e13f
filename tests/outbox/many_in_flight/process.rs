//! The worker as a process with many threads: signals, descriptors, threads that cannot be made, large records.

use serde_json::{Value, json};

use super::outcomes;
use crate::support::server::must;
use crate::support::{Session, World};

/// A signal that reached one of the threads would run code of Postgres there.
#[test]
fn signals_of_postgres_reach_the_worker_and_no_request() {
    let mut world = World::with_own_server_and_window("", 32);
    world.hold_contacts();
    let ids = world.enqueue_creates(64);
    world.full(32);
    let worker = world.worker();
    for _ in 0..200 {
        world.run(&format!("SELECT pg_reload_conf(), pg_log_backend_memory_contexts({worker})"));
    }
    let logged = "logging memory contexts of PID";
    world.another_round();
    assert!(world.server.log().contains(&format!("{logged} {worker}")));
    world.sandbox.clear_faults();
    for _ in 0..200 {
        world.run(&format!("SELECT pg_reload_conf(), pg_log_backend_memory_contexts({worker})"));
    }
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 64)]));
    world.assert_created_once(64);
    assert_eq!(world.worker(), worker, "it is still the same");
}

/// Postgres lends a process a third of its descriptors.
#[test]
fn a_worker_with_few_descriptors_goes_on_with_fewer_requests() {
    let mut world = World::with_own_server_and_window("max_files_per_process = 100", 200);
    world.sandbox.fault(json!({"times": null, "delay_ms": 20}));
    let ids = world.enqueue_creates(400);
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 400)]));
    world.assert_created_once(400);
    let most = world.sandbox.log().most_at_once();
    assert!((8..200).contains(&most), "{most} requests were in flight");
}

#[test]
fn a_worker_that_can_make_no_more_threads_goes_on_with_those_it_has() {
    let mut world = World::with_own_server_and_window("", 4);
    world.hold_contacts();
    world.enqueue_creates(4);
    world.full(4);
    let worker = world.worker();
    // As a limit of its control group would do.
    let mut limit = world.server.account().command("prlimit");
    must(&limit.args(["--pid", &worker.to_string(), "--nproc=1:1"]).output().unwrap());
    world.run("ALTER SERVER sequin OPTIONS (SET max_in_flight '100')");
    let records: Vec<Value> = (4..200).map(|n| json!({"data": {"n": n}})).collect();
    let ids = world.enqueue("create", &json!(records));
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 196)]));
    world.assert_created_once(200);
    assert_eq!(world.worker(), worker, "it is still the same");
    let most = world.sandbox.log().most_at_once();
    assert!(most < 100, "{most} requests were in flight");
}

#[test]
fn large_records_go_through_many_requests() {
    const COUNT: usize = 60;
    let mut world = World::with_window(32);
    let note = "x".repeat(1 << 20);
    world.run("SELECT sequin_pause('sequin')");
    let mut ids = Vec::new();
    for n in 0..COUNT {
        ids.extend(world.enqueue("create", &json!([{"data": {"n": n, "note": note}}])));
    }
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", COUNT)]));
    world.assert_created_once(COUNT);
    assert!(world.contacts().iter().all(|contact| contact["data"]["note"].as_str().map(str::len) == Some(note.len())));
}
