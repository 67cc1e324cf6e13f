//! Tables with delivery by the outbox: each row's changes in order, and the upstream id written back.

use serde_json::{Value, json};

use super::BOOK;
use crate::support::{Session, World, request};

pub fn book() -> World {
    let mut world = World::new();
    world.run(BOOK);
    world
}

impl World {
    /// Waits until everything is sent and every upstream id is where it belongs.
    pub fn written_back(&mut self) {
        self.settled();
        self.until("SELECT NOT EXISTS (SELECT FROM sequin.pending_upstream_ids)");
    }

    /// The upstream id of the only row of `people`.
    pub fn sf_id(&mut self) -> Option<String> {
        self.one("SELECT sf_id FROM people")
    }

    /// The upstream ids that the provider has, deleted ones too, in the order of their creation.
    pub fn upstream(&self) -> Vec<String> {
        let records = self.sandbox.records("salesforce:contact");
        records.iter().map(|record| record["upstream_id"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn an_insert_creates_and_the_ids_come_back() {
    let mut world = book();
    world.run("INSERT INTO people SELECT n, 'Fremen ' || n, n || '@a.org' FROM generate_series(1, 25) n");
    world.written_back();
    assert_eq!(world.sent(), 25, "creates travel alone");
    let rows = world.rows("SELECT name, sf_id FROM people ORDER BY id", &[]);
    let upstream = world.sandbox.records("salesforce:contact");
    assert_eq!((rows.len(), upstream.len()), (25, 25));
    for row in rows {
        let record = upstream.iter().find(|record| record["upstream_id"] == row.get::<_, &str>(1)).unwrap();
        assert_eq!(record["data"]["Name"], row.get::<_, &str>(0));
    }
    // The write-back was no change of the user's.
    assert_eq!(world.endings(), vec!["applied"; 25]);
}

#[test]
fn an_update_during_the_create_waits_for_it_and_uses_its_id() {
    let mut world = book();
    world.hold_next();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.arrived(1);
    world.run("UPDATE people SET name = 'Usul'; UPDATE people SET email = 'u@a.org'");
    world.release();
    world.written_back();
    let id = world.sf_id().unwrap();
    let update = json!([{"upstream_id": id, "data": {"Name": "Usul", "Email": "u@a.org"}}]);
    assert_eq!(world.requests()[1..], [request("update", update)]);
    assert_eq!(world.contact(), json!({"Name": "Usul", "Email": "u@a.org"}));
}

#[test]
fn a_delete_during_the_create_deletes_what_it_made() {
    let mut world = book();
    world.hold_next();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.arrived(1);
    world.run("UPDATE people SET name = 'Usul'; DELETE FROM people");
    world.release();
    world.written_back();
    let ids = world.upstream();
    assert_eq!(world.requests()[1..], [request("delete", json!(ids))]);
    assert_eq!(world.contact_count(), 0);
    assert_eq!(world.endings(), ["applied"; 3]);
}

/// The new row has the old one's key and nothing else of it.
#[test]
fn a_row_that_follows_another_under_its_key_does_not_get_its_id() {
    let mut world = book();
    world.hold_next();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.arrived(1);
    world.run("DELETE FROM people; INSERT INTO people VALUES (1, 'Chani'); UPDATE people SET email = 'c@a.org'");
    world.release();
    world.written_back();
    let [old, new] = &world.upstream()[..] else { panic!("not two records") };
    assert_eq!(world.sf_id().as_ref(), Some(new));
    let create = json!([{"data": {"Name": "Chani", "Email": "c@a.org"}}]);
    assert_eq!(world.requests()[1..], [request("delete", json!([old])), request("create", create)]);
    assert_eq!(world.contact(), json!({"Name": "Chani", "Email": "c@a.org"}));
}

#[test]
fn a_delete_and_an_insert_of_one_key_in_one_transaction_are_two_records() {
    let mut world = book();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.written_back();
    let old = world.sf_id().unwrap();
    world.requests();
    world.run(
        "BEGIN; DELETE FROM people; INSERT INTO people VALUES (1, 'Chani'); UPDATE people SET name = 'Sihaya'; COMMIT",
    );
    world.written_back();
    let create = json!([{"data": {"Name": "Sihaya", "Email": null}}]);
    assert_eq!(world.requests(), [request("delete", json!([old])), request("create", create)]);
    assert!(world.sf_id().is_some_and(|new| new != old));
}

#[test]
fn rows_are_found_again_by_keys_of_any_type() {
    let mut world = World::new();
    world.run("CREATE TYPE mood AS ENUM ('glad', 'sad ''\"\\'); CREATE DOMAIN code AS text CHECK (value <> '')");
    let cases = [
        ("text", "'it''s \"odd\" \\ é [1,2] {}'"),
        ("text", "''"),
        ("uuid", "'8c2d8a4e-1e3c-4f6b-9b7a-0d6f6c1f2a3b'"),
        ("date", "'2026-02-28'"),
        ("date", "'infinity'"),
        ("timestamptz", "'2026-02-28 12:00:00.123456+02'"),
        ("numeric", "1.10"),
        ("numeric", "12345678901234567890123.4567890"),
        ("float8", "0.1::float8 + 0.2"),
        ("bigint", "9223372036854775807"),
        ("bytea", "'\\x00ff27'"),
        ("mood", "'sad ''\"\\'"),
        ("code", "' x'"),
        ("\"char\"", "'a'"),
        ("char(5)", "'ab'"),
        ("interval", "'1 month 2 days 03:04:05.6'"),
        ("boolean", "true"),
        ("inet", "'10.0.0.1/8'"),
        ("int[]", "'{1,NULL,3}'"),
        ("int4range", "'[1,5)'"),
        ("jsonb", "'{\"a\": [1.10, null]}'"),
        ("oid", "4294967295"),
    ];
    for (kind, value) in cases {
        world.run(&format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (\"The \"\"Key\" {kind}, part int, v text, sf_id text, PRIMARY KEY (part, \"The \"\"Key\"));
             SELECT sequin_attach('t', 'sync', 'salesforce:contact', 'sf_id');
             INSERT INTO t VALUES ({value}, 7, 'x')"
        ));
        world.written_back();
        let id: Option<String> = world.one("SELECT sf_id FROM t");
        assert!(id.is_some(), "{kind} {value}");
        world.sandbox.clear_log();
        world.run("UPDATE t SET v = 'y'; DELETE FROM t");
        world.settled();
        let (_, last) = world.requests().pop().unwrap();
        assert_eq!(last, json!([id]), "{kind} {value}");
    }
}

#[test]
fn partitions_are_written_where_they_are() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE people (id int, region text, name text, sf_id text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
         CREATE TABLE north PARTITION OF people FOR VALUES IN ('n'); CREATE TABLE rest PARTITION OF people DEFAULT;
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id');
         INSERT INTO people VALUES (1, 'n', 'Paul'), (2, 's', 'Chani'), (3, 'n', 'Leto')",
    );
    world.written_back();
    world.requests();
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM people"), 3);
    let deleted: String = world.one("SELECT sf_id FROM people WHERE id = 2");
    world.run("UPDATE people SET name = 'Usul' WHERE id = 1; DELETE FROM people WHERE id = 2");
    world.settled();
    let mut sent = world.requests();
    sent.sort_by_key(|(kind, _)| kind.clone());
    assert_eq!(sent[0], request("delete", json!([deleted])));
    assert_eq!(sent[1].1[0]["data"], json!({"name": "Usul"}));
}

#[test]
fn what_happens_to_the_table_meanwhile_stops_nothing() {
    let cases = [
        "SELECT sequin_detach('people')",
        "DROP TABLE people",
        "ALTER TABLE people DROP COLUMN sf_id CASCADE",
        "ALTER TABLE people DROP CONSTRAINT people_pkey",
        "ALTER TABLE people RENAME TO folk",
        "ALTER TABLE people ALTER COLUMN id TYPE text",
        "ALTER TABLE people RENAME COLUMN id TO number",
        "ALTER TABLE people RENAME COLUMN name TO called",
        "TRUNCATE people",
    ];
    for sql in cases {
        let mut world = book();
        world.hold_next();
        world.run("INSERT INTO people VALUES (1, 'Paul')");
        world.arrived(1);
        world.run("UPDATE people SET name = 'Usul'");
        match sql {
            "TRUNCATE people" => world.run("SET sequin.capture = off; SELECT sequin_detach('people'); TRUNCATE people"),
            _ => world.run(sql),
        }
        world.release();
        world.written_back();
        let id = world.upstream().remove(0);
        let update = json!([{"upstream_id": id, "data": {"Name": "Usul"}}]);
        assert_eq!(world.requests()[1..], [request("update", update)], "{sql}");
        assert_eq!(world.endings(), ["applied", "applied"], "{sql}");
        if sql.contains("RENAME") {
            let table = if sql.contains("folk") { "folk" } else { "people" };
            assert_eq!(world.one::<Option<String>>(&format!("SELECT sf_id FROM {table}")), Some(id), "{sql}");
        }
    }
}

#[test]
fn what_is_not_captured_or_not_mapped_is_not_sent() {
    let mut world = book();
    world.run("SET sequin.capture = off; INSERT INTO people VALUES (1, 'Synced', NULL, NULL, 'their-id'); SET sequin.capture = on");
    world.run("UPDATE people SET note = 'n', name = name; UPDATE people SET name = 'x' WHERE false");
    world.run("INSERT INTO people VALUES (2, 'Has one', NULL, NULL, 'own-id')");
    assert_eq!(world.fates(), []);
    assert_eq!(world.sent(), 0);
    // A row that came from upstream is updated there.
    world.run("UPDATE people SET name = 'Changed' WHERE id = 1");
    world.settled();
    let update: Value = json!([{"upstream_id": "their-id", "data": {"Name": "Changed"}}]);
    assert_eq!(world.requests(), [request("update", update)]);
}
