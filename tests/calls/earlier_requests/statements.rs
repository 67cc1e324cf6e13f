//! Verbs and captures in one statement.

use postgres::error::DbError;
use serde_json::json;

use super::{BAD, Claim, TABLE};
use crate::support::{Session, TARGET, World, context_of, create, detail_of, hint_of};

fn world() -> World {
    let mut world = World::new();
    world.run(TABLE);
    world.run(
        "CREATE SERVER tokenless FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'http://127.0.0.1:1');
         CREATE USER MAPPING FOR PUBLIC SERVER tokenless OPTIONS (token_file 'none')",
    );
    world
}

#[track_caller]
fn check(error: &DbError, what: &str, before: usize) {
    let has_line = !what.contains("sequin_enqueue");
    Claim { detail: detail_of(error), hint: hint_of(error), context: context_of(error), has_line }.assert_is(
        what,
        before,
        "statement",
    );
}

/// The first part, which is applied, and its number of records.
fn successes() -> Vec<(String, usize)> {
    let one = create("'{\"n\": 1}'");
    let three = "'[{\"data\": {\"n\": 1}}, {\"data\": {}}, {\"data\": {}}]'";
    vec![
        (format!("PERFORM {one}"), 1),
        (format!("PERFORM {one}, {}", create("'{\"n\": 2}'")), 2),
        (format!("PERFORM FROM sequin_mutate('create', {TARGET}, {three})"), 3),
        ("INSERT INTO people VALUES (1)".to_owned(), 1),
        (format!("INSERT INTO people VALUES (1); PERFORM {one}; UPDATE people SET email = 'a@b.c'"), 3),
        // A rollback of the rows takes nothing back upstream.
        (format!("BEGIN PERFORM {one}; RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END"), 1),
        (
            format!("BEGIN PERFORM {one}, {}; EXCEPTION WHEN fdw_error THEN NULL; END", create(BAD))
                .replace("fdw_error", "OTHERS"),
            1,
        ),
    ]
}

/// The second part, which fails, with its SQLSTATE.
fn failures() -> Vec<(String, &'static str)> {
    let good = create("'{}'");
    vec![
        (format!("PERFORM {}", create(BAD)), "HV024"),
        (format!("PERFORM {}", create("'[]'")), "22023"),
        (format!("PERFORM {}", create("NULL")), "22004"),
        (format!("PERFORM sequin_update({TARGET}, 'none', '{{\"n\": 1}}')"), "HV024"),
        (format!("PERFORM sequin_delete({TARGET}, 'none')"), "HV024"),
        (
            format!("PERFORM FROM sequin_mutate('create', {TARGET}, '[{{\"data\": {{\"Email\": \"nobody\"}}}}]')"),
            "HV024",
        ),
        (format!("PERFORM FROM sequin_mutate('create', {TARGET}, '[]')"), "22023"),
        (format!("PERFORM sequin_create({TARGET}, '{{}}', server => 'nowhere')"), "42704"),
        (format!("PERFORM sequin_create({TARGET}, '{{}}', server => 'tokenless')"), "HV00L"),
        (format!("SET LOCAL transaction_read_only = on; PERFORM {good}"), "25006"),
        (format!("PERFORM ({good}).*"), "0A000"),
        ("INSERT INTO people VALUES (7, 'nobody')".to_owned(), "HV024"),
        (format!("PERFORM sequin_enqueue('create', {TARGET}, '[]')"), "22023"),
        (format!("PERFORM sequin_enqueue('create', {TARGET}, '{{\"data\": {{}}}}', server => 'nowhere')"), "42704"),
    ]
}

#[test]
fn what_fails_later_says_what_was_applied_earlier_in_the_statement() {
    let mut world = world();
    for (first, before) in successes() {
        for (then, code) in failures() {
            let block = format!("DO $$ BEGIN {first}; {then}; END $$");
            let error = world.error(&block);
            assert_eq!(error.code().code(), code, "{block}: {error:?}");
            check(&error, &block, before);
        }
    }
    // Alone, nothing is said of earlier ones.
    for (then, code) in failures() {
        let block = format!("DO $$ BEGIN {then}; END $$");
        let error = world.error(&block);
        assert_eq!(error.code().code(), code, "{block}: {error:?}");
        check(&error, &block, 0);
    }
}

#[test]
fn verbs_of_one_query_are_counted() {
    let mut world = world();
    let (good, bad) = (create("'{\"n\": 1}'"), create(BAD));
    for (sql, before) in [
        (format!("SELECT {good}, {bad}"), 1),
        (format!("WITH a AS MATERIALIZED (SELECT {good} AS x) SELECT {bad} FROM a WHERE x IS NOT NULL"), 1),
        (
            format!(
                "SELECT {} FROM generate_series(1, 4) n",
                create("jsonb_build_object('Email', CASE n WHEN 4 THEN 'bad' ELSE 'a@b.c' END)")
            ),
            3,
        ),
        // One string of a client is one statement.
        (format!("SELECT {good}; SELECT {good}; SELECT {bad}"), 2),
    ] {
        check(&world.error(&sql), &sql, before);
    }
}

#[test]
fn a_verb_in_a_capture_and_a_capture_in_a_verb_are_counted() {
    let mut world = world();
    world.run(&format!(
        "CREATE TABLE log (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text);
         CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN PERFORM {}; RETURN NULL; END $$;
         CREATE TRIGGER zz AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION tell()",
        create("jsonb_build_object('Email', NEW.email)")
    ));
    // The verb of the row's trigger comes first, then the capture of the statement.
    let error = world.error("INSERT INTO people VALUES (1, 'a@b.c'), (2, 'bad')");
    check(&error, "a trigger of the table", 1);
    let error = world.error("INSERT INTO people VALUES (1, NULL); INSERT INTO people VALUES (2, 'bad')");
    check(&error, "a trigger of the table, later", 2);
}

#[test]
fn a_verb_that_is_cancelled_says_what_was_applied_before() {
    let mut world = world();
    world.sandbox.fault(json!({"delay_ms": 0, "times": 1}));
    world.sandbox.fault(json!({"stall": "reply"}));
    let good = create("'{}'");
    let error = world.cancelled_after(2, &format!("SELECT {good}, {good}"));
    assert_eq!(error.code().code(), "57014");
    assert_eq!(
        context_of(&error).lines().next(),
        Some(
            "create of 1 record in salesforce:contact through server \"sequin\": the request had been sent, whether it was \
             applied is unknown, after 1 record was applied by an earlier request of the statement"
        )
    );
}

/// A reply that cannot be used is one of a create that was applied.
#[test]
fn a_verb_whose_reply_is_lost_counts_for_the_next() {
    let mut world = world();
    let good = create("'{}'");
    let lost = json!({"status": 200, "body": "{\"records\": [?", "apply": false, "times": 1});
    world.sandbox.fault(lost.clone());
    let caught = format!("BEGIN PERFORM {good}; EXCEPTION WHEN fdw_unable_to_create_reply THEN NULL; END");
    check(&world.error(&format!("DO $$ BEGIN {caught}; PERFORM {}; END $$", create(BAD))), "lost", 1);
    world.sandbox.fault(lost);
    let error = world.error(&format!("SELECT {good}"));
    assert_eq!((&detail_of(&error)["applied"], detail_of(&error).get("applied_before")), (&json!("all"), None));
    assert!(!context_of(&error).contains("earlier"), "{error:?}");
}
