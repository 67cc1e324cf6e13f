//! Records that always fail, and servers that fail for all: what they may keep waiting, and what not.

use serde_json::{Value, json};

use crate::support::{Session, World};

fn update_of(id: &str) -> Value {
    json!({"upstream_id": id, "data": {"n": 1}})
}

/// They are tried again for ever, and each answer to another record shows that the server works.
#[test]
fn updates_that_always_fail_keep_no_other_waiting() {
    for status in [500, 503] {
        let mut world = World::new();
        let ids = world.contacts_made(53);
        let (poisoned, good) = ids.split_at(3);
        for id in poisoned {
            world.sandbox.fault(json!({"times": null, "match": {"body_contains": id}, "status": status}));
            world.enqueue("update", &update_of(id));
        }
        world.until("SELECT count(*) = 3 FROM sequin.outbox WHERE attempts > 0");
        for id in good {
            let good = world.enqueue("update", &update_of(id))[0];
            world.until(&format!("SELECT EXISTS (SELECT FROM sequin.delivered WHERE id = {good})"));
        }
        assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE attempts > 0"), 3, "{status}");
    }
}

/// Their error is in `sequin.outbox`.
#[test]
fn the_error_of_a_record_is_not_the_servers() {
    let mut world = World::new();
    let ids = world.contacts_made(2);
    world.sandbox.fault(json!({"times": null, "match": {"body_contains": ids[0]}, "status": 500}));
    world.enqueue("update", &update_of(&ids[0]));
    world.until("SELECT EXISTS (SELECT FROM sequin.outbox WHERE attempts > 1 AND error IS NOT NULL)");
    assert_eq!(world.status(), (false, None));
}

#[test]
fn creates_that_time_out_keep_no_update_waiting() {
    let mut world = World::with_options("max_in_flight '4'");
    let id = world.contacts_made(1).remove(0);
    world.sandbox.fault(json!({"times": null, "match": {"kind": "create"}, "status": 504}));
    let creates: Vec<_> = (0..100).map(|n| json!({"data": {"n": n}})).collect();
    world.run("BEGIN");
    world.enqueue("create", &json!(creates));
    let update = world.enqueue("update", &update_of(&id))[0];
    world.run("COMMIT");
    world.until(&format!("SELECT EXISTS (SELECT FROM sequin.delivered WHERE id = {update})"));
    // Those that were in flight, and the few that have found out since whether it works again.
    world.until("SELECT count(*) >= 4 FROM sequin.dead_letters");
    let unknown: i64 = world.one::<i64>("SELECT count(*) FROM sequin.dead_letters");
    assert!(unknown <= 8, "{unknown} creates are unknown");
    let error: String = world.one("SELECT last_error FROM sequin.status");
    assert!(error.starts_with("creates wait: "), "{error}");
}

#[test]
fn an_outage_is_probed_with_updates_while_there_are_some() {
    let mut world = World::with_options("max_in_flight '4', max_batch '1'");
    let ids = world.contacts_made(60);
    world.sandbox.clear_log();
    world.sandbox.fault(json!({"times": null, "status": 503, "headers": {"retry-after": "0"}}));
    let creates: Vec<_> = (0..60).map(|n| json!({"data": {"n": n}})).collect();
    world.run("BEGIN");
    world.enqueue("create", &json!(creates));
    world.enqueue("update", &ids.iter().map(|id| update_of(id)).collect());
    world.run("COMMIT");
    world.until("SELECT EXISTS (SELECT FROM sequin.server_backoff WHERE scope = 'server' AND attempts >= 6)");
    let kinds: Vec<String> = world.requests().into_iter().map(|(kind, _)| kind).collect();
    assert!(kinds[4..].iter().all(|kind| kind == "update") && kinds.len() >= 9, "{kinds:?}");
    world.sandbox.clear_faults();
    world.run("SELECT sequin_resume('sequin')");
    world.until("SELECT count(*) >= 116 FROM sequin.delivered");
    assert_eq!(
        world.one::<i64>("SELECT count(*) FROM sequin.outbox"),
        world.one::<i64>("SELECT count(*) FROM sequin.dead_letters")
    );
}

#[test]
fn a_record_that_has_failed_for_too_long_waits_for_a_person() {
    let mut world = World::with_options("max_retry_age '1 s'");
    let id = world.contacts_made(1).remove(0);
    world
        .sandbox
        .fault(json!({"match": {"kind": "update"}, "times": null, "status": 500, "body": "{\"error\":\"boom\"}"}));
    let (first, second) = (world.enqueue_update(&id, &json!({"n": 1})), "SELECT count(*) = 1 FROM sequin.dead_letters");
    world.until(second);
    let error: String = world.one("SELECT error FROM sequin.dead_letters");
    assert_eq!(error, "given up because it has failed for longer than max_retry_age; the last error: boom");
    assert_eq!(world.fates(), [(first, "rejected".to_owned())]);
    // A person who tries again starts its time again: after the next failure it waits for another attempt.
    world.sandbox.clear_faults();
    world.sandbox.fault(json!({"match": {"kind": "update"}, "status": 500}));
    let failed: i32 = world.one("SELECT attempts FROM sequin.dead_letters");
    world.verb("retry", first);
    world.until(&format!("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE attempts = {failed})"));
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.dead_letters"), 0);
    // That attempt may be most of a minute away.
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    assert_eq!(world.endings(), ["applied"]);
}

#[test]
fn a_record_that_is_given_up_frees_those_behind_it() {
    let mut world = World::with_options("max_retry_age '1 s'");
    let id = world.contacts_made(1).remove(0);
    world.sandbox.fault(json!({"match": {"kind": "update"}, "times": null, "status": 500}));
    let first = world.enqueue_update(&id, &json!({"n": 1}));
    world.until("SELECT EXISTS (SELECT FROM sequin.outbox WHERE attempts > 0)");
    // It cannot be merged: it waits for consumers.
    world.run(&format!(
        "SELECT sequin_enqueue('update', 'sync', 'salesforce:contact', \
         '{{\"upstream_id\": \"{id}\", \"data\": {{\"n\": 2}}}}', await_consumers => '{{}}')"
    ));
    world.until("SELECT count(*) = 2 FROM sequin.dead_letters");
    assert_eq!(world.fates()[0], (first, "rejected".to_owned()));
}

/// An older version has queued it. No request is made for it.
#[test]
fn a_probe_that_is_refused_here_says_nothing_about_the_server() {
    let mut world = World::new();
    world.database.create_server_named("other", world.sandbox.url(), world.sandbox.token());
    world.run("SELECT sequin_pause('sequin')");
    world.enqueue("update", &update_of("any"));
    world.run(
        "UPDATE sequin.queue SET sync_id = ' ';
         INSERT INTO sequin.server_backoff (server, scope, role, sync_id, attempts, error, since, next_attempt_at)
           VALUES ('sequin', 'server', 0, '', 3, 'closed', now(), now() - interval '1 s');
         DELETE FROM sequin.pauses; SELECT sequin_resume('other')",
    );
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters WHERE outcome = 'not_sent')");
    // The next round would end the backoff at the latest.
    world.run("SELECT sequin_enqueue('create', 'sync', 'salesforce:lead', '{\"data\": {}}', server => 'other')");
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered)");
    assert_eq!(world.one::<i32>("SELECT attempts FROM sequin.server_backoff WHERE server = 'sequin'"), 3);
}
