//! The search for reinserted rows at COMMIT: its rights, its index, its memory, and the digests that it compares.

use crate::support::network::status_kib;
use crate::support::{Session, World};

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
