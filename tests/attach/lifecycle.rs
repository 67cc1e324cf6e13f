//! An attachment during dump and restore, ALTER and DROP.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use super::statements::summary;
use super::{book, sent};
use crate::support::server::shared;
use crate::support::{Session, World, hint_of};

#[test]
fn a_dump_restores_the_attachment() {
    let mut world = World::new();
    world.run(
        r#"CREATE SCHEMA "a ""b\'"; CREATE TABLE "a ""b\'"."T 'é\" ("Id" int PRIMARY KEY, "na""me\" text, "s'f" text);
           SELECT sequin_attach('"a ""b\''"."T ''é\"', 'it''s \ "s"', 'salesforce:contact', 's''f', '{"na\"me\\": "N\\\"''é"}', 'inline',
                                await_consumers => NULL, timeout_ms => 5000, server => 'sequin');
           CREATE TABLE p (id int PRIMARY KEY, name text, sf_id text) PARTITION BY LIST (id);
           CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1, 2);
           SELECT sequin_attach('p', 's', 'salesforce:p', 'sf_id', delivery => 'inline', operations => '{insert,delete}')"#,
    );
    world.run(r#"INSERT INTO "a ""b\'"."T 'é\" VALUES (1, 'x'); INSERT INTO p VALUES (1, 'x')"#);
    sent(&world);
    let bindir = &shared().config().bindir;
    let dump = Command::new(bindir.join("pg_dump")).args(["-d", &world.database.dsn()]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let restored = shared().create_database_in(sequin_harness::Encoding::Utf8);
    // Not with -c: a dump holds commands of psql's own.
    let mut psql = shared().psql_command(restored.name());
    let mut psql = psql
        .args(["-v", "ON_ERROR_STOP=1", "-d", &restored.dsn()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    psql.stdin.take().unwrap().write_all(&dump.stdout).unwrap();
    let output = psql.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(sent(&world), [], "a restore sends nothing");
    let view = "SELECT string_agg(to_jsonb(a)::text, ' ' ORDER BY relation::text) FROM sequin.attachments a";
    let mut client = restored.connect();
    assert_eq!(client.one::<String>(view), world.one::<String>(view));
    client.run(r#"UPDATE "a ""b\'"."T 'é\" SET "na""me\" = 'y'; UPDATE p SET name = 'y'; DELETE FROM p; INSERT INTO p_1 VALUES (2, 'z')"#);
    let requests = sent(&world);
    assert_eq!(requests[0].1[0]["data"], json!({"N\\\"'é": "y"}));
    let kinds: Vec<&str> = requests.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["update", "delete", "create"], "the partition is attached, too");
}

#[test]
fn a_renamed_table_stays_attached() {
    let mut world = book();
    world.run("CREATE SCHEMA s; ALTER TABLE people RENAME TO \"Persons\"; ALTER TABLE \"Persons\" SET SCHEMA s");
    world.run(
        "INSERT INTO s.\"Persons\" (name) VALUES ('a'); UPDATE s.\"Persons\" SET name = 'b'; DELETE FROM s.\"Persons\"",
    );
    assert_eq!(summary(&world), "create 1, update 1, delete 1");
    assert_eq!(world.one::<String>("SELECT relation::text FROM sequin.attachments"), "s.\"Persons\"");
    world.run("SELECT sequin_detach('s.\"Persons\"')");
}

#[test]
fn columns_that_are_not_mapped_come_and_go() {
    let mut world = book();
    world.run("INSERT INTO people (name) VALUES ('a')");
    for sql in [
        "ALTER TABLE people RENAME note TO remark",
        "ALTER TABLE people ADD extra int DEFAULT 7",
        "ALTER TABLE people DROP remark",
        "ALTER TABLE people ADD PRIMARY KEY (id, extra)",
    ] {
        world.run("ALTER TABLE people DROP CONSTRAINT IF EXISTS gone");
        if sql.contains("PRIMARY") {
            world.run("ALTER TABLE people DROP CONSTRAINT people_pkey");
        }
        world.run(sql);
        sent(&world);
        world.run("INSERT INTO people (name) VALUES ('b'); UPDATE people SET name = name || '!'; DELETE FROM people WHERE name LIKE 'b%'");
        assert_eq!(summary(&world), "create 1, update 2, delete 1", "{sql}");
    }
}

#[test]
fn without_a_map_the_columns_are_those_of_now() {
    let mut world = World::new();
    world.run("CREATE TABLE t (id int PRIMARY KEY, name text, sf_id text)");
    world.run("SELECT sequin_attach('t', 's', 'salesforce:contact', 'sf_id', delivery => 'inline')");
    world.run("ALTER TABLE t ADD n int; INSERT INTO t VALUES (1, 'a', NULL, 7)");
    assert_eq!(sent(&world), [("create".to_owned(), json!([{"data": {"name": "a", "n": 7}}]))]);
    world.run("ALTER TABLE t RENAME name TO title; ALTER TABLE t DROP n; UPDATE t SET title = 'b'");
    assert_eq!(sent(&world)[0].1[0]["data"], json!({"title": "b"}));
    world.run("ALTER TABLE t DROP title");
    let error = world.error("INSERT INTO t VALUES (2)");
    assert!(error.message().contains("has no column to send"), "{error:?}");
    world.run("ALTER TABLE t ADD n int; ALTER TABLE t DROP CONSTRAINT t_pkey");
    let error = world.error("INSERT INTO t VALUES (2)");
    assert!(error.message().contains("has no primary key"), "{error:?}");
}

#[test]
fn a_mapped_column_that_is_gone_is_named() {
    for (alter, column) in [
        ("RENAME email TO mail", "email"),
        ("DROP email", "email"),
        ("RENAME sf_id TO salesforce_id", "sf_id"),
        ("DROP sf_id", "sf_id"),
    ] {
        let mut world = book();
        world.run("INSERT INTO people (name) VALUES ('a')");
        world.run(&format!("ALTER TABLE people {alter}"));
        sent(&world);
        for sql in ["INSERT INTO people (name) VALUES ('b')", "UPDATE people SET name = 'c'", "DELETE FROM people"] {
            let error = world.error(sql);
            assert_eq!(error.code().code(), "42703", "{alter}: {error:?}");
            assert_eq!(error.message(), format!("column \"{column}\" of public.people does not exist"));
            assert!(hint_of(&error).contains("attach it again"), "{error:?}");
        }
        assert_eq!(sent(&world), []);
        world.run("SELECT sequin_detach('people')");
    }
}

#[test]
fn an_upstream_id_column_that_changes_its_type() {
    let mut world = book();
    world.run("ALTER TABLE people ALTER sf_id TYPE int USING NULL");
    let error = world.error("INSERT INTO people (name) VALUES ('a')");
    assert_eq!(
        (error.message().contains("sf_id"), sent(&world)),
        (true, vec![]),
        "refused before it is sent: {error:?}"
    );
}

#[test]
fn drops() {
    let mut world = book();
    assert_eq!(world.error("DROP EXTENSION sequin_mutations").code().code(), "2BP01");
    world.run("INSERT INTO people (name) VALUES ('a'); CREATE TABLE other (id int PRIMARY KEY, n int, sf_id text)");
    world
        .run("SELECT sequin_attach('other', 's', 'salesforce:other', 'sf_id', delivery => 'inline'); DROP TABLE other");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.attachments"), 1);
    world.run("DROP EXTENSION sequin_mutations CASCADE; INSERT INTO people (name) VALUES ('b'); TRUNCATE people");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'people'::regclass"), 0);
}

#[test]
fn a_server_that_is_gone_fails_the_statement() {
    let mut world = book();
    world.run("DROP SERVER sequin CASCADE");
    let error = world.error("INSERT INTO people (name) VALUES ('a')");
    assert_eq!(error.code().code(), "42704", "{error:?}");
    // A statement that changes nothing sends nothing, so it asks for no server.
    world.run("DELETE FROM people WHERE false");
}

#[test]
fn a_copy_of_the_table_s_definition_is_not_attached() {
    let mut world = book();
    world.run("CREATE TABLE copy (LIKE people INCLUDING ALL); INSERT INTO copy (name) VALUES ('a')");
    assert_eq!(sent(&world), []);
}
