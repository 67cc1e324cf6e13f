//! Waits that are too long: for consumers, for paused roles, and after the clock was set back.

use serde_json::json;

use crate::support::{Session, World};

#[test]
fn the_wait_for_consumers_is_limited() {
    let mut world = World::with_options("max_await_ms '300'");
    let enqueue = |timeout: &str| {
        format!(
            "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{{\"data\": {{}}}}', \
             await_consumers => '{{never}}'{timeout})"
        )
    };
    for timeout in ["", ", timeout_ms => 2147483647", ", timeout_ms => 100"] {
        world.run(&enqueue(timeout));
        world.settled();
    }
    let waits: Vec<_> = world.mutations().iter().map(|body| body["await_consumers_timeout"].clone()).collect();
    assert_eq!(waits, [json!(300), json!(300), json!(100)]);
}

#[test]
fn a_consumer_that_never_comes_does_not_hold_all_of_the_window() {
    let mut world = World::with_options("max_in_flight '4'");
    world.sandbox.fault(json!({"times": null, "match": {"body_contains": "never"}, "hold": true}));
    world.run(
        "SELECT (sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\": {}}', \
         await_consumers => '{never}', timeout_ms => 2147483647)) FROM pg_catalog.generate_series(1, 20)",
    );
    world.arrived(2);
    let records: Vec<_> = (0..50).map(|n| json!({"data": {"n": n}})).collect();
    world.enqueue("create", &json!(records));
    world.until("SELECT count(*) = 50 FROM sequin.delivered");
    let long = world.bodies().iter().filter(|body| body.contains("never")).count();
    assert_eq!(long, 2);
    world.release();
    world.settled();
}

/// A stored time is further ahead than any wait of its kind.
#[test]
fn a_clock_that_was_set_back_prolongs_no_wait() {
    let mut world = World::new();
    let ids = world.contacts_made(2);
    world.sandbox.fault(json!({"match": {"kind": "update"}, "times": null, "status": 500}));
    world.enqueue_update(&ids[0], &json!({"n": 1}));
    world.until("SELECT EXISTS (SELECT FROM sequin.outbox WHERE attempts > 0)");
    world.run("SELECT sequin_pause('sequin')");
    world.until("SELECT state = 'pending' FROM sequin.outbox");
    world.run(
        "UPDATE sequin.deferred SET next_attempt_at = now() + interval '1 year';
         INSERT INTO sequin.server_backoff (server, scope, role, sync_id, attempts, error, since, next_attempt_at)
         SELECT 'sequin', scope, 0, '', 1, 'from the future', now(), now() + interval '1 year'
         FROM unnest('{server,creates}'::text[]) AS scope;
         DELETE FROM sequin.pauses",
    );
    world.sandbox.clear_faults();
    // The next commit wakes the worker.
    world.enqueue("create", &json!({"data": {"n": 1}}));
    world.settled();
    assert_eq!(world.endings(), ["applied", "applied"]);
    assert_eq!(world.status(), (false, None));
}

/// A role of this database that is paused: it has queued two changes and has lost its rights.
fn paused_role(world: &mut World, changes: &str) -> String {
    let role = format!("paused_{}", world.database.name());
    world.run(&format!(
        "CREATE ROLE {role}; GRANT USAGE ON FOREIGN SERVER sequin TO {role};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {role};
         SELECT sequin_pause('sequin')"
    ));
    world.run(&changes.replace("{role}", &role));
    world.run(&format!("REVOKE USAGE ON FOREIGN SERVER sequin FROM {role}; SELECT sequin_resume('sequin')"));
    world.until("SELECT EXISTS (SELECT FROM sequin.pauses WHERE role <> 0)");
    role
}

fn drop_role(world: &mut World, role: &str) {
    world.run(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}

#[test]
fn a_paused_role_keeps_no_other_waiting_by_a_key_that_it_names() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    let enqueue = |n: i32| {
        format!(
            "SELECT sequin_enqueue('update', 'sync', 'salesforce:contact', \
             '{{\"upstream_id\": \"{id}\", \"data\": {{\"n\": {n}}}}}')"
        )
    };
    let role = paused_role(&mut world, &format!("SET ROLE {{role}}; {}; RESET ROLE", enqueue(1)));
    world.run(&enqueue(2));
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered WHERE kind = 'update')");
    let reason: String = world.one("SELECT error FROM sequin.outbox");
    assert!(reason.contains("permission denied"), "{reason}");
    // Afterwards its records are sent, too.
    world.run(&format!("GRANT USAGE ON FOREIGN SERVER sequin TO {role}; SELECT sequin_resume('sequin')"));
    world.settled();
    drop_role(&mut world, &role);
}

#[test]
fn the_row_of_an_attached_table_keeps_its_order_and_says_what_it_waits_for() {
    let mut world = World::new();
    world.run(super::BOOK);
    world.run("INSERT INTO people VALUES (1, 'Paul'), (2, 'Ringo')");
    world.written_back();
    world.sandbox.clear_log();
    let changes = "GRANT SELECT, UPDATE ON people TO {role}; SET ROLE {role};
        UPDATE people SET name = 'of the role' WHERE id = 1; RESET ROLE";
    let role = paused_role(&mut world, changes);
    world.run("UPDATE people SET name = 'of the owner' WHERE id = 1");
    let errors = "SELECT count(*) = 1 FROM sequin.outbox \
                  WHERE error ~ 'waits for record \\d+ of its ordering key, which is of a paused role'";
    world.until(errors);
    // Other rows are sent.
    world.run("UPDATE people SET name = 'free' WHERE id = 2");
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered WHERE kind = 'update')");
    assert_eq!(world.sent(), 1);
    world.run(&format!("GRANT USAGE ON FOREIGN SERVER sequin TO {role}; SELECT sequin_resume('sequin')"));
    world.settled();
    let bodies = world.bodies();
    let place = |text: &str| bodies.iter().position(|body| body.contains(text)).unwrap();
    assert!(place("of the role") < place("of the owner"), "{bodies:?}");
    drop_role(&mut world, &role);
}
