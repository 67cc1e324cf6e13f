//! A call for each row is a request for each row, and a call beside the rows is one request. This holds for every plan
//! of a join, and for every cache in it.

use crate::support::{Session, TARGET, World, create, create_three};

#[test]
fn each_row_is_a_call() {
    let mut world = World::new();
    world.run("CREATE TEMP TABLE source AS SELECT jsonb_build_object('n', n) AS data FROM generate_series(1, 5) n");
    let (constant, column) = (create("'{}'"), create("data"));
    world.all_send(&[
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
    ]);
}

/// The inner side of a join is read for each row of the outer one, from Postgres' stored result.
#[test]
fn the_other_side_of_a_join_is_a_call() {
    let mut world = World::new();
    world.run("CREATE TEMP TABLE outside AS SELECT n::text FROM generate_series(1, 4) n; ANALYZE outside");
    let (from, one) = (create_three(), create("'{}'"));
    let call = from.trim_start_matches("SELECT * FROM ");
    let all = "SELECT count(*) FROM outside";
    world.all_send(&[
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
    ]);
}

/// Postgres may keep the result of a function for later rows with equal arguments (Memoize), also of a volatile one.
#[test]
fn rows_with_equal_values_are_calls_too() {
    let mut world = World::new();
    // Postgres knows that these are equal.
    world.run("CREATE TABLE equals AS SELECT '{\"n\":1}'::jsonb AS data FROM generate_series(1, 200); ANALYZE equals");
    let one = create("data");
    let many = format!("sequin_mutate('create', {TARGET}, jsonb_build_object('data', data))");
    world.all_send(&[
        (200, format!("SELECT {one} FROM equals")),
        (200, format!("SELECT {many} FROM equals")),
        (200, format!("SELECT (SELECT id FROM {one}) FROM equals")),
        (200, format!("SELECT (SELECT id FROM {many}) FROM equals")),
        (200, format!("SELECT made.id FROM equals, {one} AS made")),
        (200, format!("SELECT made.id FROM equals, {many} AS made")),
        (200, format!("SELECT made.id FROM equals LEFT JOIN LATERAL {many} AS made ON true")),
        (200, format!("SELECT made FROM equals, LATERAL (SELECT {one} AS made) AS one")),
        (200, format!("SELECT made.id FROM equals, LATERAL (SELECT * FROM {one} LIMIT 1) AS made")),
        (200, format!("SELECT made.id FROM equals, LATERAL (SELECT * FROM {many} LIMIT 1) AS made")),
    ]);
}
