//! Errors count the records that the same statement of the client has had applied before, by any trigger.

use postgres::error::DbError;
use serde_json::json;

use super::{book, sent};
use crate::support::{Session, World, context_of, detail_of, hint_of};

/// An address book of three whose names are unique, at an API that refuses a request as a whole.
fn three_people() -> World {
    let mut world = book();
    world.run(
        "ALTER TABLE people ADD UNIQUE (name); ALTER SERVER sequin OPTIONS (ADD atomic_batches 'true');
         INSERT INTO people (name) VALUES ('a'), ('b'), ('c')",
    );
    sent(&world);
    world
}

/// The error has this `kind`: nothing of its own was applied, after `before` records of the statement.
#[track_caller]
fn check(error: &DbError, kind: &str, before: usize) {
    let (detail, context) = (detail_of(error), context_of(error));
    assert_eq!(detail["applied"], "none", "{error:?}");
    assert_eq!(detail["applied_before"].as_u64().unwrap_or_default(), before as u64, "{error:?}");
    assert!(context.starts_with(&format!("{kind} of ")), "{context}");
    let words = match before {
        0 => return assert!(!context.contains("earlier request"), "{context}"),
        1 => "after 1 record was applied by an earlier request of the statement".to_owned(),
        n => format!("after {n} records were applied by earlier requests of the statement"),
    };
    assert!(context.contains(&words), "{context}");
    assert!(hint_of(error).starts_with("Earlier requests of this statement were applied"), "{error:?}");
}

#[test]
fn on_conflict() {
    let mut world = three_people();
    // The update is sent first.
    let conflict = "ON CONFLICT (name) DO UPDATE SET email = excluded.email";
    let error = world.error(&format!(
        "INSERT INTO people (name, email) VALUES ('a', 'a@a.org'), ('b', 'b@a.org'), ('d', 'bad') {conflict}"
    ));
    check(&error, "create", 2);
    let error =
        world.error(&format!("INSERT INTO people (name, email) VALUES ('a', 'bad'), ('d', 'd@a.org') {conflict}"));
    check(&error, "update", 0);
}

#[test]
fn merge() {
    let mut world = three_people();
    world.run(
        "CREATE TABLE news (name text, email text); INSERT INTO news VALUES ('a', ''), ('b', 'b@a.org'), ('z', 'bad')",
    );
    let error = world.error(
        "MERGE INTO people p USING news n ON n.name = p.name WHEN MATCHED AND n.email = '' THEN DELETE
         WHEN MATCHED THEN UPDATE SET email = n.email WHEN NOT MATCHED THEN INSERT (name, email) VALUES (n.name, n.email)",
    );
    // Deletes, creates and updates of one statement are sent in this order.
    check(&error, "create", 1);
    assert_eq!(sent(&world).len(), 2);
}

#[test]
fn a_cascade_to_another_table() {
    let mut world = three_people();
    world.run(
        "CREATE TABLE visit (id int PRIMARY KEY, person bigint REFERENCES people ON DELETE CASCADE, sf_id text);
         SELECT sequin_attach('visit', 'sync', 'salesforce:visit', 'sf_id', delivery => 'inline');
         INSERT INTO visit SELECT id, id FROM people WHERE name < 'c'",
    );
    sent(&world);
    world.sandbox.fault(json!({"delay_ms": 0, "times": 1}));
    world.sandbox.fault(json!({"status": 401, "body": "{}"}));
    let error = world.error("DELETE FROM people");
    // Postgres decides which of the two tables is first.
    let (_, first) = &sent(&world)[0];
    check(&error, "delete", first.as_array().unwrap().len());
}

#[test]
fn statements_within_a_statement() {
    let mut world = three_people();
    // The main statement's triggers fire before those of its WITH.
    let error = world.error(
        "WITH x AS (INSERT INTO people (name, email) VALUES ('x', 'bad')) UPDATE people SET email = 'a@a.org' WHERE name < 'c'",
    );
    check(&error, "create", 2);
    let error = world.error(
        "DO $$ BEGIN
           INSERT INTO people (name) VALUES ('p');
           UPDATE people SET email = name || '@a.org' WHERE name < 'd';
           INSERT INTO people (name, email) VALUES ('q', 'bad');
         END $$",
    );
    check(&error, "create", 4);
    // A rolled back subtransaction does not undo its applied records; failed records do not count.
    let error = world.error(
        "DO $$ BEGIN
           BEGIN INSERT INTO people (name) VALUES ('p'); RAISE 'no'; EXCEPTION WHEN raise_exception THEN END;
           BEGIN INSERT INTO people (name, email) VALUES ('r', 'bad'); EXCEPTION WHEN fdw_invalid_attribute_value THEN END;
           DELETE FROM people WHERE name = 'c';
           INSERT INTO people (name, email) VALUES ('q', 'bad');
         END $$",
    );
    check(&error, "create", 2);
}

#[test]
fn a_reply_that_was_lost_was_applied() {
    let mut world = three_people();
    world.sandbox.fault(json!({"status": 200, "body": "{\"records\":[7", "apply": false, "times": 1}));
    let error = world.error(
        "DO $$ BEGIN
           BEGIN INSERT INTO people (name) VALUES ('p'), ('q'); EXCEPTION WHEN fdw_unable_to_create_reply THEN END;
           INSERT INTO people (name, email) VALUES ('r', 'bad');
         END $$",
    );
    check(&error, "create", 2);
    // Of itself such an error says so already.
    world.sandbox.fault(json!({"status": 200, "body": "{\"records\":[7", "apply": false, "times": 1}));
    let error = world.error("INSERT INTO people (name) VALUES ('p'), ('q')");
    assert_eq!((&detail_of(&error)["applied"], detail_of(&error).get("applied_before")), (&json!("all"), None));
    assert!(!context_of(&error).contains("earlier"), "{error:?}");
}

#[test]
fn an_id_that_was_not_kept() {
    let mut world = three_people();
    world.run("ALTER TABLE people ADD CHECK (name <> 'd' OR sf_id IS NULL)");
    let error = world.error(
        "INSERT INTO people (name, email) VALUES ('a', 'a@a.org'), ('d', NULL), ('e', NULL)
         ON CONFLICT (name) DO UPDATE SET email = excluded.email",
    );
    let detail = detail_of(&error);
    assert_eq!((&detail["applied"], &detail["applied_before"]), (&json!("all"), &json!(1)), "{error:?}");
    assert!(context_of(&error).contains("INSERT on public.people, after 1 record was applied"), "{error:?}");
}

/// Also an error that is found before a request is made, and has no DETAIL or one of its own.
#[test]
fn errors_of_other_kinds() {
    let mut world = three_people();
    world.run(
        "CREATE TABLE log (id int PRIMARY KEY, name text, sf_id text); INSERT INTO log VALUES (1, 'x');
         CREATE SERVER other FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'http://127.0.0.1:1');
         CREATE USER MAPPING FOR PUBLIC SERVER other OPTIONS (token 't');
         SELECT sequin_attach('log', 'sync', 'salesforce:log', 'sf_id', delivery => 'inline', server => 'other')",
    );
    let words = "on public.log, after 2 records were applied by earlier requests of the statement";
    let both = |second: &str| {
        format!("DO $$ BEGIN UPDATE people SET email = name || '@a.org' WHERE name < 'c'; {second}; END $$")
    };
    for (change, sql, code) in [
        ("SELECT", "UPDATE log SET name = 'y'", "55000"),
        ("DROP USER MAPPING FOR PUBLIC SERVER other", "INSERT INTO log VALUES (2)", "42704"),
        ("ALTER TABLE log RENAME sf_id TO their_id", "DELETE FROM log", "42703"),
    ] {
        world.run(change);
        let error = world.error(&both(sql));
        assert_eq!(error.code().code(), code, "{error:?}");
        assert!(context_of(&error).contains(words), "{error:?}");
        if code == "42704" {
            assert_eq!(detail_of(&error)["applied_before"], json!(2));
        }
        world.run("UPDATE people SET email = NULL");
    }
}

/// Changes by the table's own triggers while ids are written are sent afterwards. Their error counts the applied
/// records.
#[test]
fn a_trigger_of_the_table_that_writes_while_ids_are_written() {
    let mut world = three_people();
    world.run(
        "CREATE TABLE log (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, sf_id text);
         SELECT sequin_attach('log', 'sync', 'salesforce:log', 'sf_id', delivery => 'inline');
         CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO log (name) VALUES (NEW.name); RETURN NEW; END';
         CREATE TRIGGER log BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION log()",
    );
    world.sandbox.fault(json!({"delay_ms": 0, "times": 1}));
    world.sandbox.fault(json!({"stall": "reply"}));
    let error = world.cancelled_after(2, "INSERT INTO people (name) VALUES ('d'), ('e')");
    assert_eq!(error.code().code(), "57014", "{error:?}");
    assert_eq!(
        context_of(&error),
        "create of 2 records in salesforce:log through server \"sequin\": the request had been sent, whether it was applied \
         is unknown\nINSERT on public.people, after 2 records were applied by earlier requests of the statement"
    );
    assert_eq!(sent(&world).len(), 2);
}

#[test]
fn a_new_statement_begins_at_zero() {
    let mut world = three_people();
    let bad = "INSERT INTO people (name, email) VALUES ('bad', 'bad')";
    world.run("BEGIN");
    world.run("INSERT INTO people (name) VALUES ('d')");
    check(&world.error(bad), "create", 0);
    world.run("ROLLBACK");
    world.run("DELETE FROM people WHERE name = 'a'");
    check(&world.error(bad), "create", 0);
    // With the extended protocol, too.
    let mut transaction = world.client.transaction().unwrap();
    transaction.execute("UPDATE people SET email = name || '@a.org'", &[]).unwrap();
    let error = transaction.execute(bad, &[]).unwrap_err();
    check(error.as_db_error().unwrap(), "create", 0);
    transaction.rollback().unwrap();
    // Statements that a client sends in one message are one statement, as far as they share a transaction.
    let error = world.error(&format!("UPDATE people SET email = name || '@b.org'; {bad}"));
    check(&error, "create", 2);
    let error = world.error(&format!("BEGIN; DELETE FROM people WHERE name = 'b'; COMMIT; {bad}"));
    check(&error, "create", 0);
    let error = world.error(&format!("DO $$ BEGIN DELETE FROM people WHERE name = 'c'; COMMIT; {bad}; END $$"));
    check(&error, "create", 0);
}
