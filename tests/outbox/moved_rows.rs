//! Rows that a transaction deletes and inserts again with their upstream ids do not delete their records.

use sequin_harness::Sandbox;
use serde_json::{Value, json};

use super::attached::book;
use crate::support::server::own;
use crate::support::{Session, World, request};

/// Three people whose records are upstream.
fn three_people() -> World {
    let mut world = book();
    world.run("INSERT INTO people VALUES (1, 'a', 'a@a.org'), (2, 'b', 'b@a.org'), (3, 'c', 'c@a.org')");
    world.written_back();
    world.requests();
    world
}

/// The upstream records: the names of the contacts that are not deleted.
fn names(world: &World) -> Vec<Value> {
    let records = world.sandbox.records("salesforce:contact");
    let present = records.iter().filter(|record| record["deleted"] == false);
    let mut names: Vec<Value> = present.map(|record| record["data"]["Name"].clone()).collect();
    names.sort_by_key(Value::to_string);
    names
}

#[test]
fn nothing_is_sent_for_rows_that_only_move() {
    let mut world = three_people();
    world.run("BEGIN; CREATE TEMPORARY TABLE kept AS SELECT * FROM people; DELETE FROM people; INSERT INTO people SELECT * FROM kept; COMMIT");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox"), 0);
    // Row by row, the insert first, in subtransactions, under other keys.
    world.run(
        "DO $$ DECLARE r people; BEGIN
           FOR r IN SELECT * FROM people ORDER BY id LOOP
             BEGIN
               INSERT INTO people VALUES (r.id + 10, r.name, r.email, r.note, r.sf_id);
               DELETE FROM people WHERE id = r.id;
             EXCEPTION WHEN unique_violation THEN RAISE;
             END;
           END LOOP;
         END $$",
    );
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox"), 0);
    world.settled();
    assert_eq!((world.requests(), names(&world)), (vec![], vec![json!("a"), json!("b"), json!("c")]));
    // Their changes go on being sent, by their new keys.
    world.run("UPDATE people SET name = name || '!'");
    world.settled();
    assert_eq!(names(&world), ["a!", "b!", "c!"]);
}

#[test]
fn a_row_that_takes_over_an_id_sends_what_the_record_lacks() {
    let mut world = three_people();
    let id: String = world.one("SELECT sf_id FROM people WHERE id = 1");
    world.run(
        "WITH gone AS (DELETE FROM people WHERE id = 1 RETURNING *)
         UPDATE people p SET sf_id = g.sf_id, email = g.email FROM gone g WHERE p.id = 2",
    );
    world.settled();
    let record = json!({"upstream_id": id, "data": {"Name": "b"}});
    assert_eq!(world.requests(), [request("update", json!([record]))]);
}

#[test]
fn what_differs_is_an_update() {
    let mut world = three_people();
    let id: String = world.one("SELECT sf_id FROM people WHERE id = 2");
    world.run(
        "BEGIN; CREATE TEMPORARY TABLE kept AS SELECT * FROM people; DELETE FROM people;
         INSERT INTO people SELECT id, CASE id WHEN 2 THEN 'changed' ELSE name END, email, note, sf_id FROM kept; COMMIT",
    );
    world.settled();
    assert_eq!(world.requests(), [request("update", json!([{"upstream_id": id, "data": {"Name": "changed"}}]))]);
    // Changes after the reinsertion are delivered after it.
    world.run(
        "BEGIN; CREATE TEMPORARY TABLE again AS SELECT * FROM people; DELETE FROM people; INSERT INTO people SELECT * FROM again;
         UPDATE people SET email = 'new@a.org' WHERE id = 2; COMMIT",
    );
    world.settled();
    let records = world.sandbox.records("salesforce:contact");
    let two = records.iter().find(|record| record["upstream_id"] == json!(id)).unwrap();
    assert_eq!((&two["data"], &two["deleted"]), (&json!({"Name": "changed", "Email": "new@a.org"}), &json!(false)));
}

#[test]
fn what_does_not_come_back_is_deleted() {
    let mut world = three_people();
    let ids: Vec<String> =
        world.rows("SELECT sf_id FROM people ORDER BY id", &[]).iter().map(|row| row.get(0)).collect();
    world.run(
        "BEGIN; CREATE TEMPORARY TABLE kept AS SELECT * FROM people; DELETE FROM people;
         INSERT INTO people SELECT * FROM kept WHERE id = 1;
         SAVEPOINT s; INSERT INTO people SELECT * FROM kept WHERE id = 2; ROLLBACK TO s;
         INSERT INTO people SELECT id, name FROM kept WHERE id = 3; COMMIT",
    );
    world.written_back();
    let mut requests = world.requests();
    requests.sort_by_key(|(kind, _)| kind.clone());
    let (created, deleted): (Vec<_>, Vec<_>) = requests.into_iter().partition(|(kind, _)| kind == "create");
    assert_eq!(created, [request("create", json!([{"data": {"Name": "c", "Email": null}}]))]);
    let mut gone: Vec<&str> =
        deleted.iter().flat_map(|(_, records)| records.as_array().unwrap()).filter_map(Value::as_str).collect();
    gone.sort_unstable();
    let mut expected = [ids[1].as_str(), ids[2].as_str()];
    expected.sort_unstable();
    assert_eq!(gone, expected);
    // A delete that is undone, and an id that comes by itself, are neither.
    world.run(
        "BEGIN; SAVEPOINT s; DELETE FROM people WHERE id = 1; ROLLBACK TO s; INSERT INTO people VALUES (9, 'n', 'e', NULL, 'N9'); COMMIT",
    );
    world.settled();
    assert_eq!(world.requests(), []);
}

#[test]
fn a_delete_of_another_transaction_stays_one() {
    let mut world = three_people();
    let id: String = world.one("SELECT sf_id FROM people WHERE id = 1");
    world.run("SELECT sequin_pause('sequin')");
    let mut other = world.database.connect();
    other.run("DELETE FROM people WHERE id = 1");
    world.run(&format!(
        "BEGIN; DELETE FROM people WHERE id = 2; INSERT INTO people VALUES (7, 'back', NULL, NULL, '{id}'); COMMIT"
    ));
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE kind = 'delete'"), 2);
}

#[test]
fn a_default_partition_that_is_emptied() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE orders (id int, year int, name text, sf_id text, PRIMARY KEY (id, year)) PARTITION BY RANGE (year);
         CREATE TABLE orders_rest PARTITION OF orders DEFAULT;
         SELECT sequin_attach('orders', 'sync', 'salesforce:contact', 'sf_id', fields => '{\"name\": \"Name\"}');
         INSERT INTO orders SELECT n, 2020 + n % 3, 'n' || n FROM generate_series(1, 30) n",
    );
    world.written_back();
    world.requests();
    // As pg_partman does it: out of the default partition, a new partition, and in again.
    world.run(
        "BEGIN;
         CREATE TEMPORARY TABLE moving ON COMMIT DROP AS SELECT * FROM orders_rest WHERE year = 2021;
         DELETE FROM orders_rest WHERE year = 2021;
         CREATE TABLE orders_21 PARTITION OF orders FOR VALUES FROM (2021) TO (2022);
         INSERT INTO orders SELECT * FROM moving;
         COMMIT",
    );
    world.settled();
    assert_eq!(world.requests(), []);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM orders_21"), 10);
    // Into another attached table, of the same collection.
    world.run(
        "CREATE TABLE archive (LIKE orders INCLUDING ALL);
         SELECT sequin_attach('archive', 'sync', 'salesforce:contact', 'sf_id', fields => '{\"name\": \"Name\"}');
         WITH moved AS (DELETE FROM orders WHERE year = 2020 RETURNING *) INSERT INTO archive SELECT id, year, upper(name), sf_id FROM moved",
    );
    world.settled();
    let kinds: Vec<String> = world.requests().into_iter().map(|(kind, _)| kind).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| kind == "update"), "{kinds:?}");
    let present = names(&world);
    assert_eq!(
        (present.len(), present.iter().filter(|name| name.as_str().unwrap().starts_with('N')).count()),
        (30, 10)
    );
}

#[test]
fn rows_of_an_operation_that_is_not_captured_come_back_too() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', operations => '{delete}');
         SET sequin.capture = off; INSERT INTO people VALUES (1, 'a', 'U1'); SET sequin.capture = on;
         BEGIN; DELETE FROM people; INSERT INTO people VALUES (2, 'a', 'U1'); COMMIT",
    );
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox"), 0);
    // An UPDATE that is not captured may take the id of a deleted row.
    world.run("SET sequin.capture = off; INSERT INTO people VALUES (3, 'a', NULL)");
    world.run("SET sequin.capture = on; BEGIN; DELETE FROM people WHERE id = 2; UPDATE people SET sf_id = 'U1' WHERE id = 3; COMMIT");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox"), 0);
    world.run("DELETE FROM people");
    world.settled();
    assert_eq!(world.requests(), [request("delete", json!(["U1"]))]);
}

#[test]
fn a_delete_shows_no_data_and_leaves_none() {
    let mut world = three_people();
    world.run("SELECT sequin_pause('sequin'); DELETE FROM people WHERE id = 1");
    assert!(world.one::<bool>("SELECT data IS NULL FROM sequin.outbox"));
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    assert!(world.one::<bool>("SELECT data IS NULL FROM sequin.history WHERE kind = 'delete'"));
}

#[test]
fn a_prepared_transaction_that_moves_rows_sends_nothing() {
    let server = own("max_prepared_transactions = 1");
    let sandbox = Sandbox::start();
    let database = server.fresh_database();
    database.create_server(sandbox.url(), sandbox.token());
    let mut client = database.connect();
    client.run(
        "CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text);
             INSERT INTO people VALUES (1, 'a', 'U1'); CREATE TABLE kept AS SELECT * FROM people;
             SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id');
             BEGIN; DELETE FROM people; INSERT INTO people SELECT * FROM kept; PREPARE TRANSACTION 'moving'",
    );
    client.run("COMMIT PREPARED 'moving'");
    let open: i64 = client.one("SELECT count(*) FROM sequin.outbox");
    assert_eq!((open, sandbox.log().requests.len()), (0, 0));
}

/// The upstream state of a record.
fn record(world: &World, id: &str) -> (Value, bool) {
    let records = world.sandbox.records("salesforce:contact");
    let record = records.iter().find(|record| record["upstream_id"] == json!(id)).unwrap();
    (record["data"].clone(), record["deleted"] == json!(true))
}

#[test]
fn rows_that_are_deleted_and_inserted_twice_in_a_transaction_keep_their_records() {
    let mut world = three_people();
    let id: String = world.one("SELECT sf_id FROM people WHERE id = 1");
    world.run("CREATE TABLE kept AS SELECT * FROM people");
    let again = "DELETE FROM people; INSERT INTO people SELECT * FROM kept;";
    world.run(&format!("BEGIN; {again} {again} {again} COMMIT"));
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox"), 0);
    // The value of the first time differs, that of the second does not.
    world.run(
        "BEGIN; DELETE FROM people; INSERT INTO people SELECT id, name || '!', email, note, sf_id FROM kept;
         DELETE FROM people; INSERT INTO people SELECT id, name || '!', email, note, sf_id FROM kept; COMMIT",
    );
    world.settled();
    assert_eq!(names(&world), ["a!", "b!", "c!"]);
    // An update between the two is in the queue, and must not be the last word.
    world.run(
        "BEGIN; DELETE FROM people WHERE id = 1; INSERT INTO people SELECT id, name || '!', email, note, sf_id FROM kept WHERE id = 1;
         UPDATE people SET name = 'between' WHERE id = 1;
         DELETE FROM people WHERE id = 1; INSERT INTO people SELECT id, name || '!', email, note, sf_id FROM kept WHERE id = 1; COMMIT",
    );
    world.settled();
    assert_eq!(record(&world, &id), (json!({"Name": "a!", "Email": "a@a.org"}), false));
    assert_eq!(world.contact_count(), 3);
    // A row that does not come back the second time is deleted once.
    world.requests();
    world.run("BEGIN; DELETE FROM people WHERE id = 1; INSERT INTO people SELECT * FROM kept WHERE id = 1; DELETE FROM people WHERE id = 1; COMMIT");
    world.settled();
    assert_eq!(world.requests(), [request("delete", json!([id]))]);
}

#[test]
fn a_row_that_moves_on_to_another_table_is_compared_with_each_place_that_it_had() {
    let mut world = book();
    world.run(
        "CREATE TABLE archive (LIKE people INCLUDING ALL);
         SELECT sequin_attach('archive', 'sync', 'salesforce:contact', 'sf_id', '{\"name\": \"Name\", \"email\": \"Email\"}');
         INSERT INTO people VALUES (1, 'a', 'e', NULL, 'U1'), (2, 'a', 'e', NULL, 'U2');
         SELECT sequin_pause('sequin');
         BEGIN; DELETE FROM people; INSERT INTO people VALUES (1, 'b', 'e', NULL, 'U1'), (2, 'b', 'e', NULL, 'U2');
         DELETE FROM people; INSERT INTO archive VALUES (1, 'b', 'e', NULL, 'U1'); COMMIT",
    );
    let queued: String = world.one(
        "SELECT string_agg(concat_ws(' ', kind, upstream_id, data), ', ' ORDER BY upstream_id) FROM sequin.outbox",
    );
    assert_eq!(queued, r#"update U1 {"Name": "b"}, delete U2"#);
}

#[test]
fn a_row_that_takes_the_id_of_a_deleted_one_gives_the_record_all_that_differs() {
    let (name, both) = (r#"update Name "b""#, r#"update Email "new", update Name "b""#);
    for (statements, expected) in [
        ("DELETE FROM people WHERE id = 1; UPDATE people SET sf_id = 'U1' WHERE id = 2", name),
        ("UPDATE people SET sf_id = 'U1' WHERE id = 2; DELETE FROM people WHERE id = 1", name),
        ("DELETE FROM people WHERE id = 1; UPDATE people SET sf_id = 'U1', email = 'new' WHERE id = 2", both),
        (
            "DELETE FROM people WHERE id = 1; UPDATE people SET email = 'new' WHERE id = 2;
             UPDATE people SET sf_id = 'U1' WHERE id = 2",
            both,
        ),
    ] {
        let mut world = book();
        world.run("INSERT INTO people VALUES (1, 'a', 'same', NULL, 'U1'), (2, 'b', 'same', NULL, 'U2')");
        world.run(&format!("SELECT sequin_pause('sequin'); BEGIN; {statements}; COMMIT"));
        let sent: String = world.one(
            "SELECT string_agg(DISTINCT concat_ws(' ', kind, field.key, field.value), ', ')
             FROM sequin.outbox LEFT JOIN jsonb_each(data) AS field ON true WHERE upstream_id = 'U1'",
        );
        assert_eq!(sent, expected, "{statements}");
    }
}
