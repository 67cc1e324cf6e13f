//! The requests of each form of statement.

use std::io::Write;

use serde_json::{Value, json};

use super::{book, sent};
use crate::support::{Session, World};

/// Kind and number of records of the requests since the last call.
pub fn counts(world: &World) -> Vec<(String, usize)> {
    sent(world).into_iter().map(|(kind, records)| (kind, records.as_array().unwrap().len())).collect()
}

/// The same as text, as in `create 2, delete 1`.
pub fn summary(world: &World) -> String {
    let counts = counts(world).into_iter().map(|(kind, count)| format!("{kind} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Every row's upstream id is that of a record of the same name, and no other record is there.
fn assert_in_step(world: &mut World) {
    let rows = world.rows("SELECT sf_id, name, email FROM people ORDER BY sf_id", &[]);
    let local: Vec<Value> = rows
        .iter()
        .map(|row| json!([row.get::<_, Option<&str>>(0), row.get::<_, Option<&str>>(1), row.get::<_, Option<&str>>(2)]))
        .collect();
    let mut remote: Vec<Value> = world
        .sandbox
        .records("salesforce:contact")
        .iter()
        .filter(|record| record["deleted"] == false)
        .map(|record| json!([record["upstream_id"], record["data"]["Name"], record["data"]["Email"]]))
        .collect();
    remote.sort_by_key(|record| record[0].as_str().unwrap().to_owned());
    assert_eq!(local, remote);
}

#[test]
fn each_form_of_statement() {
    let mut world = book();
    world.run("ALTER TABLE people ADD UNIQUE (name); CREATE TABLE news (name text PRIMARY KEY, email text)");
    let cases = [
        ("INSERT INTO people (name) SELECT name FROM people WHERE false", ""),
        ("INSERT INTO people (name) VALUES ('a'), ('b'), ('c')", "create 3"),
        ("INSERT INTO people (name) VALUES ('a'), ('d') ON CONFLICT DO NOTHING", "create 1"),
        ("INSERT INTO people (name) VALUES ('a'), ('b') ON CONFLICT DO NOTHING", ""),
        (
            "INSERT INTO people (name, email) VALUES ('a', 'a@a.org'), ('e', 'e@a.org')
             ON CONFLICT (name) DO UPDATE SET email = excluded.email",
            "update 1, create 1",
        ),
        (
            "INSERT INTO people (name, email) VALUES ('a', 'a@a.org') ON CONFLICT (name) DO UPDATE SET email = excluded.email",
            "",
        ),
        ("INSERT INTO news VALUES ('a', 'x@a.org'), ('b', 'b@a.org'), ('z', 'z@a.org')", ""),
        ("UPDATE people p SET email = n.email FROM news n WHERE n.name = p.name", "update 2"),
        ("UPDATE news SET email = 'n' || email", ""),
        (
            "MERGE INTO people p USING news n ON n.name = p.name
             WHEN MATCHED AND n.name = 'a' THEN DELETE
             WHEN MATCHED THEN UPDATE SET email = n.email
             WHEN NOT MATCHED THEN INSERT (name, email) VALUES (n.name, n.email)",
            "create 1, update 1, delete 1",
        ),
        ("DELETE FROM people p USING news n WHERE n.name = p.name", "delete 2"),
        (
            "PREPARE add AS INSERT INTO people (name) VALUES ($1); EXECUTE add('p1'); EXECUTE add('p2')",
            "create 1, create 1",
        ),
        (
            "DO $$ BEGIN FOR i IN 1..3 LOOP UPDATE people SET email = i || '@a.org' WHERE name = 'p1'; END LOOP; END $$",
            "update 1, update 1, update 1",
        ),
    ];
    for (sql, expected) in cases {
        world.run(sql);
        let mut seen: Vec<String> = summary(&world).split(", ").map(str::to_owned).collect();
        let mut expected: Vec<&str> = expected.split(", ").collect();
        // Postgres chooses in which order the triggers of one statement fire.
        seen.sort();
        expected.sort_unstable();
        assert_eq!(seen, expected, "{sql}");
        assert_in_step(&mut world);
    }
}

#[test]
fn copy_creates() {
    let mut world = book();
    let mut copy = world.client.copy_in("COPY people (name, email) FROM STDIN").unwrap();
    copy.write_all(b"Paul\tp@a.org\nChani\t\\N\nO'Neil \"x\"\t\\N\n").unwrap();
    assert_eq!(copy.finish().unwrap(), 3);
    assert_eq!(summary(&world), "create 3");
    assert_in_step(&mut world);
}

#[test]
fn ten_thousand_rows_are_as_few_requests_as_max_batch_allows() {
    let mut world = book();
    world.run("ALTER SERVER sequin OPTIONS (ADD max_batch '3000')");
    world.run("INSERT INTO people (name, email) SELECT 'n' || n, n || '@a.org' FROM generate_series(1, 10000) n");
    assert_eq!(summary(&world), "create 3000, create 3000, create 3000, create 1000");
    assert_in_step(&mut world);
    world.run("UPDATE people SET email = 'x' || email WHERE id <= 6000");
    assert_eq!(summary(&world), "update 3000, update 3000");
    assert_in_step(&mut world);
    world.run("ALTER SERVER sequin OPTIONS (DROP max_batch)");
    world.run("DELETE FROM people WHERE id <= 401");
    assert_eq!(summary(&world), "delete 200, delete 200, delete 1");
    world.run("DELETE FROM people");
    assert_eq!(counts(&world).len(), 48);
    assert_in_step(&mut world);
}

#[test]
fn expressions_that_touch_the_table_twice() {
    let mut world = book();
    world.run(
        "WITH a AS (INSERT INTO people (name) VALUES ('a'), ('b')), b AS (INSERT INTO people (name) VALUES ('c'))
         INSERT INTO people (name) VALUES ('d')",
    );
    let created: usize = counts(&world).iter().map(|(_, count)| count).sum();
    assert_eq!(created, 4);
    assert_in_step(&mut world);
    world.run(
        "WITH u AS (UPDATE people SET email = 'u@a.org' WHERE name = 'a'), d AS (DELETE FROM people WHERE name = 'b'),
              v AS (UPDATE people SET email = 'v@a.org' WHERE name = 'c')
         INSERT INTO people (name) VALUES ('e')",
    );
    let mut seen = counts(&world);
    seen.sort();
    assert_eq!(seen, [("create".to_owned(), 1), ("delete".to_owned(), 1), ("update".to_owned(), 2)]);
    assert_in_step(&mut world);
    // The same row twice in one statement: Postgres does the one or the other, and that is sent.
    world.run("WITH u AS (UPDATE people SET email = 'w@a.org' WHERE name = 'a') UPDATE people SET name = 'aa' WHERE name = 'a'");
    assert_eq!(summary(&world), "update 1");
    assert_in_step(&mut world);
}

#[test]
fn a_row_that_has_its_upstream_id_is_not_created() {
    let mut world = book();
    world.run("INSERT INTO people (name, sf_id) VALUES ('Paul', '003'), ('Chani', '004')");
    assert_eq!(sent(&world), []);
    world.run("INSERT INTO people (name, sf_id) VALUES ('Stilgar', '005'), ('Alia', NULL), ('Leto', '006'), ('Ghanima', NULL)");
    assert_eq!(
        sent(&world),
        [(
            "create".to_owned(),
            json!([{"data": {"Name": "Alia", "Email": null}}, {"data": {"Name": "Ghanima", "Email": null}}])
        )]
    );
    let records = world.sandbox.records("salesforce:contact");
    for (name, record) in ["Alia", "Ghanima"].into_iter().zip(&records) {
        let id: String = world.one_of("SELECT sf_id FROM people WHERE name = $1", &[&name]);
        assert_eq!((json!(id), json!(name)), (record["upstream_id"].clone(), record["data"]["Name"].clone()));
    }
}

#[test]
fn a_row_without_upstream_id_cannot_be_updated() {
    let mut world = book();
    world.run("SET sequin.capture = off; INSERT INTO people (name) VALUES ('Local'); SET sequin.capture = on");
    world.run("UPDATE people SET note = 'not sent'");
    let error = world.error("UPDATE people SET name = 'x'");
    assert_eq!((error.code().code(), error.message()), ("55000", "the row [1] of public.people has no upstream id"));
    assert!(error.hint().unwrap().contains("DELETE and INSERT the row"), "{error:?}");
    assert_eq!(sent(&world), []);
    // One among many that have one: nothing of the statement may be sent.
    world.run("ALTER SERVER sequin OPTIONS (ADD max_batch '2')");
    world.run("INSERT INTO people (name) SELECT 'n' || n FROM generate_series(1, 30) n");
    sent(&world);
    world.run("SET sequin.capture = off; INSERT INTO people (name) VALUES ('Local2'); SET sequin.capture = on");
    let error = world.error("UPDATE people SET name = name || 'x' WHERE name <> 'Local'");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert_eq!(sent(&world), [], "what was wrong with a row was known before anything was sent");
}

#[test]
fn a_change_of_the_primary_key_is_refused() {
    let mut world = World::new();
    world.run("CREATE TABLE t (id int PRIMARY KEY, name text, sf_id text)");
    world.run("SELECT sequin_attach('t', 's', 'salesforce:contact', 'sf_id', delivery => 'inline')");
    world.run("INSERT INTO t SELECT n, 'n' || n FROM generate_series(1, 30) n");
    world.run("ALTER SERVER sequin OPTIONS (ADD max_batch '2')");
    sent(&world);
    for sql in [
        "UPDATE t SET id = 99 WHERE id = 1",
        "UPDATE t SET id = 99, name = 'x' WHERE id = 1",
        // Each new key but one is another row's old one.
        "UPDATE t SET id = id - 1, name = name || 'x'",
        // Of many rows one, and the request of the first would be sent before it is reached.
        "UPDATE t SET id = CASE id WHEN 30 THEN 99 ELSE id END, name = name || 'x'",
    ] {
        let error = world.error(sql);
        assert_eq!(error.code().code(), "55000", "{sql}: {error:?}");
        assert!(error.message().contains("changes the primary key of a row of public.t"), "{sql}: {error:?}");
        assert!(error.hint().is_some(), "{sql}");
        assert_eq!(sent(&world), [], "{sql}");
    }
}

#[test]
fn a_deferrable_primary_key_cannot_tell_rows_apart() {
    let mut world = World::new();
    world.run("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, name text, sf_id text)");
    let error = world.error("SELECT sequin_attach('t', 's', 'salesforce:contact', 'sf_id', delivery => 'inline')");
    assert_eq!((error.code().code(), error.message()), ("55000", "public.t has no primary key"));
    assert!(error.hint().unwrap().contains("DEFERRABLE"), "{error:?}");
}

#[test]
fn a_change_of_the_upstream_id_goes_to_the_new_one() {
    let mut world = book();
    world.run("INSERT INTO people (name) VALUES ('a'), ('b')");
    let ids: Vec<String> =
        world.rows("SELECT sf_id FROM people ORDER BY id", &[]).iter().map(|row| row.get(0)).collect();
    sent(&world);
    world.run("SET sequin.capture = off; UPDATE people SET sf_id = NULL WHERE name = 'b'; SET sequin.capture = on");
    assert_eq!(world.one::<Option<String>>("SELECT sf_id FROM people WHERE name = 'b'"), None);
    world.run(&format!("UPDATE people SET sf_id = '{}' WHERE name = 'a'", ids[1]));
    assert_eq!(sent(&world), []);
    world.run("UPDATE people SET name = 'c' WHERE name = 'a'");
    assert_eq!(sent(&world), [("update".to_owned(), json!([{"upstream_id": ids[1], "data": {"Name": "c"}}]))]);
}
