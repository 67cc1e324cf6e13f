//! Statements that are neither within another one nor beside it: only its own triggers end a statement.

use serde_json::json;

use super::statements::summary;
use super::{book, sent};
use crate::support::{Session, World};

/// The `Email` of the provider's only record.
fn email(world: &World) -> String {
    world.sandbox.records("salesforce:contact")[0]["data"]["Email"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_quiet_statement_of_a_trigger_does_not_end_the_one_that_it_runs_for() {
    let mut world = book();
    world.run(
        "INSERT INTO people (name) VALUES ('Paul');
         CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql SET sequin.capture = off AS $$
         BEGIN UPDATE people SET note = 'seen' WHERE id = NEW.id; RETURN NULL; END $$;
         CREATE FUNCTION correct() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN UPDATE people SET email = 'b@a.org' WHERE id = NEW.id; RETURN NULL; END $$;
         CREATE TRIGGER a_quiet AFTER UPDATE ON people FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION quiet();
         CREATE TRIGGER b_correct AFTER UPDATE ON people FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION correct();
         UPDATE people SET email = 'a@a.org'",
    );
    assert_eq!(email(&world), "b@a.org");
    assert_eq!(summary(&world), "create 1, update 1");
}

#[test]
fn a_statement_of_a_function_in_the_query_does_not_end_the_query() {
    let mut world = book();
    world.run(
        "CREATE TABLE log (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, seen text, sf_id text);
         SELECT sequin_attach('log', 'sync', 'salesforce:log', 'sf_id', fields => '{\"seen\": \"Seen\"}', delivery => 'inline');
         CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER zz AFTER INSERT ON log FOR EACH STATEMENT EXECUTE FUNCTION nothing();
         CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO log (seen) VALUES ('x'); RETURN 'Paul'; END $$;
         CREATE FUNCTION complete() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN UPDATE people SET email = 'paul@a.org' WHERE id = NEW.id; RETURN NULL; END $$;
         CREATE TRIGGER complete AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION complete();
         INSERT INTO people (name) SELECT f()",
    );
    assert_eq!(email(&world), "paul@a.org");
    assert_eq!(summary(&world), "create 1, create 1");
    assert_eq!(world.one::<i64>("SELECT count(sf_id) FROM log"), 1);
    assert_eq!(world.one::<i64>("SELECT count(sf_id) FROM people"), 1);
}

#[test]
fn a_statement_beside_that_of_a_foreign_key_is_within_it() {
    let mut world = book();
    world.run(
        "CREATE TABLE houses (id int PRIMARY KEY);
         INSERT INTO houses VALUES (1), (7);
         ALTER TABLE people ADD house int REFERENCES houses ON DELETE SET NULL;
         SELECT sequin_detach('people');
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', fields => '{\"house\": \"House\"}', delivery => 'inline');
         INSERT INTO people (name, house) VALUES ('Paul', 1);
         CREATE FUNCTION move_house() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN UPDATE people SET house = 7 WHERE house IS NULL; RETURN NULL; END $$;
         CREATE TRIGGER z_move AFTER DELETE ON houses FOR EACH ROW EXECUTE FUNCTION move_house()",
    );
    sent(&world);
    world.run("DELETE FROM houses WHERE id = 1");
    assert_eq!(world.one::<i32>("SELECT house FROM people"), 7);
    let requests = sent(&world);
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0].1[0]["data"], json!({"House": 7}));
}

#[test]
fn a_trigger_behind_the_write_back_has_the_last_word() {
    let mut world = book();
    // The UPDATE of an id is captured before this trigger fires, and the held changes are being sent.
    world.run(
        "INSERT INTO people (name, email) VALUES ('Chani', 'c@a.org');
         CREATE FUNCTION count_ids() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           IF EXISTS (SELECT FROM people WHERE name = 'Chani' AND email <> (SELECT count(sf_id) FROM people) || '@a.org') THEN
             UPDATE people SET email = (SELECT count(sf_id) FROM people) || '@a.org' WHERE name = 'Chani';
           END IF;
           RETURN NULL;
         END $$;
         CREATE TRIGGER z_count AFTER INSERT OR UPDATE ON people FOR EACH STATEMENT EXECUTE FUNCTION count_ids();
         INSERT INTO people (name) VALUES ('Paul')",
    );
    assert_eq!(world.one::<String>("SELECT email FROM people WHERE name = 'Chani'"), "2@a.org");
    assert_eq!(email(&world), "2@a.org");
}

#[test]
fn a_trigger_finds_what_it_names_as_when_its_statement_ran() {
    let mut world = book();
    let owner = format!("owner_{}", world.database.name());
    world.run(&format!(
        "CREATE ROLE {owner}; GRANT USAGE ON FOREIGN SERVER sequin TO {owner};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {owner}; GRANT EXECUTE ON FUNCTION sequin.capture(), sequin.refuse_truncate() TO {owner};
         CREATE SCHEMA app AUTHORIZATION {owner};
         SET ROLE {owner};
         CREATE TABLE app.audit (at timestamptz DEFAULT now());
         CREATE TABLE app.visits (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, seen int, sf_id text);
         SELECT sequin_attach('app.visits', 'sync', 'salesforce:visit', 'sf_id', delivery => 'inline');
         CREATE FUNCTION app.audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit DEFAULT VALUES; RETURN NULL; END';
         CREATE TRIGGER audit AFTER UPDATE ON app.visits FOR EACH ROW EXECUTE FUNCTION app.audit();
         CREATE FUNCTION app.visit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = app AS $$
         BEGIN INSERT INTO visits (seen) VALUES (1); RETURN NULL; END $$;
         RESET ROLE;
         CREATE TRIGGER visit AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION app.visit();
         INSERT INTO people (name) VALUES ('Paul')"
    ));
    assert_eq!(world.one::<i64>("SELECT count(*) FROM app.audit"), 1);
    assert_eq!(world.one::<i64>("SELECT count(sf_id) FROM app.visits"), 1);
    world.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}

#[test]
fn rows_of_two_tables_in_turn_are_two_requests() {
    let mut world = book();
    world.run(
        "CREATE TABLE a (id int PRIMARY KEY, x int, sf_id text); CREATE TABLE b (id int PRIMARY KEY, x int, sf_id text);
         SELECT sequin_attach('a', 'sync', 'salesforce:a', 'sf_id', delivery => 'inline'), sequin_attach('b', 'sync', 'salesforce:b', 'sf_id', delivery => 'inline');
         CREATE FUNCTION both_of() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO a VALUES (NEW.id, 1); INSERT INTO b VALUES (NEW.id, 2); RETURN NULL; END $$;
         CREATE TRIGGER both_of AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION both_of();
         INSERT INTO people (name) SELECT 'n' || i FROM generate_series(1, 20) i",
    );
    assert_eq!(summary(&world), "create 20, create 20, create 20");
    assert_eq!(world.one::<i64>("SELECT (SELECT count(sf_id) FROM a) + (SELECT count(sf_id) FROM b)"), 40);
}

#[test]
fn a_statement_whose_triggers_never_fire_fails_the_transaction() {
    let mut world = book();
    // As a program does that runs a statement with a limit of rows: it ends before its triggers are due.
    world.run(
        "CREATE FUNCTION early() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM set_config('session_replication_role', 'replica', false); RETURN NULL; END $$;
         CREATE TRIGGER zz_early BEFORE INSERT ON people FOR EACH STATEMENT EXECUTE FUNCTION early()",
    );
    let mut session = world.database.connect();
    let error = session.batch_execute("INSERT INTO people (name) VALUES ('Paul')").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert!(error.message().contains("a statement on public.people has ended without its triggers"), "{error:?}");
    session.run("RESET session_replication_role; BEGIN; INSERT INTO people (name) VALUES ('Paul')");
    let error = session.batch_execute("RESET session_replication_role; UPDATE people SET note = 'x'").unwrap_err();
    assert_eq!(error.code().unwrap().code(), "55000", "{error:?}");
    session.run("ROLLBACK; DROP TRIGGER zz_early ON people; INSERT INTO people (name) VALUES ('Paul')");
    assert_eq!(world.one::<i64>("SELECT count(sf_id) FROM people"), 1);
}

#[test]
fn triggers_that_fire_always_end_as_others_do() {
    let mut world = book();
    world.run(
        "CREATE FUNCTION complete() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN UPDATE people SET email = 'e@a.org' WHERE email IS NULL; RETURN NULL; END $$;
         CREATE TRIGGER z_complete AFTER INSERT ON people FOR EACH STATEMENT EXECUTE FUNCTION complete();
         DO $$ DECLARE t name; BEGIN
           FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'people'::regclass AND NOT tgisinternal LOOP
             EXECUTE format('ALTER TABLE people ENABLE ALWAYS TRIGGER %I', t);
           END LOOP; END $$;
         SET session_replication_role = replica;
         INSERT INTO people (name) VALUES ('Paul')",
    );
    assert_eq!(summary(&world), "create 1");
    assert_eq!(email(&world), "e@a.org");
    assert_eq!(world.one::<i64>("SELECT count(sf_id) FROM people"), 1);
}
