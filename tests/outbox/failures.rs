//! The state of records, and of the server's queue, when the API refuses, fails or is away.

use std::time::Duration;

use sequin_harness::RawServer;
use serde_json::{Value, json};

use crate::support::network::REFUSING;
use crate::support::{Session, World, request};

const ONE: &str = "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{\"n\":1}}')";

impl World {
    /// The texts of one row of `sequin.status`: paused and the last error.
    pub fn status(&mut self) -> (bool, Option<String>) {
        let row = &self.rows("SELECT paused, last_error FROM sequin.status WHERE server = 'sequin'", &[])[0];
        (row.get(0), row.get(1))
    }

    /// Updates of each of these, in one call.
    fn enqueue_updates(&mut self, ids: &[String], data: impl Fn(usize) -> Value) -> Vec<i64> {
        let records: Vec<Value> =
            ids.iter().enumerate().map(|(i, id)| json!({"upstream_id": id, "data": data(i)})).collect();
        self.enqueue("update", &json!(records))
    }
}

/// The numbers of records of the requests, the largest first: halves are in flight at once.
fn request_sizes(world: &World) -> Vec<usize> {
    let mut sizes: Vec<usize> = world.requests().iter().map(|(_, records)| records.as_array().unwrap().len()).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes
}

#[test]
fn one_refused_record_of_many_is_found_by_halves() {
    let mut world = World::new();
    let ids = world.contacts_made(8);
    let queued =
        world.enqueue_updates(&ids, |i| if i == 5 { json!({"Email": "nobody"}) } else { json!({"n": 10 + i}) });
    world.settled();
    assert_eq!(request_sizes(&world), [8, 4, 4, 2, 2, 1, 1], "nothing is sent twice that was applied");
    let rejected: Vec<i64> =
        world.rows("SELECT id FROM sequin.dead_letters", &[]).iter().map(|row| row.get(0)).collect();
    assert_eq!(rejected, [queued[5]]);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.delivered WHERE outcome = 'applied'"), 7);
}

#[test]
fn one_poison_record_in_ten_thousand_costs_few_requests() {
    let mut world = World::new();
    let ids = world.contacts_made(10_000);
    world.enqueue_updates(&ids, |i| if i == 7_777 { json!({"Email": "nobody"}) } else { json!({"n": 0}) });
    world.until(
        "SELECT (SELECT count(*) FROM sequin.delivered) = 9999 AND (SELECT count(*) FROM sequin.dead_letters) = 1",
    );
    let requests = world.sent();
    assert!((50..=80).contains(&requests), "{requests} requests");
    let poison: String = world.one("SELECT upstream_id FROM sequin.dead_letters");
    assert_eq!(poison, ids[7_777]);
}

#[test]
fn creates_travel_alone_unless_a_refusal_applies_nothing_and_replies_are_ordered() {
    for (atomic, ordered, sizes) in [
        (false, false, vec![1, 1, 1]),
        (false, true, vec![1, 1, 1]),
        (true, false, vec![1, 1, 1]),
        (true, true, vec![3, 2, 1, 1, 1]),
    ] {
        let mut world = World::with_options(&format!("ADD atomic_batches '{atomic}', SET ordered_replies '{ordered}'"));
        world.enqueue("create", &json!([{"data": {"n": 1}}, {"data": {"n": 2}}, {"data": {"Email": "nobody"}}]));
        world.settled();
        assert_eq!(request_sizes(&world), sizes, "atomic_batches {atomic}, ordered_replies {ordered}");
        assert_eq!(world.endings(), ["applied", "applied", "rejected"]);
        assert_eq!(world.contact_count(), 2);
    }
}

#[test]
fn a_rejected_change_is_tried_again_with_the_next_one_of_its_key() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.enqueue_update(&id, &json!({"Email": "nobody", "n": 1}));
    world.settled();
    assert_eq!(world.endings(), ["rejected"]);
    world.requests();
    world.enqueue_update(&id, &json!({"Email": "u@a.org"}));
    world.settled();
    assert_eq!(
        world.requests(),
        [request("update", json!([{"upstream_id": id, "data": {"Email": "u@a.org", "n": 1}}]))]
    );
    assert_eq!(world.endings(), ["applied"; 2]);
}

#[test]
fn a_wrong_token_pauses_after_one_request_until_it_is_changed() {
    let mut world = World::new();
    world.run("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token 'wrong')");
    world.run(ONE);
    world.until("SELECT paused FROM sequin.status");
    for _ in 0..3 {
        world.run(ONE);
    }
    // A delivery through another server shows that the worker has scanned again.
    world.database.create_server_named("other", world.sandbox.url(), world.sandbox.token());
    world.run(&ONE.replace("')", "', server => 'other')"));
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered)");
    let log = world.sandbox.log();
    let statuses: Vec<_> = log.mutations().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(401), Some(200)]);
    let (paused, error) = world.status();
    assert!(paused && error.as_ref().is_some_and(|error| error.contains("token")), "{error:?}");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE state = 'pending' AND attempts = 0"), 4);
    world.run("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token 'sandbox-token')");
    world.settled();
    assert_eq!(world.status(), (false, None));
    assert_eq!(world.contact_count(), 5);
}

/// Changed while the request with the old one is in flight: otherwise there would be nothing left to wait for.
#[test]
fn a_token_that_was_changed_before_its_refusal_came_pauses_nothing() {
    for change in [
        "ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token 'sandbox-token')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER sequin OPTIONS (token 'sandbox-token')",
        "ALTER SERVER sequin OPTIONS (ADD max_batch '7')",
    ] {
        let mut world = World::new();
        world.sandbox.fault(json!({"status": 401, "hold": true}));
        world.run(ONE);
        world.arrived(1);
        world.run(change);
        world.release();
        world.settled();
        assert_eq!((world.endings(), world.sent()), (vec!["applied".to_owned()], 2), "{change}");
        assert_eq!(world.status(), (false, None));
    }
}

#[test]
fn resume_tries_again_and_pauses_again() {
    let mut world = World::new();
    for (status, body) in [(403, "{}"), (404, "{}"), (405, "{}"), (307, "")] {
        world.sandbox.fault(json!({"times": 2, "status": status, "body": body}));
        world.run(ONE);
        for tries in 1..=2 {
            world.arrived(tries);
            world.until("SELECT paused FROM sequin.status");
            world.run("SELECT sequin_resume('sequin')");
        }
        world.settled();
        assert_eq!(world.sent(), 3, "{status}");
    }
    assert_eq!(world.endings(), ["applied"; 4]);
    assert_eq!(world.contact_count(), 4);
}

#[test]
fn a_limit_of_requests_defers_and_costs_no_attempt() {
    let mut world = World::new();
    world.sandbox.fault(json!({"status": 429, "headers": {"retry-after": "4"}, "body": "{\"error\":\"slow down\"}"}));
    world.run(ONE);
    world.until("SELECT EXISTS (SELECT FROM sequin.status WHERE last_error = 'slow down')");
    let sql = "SELECT state || ' ' || attempts FROM sequin.outbox";
    assert_eq!(world.one::<String>(sql), "pending 0");
    assert!(world.one::<bool>("SELECT next_attempt_at > now() FROM sequin.status"));
    world.settled();
    let log = world.sandbox.log();
    let [first, second] = &log.mutations()[..] else { panic!("not two requests: {log:?}") };
    assert!(second.at_us - first.at_us >= 3_900_000, "{log:?}");
    assert_eq!(world.endings(), ["applied"]);
    assert_eq!(world.status(), (false, None));
}

#[test]
fn a_503_says_when_to_come_again_as_well() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.sandbox.fault(json!({"status": 503, "headers": {"retry-after": "4"}, "body": "{\"error\":\"closed\"}"}));
    world.enqueue_update(&id, &json!({"n": 7}));
    world.until("SELECT EXISTS (SELECT FROM sequin.status WHERE last_error = 'closed')");
    assert!(world.one::<bool>("SELECT next_attempt_at > now() + interval '2 seconds' FROM sequin.status"));
    // Other records leave it alone as well.
    world.enqueue_data(&json!({"n": 8}));
    world.settled();
    let log = world.sandbox.log();
    let [first, second, ..] = &log.mutations()[..] else { panic!("not two requests: {log:?}") };
    assert!(second.at_us - first.at_us >= 3_900_000, "{log:?}");
    assert_eq!(world.endings(), ["applied", "applied"]);
}

/// Each of them is work for a person.
#[test]
fn a_server_that_answers_503_to_everything_costs_a_handful_of_creates() {
    for options in ["max_in_flight '2'", "max_in_flight '2', atomic_batches 'true', max_batch '10'"] {
        let mut world = World::with_options(options);
        world.sandbox.fault(json!({"times": null, "status": 503}));
        let records: Vec<_> = (0..100).map(|n| json!({"data": {"n": n}})).collect();
        world.enqueue("create", &json!(records));
        world.until("SELECT EXISTS (SELECT FROM sequin.server_backoff WHERE scope = 'creates' AND attempts >= 3)");
        let requests = world.sent();
        assert!((3..=5).contains(&requests), "{requests} requests");
        let unknown: i64 = world.one("SELECT count(*) FROM sequin.dead_letters WHERE state = 'unknown'");
        // Two requests are in flight before the first reply comes; after it, creates go one by one.
        let most = if options.contains("max_batch") { 2 * 10 + 3 } else { 2 + 3 };
        assert!((3..=most).contains(&unknown), "{unknown} creates are unknown");
        world.sandbox.clear_faults();
        world.run("SELECT sequin_resume('sequin')");
        world.until(&format!("SELECT count(*) = 100 - {unknown} FROM sequin.delivered"));
    }
}

/// Whether it was applied or not: an update can be repeated, a create cannot.
#[test]
fn an_unknown_update_is_repeated_and_an_unknown_create_is_not() {
    for fault in [
        json!({"status": 500, "apply": true}),
        json!({"status": 500, "apply": false}),
        json!({"status": 504, "apply": true}),
        json!({"cut_after": 0, "apply": true}),
        json!({"reset": true, "apply": false}),
        json!({"stall": "reply"}),
    ] {
        let mut world = World::new();
        let id = world.contacts_made(1).remove(0);
        if fault["stall"] == "reply" {
            world.run("ALTER SERVER sequin OPTIONS (request_timeout_ms '4000')");
        }
        for kind in ["create", "update"] {
            let mut fault = fault.clone();
            fault["match"] = json!({ "kind": kind });
            world.sandbox.fault(fault);
        }
        let update = world.enqueue_update(&id, &json!({"n": 7}));
        let create = world.enqueue("create", &json!({"data": {"m": 1}}))[0];
        world.settled();
        assert_eq!(world.fates(), [(update, "applied".to_owned()), (create, "unknown".to_owned())], "{fault}");
        let mut kinds: Vec<String> = world.requests().into_iter().map(|(kind, _)| kind).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["create", "update", "update"], "{fault}");
        assert_eq!(world.one::<String>("SELECT outcome FROM sequin.dead_letters"), "unknown");
        let records = world.sandbox.records("salesforce:contact");
        assert!(records.iter().any(|record| record["data"]["n"] == 7), "{fault}");
    }
}

#[test]
fn a_repeated_delete_that_finds_nothing_is_delivered() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.sandbox.fault(json!({"cut_after": 0}));
    world.enqueue("delete", &json!([id]));
    world.settled();
    assert_eq!(world.sent(), 2);
    assert_eq!((world.endings(), world.contact_count()), (vec!["applied".to_owned()], 0));
    // The first attempt says that there is nothing of the kind.
    world.enqueue("delete", &json!(["no-such"]));
    world.settled();
    assert_eq!(world.endings(), ["applied", "rejected"]);
}

#[test]
fn what_was_applied_is_delivered_whatever_the_reply_is_worth() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    for body in ["{\"records\":[", "{\"records\":[no json", "{\"records\":[{\"id\":\"1\"}]}"] {
        world.sandbox.fault(json!({"status": 200, "body": body}));
        world.enqueue("create", &json!({"data": {"n": 1}}));
        world.settled();
    }
    world.sandbox.fault(json!({"cut_after": 250}));
    world.enqueue_update(&id, &json!({"n": 7}));
    world.settled();
    assert_eq!(world.endings(), ["applied_reply_lost"; 4]);
    world
        .sandbox
        .fault(json!({"status": 500, "apply": true, "body": "{\"error\":\"Error: Timed out waiting for consumers\"}"}));
    world.run("SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{}}', '{c}', 100)");
    world.settled();
    assert_eq!(world.endings()[4], "applied_not_confirmed");
    assert_eq!(world.sent(), 5);
}

#[test]
fn a_server_that_is_away_is_asked_rarely_and_delivery_resumes_by_itself() {
    let mut world = World::new();
    let ids = world.contacts_made(300);
    // It takes connections and closes them, so each attempt is counted.
    let away = RawServer::start(|_| {});
    world.run(&format!("ALTER SERVER sequin OPTIONS (SET url '{}')", away.url()));
    world.enqueue_updates(&ids, |_| json!({"n": 1}));
    world.until("SELECT EXISTS (SELECT FROM sequin.status WHERE last_error IS NOT NULL AND next_attempt_at > now())");
    std::thread::sleep(Duration::from_secs(3));
    let attempts = away.accepted();
    assert!((2..=20).contains(&attempts), "{attempts} attempts in three seconds");
    let row = &world.rows("SELECT backlog, oldest_age > '0', paused, worker_alive FROM sequin.status", &[])[0];
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (300, true));
    assert_eq!((row.get::<_, bool>(2), row.get::<_, bool>(3)), (false, true));
    // Now the address refuses connections.
    world.run(&format!("ALTER SERVER sequin OPTIONS (SET url 'http://{REFUSING}')"));
    drop(away);
    world.until("SELECT EXISTS (SELECT FROM sequin.status WHERE last_error LIKE '%refused%')");
    world.run(&format!("ALTER SERVER sequin OPTIONS (SET url '{}')", world.sandbox.url().to_owned()));
    world.settled();
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.delivered WHERE outcome = 'applied'"), 300);
    assert_eq!(world.status(), (false, None));
    let records = world.sandbox.records("salesforce:contact");
    assert!(records.iter().all(|record| record["data"]["n"] == 1));
}

#[test]
fn no_connection_costs_no_attempt_and_a_create_stays_free() {
    let mut world = World::new();
    world.run(&format!("ALTER SERVER sequin OPTIONS (SET url 'http://{REFUSING}')"));
    world.run(ONE);
    world.until("SELECT EXISTS (SELECT FROM sequin.status WHERE last_error LIKE '%refused%')");
    // Unless it is being tried again at this moment.
    world.until("SELECT state = 'pending' FROM sequin.outbox");
    assert_eq!(world.one::<i32>("SELECT attempts FROM sequin.outbox"), 0);
    world.run(&format!("ALTER SERVER sequin OPTIONS (SET url '{}')", world.sandbox.url().to_owned()));
    world.settled();
    assert_eq!((world.endings(), world.contact_count()), (vec!["applied".to_owned()], 1));
}

#[test]
fn a_repeated_request_has_the_key_of_the_first() {
    let mut world = World::with_options("idempotency_header 'Idempotency-Key'");
    let ids = world.contacts_made(2);
    world.sandbox.fault(json!({"cut_after": 0}));
    world.enqueue_updates(&ids, |n| json!({ "n": n }));
    world.settled();
    let log = world.sandbox.log();
    let mut sent: Vec<(String, String)> = log
        .mutations()
        .iter()
        .map(|request| {
            let records = &request.json()["records"];
            assert_eq!(records.as_array().map(Vec::len), Some(1), "one record, one key");
            (records[0]["upstream_id"].as_str().unwrap().to_owned(), request.headers["idempotency-key"].clone())
        })
        .collect();
    assert_eq!(sent.len(), 3);
    sent.sort_unstable();
    sent.dedup();
    let mut keys: Vec<(String, String)> = world
        .rows("SELECT upstream_id, key::text FROM sequin.delivered", &[])
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    keys.sort_unstable();
    assert_eq!(sent, keys);
}
