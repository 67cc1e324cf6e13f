//! Limits of the rate: which requests wait, and for how long.

use serde_json::json;

use crate::support::{Session, World};

/// Enqueues this many creates for a sync, each with the sync's name.
fn enqueue(world: &mut World, sync: &str, count: usize) {
    let records: Vec<_> = (0..count).map(|n| json!({"data": {"n": n, "of": sync}})).collect();
    world.run(&format!("SELECT sequin_enqueue('create', '{sync}', 'salesforce:contact', '{}')", json!(records)));
}

fn delivered_of(sync: &str, count: usize) -> String {
    format!("SELECT count(*) = {count} FROM sequin.delivered WHERE sync_id = '{sync}'")
}

#[test]
fn a_sync_that_is_limited_keeps_no_other_waiting() {
    let mut world = World::with_options("max_in_flight '4'");
    enqueue(&mut world, "free", 1);
    world.settled();
    world.sandbox.clear_log();
    let limit = json!({"times": null, "match": {"body_contains": "\"limited\""}, "status": 429,
        "headers": {"retry-after": "3600"}, "body": "{\"error\":\"slow down\"}"});
    world.sandbox.fault(limit);
    // More than a scan reads.
    enqueue(&mut world, "limited", 7_000);
    enqueue(&mut world, "free", 100);
    world.until(&delivered_of("free", 101));
    let limited = world.bodies().iter().filter(|body| body.contains("\"limited\"")).count();
    assert!(limited <= 4, "{limited} requests");
    let error: String = world.one("SELECT last_error FROM sequin.status");
    assert!(error.ends_with("sync limited: slow down"), "{error}");
    let errors = "SELECT DISTINCT error FROM sequin.outbox";
    assert_eq!(world.one::<String>(errors), "slow down");
    assert_eq!(world.one::<i64>("SELECT sum(attempts) FROM sequin.outbox"), 0);
    // Those that were answered with 429 are sent after others, in an hour, or as soon as a person says so.
    world.sandbox.clear_faults();
    world.run("DELETE FROM sequin.queue WHERE id > (SELECT min(id) + 50 FROM sequin.queue)");
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    assert_eq!(world.status(), (false, None));
}

/// Records that have failed before are more than a scan reads, too. It makes no difference whether the sync waits, or
/// whether a request that finds out about it is in flight.
#[test]
fn due_records_of_a_sync_that_is_limited_hide_no_other() {
    for next_attempt_at in ["infinity", "now"] {
        let mut world = World::with_options("max_in_flight '4'");
        world.database.create_server_named("other", world.sandbox.url(), world.sandbox.token());
        world.sandbox.fault(json!({"times": null, "match": {"body_contains": "\"limited\""}, "hold": true}));
        world.run(&format!(
            "SELECT sequin_pause('sequin');
             INSERT INTO sequin.server_backoff (server, scope, role, sync_id, attempts, error, since, next_attempt_at)
               VALUES ('sequin', 'caller', 10, 'limited', 1, 'slow down', now(),
                 least('{next_attempt_at}'::timestamptz, now() + interval '50 minutes'));
             INSERT INTO sequin.deferred (server, id, key, role, kind, sync_id, collection_id, upstream_id, data, enqueued_at,
                 state, attempts, next_attempt_at, resend_verbatim)
               SELECT 'sequin', nextval('sequin.outbox_id'), gen_random_uuid(), 10,
                 CASE WHEN n <= 7000 THEN 'update' ELSE 'create' END, CASE WHEN n <= 7000 THEN 'limited' ELSE 'free' END,
                 'salesforce:contact', CASE WHEN n <= 7000 THEN 'x' || n END, '{{\"n\": 1}}', now(), 'pending', 1,
                 now() - interval '1 hour' + n * interval '1 ms', false
               FROM generate_series(1, 7001) n"
        ));
        // Of the queue as well.
        enqueue(&mut world, "limited", 7_000);
        enqueue(&mut world, "free", 1);
        // A resume would end the wait.
        world.run("DELETE FROM sequin.pauses");
        world.run("SELECT sequin_pause('other'); SELECT sequin_resume('other')");
        world.until(&delivered_of("free", 2));
        let limited = world.bodies().iter().filter(|body| body.contains("\"limited\"")).count();
        assert_eq!(limited, usize::from(next_attempt_at == "now"));
        world.run("DELETE FROM sequin.queue; DELETE FROM sequin.deferred");
    }
}

#[test]
fn a_role_that_is_limited_keeps_no_other_waiting() {
    let mut world = World::with_options("max_in_flight '4'");
    let role = format!("limited_{}", world.database.name());
    world.run(&format!(
        "CREATE ROLE {role}; GRANT USAGE ON FOREIGN SERVER sequin TO {role};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {role}"
    ));
    enqueue(&mut world, "sync", 1);
    world.settled();
    let limit = json!({"times": null, "match": {"body_contains": "limited"}, "status": 429});
    world.sandbox.fault(limit);
    let limited = "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\": {\"of\": \"limited\"}}')";
    world.run(&format!("SET ROLE {role}; SELECT ({limited}) FROM pg_catalog.generate_series(1, 20); RESET ROLE"));
    world.until("SELECT EXISTS (SELECT FROM sequin.server_backoff WHERE scope = 'caller')");
    enqueue(&mut world, "sync", 100);
    world.until(&delivered_of("sync", 101));
    assert!(!world.one::<bool>("SELECT EXISTS (SELECT FROM sequin.server_backoff WHERE scope = 'server')"));
    world.sandbox.clear_faults();
    world.settled();
    world.run(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}

/// A create of the same key, which another role has queued, waits with it: the order of a key holds.
#[test]
fn the_order_of_a_key_holds_while_one_of_its_syncs_is_limited() {
    let mut world = World::new();
    enqueue(&mut world, "free", 1);
    world.settled();
    world.sandbox.clear_log();
    world
        .sandbox
        .fault(json!({"match": {"body_contains": "\"limited\""}, "status": 429, "headers": {"retry-after": "2"}}));
    let keyed = |sync: &str, key: &str| {
        format!(
            "SELECT sequin_enqueue('create', '{sync}', 'salesforce:contact', '{{\"data\": {{\"of\": \"{sync}-{key}\"}}}}', ordering_key => '{key}')"
        )
    };
    world.run(&keyed("limited", "a"));
    world.until("SELECT EXISTS (SELECT FROM sequin.server_backoff WHERE scope = 'caller')");
    for (sync, key) in [("limited", "b"), ("free", "b"), ("free", "a"), ("free", "c")] {
        world.run(&keyed(sync, key));
    }
    world.settled();
    let bodies = world.bodies();
    let place = |text: &str| bodies.iter().rposition(|body| body.contains(text)).unwrap();
    assert!(place("free-c") < place("limited-b"), "{bodies:?}");
    assert!(place("limited-a") < place("free-a") && place("limited-b") < place("free-b"), "{bodies:?}");
}

#[test]
fn resume_and_retry_end_the_backoff_of_a_server_at_once() {
    for by_retry in [false, true] {
        let mut world = World::new();
        let ids = world.contacts_made(2);
        world
            .sandbox
            .fault(json!({"status": 503, "headers": {"retry-after": "3600"}, "body": "{\"error\":\"closed\"}"}));
        let first = world.enqueue_update(&ids[0], &json!({"n": 1}));
        world.until("SELECT EXISTS (SELECT FROM sequin.status WHERE last_error = 'closed')");
        world.enqueue_update(&ids[1], &json!({"n": 2}));
        assert!(world.one::<bool>("SELECT next_attempt_at > now() + interval '50 minutes' FROM sequin.status"));
        if by_retry {
            world.verb("retry", first);
        } else {
            world.run("SELECT sequin_resume('sequin')");
        }
        world.settled();
        assert_eq!(world.endings(), ["applied", "applied"]);
        assert_eq!(world.status(), (false, None));
    }
}

#[test]
fn no_more_requests_begin_in_a_second_than_the_option_says() {
    let mut world = World::with_options("max_requests_per_second '20', max_in_flight '64'");
    world.sandbox.clear_log();
    enqueue(&mut world, "sync", 60);
    world.settled();
    let log = world.sandbox.log();
    let times: Vec<_> = log.mutations().iter().map(|request| request.at_us).collect();
    // Threads and sockets may delay one request more than the next.
    for pair in times.windows(26) {
        assert!(pair[25] - pair[0] >= 1_000_000, "{times:?}");
    }
}
