//! One call is one request, by the sandbox's log: however a statement is planned, read, ended or undone.

use serde_json::{Value, json};

use crate::support::{Session, TARGET, World, create, create_three};

#[test]
fn where_a_set_of_rows_is_read_does_not_matter() {
    let from = create_three();
    let call = from.trim_start_matches("SELECT * FROM ");
    World::new().all_send(&[
        (1, from.clone()),
        (1, format!("SELECT {call}")),
        (1, format!("{from} LIMIT 1")),
        (1, format!("SELECT {call} LIMIT 1")),
        (1, format!("{from} LIMIT 1 OFFSET 5")),
        (1, format!("{from} WHERE upstream_id = 'no such id'")),
        (1, format!("{from} ORDER BY updated_idx DESC LIMIT 1")),
        (1, format!("SELECT count(*), max(updated_idx) FROM {call}")),
        (1, format!("SELECT EXISTS ({from})")),
        (1, format!("SELECT 1 WHERE 'x' IN (SELECT id FROM {call})")),
        (1, format!("SELECT (SELECT id FROM {call} LIMIT 1) FROM generate_series(1, 5)")),
        (1, format!("SELECT * FROM generate_series(1, 5), {call}")),
        (1, format!("SELECT * FROM {call} a JOIN generate_series(1, 5) g ON a.updated_idx <> g")),
        (1, format!("WITH made AS ({from}) SELECT * FROM made a, made b")),
        (1, format!("WITH made AS NOT MATERIALIZED ({from}) SELECT * FROM made LIMIT 1")),
        (1, format!("{from} UNION ALL {} LIMIT 1", "SELECT (NULL::sequin_record).*")),
        (1, format!("CREATE TEMP TABLE kept AS {from}")),
        (1, format!("INSERT INTO kept {from}")),
        (1, format!("CREATE MATERIALIZED VIEW seen AS {from}")),
        (1, "REFRESH MATERIALIZED VIEW seen".into()),
        (2, format!("{from} UNION ALL {from}")),
    ]);
}

#[test]
fn a_plan_that_is_not_run_sends_nothing() {
    let (from, expression) = (create_three(), format!("SELECT ({}).upstream_id", create("'{}'")));
    let mut cases = Vec::new();
    for sql in [&from, &expression] {
        cases.extend([
            (0, format!("EXPLAIN {sql}")),
            (0, format!("EXPLAIN (VERBOSE, FORMAT JSON) {sql}")),
            (1, format!("EXPLAIN ANALYZE {sql}")),
            (0, format!("PREPARE made AS {sql}; EXPLAIN EXECUTE made; DEALLOCATE made")),
            (0, format!("CREATE VIEW made AS {sql}; DROP VIEW made")),
            (0, format!("CREATE TEMP TABLE none AS {sql} WITH NO DATA; DROP TABLE none")),
            (0, format!("BEGIN; DECLARE unread CURSOR FOR {sql}; CLOSE unread; COMMIT")),
        ]);
    }
    cases.push((0, format!("{from} LIMIT 0")));
    cases.push((0, format!("SELECT CASE WHEN now() < '1999-01-01' THEN ({}).id END", create("'{}'"))));
    cases.push((0, format!("SELECT coalesce('known', ({}).id)", create("'{}'"))));
    cases.push((0, format!("SELECT ({}).id FROM generate_series(1, 0)", create("'{}'"))));
    World::new().all_send(&cases);
}

/// The sixth run is where Postgres may turn to a plan for all parameters.
#[test]
fn a_prepared_statement_sends_at_each_run() {
    let mut world = World::new();
    let statements = [
        "SELECT * FROM sequin_mutate('create', 'sync', 'salesforce:contact', $1::text::jsonb)",
        "SELECT sequin_create('sync', 'salesforce:contact', ($1::text::jsonb)->'data')",
        "SELECT (sequin_create('sync', 'salesforce:contact', ($1::text::jsonb)->'data')).upstream_id",
    ];
    for sql in statements {
        for mode in ["auto", "force_generic_plan", "force_custom_plan"] {
            world.run(&format!("SET plan_cache_mode = {mode}"));
            let statement = world.client.prepare(sql).unwrap();
            for run in 1..=10 {
                let record = format!("{{\"data\":{{\"run\":{run}}}}}");
                assert_eq!(world.client.query(&statement, &[&record]).unwrap().len(), 1);
            }
            let bodies = world.bodies();
            assert_eq!(bodies.len(), 10, "{mode}: {sql}");
            for (body, run) in bodies.iter().zip(1..) {
                let body: Value = serde_json::from_str(body).unwrap();
                assert_eq!(body["records"][0]["data"], json!({ "run": run }));
            }
        }
    }
    world.run(&format!("PREPARE ten AS {}", create_three()));
    for _ in 0..10 {
        world.run("EXECUTE ten");
    }
    assert_eq!(world.sent(), 10);
}

#[test]
fn a_loop_sends_at_each_turn() {
    let mut world = World::new();
    let create = create("jsonb_build_object('turn', turn)");
    let turns = |body: &str| {
        format!("DO $$ DECLARE r sequin_record; t text; BEGIN FOR turn IN 1..10 LOOP {body} END LOOP; END $$")
    };
    let many = format!("sequin_mutate('create', {TARGET}, jsonb_build_object('data', jsonb_build_object('t', turn)))");
    world.all_send(&[
        (10, turns(&format!("PERFORM {create};"))),
        (10, turns(&format!("PERFORM * FROM {create};"))),
        (10, turns(&format!("r := {create};"))),
        (10, turns(&format!("t := ({create}).upstream_id;"))),
        (10, turns(&format!("SELECT * INTO r FROM {create};"))),
        (10, turns(&format!("SELECT * INTO STRICT r FROM {many};"))),
        (10, turns(&format!("PERFORM {many};"))),
        (10, turns(&format!("FOR r IN SELECT * FROM {many} LOOP EXIT; END LOOP;"))),
        (10, turns(&format!("EXECUTE 'SELECT * FROM sequin_create($1, $2, $3)' USING {TARGET}, '{{}}'::jsonb;"))),
    ]);
}

#[test]
fn a_parallel_plan_does_not_repeat_it() {
    let mut world = World::new();
    let force =
        if world.database.server().config().major() < 16 { "force_parallel_mode" } else { "debug_parallel_query" };
    world.run(&format!(
        "CREATE TABLE big AS SELECT n FROM generate_series(1, 5000) n; ANALYZE big;
         SET {force} = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
         SET min_parallel_table_scan_size = 0"
    ));
    let from = create_three();
    let call = from.trim_start_matches("SELECT * FROM ");
    world.all_send(&[
        (1, from.clone()),
        (1, format!("SELECT count(*) FROM big, {call}")),
        (1, format!("SELECT count(*) FROM big WHERE n::text NOT IN (SELECT id FROM {call})")),
    ]);
}

/// The API's changes stay, and happen once.
#[test]
fn an_error_after_it_neither_repeats_nor_undoes_it() {
    let mut world = World::new();
    let cases = [
        format!("BEGIN; SELECT {}; SELECT 1 / 0", create("'{}'")),
        format!("BEGIN; {}; SELECT 1 / 0", create_three()),
        format!("SELECT upstream_id, 1 / (updated_idx - updated_idx) FROM {}", create("'{}'")),
        format!("DO $$ BEGIN PERFORM {}; RAISE division_by_zero; END $$", create("'{}'")),
        format!("CREATE TEMP TABLE t (id text CHECK (id IS NULL)); INSERT INTO t SELECT ({}).id", create("'{}'")),
    ];
    let mut contacts = 0;
    for sql in cases {
        let state = world.error(&sql).code().code().to_owned();
        world.run("ROLLBACK");
        assert!(["22012", "23514"].contains(&&*state), "{state}: {sql}");
        assert_eq!(world.sent(), 1, "{sql}");
        contacts += if sql.contains("sequin_mutate") { 3 } else { 1 };
        assert_eq!(world.contact_count(), contacts, "{sql}");
    }
}

#[test]
fn a_savepoint_rolled_back_neither_repeats_nor_undoes_it() {
    let mut world = World::new();
    let create = create("'{}'");
    world.run(&format!("BEGIN; SAVEPOINT s; SELECT {create}; ROLLBACK TO s; SELECT {create}; COMMIT"));
    assert_eq!((world.sent(), world.contact_count()), (2, 2));
    let caught = format!(
        "DO $$ BEGIN
           FOR turn IN 1..3 LOOP
             BEGIN PERFORM {create}; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;
           END LOOP;
         END $$"
    );
    world.run(&caught);
    assert_eq!((world.sent(), world.contact_count()), (3, 5));
    world.run(&format!("BEGIN; SELECT {create}; ROLLBACK"));
    assert_eq!((world.sent(), world.contact_count()), (1, 6));
}
