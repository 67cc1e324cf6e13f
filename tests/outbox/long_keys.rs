//! Ordering keys and primary keys that are longer than an entry of a btree.

use serde_json::json;

use super::attached::book;
use crate::support::{Session, World, request};

/// A text of this many characters that no compression makes shorter than half.
const LONG: &str = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 200) n)";

#[test]
fn a_long_ordering_key_stops_nothing_when_its_record_is_deferred() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.sandbox.fault(json!({"status": 503}));
    world.run(&format!(
        "SELECT sequin_enqueue('update', 'sync', 'salesforce:contact',
           jsonb_build_object('upstream_id', '{id}', 'data', '{{\"n\": 1}}'::jsonb), ordering_key => {LONG})"
    ));
    world.until("SELECT attempts = 1 FROM sequin.outbox");
    // It goes with the next one of its key, which is found by the key.
    world.run(&format!(
        "SELECT sequin_enqueue('update', 'sync', 'salesforce:contact',
           jsonb_build_object('upstream_id', '{id}', 'data', '{{\"m\": 2}}'::jsonb), ordering_key => {LONG})"
    ));
    world.settled();
    assert_eq!(world.endings(), ["applied", "applied"]);
    let contact = world.contact();
    assert_eq!((&contact["n"], &contact["m"]), (&json!(1), &json!(2)));
}

/// Its own primary key takes such a value.
#[test]
fn a_row_with_a_long_text_key_is_created_changed_and_gets_its_id() {
    for key in
        ["repeat('x', 200000)", "left((SELECT string_agg(md5(n::text), '') FROM generate_series(1, 200) n), 2688)"]
    {
        let mut world = World::new();
        world.run(
            "CREATE TABLE people (id text, part int, name text, sf_id text, PRIMARY KEY (id, part));
             SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', '{\"name\": \"Name\"}')",
        );
        world.hold_next();
        world.run(&format!("INSERT INTO people VALUES ({key}, 1, 'Paul')"));
        world.arrived(1);
        // Each waits for the id of the first, and the last for a person in between.
        world.run("UPDATE people SET name = 'Usul'; SELECT sequin_pause('sequin')");
        world.release();
        world.until("SELECT sf_id IS NOT NULL FROM people");
        world.run("UPDATE people SET name = 'Muad''Dib'; SELECT sequin_resume('sequin')");
        world.written_back();
        assert_eq!(world.contact(), json!({"Name": "Muad'Dib"}));
        let id = world.sf_id();
        world.requests();
        world.run("DELETE FROM people");
        world.settled();
        assert_eq!(world.requests(), [request("delete", json!([id]))]);
    }
}

#[test]
fn an_argument_that_is_longer_than_the_outbox_takes_is_refused_by_name() {
    let mut world = World::new();
    world.run("CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text)");
    let enqueue = |sync: &str, collection: &str, id: &str, consumers: &str, key: &str| {
        format!(
            "SELECT sequin_enqueue('update', {sync}, {collection}, jsonb_build_array('{{\"upstream_id\": \"a\", \"data\":
               {{}}}}'::jsonb, jsonb_build_object('upstream_id', {id}, 'data', '{{}}'::jsonb)), {consumers},
               ordering_key => {key})"
        )
    };
    let of = |bytes: i32| format!("repeat('x', {bytes})");
    let attach = |sync: &str, consumers: &str, fields: &str| {
        format!("SELECT sequin_attach('people', {sync}, 'a:b', 'sf_id', {fields}, await_consumers => {consumers})")
    };
    let (ok, none) = ("'s'", "NULL");
    let collection = |bytes: i32| format!("'a:' || {}", of(bytes - 2));
    let consumers = |count: i32, bytes: i32| format!("array_fill({}, ARRAY[{count}])", of(bytes));
    for (argument, statement) in [
        ("sync_id has 4097 bytes", enqueue(&of(4097), "'a:b'", "'b'", none, none)),
        ("collection_id has 4097 bytes", enqueue(ok, &collection(4097), "'b'", none, none)),
        ("the \"upstream_id\" of records[1] has 8193 bytes", enqueue(ok, "'a:b'", &of(8193), none, none)),
        ("await_consumers[1] has 1025 bytes", enqueue(ok, "'a:b'", "'b'", &consumers(1, 1025), none)),
        ("await_consumers has 101 elements", enqueue(ok, "'a:b'", "'b'", &consumers(101, 1), none)),
        ("ordering_key has 32769 bytes", enqueue(ok, "'a:b'", "'b'", none, &of(32769))),
        ("sync_id has 4097 bytes", attach(&of(4097), none, none)),
        ("await_consumers has 101 elements", attach(ok, &consumers(101, 1), none)),
        ("fields has 262149 bytes", attach(ok, none, &format!("jsonb_build_object('name', {})", of(262_145)))),
    ] {
        let error = world.error(&statement);
        assert_eq!(error.code().code(), "22023", "{argument}");
        assert!(error.message().starts_with(argument), "{argument}: {}", error.message());
    }
    // All that it takes is sent. This API has no such record, and says so.
    world.run(&enqueue(&of(4096), &collection(4096), &of(8192), &consumers(100, 1024), &of(32768)));
    world.settled();
    assert_eq!(world.endings(), ["rejected", "rejected"]);
    world.run(&attach(&of(4096), &consumers(100, 1024), &format!("jsonb_build_object('name', {})", of(262_140))));
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.attachments"), 1);
}

/// A worker's statement that reads all deferred records gets slower with each record.
#[test]
fn a_key_is_found_by_its_index_among_a_hundred_thousand() {
    let mut world = book();
    world.run(
        "CREATE TABLE pets (id int PRIMARY KEY, name text, sf_id text);
         SELECT sequin_attach('pets', 'sync', 'salesforce:contact', 'sf_id');
         INSERT INTO sequin.deferred (server, id, key, role, kind, sync_id, collection_id, relation, ordering_key, data,
             enqueued_at, state, attempts, next_attempt_at, resend_verbatim)
           SELECT 'sequin', nextval('sequin.outbox_id'), gen_random_uuid(), 10, 'update', 's', 'salesforce:contact',
             'pets'::regclass, '[' || n || ']', '{}', now(), 'pending', 1, now() + interval '4 minutes', false
           FROM generate_series(1, 100000) n;
         ANALYZE sequin.deferred",
    );
    // The worker's first full scan is not under test.
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.until("SELECT sf_id IS NOT NULL FROM people");
    // Reads by this session must not count.
    world.run("SET enable_seqscan = off; SELECT pg_stat_force_next_flush()");
    let before = world.rows_read_one_by_one();
    for id in 2..10 {
        world.hold_next();
        world.requests();
        world.run(&format!("INSERT INTO people VALUES ({id}, 'Chani')"));
        world.arrived(1);
        world.sandbox.fault(json!({"match": {"kind": "update"}, "status": 503}));
        world.run(&format!("UPDATE people SET name = 'Sihaya' WHERE id = {id}"));
        world.release();
        world.until("SELECT NOT EXISTS (SELECT FROM sequin.queue)");
        world.until("SELECT NOT EXISTS (SELECT FROM sequin.pending_upstream_ids)");
        world.run(&format!("UPDATE people SET email = 's@a.org' WHERE id = {id}; DELETE FROM people WHERE id = {id}"));
        world.until("SELECT count(*) = 100000 FROM sequin.deferred");
        world.until("SELECT NOT EXISTS (SELECT FROM sequin.queue)");
    }
    let read = world.rows_read_one_by_one() - before;
    assert!(read < 100_000, "{read} rows were read without an index");
}

impl World {
    /// How many deferred records were read by sequential scans.
    fn rows_read_one_by_one(&mut self) -> i64 {
        self.one(
            "SELECT sum(seq_tup_read)::int8 FROM pg_stat_user_tables
             WHERE schemaname = 'sequin' AND relname = 'deferred'",
        )
    }
}
