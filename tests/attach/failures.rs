//! The effect of a failed statement on the rows, and its error's report on the records.

use postgres::error::DbError;
use serde_json::{Value, json};

use super::statements::summary;
use super::{book, sent};
use crate::support::{Session, World, context_of, detail_of, hint_of};

/// An address book of two whose statements fail as the fault says.
fn two_people() -> World {
    let mut world = book();
    world.run("INSERT INTO people (name, email) VALUES ('Paul', 'p@a.org'), ('Chani', 'c@a.org')");
    sent(&world);
    world
}

fn table(world: &mut World) -> String {
    world.one("SELECT string_agg(p::text, ' ' ORDER BY id) FROM people p")
}

const STATEMENTS: [(&str, &str, &str); 3] = [
    ("INSERT", "create", "INSERT INTO people (name) VALUES ('Leto'), ('Alia')"),
    ("UPDATE", "update", "UPDATE people SET name = name || '!'"),
    ("DELETE", "delete", "DELETE FROM people"),
];

fn check(error: &DbError, keyword: &str, kind: &str, code: &str, outcome: &str, applied: &str, words: &str) {
    assert_eq!(error.code().code(), code, "{keyword} {error:?}");
    let detail = detail_of(error);
    assert_eq!((&detail["outcome"], &detail["applied"]), (&json!(outcome), &json!(applied)), "{keyword} {error:?}");
    let context = context_of(error);
    assert!(
        context.starts_with(&format!("{kind} of 2 records in salesforce:contact through server \"sequin\": {words}")),
        "{context}"
    );
    assert!(context.contains(&format!("{keyword} on public.people")), "{context}");
    assert!(!hint_of(error).is_empty());
}

#[test]
fn every_failure_tells_what_has_happened_and_leaves_the_rows() {
    let unknown = "whether it was applied is unknown";
    let cases = [
        (json!({"status": 400, "body": "{\"error\":\"no\"}"}), "HV024", "rejected", "unknown", unknown),
        (json!({"status": 401, "body": "{\"error\":\"no\"}"}), "28000", "refused", "none", "nothing was applied"),
        (json!({"status": 404, "body": "{\"error\":\"no\"}"}), "HV00R", "refused", "none", "nothing was applied"),
        (json!({"status": 429, "body": "{\"error\":\"no\"}"}), "53400", "", "none", "nothing was applied"),
        (json!({"status": 504, "body": "{\"error\":\"no\"}"}), "HV00K", "unknown", "unknown", unknown),
        (json!({"cut_after": 0}), "HV00K", "unknown", "unknown", unknown),
        (
            json!({"status": 200, "body": "{\"records\":[7", "apply": false}),
            "HV00M",
            "applied_reply_lost",
            "all",
            "it was applied",
        ),
        (json!({"status": 200, "body": "<html>", "apply": false}), "HV00K", "unknown", "unknown", unknown),
        (json!({"status": 200, "body": "{\"records\":[]}", "apply": false}), "HV00K", "unknown", "unknown", unknown),
        (
            json!({"status": 200, "body": format!("{{\"records\":[{}", " ".repeat(900)), "cut_after": 500}),
            "HV00M",
            "applied_reply_lost",
            "all",
            "it was applied",
        ),
    ];
    for (fault, code, outcome, applied, words) in cases {
        for (keyword, kind, sql) in STATEMENTS {
            let mut world = two_people();
            let before = table(&mut world);
            world.sandbox.fault(fault.clone());
            let error = world.error(sql);
            let found = detail_of(&error)["outcome"].as_str().unwrap().to_owned();
            check(&error, keyword, kind, code, if outcome.is_empty() { &found } else { outcome }, applied, words);
            assert_eq!(table(&mut world), before, "{fault} {sql}");
        }
    }
}

#[test]
fn a_reply_to_a_create_that_does_not_name_each_record_once() {
    let mut world = book();
    let insert = "INSERT INTO people (name, email) VALUES ('a', NULL), ('b', 'x@a.org')";
    for records in [
        json!([{"upstream_id": "1", "data": {}}, {"data": {}}]),
        json!([{"upstream_id": "1", "data": {}}, {"upstream_id": null, "data": {}}]),
        json!([{"upstream_id": "1", "data": {}}, {"upstream_id": "2", "data": {}}, {"upstream_id": "3", "data": {}}]),
        // The first one's data at the second place, and at the first something else.
        json!([{"upstream_id": "1", "data": {"Name": "q"}}, {"upstream_id": "2", "data": {"Name": "a", "Email": null}}]),
        json!([{"upstream_id": "1", "data": {}}, 7]),
        // One id for two rows.
        json!([{"upstream_id": "1", "data": {}}, {"upstream_id": "1", "data": {}}]),
        json!([{"upstream_id": "", "data": {}}, {"upstream_id": "2", "data": {}}]),
        json!([{"upstream_id": "a\u{0}b", "data": {}}, {"upstream_id": "2", "data": {}}]),
    ] {
        let body = json!({"summary": {}, "records": records}).to_string();
        let original = world.sandbox.records("salesforce:contact").len();
        world.sandbox.fault(json!({"status": 200, "body": body, "apply": false}));
        match world.client.batch_execute(insert) {
            Ok(()) => {
                let ids: Vec<Option<String>> =
                    world.rows("SELECT sf_id FROM people", &[]).iter().map(|row| row.get(0)).collect();
                world.run("SET sequin.capture = off; DELETE FROM people; SET sequin.capture = on");
                panic!("taken with {ids:?}: {records}");
            }
            Err(error) => {
                let error = error.as_db_error().unwrap();
                check(error, "INSERT", "create", "HV00M", "applied_reply_lost", "all", "it was applied");
            }
        }
        assert_eq!(world.rows("SELECT FROM people", &[]).len(), 0);
        assert_eq!(world.sandbox.records("salesforce:contact").len(), original);
    }
}

#[test]
fn several_requests_of_one_statement() {
    for (keyword, sql) in [
        ("INSERT", "INSERT INTO people (name) SELECT 'n' || n FROM generate_series(1, 5) n"),
        ("UPDATE", "UPDATE people SET name = name || '!'"),
        ("DELETE", "DELETE FROM people"),
    ] {
        for (fault, code, applied) in
            [(json!({"status": 401, "body": "{}"}), "28000", "none"), (json!({"cut_after": 0}), "HV00K", "unknown")]
        {
            let mut world = book();
            world.run("INSERT INTO people (name) SELECT 'p' || n FROM generate_series(1, 5) n");
            world.run("ALTER SERVER sequin OPTIONS (ADD max_batch '2')");
            sent(&world);
            let before = table(&mut world);
            world.sandbox.fault(json!({"delay_ms": 0, "times": 2}));
            world.sandbox.fault(fault);
            let error = world.error(sql);
            let detail = detail_of(&error);
            assert_eq!(
                (error.code().code(), &detail["applied"], &detail["applied_before"]),
                (code, &json!(applied), &json!(4)),
                "{sql} {error:?}"
            );
            let words = format!(
                "{keyword} on public.people, after 4 records were applied by earlier requests of the statement"
            );
            assert!(context_of(&error).contains(&words), "{error:?}");
            assert_eq!(sent(&world).len(), 3, "{sql}");
            assert_eq!(table(&mut world), before);
        }
    }
}

#[test]
fn a_cancel_and_a_timeout_say_what_is_known() {
    let mut world = two_people();
    let before = table(&mut world);
    world.sandbox.fault(json!({"stall": "reply", "times": null}));
    for (keyword, kind, sql) in STATEMENTS {
        let error = world.cancelled_after(1, sql);
        assert_eq!(error.code().code(), "57014", "{error:?}");
        let context = context_of(&error);
        assert!(context.starts_with(&format!("{kind} of 2 records")), "{context}");
        assert!(context.contains("whether it was applied is unknown"), "{context}");
        assert!(context.contains(&format!("{keyword} on public.people")), "{context}");
        assert_eq!(table(&mut world), before);
        world.sandbox.clear_log();
    }
    // Long enough for the request to be sent.
    world.run("ALTER SERVER sequin OPTIONS (ADD request_timeout_ms '3000')");
    for (keyword, kind, sql) in STATEMENTS {
        let error = world.error(sql);
        check(&error, keyword, kind, "HV00K", "unknown", "unknown", "whether it was applied is unknown");
        assert_eq!(table(&mut world), before);
    }
}

#[test]
fn a_caught_failure_leaves_the_session_whole() {
    let mut world = two_people();
    world.run(
        "CREATE FUNCTION try(sql text) RETURNS text LANGUAGE plpgsql AS $$
         BEGIN EXECUTE sql; RETURN 'done'; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$",
    );
    for _ in 0..50 {
        let state: String = world.one("SELECT try($$INSERT INTO people (name, email) VALUES ('x', 'bad')$$)");
        assert_eq!(state, "HV024");
    }
    world.run("BEGIN; SAVEPOINT s");
    assert_eq!(world.error("UPDATE people SET email = 'bad'").code().code(), "HV024");
    world.run("ROLLBACK TO s; UPDATE people SET name = 'Usul' WHERE name = 'Paul'; COMMIT");
    assert_eq!(world.one::<String>("SELECT try('DELETE FROM people')"), "done");
    assert_eq!(world.contact_count(), 0);
    // An error of something else does not speak of a mutation.
    assert_eq!(context_of(&world.error("SELECT 1 / 0")), "");
}

#[test]
fn a_capture_that_is_off_sends_nothing() {
    let mut world = two_people();
    let role = format!("sync_{}", world.database.name());
    world.run(&format!(
        "CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET sequin.capture = off; GRANT ALL ON people TO {role}"
    ));
    let writes = "INSERT INTO people (name) VALUES ('x'); UPDATE people SET email = 'y@a.org'; DELETE FROM people WHERE name = 'x'";
    // Without a right to the server, and in a session that has not loaded the library.
    world.database.connect_as(&role).run(writes);
    world.run(&format!(
        "SET session_replication_role = replica; {writes}; TRUNCATE people; SET session_replication_role = origin"
    ));
    world.run(&format!("SET sequin.capture = off; {writes}; TRUNCATE people"));
    assert_eq!(sent(&world), []);
    world.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_hostile_search_path_changes_nothing() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE t (id int PRIMARY KEY, name text, n numeric, j json, at timestamptz, v varchar(9), a int[], sf_id text);
         CREATE SCHEMA evil;
         CREATE FUNCTION evil.no(anyelement, anyelement) RETURNS boolean LANGUAGE sql AS 'SELECT false';
         CREATE OPERATOR evil.= (FUNCTION = evil.no, LEFTARG = anyelement, RIGHTARG = anyelement);
         CREATE OPERATOR evil.<> (FUNCTION = evil.no, LEFTARG = anyelement, RIGHTARG = anyelement);
         CREATE FUNCTION evil.text_no(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT 1 / 0 = 1';
         CREATE OPERATOR evil.= (FUNCTION = evil.text_no, LEFTARG = text, RIGHTARG = text);
         CREATE FUNCTION evil.cat(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT '{\"evil\":1}'::jsonb$$;
         CREATE OPERATOR evil.|| (FUNCTION = evil.cat, LEFTARG = jsonb, RIGHTARG = jsonb);
         CREATE FUNCTION evil.jsonb_build_object(VARIADIC \"any\") RETURNS jsonb LANGUAGE internal AS 'jsonb_build_object_noargs';
         CREATE FUNCTION evil.quote_ident(name) RETURNS text LANGUAGE sql AS $$SELECT 'evil'$$;
         CREATE FUNCTION evil.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS $$SELECT 'evil'$$;
         CREATE DOMAIN evil.text AS pg_catalog.text CHECK (value = 'evil'); CREATE DOMAIN evil.jsonb AS pg_catalog.jsonb;
         CREATE TYPE evil.oid AS ENUM (); CREATE TYPE evil.name AS ENUM ();
         CREATE TABLE evil.sequin_new (id int, evil int); CREATE TABLE evil.sequin_old (id int, evil int);
         CREATE TABLE evil.pg_trigger (evil int); CREATE TABLE evil.t (evil int);
         SET search_path = evil, pg_catalog, public",
    );
    world.run("SELECT sequin_attach('public.t', 's', 'salesforce:contact', 'sf_id', delivery => 'inline')");
    assert_eq!(world.rows("SELECT FROM sequin.attachments", &[]).len(), 1);
    world.run("INSERT INTO public.t VALUES (1, 'x', 1.10, '{}', '2020-01-01', 'v', '{1}'), (2, 'y', NULL, NULL, NULL, NULL, NULL)");
    world.run("UPDATE public.t SET name = name || '!', v = 'v', n = 1.1");
    let seen: Value =
        json!(sent(&world)[1].1.as_array().unwrap().iter().map(|r| r["data"].clone()).collect::<Vec<_>>());
    assert_eq!(seen, json!([{"name": "x!", "n": 1.1}, {"name": "y!", "v": "v", "n": 1.1}]));
    world.run("DELETE FROM public.t WHERE sf_id IS NOT NULL");
    assert_eq!(summary(&world), "delete 2");
    world.run("SELECT sequin_detach('public.t')");
}
