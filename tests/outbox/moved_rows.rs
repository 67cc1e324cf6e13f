//! Rows that a transaction deletes and inserts again with their upstream ids do not delete their records.

use sequin_harness::Sandbox;
use serde_json::{Value, json};

use super::attached::book;
use crate::support::network::status_kib;
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

/// Five thousand rows that are upstream. `column` is the type of their upstream id.
fn many_people(column: &str, index: &str, operations: &str) -> World {
    let mut world = World::new();
    world.run(&format!(
        "CREATE DOMAIN ext_id AS varchar(40);
         CREATE TABLE people (id int PRIMARY KEY, name text, sf_id {column}); {index};
         INSERT INTO people SELECT n, 'n' || n, 'U' || n FROM generate_series(1, 5000) n; ANALYZE people;
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', operations => '{operations}');
         SELECT sequin_pause('sequin')"
    ));
    world
}

/// How often `people` was read as a whole so far.
fn whole_reads(world: &mut World) -> i64 {
    world.run("SELECT pg_stat_force_next_flush()");
    world.one("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'people'")
}

#[test]
fn an_index_on_the_upstream_id_finds_the_rows_that_came_back() {
    for column in ["text", "varchar(40)", "ext_id", "text COLLATE \"C\""] {
        for operations in ["{insert,update,delete}", "{delete}"] {
            let mut world = many_people(column, "CREATE INDEX ON people (sf_id)", operations);
            let before = whole_reads(&mut world);
            world
                .run("BEGIN; DELETE FROM people WHERE id IN (7, 8); INSERT INTO people VALUES (7, 'n7', 'U7'); COMMIT");
            assert_eq!(whole_reads(&mut world), before, "{column} {operations}");
            assert_eq!(world.one::<String>("SELECT upstream_id FROM sequin.outbox"), "U8", "{column} {operations}");
        }
    }
}

#[test]
fn a_table_is_not_searched_when_no_deleted_id_has_come_back() {
    let mut world = many_people("text", "", "{insert,update,delete}");
    let before = whole_reads(&mut world);
    world.run(
        "BEGIN; DELETE FROM people WHERE id = 7; INSERT INTO people VALUES (6000, 'x', 'U6000');
         UPDATE people SET sf_id = 'U8000' WHERE id = 8; COMMIT",
    );
    assert_eq!(whole_reads(&mut world), before);
    assert_eq!(world.one::<String>("SELECT upstream_id FROM sequin.outbox"), "U7");
}

#[test]
fn a_collation_that_takes_two_ids_for_one_takes_no_record_for_another() {
    let mut world = World::new();
    world.run(
        "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text COLLATE blind);
         CREATE INDEX ON people (sf_id);
         INSERT INTO people VALUES (1, 'a', 'U1'), (2, 'b', 'U2');
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id');
         SELECT sequin_pause('sequin');
         BEGIN; DELETE FROM people; INSERT INTO people VALUES (1, 'a', 'u1'), (2, 'b', 'U2'); COMMIT",
    );
    assert_eq!(
        world.one::<String>("SELECT string_agg(concat_ws(' ', kind, upstream_id), ', ') FROM sequin.outbox"),
        "delete U1"
    );
}

#[test]
fn thousands_of_rows_that_move_twice() {
    for operations in ["{insert,update,delete}", "{update,delete}"] {
        let mut world = many_people("text", "", operations);
        world.run("CREATE TABLE kept AS SELECT * FROM people");
        world.run(
            "BEGIN; DELETE FROM people; INSERT INTO people SELECT * FROM kept WHERE id <= 4000;
             DELETE FROM people; INSERT INTO people SELECT id, CASE id % 1000 WHEN 0 THEN 'new' ELSE name END, sf_id FROM kept WHERE id > 1000;
             COMMIT",
        );
        let queued = world.rows("SELECT kind, data::text, count(*), count(DISTINCT upstream_id) FROM sequin.outbox GROUP BY 1, 2 ORDER BY 1", &[]);
        let queued: Vec<(String, Option<String>, i64, i64)> =
            queued.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
        let updates = ("update".to_owned(), Some(r#"{"name": "new"}"#.to_owned()), 4, 4);
        assert_eq!(queued, [("delete".to_owned(), None, 1000, 1000), updates], "{operations}");
    }
}

#[test]
fn deletes_that_wait_for_the_commit_take_no_memory() {
    // None of the rows comes back; all do; all do with another name.
    for (rows, deletes, updates) in [
        ("SELECT 1, 'x', 'U30000'", 20_000, 0),
        ("SELECT * FROM kept", 0, 0),
        ("SELECT id, name || '!', sf_id FROM kept", 0, 20_000),
    ] {
        let mut world = World::new();
        world.run(
            "CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text); CREATE INDEX ON people (sf_id);
             INSERT INTO people SELECT n, repeat('n', 1000), 'U' || n FROM generate_series(1, 20000) n; ANALYZE people;
             CREATE TABLE kept AS SELECT * FROM people;
             SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', operations => '{delete}');
             SELECT sequin_pause('sequin'); SET work_mem = '256kB'",
        );
        world.run(&format!("BEGIN; DELETE FROM people; INSERT INTO people {rows}"));
        let process = world.client.pid();
        // From here on the peak is measured.
        std::fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
        let before = status_kib(process, "VmHWM");
        world.run("COMMIT");
        let after = status_kib(process, "VmHWM");
        let queued = "SELECT count(*), count(*) FILTER (WHERE kind = 'update') FROM sequin.outbox";
        let queued = &world.rows(queued, &[])[0];
        assert_eq!((queued.get::<_, i64>(0), queued.get::<_, i64>(1)), (deletes + updates, updates), "{rows}");
        assert!(after - before < 4_000, "{rows}: from {before} to {after} KiB");
    }
}

#[test]
fn a_delete_keeps_no_data_of_its_row_in_the_queue() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE people (id int PRIMARY KEY, name text, document jsonb, sf_id text);
         INSERT INTO people SELECT 1, 'Paul', jsonb_agg(n * n), 'U1' FROM generate_series(1, 20000) n;
         INSERT INTO people VALUES (2, 'Leto', '{}', NULL);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id');
         SELECT sequin_pause('sequin');
         CREATE TABLE kept AS SELECT * FROM people; DELETE FROM people",
    );
    assert!(world.one::<bool>("SELECT bool_and(coalesce(pg_column_size(data), 0) < 200) FROM sequin.queue"));
    assert!(world.one::<bool>("SELECT bool_and(strpos(to_jsonb(q)::text, 'Paul') = 0) FROM sequin.queue AS q"));
    // The same in a statement whose changes wait for its end.
    world.run(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER zz AFTER DELETE ON people FOR EACH STATEMENT EXECUTE FUNCTION nothing();
         SET sequin.capture = off; INSERT INTO people SELECT * FROM kept; SET sequin.capture = on; DELETE FROM people",
    );
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.queue WHERE upstream_id = 'U1'"), 2);
    assert!(world.one::<bool>("SELECT bool_and(coalesce(pg_column_size(data), 0) < 200) FROM sequin.queue"));
    assert!(world.one::<bool>("SELECT bool_and(strpos(to_jsonb(q)::text, 'Paul') = 0) FROM sequin.queue AS q"));
    // The kept digests still tell which field of a reinserted row differs.
    world.run(
        "SET sequin.capture = off; INSERT INTO people SELECT * FROM kept; SET sequin.capture = on;
         BEGIN; DELETE FROM people; INSERT INTO people SELECT id, 'Usul', document, sf_id FROM kept WHERE id = 1; COMMIT",
    );
    assert_eq!(
        world.one::<String>("SELECT data::text FROM sequin.outbox WHERE kind = 'update'"),
        r#"{"name": "Usul"}"#
    );
}

/// A table of a role of its own, with an index whose condition calls a function that notes whose rights it has.
const WATCHED: &str = "
    CREATE ROLE {owner}; GRANT CREATE ON SCHEMA public TO {owner}; GRANT USAGE ON FOREIGN SERVER sequin TO {owner};
    GRANT USAGE ON SCHEMA sequin TO {owner}; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public, sequin TO {owner};
    SET ROLE {owner};
    CREATE TABLE seen (who text); GRANT ALL ON seen TO PUBLIC;
    CREATE FUNCTION note() RETURNS void LANGUAGE sql AS 'INSERT INTO public.seen VALUES (current_user)';
    CREATE FUNCTION is_watched() RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM public.note(); RETURN true; END';
    CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text);
    CREATE INDEX ON people (name) WHERE public.is_watched();
    SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id');
    INSERT INTO people VALUES (1, 'a', 'U1'), (2, 'b', 'U2');
    RESET ROLE; SELECT sequin_pause('sequin')";

#[test]
fn the_search_at_commit_runs_no_code_of_the_table_as_a_superuser() {
    let mut world = World::new();
    let (owner, writer) = ("moved_rows_owner", "moved_rows_writer");
    world.run(&WATCHED.replace("{owner}", owner));
    world.run(&format!(
        "CREATE ROLE {writer}; GRANT USAGE ON FOREIGN SERVER sequin TO {writer}; GRANT SELECT (id), INSERT, DELETE ON people TO {writer}"
    ));
    let moving = "BEGIN; DELETE FROM people WHERE id = 1; INSERT INTO people VALUES (1, 'a', 'U1'); COMMIT";
    for role in [owner, writer] {
        let mut session = world.database.connect();
        session.run(&format!("SET ROLE {role}"));
        session.run(moving);
    }
    // The code of the owner would find the objects of another role's session.
    let mut session = world.database.connect();
    session.run(&format!(
        "GRANT TEMPORARY ON DATABASE {} TO {writer}",
        world.one::<String>("SELECT quote_ident(current_database())")
    ));
    session.run(&format!("SET ROLE {writer}; CREATE TEMPORARY TABLE trap ()"));
    let error = session.batch_execute(moving).unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "42501");
    assert!(error.message().starts_with("cannot search public.people as its owner"), "{error:?}");
    assert!(error.hint().unwrap().starts_with("The owner's functions could find trap"), "{error:?}");
    let queued: i64 = world.one("SELECT count(*) FROM sequin.outbox");
    let seen: String = world.one("SELECT string_agg(DISTINCT who, ', ' ORDER BY who) FROM seen");
    world.run(&format!("DROP OWNED BY {writer}, {owner} CASCADE; DROP ROLE {writer}, {owner}"));
    assert_eq!((queued, seen.as_str()), (0, "moved_rows_owner, moved_rows_writer"));
}
