//! Several statements of a client before one Sync, which Postgres commits together. executemany of asyncpg and psycopg,
//! addBatch of JDBC and SendBatch of pgx send them.

use serde_json::{Value, json};

use super::wire::{Fields, Wire};
use super::{BAD, Claim, TABLE};
use crate::support::{Session, World, create};

/// The error of a request that applied nothing, after `before` records of the `scope`.
#[track_caller]
fn check(error: &Fields, before: usize, scope: &str) {
    let detail: Value = serde_json::from_str(&error[&'D']).unwrap();
    let context = error.get(&'W').map_or("", String::as_str);
    Claim { detail, hint: &error[&'H'], context, has_line: true }.assert_is(&format!("{error:?}"), before, scope);
    assert_eq!(error[&'C'], "HV024");
}

fn world() -> (World, Wire) {
    let mut world = World::new();
    world.run(TABLE);
    let wire = Wire::connect(&world.database);
    (world, wire)
}

#[test]
fn the_third_of_a_batch_says_that_two_were_applied() {
    let (mut world, mut wire) = world();
    let insert = "INSERT INTO people SELECT coalesce(max(id), 0) + 1, $1 FROM people";
    let error = wire.batch(insert, &["a@b.c", "b@b.c", "bad", "c@b.c"]).unwrap_err();
    check(&error, 2, "transaction");
    assert_eq!((world.contact_count(), world.one::<i64>("SELECT count(*) FROM people")), (2, 0));
    // The next batch begins at zero, and so does each that goes well.
    wire.batch(insert, &["a@b.c", "b@b.c"]).unwrap();
    check(&wire.batch(insert, &["bad"]).unwrap_err(), 0, "statement");
    check(&wire.batch(insert, &["c@b.c", "bad"]).unwrap_err(), 1, "transaction");
}

#[test]
fn verbs_in_a_pipeline_are_counted_from_the_start_of_the_transaction() {
    let (world, mut wire) = world();
    let (good, bad) = (format!("SELECT {}", create("'{}'")), format!("SELECT {}", create(BAD)));
    check(&wire.pipeline(&[&good, &good, &bad]).unwrap_err(), 2, "transaction");
    check(&wire.pipeline(&[&bad]).unwrap_err(), 0, "statement");
    // A verb, a capture and a verb.
    let insert = "INSERT INTO people VALUES (1)";
    check(&wire.pipeline(&[&good, insert, &bad]).unwrap_err(), 2, "transaction");
    check(&wire.pipeline(&[&good, "INSERT INTO people VALUES (1, 'bad')"]).unwrap_err(), 1, "transaction");
    // The part about the last statement alone.
    check(&wire.pipeline(&["SELECT 1", "SELECT 2", &format!("{good}, {}", create(BAD))]).unwrap_err(), 1, "statement");
    check(&wire.pipeline(&[&good, &format!("{good}, {}", create(BAD))]).unwrap_err(), 2, "transaction");
    check(&wire.pipeline(&["SELECT 1", &good, &bad]).unwrap_err(), 1, "transaction");
    // The string of a simple query is one statement.
    check(&wire.simple(&format!("{good}; {good}; {bad}")).unwrap_err(), 2, "statement");
    assert_eq!(world.contact_count(), 2 + 2 + 1 + 1 + 2 + 1 + 2);
}

#[test]
fn in_a_transaction_block_each_statement_of_the_client_is_counted_by_itself() {
    let (_world, mut wire) = world();
    let (good, bad) = (format!("SELECT {}", create("'{}'")), format!("SELECT {}", create(BAD)));
    let both = format!("{good}, {}", create(BAD));
    for begin in [&["BEGIN"][..], &["BEGIN", "SAVEPOINT a"], &["BEGIN", "SAVEPOINT a", "SAVEPOINT b"]] {
        for last in [&bad, &both] {
            let before = usize::from(last == &both);
            for sql in begin {
                wire.simple(sql).unwrap();
            }
            wire.simple(&good).unwrap();
            check(&wire.simple(last).unwrap_err(), before, "statement");
            wire.simple("ROLLBACK").unwrap();
            // The same in a pipeline, whose statements the client sees the ends of.
            for sql in begin {
                wire.simple(sql).unwrap();
            }
            check(&wire.pipeline(&[&good, &good, last]).unwrap_err(), before, "statement");
            wire.simple("ROLLBACK").unwrap();
            let statements = [begin, &[&good, last]].concat();
            check(&wire.pipeline(&statements).unwrap_err(), before, "statement");
            wire.simple("ROLLBACK").unwrap();
        }
    }
    // After a COMMIT in the middle there is no block any more.
    check(&wire.pipeline(&["BEGIN", &good, "COMMIT", &good, &bad]).unwrap_err(), 1, "transaction");
}

/// As JDBC does with setFetchSize.
#[test]
fn a_statement_whose_rows_are_fetched_in_parts_is_counted_as_one() {
    let (_world, mut wire) = world();
    let verb = create("jsonb_build_object('Email', CASE n WHEN 6 THEN 'bad' ELSE 'a@b.c' END)");
    let query = format!("SELECT {verb} FROM generate_series(1, 9) n");
    wire.simple("BEGIN").unwrap();
    wire.simple(&format!("SELECT {}", create("'{}'"))).unwrap();
    check(&wire.fetch_by_twos(&query).unwrap_err(), 5, "statement");
    wire.simple("ROLLBACK").unwrap();
    // So is a cursor.
    wire.simple(&format!("BEGIN; DECLARE c CURSOR FOR {query}")).unwrap();
    for _ in 0..5 {
        wire.simple("FETCH c").unwrap();
    }
    check(&wire.simple("FETCH c").unwrap_err(), 5, "statement");
    wire.simple("ROLLBACK").unwrap();
}

/// In a subtransaction Postgres hides the kind of the transaction.
#[test]
fn functions_that_catch_errors_are_counted_in_a_pipeline_too() {
    let (mut world, mut wire) = world();
    world.run(
        "CREATE FUNCTION careful(data jsonb) RETURNS text LANGUAGE plpgsql AS $$
           BEGIN RETURN (sequin_create('sync', 'salesforce:contact', data)).upstream_id;
           EXCEPTION WHEN division_by_zero THEN RETURN NULL; END $$",
    );
    let (good, bad) = ("SELECT careful('{}')", format!("SELECT careful({BAD})"));
    check(&wire.pipeline(&[good, good, &bad]).unwrap_err(), 2, "transaction");
    let plain = format!("SELECT {}", create(BAD));
    check(&wire.pipeline(&[good, &plain]).unwrap_err(), 1, "transaction");
    check(&wire.pipeline(&[&format!("SELECT {}", create("'{}'")), &bad]).unwrap_err(), 1, "transaction");
    wire.simple("BEGIN").unwrap();
    wire.simple(&format!("SELECT {}", create("'{}'"))).unwrap();
    check(&wire.simple(&bad).unwrap_err(), 0, "statement");
    wire.simple("ROLLBACK").unwrap();
}

#[test]
fn a_batch_that_is_cancelled_says_what_was_applied_before() {
    let (world, mut wire) = world();
    world.sandbox.fault(json!({"delay_ms": 0, "times": 1}));
    world.sandbox.fault(json!({"stall": "reply"}));
    wire.simple("SET statement_timeout = '500ms'").unwrap();
    let good = format!("SELECT {}", create("'{}'"));
    let error = wire.pipeline(&[&good, &good]).unwrap_err();
    assert_eq!(error[&'C'], "57014");
    let line = error[&'W'].lines().next().unwrap_or_default();
    assert!(
        line.ends_with("is unknown, after 1 record was applied by an earlier request of the transaction"),
        "{line}"
    );
}
