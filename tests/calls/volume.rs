//! Large calls: many records, large ones, and records that Postgres keeps compressed or out of line.

use crate::support::{Session, TARGET, World};

#[test]
fn ten_thousand_records_are_one_request_and_come_back_in_order() {
    let mut world = World::new();
    world.run(
        "CREATE TEMP TABLE source AS
         SELECT n, jsonb_build_object('n', n, 'exact', n + 0.10, 'text', repeat('é\"\\', 60)) AS data
         FROM generate_series(1, 10000) n",
    );
    world.run(&format!(
        "CREATE TEMP TABLE made AS
         SELECT * FROM sequin_mutate('create', {TARGET},
             (SELECT jsonb_agg(jsonb_build_object('data', data) ORDER BY n) FROM source)) WITH ORDINALITY"
    ));
    let same =
        "SELECT count(*) FROM made JOIN source ON made.ordinality = source.n AND made.data::text = source.data::text";
    assert_eq!(world.one::<i64>(same), 10_000);
    let body = world.body();
    let arrived =
        "SELECT count(*) FROM jsonb_array_elements($1::text::jsonb->'records') WITH ORDINALITY AS a(record, n)
        JOIN source USING (n) WHERE (record->'data')::text = data::text";
    assert_eq!(world.one_of::<i64>(arrived, &[&body]), 10_000);

    let update = "jsonb_agg(jsonb_build_object('upstream_id', upstream_id, 'data', '{\"new\": 1.10}'::jsonb))";
    let updated = format!(
        "SELECT count(*) FROM sequin_mutate('update', {TARGET}, (SELECT {update} FROM made)) WHERE data->>'new' = '1.10'"
    );
    assert_eq!(world.one::<i64>(&updated), 10_000);
    let deleted = format!(
        "SELECT count(*) FROM sequin_mutate('delete', {TARGET}, (SELECT jsonb_agg(upstream_id) FROM made)) WHERE deleted"
    );
    assert_eq!(world.one::<i64>(&deleted), 10_000);
    assert_eq!((world.sent(), world.contact_count()), (2, 0));
}

/// (change of the column, stored value)
#[test]
fn records_that_are_stored_out_of_line_pass() {
    let mut world = World::new();
    let compressible = "repeat('abcdefgh', 50000)";
    let incompressible = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 20000) n)";
    for storage in ["PLAIN", "MAIN", "EXTENDED", "EXTERNAL"] {
        for text in ["'short'", "repeat('x', 3000)", compressible, incompressible] {
            if storage == "PLAIN" && text.len() > 20 {
                continue; // Does not fit into a page.
            }
            world.run(&format!(
                "DROP TABLE IF EXISTS stored;
                 CREATE TABLE stored (data jsonb);
                 ALTER TABLE stored ALTER data SET STORAGE {storage};
                 INSERT INTO stored SELECT jsonb_build_object('n', 1.10, 'text', {text})"
            ));
            let same: bool =
                world.one(&format!("SELECT made.data = stored.data FROM stored, sequin_create({TARGET}, data) made"));
            assert!(same, "{storage} {text}");
            let body = world.body();
            let arrived = "SELECT $1::text::jsonb->'records'->0->'data' = data FROM stored";
            assert!(world.one_of::<bool>(arrived, &[&body]), "{storage} {text}");
        }
    }
}

/// Larger than one piece of ureq, hyper or a socket, and than a small allocation of Postgres.
#[test]
fn a_record_of_many_megabytes_passes() {
    let mut world = World::new();
    let sizes = format!(
        "SELECT octet_length(data->>'text') FROM sequin_create({TARGET}, jsonb_build_object('text', repeat('0123456789', 1000000)))"
    );
    assert_eq!(world.one::<i32>(&sizes), 10_000_000);
    assert_eq!(world.sandbox.log().mutations().len(), 1);
}

/// Other arguments can be stored out of line too.
#[test]
fn long_texts_beside_the_records_pass() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE arguments AS SELECT repeat('sync', 100000) AS sync_id,
             (SELECT array_agg('c' || n) FROM generate_series(1, 20000) n) AS consumers",
    );
    let call = "sequin_create(sync_id, 'salesforce:contact', '{}')";
    let same: bool = world.one(&format!("SELECT made.sync_id = arguments.sync_id FROM arguments, {call} made"));
    assert!(same);
    world.sent();
    world.error("SELECT sequin_create(sync_id, 'salesforce:contact', '{}', consumers) FROM arguments");
    let body: serde_json::Value = serde_json::from_str(&world.body()).unwrap();
    let consumers = body["await_consumer_ids"].as_array().unwrap();
    assert_eq!((consumers.len(), consumers[19_999].as_str()), (20_000, Some("c20000")));
}
