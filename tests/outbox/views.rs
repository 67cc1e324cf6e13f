//! The outbox's views of records that wait for a person, or for their write-back.

use serde_json::json;

use super::attached::book;
use crate::support::{Session, World};

/// A driver may know no infinite time.
#[test]
fn a_record_without_a_next_attempt_has_none_in_the_views() {
    let mut world = World::new();
    world.sandbox.fault(json!({"match": {"kind": "create"}, "cut_after": 0}));
    let create =
        "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{\"n\":1}}', ordering_key => 'k')";
    world.run(create);
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters)");
    world.run(create);
    world.until("SELECT count(*) = 2 FROM sequin.deferred");
    world.enqueue_data(&json!({"Email": "nobody"}));
    world.until("SELECT count(*) = 2 FROM sequin.dead_letters");
    let times = world.rows("SELECT state, next_attempt_at IS NULL FROM sequin.outbox ORDER BY id", &[]);
    let times: Vec<(&str, bool)> = times.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(times, [("unknown", true), ("pending", true), ("rejected", true)]);
    assert!(world.one::<bool>("SELECT bool_and(next_attempt_at IS NULL) FROM sequin.dead_letters"));
    let columns = |view: &str| {
        format!(
            "SELECT array_agg(attname::text || ' ' || format_type(atttypid, atttypmod) ORDER BY attnum)
             FROM pg_attribute WHERE attrelid = 'sequin.{view}'::regclass AND attnum > 0"
        )
    };
    let of_outbox: Vec<String> = world.one(&columns("outbox"));
    assert_eq!(world.one::<Vec<String>>(&columns("dead_letters")), of_outbox);
}

/// Millions of records may wait for their first attempt.
#[test]
fn the_dead_letters_are_found_without_reading_the_queue() {
    let mut world = World::new();
    world.run("SELECT sequin_pause('sequin')");
    world.run(
        "INSERT INTO sequin.deferred (server, id, key, role, kind, sync_id, collection_id, enqueued_at, state, attempts,
             next_attempt_at, resend_verbatim)
           SELECT 'sequin', nextval('sequin.outbox_id'), gen_random_uuid(), 10, 'update', 's', 'a:b', now(),
             CASE WHEN n % 10000 = 0 THEN 'rejected' ELSE 'pending' END, 0, 'infinity', false
           FROM generate_series(1, 20000) n;
         ANALYZE sequin.deferred",
    );
    let plan = world.rows("EXPLAIN SELECT * FROM sequin.dead_letters", &[]);
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(!plan.contains(" on queue") && plan.contains("deferred_dead"), "{plan}");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.dead_letters"), 2);
}

/// Not only in the server's log.
#[test]
fn an_upstream_id_that_cannot_be_written_is_seen_with_the_reason() {
    let mut world = book();
    let owner = world.enqueuer();
    let other = format!("stranger_{}", world.database.name());
    world.run(&format!("CREATE ROLE {other}; GRANT USAGE ON FOREIGN SERVER sequin TO {other}"));
    world.run(&format!(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in my table'; END $$;
         CREATE TRIGGER fail BEFORE UPDATE OF sf_id ON people FOR EACH ROW EXECUTE FUNCTION fail();
         GRANT ALL ON people TO {owner}; SET ROLE {owner}; INSERT INTO people VALUES (1, 'Paul'); RESET ROLE"
    ));
    world.until("SELECT write_back_error IS NOT NULL FROM sequin.status");
    let status = "SELECT write_backs, write_back_error FROM sequin.status";
    let delivered = "SELECT write_back, write_back_error FROM sequin.delivered";
    for role in ["", &owner] {
        if !role.is_empty() {
            world.run(&format!("SET ROLE {role}"));
        }
        let row = &world.rows(status, &[])[0];
        assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (1, "not in my table"));
        let row = &world.rows(delivered, &[])[0];
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("failed", "not in my table"));
    }
    world.run(&format!("SET ROLE {other}"));
    let row = &world.rows(status, &[])[0];
    assert_eq!((row.get::<_, i64>(0), row.get::<_, Option<&str>>(1)), (0, None));
    assert_eq!(world.rows(delivered, &[]).len(), 0);
    // Once it can be written, nothing is left of it.
    world.run("RESET ROLE; DROP TRIGGER fail ON people");
    world.written_back();
    let row = &world.rows(status, &[])[0];
    assert_eq!((row.get::<_, i64>(0), row.get::<_, Option<&str>>(1)), (0, None));
    assert!(world.one::<bool>("SELECT write_back IS NULL AND write_back_error IS NULL FROM sequin.delivered"));
    world.run(&format!("REVOKE ALL ON people FROM {owner}"));
    world.drop_enqueuer(&owner);
    world.drop_enqueuer(&other);
}

#[test]
fn an_upstream_id_that_waits_for_a_lock_is_seen_as_waiting() {
    let mut world = book();
    let mut other = world.database.connect();
    world.hold_next();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.arrived(1);
    other.run("BEGIN; SELECT FROM people FOR UPDATE");
    world.release();
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered WHERE write_back = 'waiting')");
    assert_eq!(world.one::<i64>("SELECT write_backs FROM sequin.status"), 1);
    other.run("COMMIT");
    world.written_back();
}
