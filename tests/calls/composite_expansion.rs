//! `(f(...)).*` is harmless with a verb that returns a set, which Postgres calls once. A verb for one record would be
//! called for each column, so it is refused while it is planned. Similar expressions are allowed.

use serde_json::Value;

use crate::support::{Session, TARGET, World, detail, detail_of, hint_of};

const CREATE: &str = "sequin_create('sync', 'salesforce:contact', '{}')";
const THREE: &str = r#"sequin_mutate('create', 'sync', 'salesforce:contact', '[{"data":{}},{"data":{}},{"data":{}}]')"#;

/// The functions and tables of the cases.
fn furnished() -> World {
    let mut world = World::new();
    world.run(
        "CREATE TABLE source AS SELECT n, jsonb_build_object('n', n) AS data FROM generate_series(1, 3) n;
         CREATE TABLE target (LIKE source);
         CREATE TABLE records OF sequin_record;
         CREATE FUNCTION wrapped() RETURNS sequin_record LANGUAGE sql
             AS 'SELECT sequin_create(''sync'', ''salesforce:contact'', ''{}'')';
         CREATE FUNCTION wrapped(data jsonb) RETURNS sequin_record LANGUAGE sql
             AS 'SELECT sequin_create(''sync'', ''salesforce:contact'', data)'",
    );
    world
}

#[test]
fn of_a_set_it_is_one_call() {
    let mut world = furnished();
    let cases = [
        format!("SELECT ({THREE}).*"),
        format!("SELECT ({THREE}).* LIMIT 1"),
        format!("SELECT ({THREE}).* ORDER BY 1"),
        format!("SELECT ({THREE}).upstream_id, ({THREE}).data"),
        format!("INSERT INTO records SELECT ({THREE}).*"),
        format!("CREATE TABLE made AS SELECT ({THREE}).*"),
        format!("CREATE VIEW shown AS SELECT ({THREE}).*; SELECT id FROM shown"),
        format!("WITH made AS (SELECT ({THREE}).*) SELECT * FROM made"),
        format!("SELECT * FROM (SELECT ({THREE}).*) made"),
        format!("PREPARE again AS SELECT ({THREE}).*; EXECUTE again"),
        format!("DO $$ DECLARE r sequin_record; BEGIN SELECT ({THREE}).* INTO r; END $$"),
        format!("SELECT DISTINCT ({THREE}).*"),
    ];
    world.all_send(&cases.map(|sql| (1, sql)));
    let rows = world.one::<i64>("SELECT count(*) FROM made WHERE upstream_id IS NOT NULL AND data = '{}'");
    assert_eq!(rows, 3);
}

#[test]
fn of_one_record_it_is_refused_and_nothing_sent() {
    let mut world = furnished();
    let cases = [
        format!("SELECT ({CREATE}).*"),
        format!("SELECT (sequin_update({TARGET}, 'x', '{{}}')).*"),
        format!("SELECT (sequin_delete({TARGET}, 'x')).*"),
        format!("SELECT ({CREATE}).* LIMIT 1"),
        format!("SELECT ({CREATE}).upstream_id, ({CREATE}).data"),
        format!("SELECT ({CREATE}).upstream_id || ({CREATE}).id"),
        format!("SELECT ROW(({CREATE}).*)"),
        format!("SELECT 1 WHERE ({CREATE}).updated_idx BETWEEN 1 AND ({CREATE}).updated_idx"),
        format!("SELECT (sequin_create({TARGET}, data)).* FROM source"),
        format!("SELECT one.* FROM source, LATERAL (SELECT (sequin_create({TARGET}, data)).*) one"),
        format!("SELECT id FROM (SELECT ({CREATE}).* OFFSET 0) one"),
        format!("WITH one AS (SELECT ({CREATE}).*) SELECT * FROM one"),
        format!("SELECT 1 UNION ALL SELECT 2 FROM (SELECT ({CREATE}).* OFFSET 0) one"),
        format!("EXPLAIN SELECT ({CREATE}).*"),
        format!("CREATE TABLE made AS SELECT ({CREATE}).*"),
        format!("CREATE VIEW shown AS SELECT ({CREATE}).*; SELECT * FROM shown"),
        format!("INSERT INTO records SELECT ({CREATE}).*"),
        format!("INSERT INTO records VALUES (({CREATE}).*)"),
        format!("INSERT INTO source VALUES (4) RETURNING ({CREATE}).*"),
        format!("UPDATE source SET n = 1 RETURNING (sequin_create({TARGET}, data)).*"),
        format!("DELETE FROM source RETURNING (sequin_create({TARGET}, data)).*"),
        format!("UPDATE records SET (id, sync_id) = (SELECT ({CREATE}).id, ({CREATE}).sync_id)"),
        "SELECT (wrapped()).*".into(),
        "SELECT (wrapped(data)).* FROM source".into(),
        format!(
            "CREATE FUNCTION starred() RETURNS SETOF sequin_record LANGUAGE sql AS $$ SELECT ({CREATE}).* $$;
                 SELECT * FROM starred()"
        ),
        format!("DO $$ DECLARE r sequin_record; BEGIN SELECT ({CREATE}).* INTO r; END $$"),
        format!("DO $$ BEGIN PERFORM ({CREATE}).*; END $$"),
        format!("DO $$ BEGIN EXECUTE 'SELECT (' || {} || ').*'; END $$", sequin_harness::literal(CREATE)),
        format!("DECLARE c CURSOR FOR SELECT ({CREATE}).*"),
        format!("COPY (SELECT ({CREATE}).*) TO STDOUT"),
    ];
    for sql in cases {
        let error = world.error(&format!("BEGIN; {sql}"));
        world.run("ROLLBACK");
        world.assert_untouched(&sql);
        assert_eq!(error.code().code(), "0A000", "{sql}: {error:?}");
        assert_eq!(error.message(), "a verb for one record would be called once for each column", "{sql}");
        assert_eq!(detail_of(&error), detail("not_sent", "none", None, Value::Null, None), "{sql}");
        assert!(hint_of(&error).contains("SELECT * FROM sequin_create(...)"), "{}", hint_of(&error));
    }
}

/// Also with parameters, whose plan is made late.
#[test]
fn of_one_record_in_a_prepared_statement_it_is_refused() {
    let mut world = World::new();
    let sql = "SELECT (sequin_create('sync', 'salesforce:contact', $1::text::jsonb)).*";
    for mode in ["auto", "force_generic_plan"] {
        world.run(&format!("SET plan_cache_mode = {mode}"));
        assert_eq!(world.error_of(sql, &[&"{}"]).code().code(), "0A000");
    }
    world.run("PREPARE starred(jsonb) AS SELECT (sequin_create('sync', 'salesforce:contact', $1)).*");
    for _ in 0..7 {
        assert_eq!(world.error("EXECUTE starred('{}')").code().code(), "0A000");
    }
    world.assert_untouched(sql);
}

#[test]
fn what_only_looks_like_it_is_left_alone() {
    let mut world = furnished();
    let other = format!("sequin_create({TARGET}, '{{\"other\":1}}')");
    let column = format!("sequin_create({TARGET}, data)");
    let cases = [
        (1, format!("SELECT {CREATE}")),
        (1, format!("SELECT ({CREATE}).upstream_id")),
        (1, format!("SELECT ({CREATE}).data->>'a'")),
        (1, format!("SELECT * FROM {CREATE}")),
        (1, format!("SELECT made.* FROM {CREATE} AS made")),
        (1, format!("SELECT (made).* FROM {CREATE} AS made")),
        (1, format!("SELECT made.id, made.data, (made).id FROM {CREATE} AS made")),
        (1, format!("SELECT (made).* FROM (SELECT {CREATE} AS made) one")),
        (1, format!("SELECT (made).id, (made).data FROM (VALUES ({CREATE})) one(made)")),
        (1, format!("WITH one AS (SELECT {CREATE} AS made) SELECT (made).* FROM one")),
        (1, format!("WITH one AS (SELECT {CREATE} AS made) SELECT (a.made).*, (b.made).* FROM one a, one b")),
        (1, format!("SELECT (SELECT upstream_id FROM {CREATE})")),
        (1, format!("SELECT to_jsonb({CREATE})")),
        (1, format!("SELECT ROW({CREATE}, 1)")),
        (1, format!("SELECT jsonb_populate_record(NULL::records, to_jsonb({CREATE})) IS NULL")),
        (2, format!("SELECT ({CREATE}).upstream_id, ({other}).upstream_id")),
        (2, format!("SELECT {CREATE}, {CREATE}")),
        (2, format!("SELECT a.*, b.* FROM {CREATE} a, {CREATE} b")),
        (2, format!("SELECT ({CREATE}).id UNION ALL SELECT ({CREATE}).id")),
        (2, format!("SELECT (SELECT ({CREATE}).id), (SELECT ({CREATE}).id)")),
        (3, format!("SELECT ({CREATE}).upstream_id FROM source")),
        (3, format!("SELECT ({column}).upstream_id, n FROM source ORDER BY n")),
        (3, format!("SELECT {column} FROM source")),
        (3, format!("SELECT one.* FROM source, LATERAL {column} AS one")),
        (3, format!("SELECT (made).* FROM source, LATERAL (SELECT {column} AS made) AS one")),
        (3, format!("SELECT (made).* FROM (SELECT {column} AS made FROM source) AS one")),
        (3, format!("INSERT INTO records SELECT (made).* FROM (SELECT {column} AS made FROM source) AS one")),
        (1, format!("INSERT INTO records SELECT * FROM {CREATE}")),
        (1, format!("INSERT INTO target VALUES (1) RETURNING ({CREATE}).id")),
        (1, "SELECT wrapped()".into()),
        (1, "SELECT (wrapped()).id".into()),
        (1, "SELECT * FROM wrapped()".into()),
        (1, format!("DO $$ BEGIN PERFORM {CREATE}; END $$")),
        (1, format!("DO $$ DECLARE r sequin_record := {CREATE}; BEGIN PERFORM r.id, r.data, (r).*; END $$")),
        (
            3,
            format!(
                "DO $$ DECLARE s record; t text; BEGIN FOR s IN SELECT * FROM source LOOP
                       t := (sequin_create({TARGET}, s.data)).id; END LOOP; END $$"
            ),
        ),
    ];
    world.all_send(&cases);
}

/// A trap: Postgres does not look into such a function while it plans, and calls it for each column. As a set it is one
/// call.
#[test]
fn of_a_wrapper_that_postgres_does_not_look_into_it_is_a_call_for_each_column() {
    let mut world = World::new();
    let columns = 11;
    for (number, body) in [
        format!("LANGUAGE sql AS $$ SELECT * FROM {CREATE} $$"),
        format!("LANGUAGE sql SECURITY DEFINER AS $$ SELECT {CREATE} $$"),
        format!("LANGUAGE plpgsql AS $$ BEGIN RETURN {CREATE}; END $$"),
    ]
    .iter()
    .enumerate()
    {
        let set = body.replace("RETURN ", "RETURN NEXT ").replace("SELECT sequin", "SELECT * FROM sequin");
        world.run(&format!(
            "CREATE FUNCTION one{number}() RETURNS sequin_record {body};
             CREATE FUNCTION set{number}() RETURNS SETOF sequin_record {set}"
        ));
        world.all_send(&[
            (columns, format!("SELECT (one{number}()).*")),
            (1, format!("SELECT * FROM one{number}()")),
            (1, format!("SELECT (set{number}()).*")),
            (1, format!("SELECT * FROM set{number}()")),
        ]);
    }
}
