//! One call is one request, by the sandbox's log: however a statement is planned, read, ended or undone.

use postgres::Client;

use crate::support::{TARGET, World, mutate};

const THREE: &str = r#"[{"data":{"n":1}},{"data":{"n":2}},{"data":{"n":3}}]"#;

fn create_three() -> String {
    mutate("create", THREE)
}

/// A call of the verb for one record, in an expression.
fn create(data: &str) -> String {
    format!("sequin_create({TARGET}, {data})")
}

/// Runs each statement, and compares the number of requests.
fn all_send(world: &mut World, cases: &[(usize, String)]) {
    for (requests, sql) in cases {
        world.run(sql);
        assert_eq!(world.sent(), *requests, "{sql}");
    }
}

#[test]
fn where_a_set_of_rows_is_read_does_not_matter() {
    let from = create_three();
    let call = from.trim_start_matches("SELECT * FROM ");
    all_send(
        &mut World::new(),
        &[
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
        ],
    );
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
    all_send(&mut World::new(), &cases);
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
                assert!(body.contains(&format!("{{\"run\": {run}}}")), "{body}");
            }
        }
    }
    world.run(&format!("PREPARE ten AS {}", mutate("create", THREE)));
    for _ in 0..10 {
        world.run("EXECUTE ten");
    }
    assert_eq!(world.sent(), 10);
}

#[test]
fn each_row_is_a_call() {
    let mut world = World::new();
    world.run("CREATE TEMP TABLE source AS SELECT jsonb_build_object('n', n) AS data FROM generate_series(1, 5) n");
    let (constant, column) = (create("'{}'"), create("data"));
    all_send(
        &mut world,
        &[
            (5, format!("SELECT {constant} FROM source")),
            (5, format!("SELECT ({column}).upstream_id FROM source")),
            (5, format!("SELECT made.* FROM source, {column} AS made")),
            (5, format!("SELECT made.* FROM source LEFT JOIN LATERAL {column} AS made ON true")),
            (5, format!("SELECT (made).* FROM source, LATERAL (SELECT {column} AS made) AS one")),
            (5, format!("CREATE TEMP TABLE ids AS SELECT ({column}).upstream_id FROM source")),
            (2, format!("SELECT {column} FROM source LIMIT 2")),
            (2, format!("SELECT {column} FROM source WHERE (data->>'n')::int < 3")),
            (5, "SELECT sequin_update('sync', 'salesforce:contact', upstream_id, '{\"a\":1}') FROM ids".into()),
            (5, "UPDATE ids SET upstream_id = (sequin_update('sync', 'salesforce:contact', upstream_id, '{}')).id".into()),
        ],
    );
}

/// The inner side of a join is read for each row of the outer one, from what Postgres has kept of it.
#[test]
fn the_other_side_of_a_join_is_a_call() {
    let mut world = World::new();
    world.run("CREATE TEMP TABLE outside AS SELECT n::text FROM generate_series(1, 4) n; ANALYZE outside");
    let (from, one) = (create_three(), create("'{}'"));
    let call = from.trim_start_matches("SELECT * FROM ");
    let all = "SELECT count(*) FROM outside";
    all_send(
        &mut world,
        &[
            (1, format!("{all} LEFT JOIN (SELECT {one} AS made) one ON true")),
            (1, format!("{all} LEFT JOIN (SELECT ({one}).id AS made) one ON made <> n")),
            (1, format!("{all} LEFT JOIN (VALUES (({one}).id)) one(made) ON made <> n")),
            (1, format!("{all} LEFT JOIN {one} made ON made.id <> n")),
            (1, format!("{all} LEFT JOIN (SELECT {call} AS made) one ON (made).id <> n")),
            (1, format!("{all} LEFT JOIN {call} made ON made.id <> n")),
            (1, format!("{all} LEFT JOIN ({from} LIMIT 1) made ON made.id <> n")),
            (1, format!("{all} WHERE EXISTS (SELECT 1 FROM {call} made WHERE made.id <> n)")),
            (1, format!("{all} WHERE n NOT IN (SELECT ({one}).id)")),
            (1, format!("{all} WHERE n <> ALL (SELECT ({one}).id)")),
            (1, format!("{all} WHERE n < ANY (SELECT id FROM {call})")),
        ],
    );
}

/// Two hundred rows of the same values, of which Postgres knows that they are the same.
fn with_equal_rows() -> World {
    let mut world = World::new();
    world.run("CREATE TABLE equals AS SELECT '{\"n\":1}'::jsonb AS data FROM generate_series(1, 200); ANALYZE equals");
    world
}

fn mutate_column() -> String {
    format!("sequin_mutate('create', {TARGET}, jsonb_build_object('data', data))")
}

/// Postgres may keep the result of a function for later rows with equal arguments (Memoize), also of a volatile one.
#[test]
fn rows_with_equal_values_are_calls_too() {
    let mut world = with_equal_rows();
    let (one, many) = (create("data"), mutate_column());
    all_send(
        &mut world,
        &[
            (200, format!("SELECT {one} FROM equals")),
            (200, format!("SELECT {many} FROM equals")),
            (200, format!("SELECT (SELECT id FROM {one}) FROM equals")),
            (200, format!("SELECT (SELECT id FROM {many}) FROM equals")),
            (200, format!("SELECT made.id FROM equals, {one} AS made")),
            (200, format!("SELECT made.id FROM equals, {many} AS made")),
            (200, format!("SELECT made.id FROM equals LEFT JOIN LATERAL {many} AS made ON true")),
        ],
    );
}

/// The same for a subquery in which the call stands.
#[test]
fn rows_with_equal_values_are_calls_in_a_lateral_subquery_too() {
    let mut world = with_equal_rows();
    let (one, many) = (create("data"), mutate_column());
    all_send(
        &mut world,
        &[
            (200, format!("SELECT made FROM equals, LATERAL (SELECT {one} AS made) AS one")),
            (200, format!("SELECT made.id FROM equals, LATERAL (SELECT * FROM {one} LIMIT 1) AS made")),
            (200, format!("SELECT made.id FROM equals, LATERAL (SELECT * FROM {many} LIMIT 1) AS made")),
        ],
    );
}

#[test]
fn a_loop_sends_at_each_turn() {
    let mut world = World::new();
    let create = create("jsonb_build_object('turn', turn)");
    let turns = |body: &str| {
        format!("DO $$ DECLARE r sequin_record; t text; BEGIN FOR turn IN 1..10 LOOP {body} END LOOP; END $$")
    };
    let many = format!("sequin_mutate('create', {TARGET}, jsonb_build_object('data', jsonb_build_object('t', turn)))");
    all_send(
        &mut world,
        &[
            (10, turns(&format!("PERFORM {create};"))),
            (10, turns(&format!("PERFORM * FROM {create};"))),
            (10, turns(&format!("r := {create};"))),
            (10, turns(&format!("t := ({create}).upstream_id;"))),
            (10, turns(&format!("SELECT * INTO r FROM {create};"))),
            (10, turns(&format!("SELECT * INTO STRICT r FROM {many};"))),
            (10, turns(&format!("PERFORM {many};"))),
            (10, turns(&format!("FOR r IN SELECT * FROM {many} LOOP EXIT; END LOOP;"))),
            (10, turns(&format!("EXECUTE 'SELECT * FROM sequin_create($1, $2, $3)' USING {TARGET}, '{{}}'::jsonb;"))),
        ],
    );
}

#[test]
fn a_parallel_plan_does_not_repeat_it() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE big AS SELECT n FROM generate_series(1, 5000) n; ANALYZE big;
         SET force_parallel_mode = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
         SET min_parallel_table_scan_size = 0",
    );
    let from = create_three();
    let call = from.trim_start_matches("SELECT * FROM ");
    all_send(
        &mut world,
        &[
            (1, from.clone()),
            (1, format!("SELECT count(*) FROM big, {call}")),
            (1, format!("SELECT count(*) FROM big WHERE n::text NOT IN (SELECT id FROM {call})")),
        ],
    );
}

/// What the API did stays done, and stays done once.
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
        assert_eq!(world.contacts(), contacts, "{sql}");
    }
}

#[test]
fn a_savepoint_rolled_back_neither_repeats_nor_undoes_it() {
    let mut world = World::new();
    let create = create("'{}'");
    world.run(&format!("BEGIN; SAVEPOINT s; SELECT {create}; ROLLBACK TO s; SELECT {create}; COMMIT"));
    assert_eq!((world.sent(), world.contacts()), (2, 2));
    let caught = format!(
        "DO $$ BEGIN
           FOR turn IN 1..3 LOOP
             BEGIN PERFORM {create}; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;
           END LOOP;
         END $$"
    );
    world.run(&caught);
    assert_eq!((world.sent(), world.contacts()), (3, 5));
    world.run(&format!("BEGIN; SELECT {create}; ROLLBACK"));
    assert_eq!((world.sent(), world.contacts()), (1, 6));
}

#[test]
fn a_cursor_closed_half_way_has_sent_once() {
    let mut world = World::new();
    let (from, call) = (create_three(), create_three().replace("* FROM ", ""));
    for query in [&from, &call] {
        for how in ["", "SCROLL"] {
            let declare = format!("BEGIN; DECLARE c {how} CURSOR FOR {query}");
            let back = if how.is_empty() { "" } else { "MOVE BACKWARD ALL IN c; FETCH ALL FROM c; FETCH FIRST FROM c;" };
            all_send(
                &mut world,
                &[
                    (1, format!("{declare}; FETCH 1 FROM c; {back} CLOSE c; COMMIT")),
                    (1, format!("{declare}; FETCH 2 FROM c; {back} ROLLBACK")),
                    (1, format!("{declare}; FETCH ALL FROM c; FETCH ALL FROM c; {back} COMMIT")),
                ],
            );
        }
        for how in ["SCROLL", "NO SCROLL"] {
            let declare = format!("BEGIN; DECLARE c {how} CURSOR WITH HOLD FOR {query}");
            all_send(
                &mut world,
                &[
                    (1, format!("{declare}; FETCH 1 FROM c; COMMIT; FETCH ALL FROM c; CLOSE c")),
                    (1, format!("{declare}; COMMIT; FETCH 1 FROM c; CLOSE c")),
                ],
            );
        }
    }
    // A call for each row stops where the reading does.
    let rows = format!("SELECT {} FROM generate_series(1, 5)", create("'{}'"));
    all_send(
        &mut world,
        &[
            (2, format!("BEGIN; DECLARE c CURSOR FOR {rows}; FETCH 2 FROM c; CLOSE c; COMMIT")),
            (5, format!("BEGIN; DECLARE c CURSOR WITH HOLD FOR {rows}; COMMIT; FETCH 3 FROM c; CLOSE c")),
            (5, format!("BEGIN; DECLARE c NO SCROLL CURSOR WITH HOLD FOR {rows}; FETCH 3 FROM c; COMMIT; CLOSE c")),
        ],
    );
}

/// The trap that the manual of DECLARE names: a row that a cursor reads again is computed again, with its calls.
/// NO SCROLL, or a verb that returns a set, is safe (see above).
#[test]
fn a_cursor_that_reads_a_row_again_calls_again() {
    let rows = format!("SELECT {} FROM generate_series(1, 5)", create("'{}'"));
    let back = "FETCH 3 FROM c; MOVE BACKWARD ALL IN c; FETCH 3 FROM c";
    all_send(
        &mut World::new(),
        &[
            (6, format!("BEGIN; DECLARE c SCROLL CURSOR FOR {rows}; {back}; COMMIT")),
            (8, format!("BEGIN; DECLARE c SCROLL CURSOR WITH HOLD FOR {rows}; FETCH 3 FROM c; COMMIT; CLOSE c")),
        ],
    );
}

/// As drivers read with a fetch size: a portal that is left before its end.
#[test]
fn a_portal_left_half_way_has_sent_once() {
    let mut world = World::new();
    fn read_one(client: &mut Client, sql: &str) {
        let mut transaction = client.transaction().unwrap();
        let portal = transaction.bind(sql, &[]).unwrap();
        assert_eq!(transaction.query_portal(&portal, 1).unwrap().len(), 1);
        drop(portal);
        transaction.commit().unwrap();
    }
    read_one(&mut world.client, &create_three());
    read_one(&mut world.client, &create_three().replace("* FROM ", ""));
    assert_eq!(world.sent(), 2);
    world.run(&create_three());
    assert_eq!(world.sent(), 1);
}
