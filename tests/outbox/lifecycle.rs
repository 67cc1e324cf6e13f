//! When a worker starts and how it ends. Nothing is lost by it.

use std::time::{Duration, Instant};

use sequin_harness::{Sandbox, Server, Stop};
use serde_json::json;

use crate::support::network::eventually;
use crate::support::server::{APP, PRELOADED};
use crate::support::{Session, World, enqueue_in};

/// The guard of the harness loses its patience after ten seconds, and stops the server in a harsher way.
const PROMPT: Duration = Duration::from_secs(8);

#[test]
fn the_first_enqueue_starts_the_worker() {
    let mut cluster = World::with_own_server("");
    assert!(cluster.workers().is_empty());
    cluster.run("BEGIN");
    cluster.enqueue_create("Paul");
    cluster.run("ROLLBACK");
    assert!(cluster.workers().is_empty(), "nothing was queued");
    cluster.enqueue_create("Chani");
    cluster.settled();
    let workers = cluster.workers();
    assert_eq!(workers.len(), 1);
    let known = "SELECT array_agg(pid) FROM pg_stat_activity WHERE backend_type = 'sequin worker' AND datname = 'app'";
    assert_eq!(cluster.one::<Vec<i32>>(known), workers);
    cluster.enqueue_create("Leto");
    cluster.settled();
    assert_eq!(cluster.workers(), workers, "it is still the same");
    assert_eq!(cluster.contacts().len(), 2);
}

#[test]
fn the_session_that_enqueued_may_end() {
    let mut cluster = World::with_own_server("");
    for n in 0..5 {
        let mut session = cluster.server.connect(APP);
        enqueue_in(&mut session, "create", &json!([{"data": {"n": n}}]));
        drop(session);
        eventually("it is delivered", || cluster.sandbox.log().mutations().len() == n + 1);
    }
    cluster.settled();
}

#[test]
fn preloaded_a_worker_delivers_what_was_queued_before_the_restart_without_anybody_connecting() {
    let mut cluster = World::with_own_server(PRELOADED);
    // While it is away, no other test is given its port, which would be one of 127.0.0.1.
    cluster.sandbox = Sandbox::builder().listen("127.66.0.1:0").start().unwrap();
    cluster.set_reachable();
    let id = cluster.create("Paul");
    let address = cluster.sandbox.url().trim_start_matches("http://").to_owned();
    // The API goes away, and comes back while the server is down.
    let (mut client, server, sandbox) = cluster.into_parts();
    drop(sandbox);
    enqueue_in(&mut client, "delete", &json!([id]));
    enqueue_in(&mut client, "create", &json!([{"data": {"Name": "Chani"}}]));
    drop(client);
    server.stop(Stop::Fast);
    let sandbox = Sandbox::builder().listen(&address).start().unwrap();
    server.restart();
    eventually("both are sent", || sandbox.log().mutations().len() == 2);
    let mut cluster = World::at(&server, APP, sandbox);
    cluster.settled();
    assert_eq!(cluster.contacts().len(), 1);
}

#[test]
fn preloaded_crashes_do_not_pile_workers_up() {
    let mut cluster = World::with_own_server(PRELOADED);
    cluster.enqueue_create("Chani");
    cluster.settled();
    for _ in 0..4 {
        cluster.kill_worker();
        cluster.worker();
    }
    cluster.until(
        "SELECT count(*) FILTER (WHERE backend_type = 'sequin worker' AND datname = 'app') = 1 \
         AND count(*) FILTER (WHERE backend_type = 'sequin launcher') = 1 FROM pg_stat_activity",
    );
    cluster.enqueue_create("Paul");
    cluster.settled();
    assert_eq!(cluster.contacts().len(), 2);
}

/// Ends the worker by `function`, idle and with a request in the air.
fn end_by(function: &str) {
    let mut cluster = World::with_own_server("");
    let id = cluster.create("Paul");
    cluster.enqueue_number(&id, 1);
    cluster.settled();
    let first = cluster.worker();
    cluster.run(&format!("SELECT {function}({first})"));
    cluster.until(&format!("SELECT cardinality(sequin.workers()) = 1 AND NOT {first} = ANY (sequin.workers())"));
    cluster.enqueue_number(&id, 2);
    cluster.settled();

    cluster.sandbox.clear_log();
    cluster.sandbox.fault(json!({"stall": "reply"}));
    let update = cluster.enqueue_number(&id, 3);
    cluster.in_the_air();
    let later = cluster.enqueue_number(&id, 4);
    let second = cluster.worker();
    cluster.run(&format!("SELECT {function}({second})"));
    cluster.until(&format!("SELECT NOT {second} = ANY (sequin.workers())"));
    cluster.settled();
    assert_eq!((cluster.state(update), cluster.state(later)), ("applied".into(), "applied".into()));
    assert_eq!(cluster.contacts()[0]["data"]["n"], 4);

    cluster.sandbox.clear_log();
    cluster.sandbox.fault(json!({"stall": "reply"}));
    let create = cluster.enqueue_create("Chani");
    cluster.in_the_air();
    let third = cluster.worker();
    let behind = cluster.enqueue_number(&id, 5);
    cluster.run(&format!("SELECT {function}({third})"));
    cluster.settled();
    assert_eq!((cluster.state(create), cluster.state(behind)), ("unknown".into(), "applied".into()));
    let creates = cluster.mutations().iter().filter(|mutation| mutation["kind"] == "create").count();
    assert_eq!(creates, 1, "a create is never repeated");
}

#[test]
fn a_terminated_worker_comes_back_and_nothing_is_lost() {
    end_by("pg_terminate_backend");
}

#[test]
fn a_cancelled_worker_comes_back_and_nothing_is_lost() {
    end_by("pg_cancel_backend");
}

/// It says nothing about the record. Its time for `max_retry_age` does not begin, and may be long over when the server
/// is started again.
#[test]
fn an_update_that_the_end_of_its_worker_has_cut_short_is_due_at_once_and_has_not_failed() {
    for is_killed in [false, true] {
        let mut cluster = World::with_own_server(PRELOADED);
        let id = cluster.create("Paul");
        cluster.sandbox.clear_log();
        cluster.sandbox.fault(json!({"stall": "reply"}));
        let update = cluster.enqueue_number(&id, 1);
        cluster.in_the_air();
        // It is not sent again while the row is read.
        cluster.run("SELECT sequin_pause('sequin')");
        let worker = cluster.worker();
        if is_killed {
            cluster.kill_worker();
        } else {
            cluster.run(&format!("SELECT pg_terminate_backend({worker})"));
        }
        cluster.until("SELECT EXISTS (SELECT FROM sequin.deferred) AND NOT EXISTS (SELECT FROM sequin.claims)");
        let row = "SELECT next_attempt_at <= clock_timestamp() AND failed_since IS NULL AND attempts = 1 AND outcome = 'unknown'
                   FROM sequin.deferred";
        assert!(cluster.one::<bool>(row), "killed: {is_killed}");
        cluster.run("SELECT sequin_resume('sequin')");
        cluster.settled();
        assert_eq!(cluster.state(update), "applied");
    }
}

#[test]
fn the_trouble_of_a_server_is_over_when_the_next_worker_reaches_it() {
    let mut cluster = World::with_own_server("");
    cluster.set_unreachable();
    cluster.enqueue_create("Paul");
    cluster.until("SELECT last_error IS NOT NULL FROM sequin.status");
    let worker = cluster.worker();
    cluster.set_reachable();
    cluster.run(&format!("SELECT pg_terminate_backend({worker})"));
    cluster.settled();
    cluster.until("SELECT last_error IS NULL AND next_attempt_at IS NULL FROM sequin.status");
}

#[test]
fn an_idle_worker_leaves_and_the_next_commit_starts_one() {
    let mut cluster = World::with_own_server("sequin.worker_idle_timeout = 0");
    let gone = "SELECT cardinality(sequin.workers()) = 0";
    for n in 1..=3 {
        cluster.enqueue_create("Paul");
        cluster.settled();
        cluster.until(gone);
        assert_eq!(cluster.contacts().len(), n);
    }
    // A reload is enough for both directions.
    cluster.run("ALTER SYSTEM SET sequin.worker_idle_timeout = '1h'");
    cluster.run("SELECT pg_reload_conf()");
    cluster.until("SELECT current_setting('sequin.worker_idle_timeout') = '1h'");
    cluster.enqueue_create("Paul");
    cluster.settled();
    cluster.worker();
    cluster.run("ALTER SYSTEM SET sequin.worker_idle_timeout = 0");
    cluster.run("SELECT pg_reload_conf()");
    cluster.until(gone);
}

/// The launcher knows when the records are due that a worker has left.
#[test]
fn a_deferred_record_is_sent_in_time_though_the_worker_has_left() {
    let mut cluster = World::with_own_server("sequin.worker_idle_timeout = 0");
    cluster.sandbox.fault(json!({"status": 429, "headers": {"retry-after": "8"}, "apply": false}));
    cluster.enqueue_create("Paul");
    cluster.until("SELECT count(*) > 0 FROM sequin.outbox WHERE next_attempt_at IS NOT NULL");
    cluster.until("SELECT cardinality(sequin.workers()) = 0");
    assert_eq!(cluster.contacts().len(), 0);
    // No commit of this session signals anything.
    cluster.settled();
    assert_eq!(cluster.contacts().len(), 1);
}

#[test]
fn the_history_goes_when_it_is_old() {
    let mut cluster = World::with_own_server("sequin.retention = '1s'");
    cluster.enqueue_create("Paul");
    cluster.settled();
    eventually("the history is emptied", || {
        // The worker looks after the history when it is awake anyway.
        cluster.run("SELECT sequin_resume('sequin')");
        std::thread::sleep(Duration::from_millis(100));
        cluster.one::<bool>("SELECT NOT EXISTS (SELECT FROM sequin.delivered)")
    });
}

/// A server that stops in this way while an update and a create are on their way, one of them in the air.
fn stop_in_flight(how: Stop) {
    let mut cluster = World::with_own_server(PRELOADED);
    let id = cluster.create("Paul");
    for is_create in [false, true] {
        cluster.sandbox.clear_log();
        cluster.sandbox.fault(json!({"stall": "reply"}));
        let ids = if is_create {
            let create = cluster.enqueue_create("Chani");
            cluster.in_the_air();
            [create, cluster.enqueue_number(&id, 2)]
        } else {
            let update = cluster.enqueue_number(&id, 1);
            cluster.in_the_air();
            [update, cluster.enqueue_create("Leto")]
        };
        let (client, server, sandbox) = cluster.into_parts();
        drop(client);
        let begun = Instant::now();
        server.stop(how);
        eprintln!("{how:?} took {:?}", begun.elapsed());
        assert!(begun.elapsed() < PROMPT, "{how:?} took {:?}", begun.elapsed());
        server.restart();
        cluster = World::at(&server, APP, sandbox);
        cluster.settled();
        let first = if is_create { "unknown" } else { "applied" };
        assert_eq!(ids.map(|id| cluster.state(id)), [first, "applied"]);
        let kinds = cluster.mutations();
        assert_eq!(kinds.iter().filter(|mutation| mutation["kind"] == "create").count(), 1);
    }
    assert_unharmed(&cluster.server);
}

#[test]
fn a_fast_shutdown_does_not_wait_for_a_request_in_the_air() {
    stop_in_flight(Stop::Fast);
}

#[test]
fn a_smart_shutdown_does_not_wait_for_a_request_in_the_air() {
    stop_in_flight(Stop::Smart);
}

#[test]
fn without_a_free_process_the_commit_warns_and_the_record_waits() {
    let mut cluster = World::with_own_server("max_worker_processes = 0");
    let enqueue = r#"SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '[{"data":{"Name":"Paul"}}]')"#;
    let output = cluster.server.psql(APP, enqueue);
    assert!(output.status.success());
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(warning.contains("WARNING:  no background worker could be started for the outbox"), "{warning}");
    assert!(warning.contains("max_worker_processes"), "{warning}");
    assert_eq!(cluster.one::<String>("SELECT state FROM sequin.outbox"), "pending");
    assert!(!cluster.one::<bool>("SELECT worker_alive FROM sequin.status"));
    assert_eq!(cluster.sandbox.log().connections, 0);
    cluster.run("ALTER SYSTEM SET max_worker_processes = 4");
    cluster.restart(Stop::Fast);
    cluster.enqueue_create("Chani");
    cluster.settled();
    assert_eq!(cluster.contacts().len(), 2);
}

#[test]
fn the_extension_can_be_dropped_and_made_again_while_the_worker_is_idle() {
    let mut cluster = World::with_own_server("");
    for n in 1..=4 {
        let id = cluster.enqueue_create("Paul");
        assert_eq!(id, 1, "the ids begin anew");
        cluster.settled();
        assert_eq!(cluster.contacts().len(), n);
        cluster.run("DROP EXTENSION sequin_mutations CASCADE");
        cluster.run("CREATE EXTENSION sequin_mutations");
        cluster.create_server();
    }
    cluster.run("DROP EXTENSION sequin_mutations CASCADE");
    cluster.until("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'sequin worker')");
    assert_unharmed(&cluster.server);
}

#[test]
fn the_extension_can_be_dropped_and_made_again_while_a_request_is_in_the_air() {
    let mut cluster = World::with_own_server("");
    for n in 1..=2 {
        cluster.sandbox.clear_log();
        cluster.sandbox.fault(json!({"stall": "reply"}));
        cluster.enqueue_create("lost");
        cluster.in_the_air();
        let begun = Instant::now();
        cluster.run("DROP EXTENSION sequin_mutations CASCADE");
        assert!(begun.elapsed() < PROMPT);
        cluster.run("CREATE EXTENSION sequin_mutations");
        cluster.create_server();
        let id = cluster.enqueue_create("Paul");
        // The answer comes when the outbox that asked is gone, and another one is there.
        cluster.sandbox.clear_faults();
        cluster.settled();
        assert_eq!(cluster.state(id), "applied", "round {n}");
    }
    assert_unharmed(&cluster.server);
}

/// The ids begin anew, and with them the numbers of the claims.
#[test]
fn a_worker_that_outlives_its_extension_sends_nothing_twice() {
    let mut cluster = World::with_own_server("");
    let both_send = |cluster: &mut World| {
        cluster.sandbox.clear_log();
        cluster.sandbox.fault(json!({"times": null, "hold": true}));
        for name in ["Paul", "Chani"] {
            cluster.enqueue_create(name);
            cluster.in_the_air();
        }
        cluster.sandbox.clear_faults();
        cluster.settled();
        assert_eq!(cluster.mutations().len(), 2, "{:?}", cluster.mutations());
    };
    for _ in 0..3 {
        both_send(&mut cluster);
    }
    cluster.run("DROP EXTENSION sequin_mutations CASCADE; CREATE EXTENSION sequin_mutations");
    cluster.create_server();
    both_send(&mut cluster);
}

/// No process of the server died.
fn assert_unharmed(server: &Server) {
    let log = server.log();
    for sign in ["PANIC", "was terminated by signal", "immediate shutdown", "not properly shut down"] {
        assert!(!log.contains(sign), "{sign}: {log}");
    }
}
