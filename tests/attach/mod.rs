//! Tables that write through: the requests of each statement, and the ids that come back into the rows.

mod applied_before;
mod attaching;
mod blank_ids;
mod columns;
mod ends;
mod failures;
mod kept_ids;
mod lifecycle;
mod many_rows;
mod moved_rows;
mod nested;
mod owner_rights;
mod partitions;
mod relations;
mod statements;
mod surroundings;
mod types;
mod write_back;

use serde_json::{Value, json};

use crate::support::{Session, World};

/// An address book, attached inline.
const BOOK: &str = "
    CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, email text, note text, sf_id text);
    SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', '{\"name\": \"Name\", \"email\": \"Email\"}',
                         delivery => 'inline')";

/// Kind and records of the requests since the last call.
fn sent(world: &World) -> Vec<(String, Value)> {
    let log = world.sandbox.log();
    world.sandbox.clear_log();
    let body = |request: &sequin_harness::Request| {
        let body = request.json();
        let records = if body["kind"] == "delete" { &body["upstream_ids"] } else { &body["records"] };
        (body["kind"].as_str().unwrap().to_owned(), records.clone())
    };
    log.requests.iter().map(body).collect()
}

fn book() -> World {
    let mut world = World::new();
    world.run(BOOK);
    world
}

#[test]
fn an_insert_creates_and_its_ids_come_back() {
    let mut world = book();
    world.run("INSERT INTO people (name, email) VALUES ('Paul', 'paul@arrakis.org'), ('Chani', NULL)");
    let expected = json!([
        {"data": {"Name": "Paul", "Email": "paul@arrakis.org"}},
        {"data": {"Name": "Chani", "Email": null}},
    ]);
    assert_eq!(sent(&world), [("create".to_owned(), expected)]);
    let rows = world.rows("SELECT name, sf_id FROM people ORDER BY id", &[]);
    let upstream = world.sandbox.records("salesforce:contact");
    for (row, record) in rows.iter().zip(&upstream) {
        assert_eq!(record["upstream_id"], json!(row.get::<_, String>("sf_id")));
        assert_eq!(record["data"]["Name"], json!(row.get::<_, String>("name")));
    }
    assert_eq!((rows.len(), upstream.len()), (2, 2));
}

#[test]
fn an_update_sends_the_fields_that_changed() {
    let mut world = book();
    world.run("INSERT INTO people (name, email, note) VALUES ('Paul', 'p@a.org', 'x'), ('Chani', 'c@a.org', 'y')");
    let ids: Vec<String> =
        world.rows("SELECT sf_id FROM people ORDER BY id", &[]).iter().map(|row| row.get(0)).collect();
    sent(&world);
    world.run("UPDATE people SET note = 'z'");
    world.run("UPDATE people SET name = name, email = email");
    world.run("UPDATE people SET name = 'Usul' WHERE false");
    assert_eq!(sent(&world), []);
    world.run("UPDATE people SET email = NULL, name = name, note = 'w' WHERE name = 'Paul'");
    assert_eq!(sent(&world), [("update".to_owned(), json!([{"upstream_id": ids[0], "data": {"Email": null}}]))]);
    world.run("UPDATE people SET name = 'Usul' || id, email = 'p@a.org'");
    let [(kind, records)] = &sent(&world)[..] else { panic!("not one request") };
    assert_eq!((kind.as_str(), records.as_array().unwrap().len()), ("update", 2));
}

#[test]
fn a_delete_deletes_what_is_upstream() {
    let mut world = book();
    world.run("INSERT INTO people (name) VALUES ('Paul'), ('Chani')");
    world.run("SET sequin.capture = off; INSERT INTO people (name) VALUES ('Local'); SET sequin.capture = on");
    let ids: Vec<String> = world
        .rows("SELECT sf_id FROM people WHERE sf_id IS NOT NULL ORDER BY id", &[])
        .iter()
        .map(|row| row.get(0))
        .collect();
    sent(&world);
    world.run("DELETE FROM people WHERE name = 'Local'");
    assert_eq!(sent(&world), []);
    world.run("DELETE FROM people");
    assert_eq!(sent(&world), [("delete".to_owned(), json!(ids))]);
}

#[test]
fn a_refusal_fails_the_statement_and_leaves_the_rows() {
    let mut world = book();
    let error = world.client.batch_execute("INSERT INTO people (name, email) VALUES ('Feyd', 'nobody')").unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(
        (error.code().code(), error.message()),
        ("HV024", "Error: Salesforce validation error: `Invalid email`")
    );
    let context = error.where_().unwrap();
    assert!(
        context.starts_with("create of 1 record in salesforce:contact through server \"sequin\": nothing was applied"),
        "{context}"
    );
    assert!(context.contains("INSERT on public.people"), "{context}");
    assert_eq!(world.rows("SELECT FROM people", &[]).len(), 0);
}

#[test]
fn an_error_in_a_later_request_says_what_the_earlier_have_applied() {
    let mut world = book();
    world.run("ALTER SERVER sequin OPTIONS (ADD max_batch '2', ADD atomic_batches 'true')");
    let error = world
        .client
        .batch_execute(
            "INSERT INTO people (name, email) SELECT n, CASE n WHEN 4 THEN 'bad' END FROM generate_series(1, 5) n",
        )
        .unwrap_err();
    let error = error.as_db_error().unwrap();
    let detail: Value = serde_json::from_str(error.detail().unwrap()).unwrap();
    assert_eq!((&detail["applied"], &detail["applied_before"]), (&json!("none"), &json!(2)));
    let context = error.where_().unwrap();
    assert!(
        context.contains("INSERT on public.people, after 2 records were applied by earlier requests of the statement"),
        "{context}"
    );
    assert_eq!(sent(&world).len(), 2);
    assert_eq!(world.rows("SELECT FROM people", &[]).len(), 0);
}

#[test]
fn truncate_is_refused_and_detach_ends_it_all() {
    let mut world = book();
    let error = world.client.batch_execute("TRUNCATE people").unwrap_err();
    assert_eq!(error.code().unwrap().code(), "0A000", "{error}");
    world.run("SELECT sequin_detach('people'); TRUNCATE people; INSERT INTO people (name) VALUES ('Paul')");
    assert_eq!(sent(&world), []);
    assert_eq!(world.rows("SELECT FROM sequin.attachments", &[]).len(), 0);
}

#[test]
fn the_view_shows_what_is_attached() {
    let mut world = book();
    let row = &world.rows("SELECT relation::text, a.* FROM sequin.attachments a", &[])[0];
    assert_eq!(row.get::<_, &str>(0), "people");
    assert_eq!(row.get::<_, &str>("sync_id"), "sync");
    assert_eq!(row.get::<_, &str>("collection_id"), "salesforce:contact");
    assert_eq!(row.get::<_, &str>("upstream_id_column"), "sf_id");
    assert_eq!(row.get::<_, &str>("delivery"), "inline");
    assert_eq!(row.get::<_, Vec<String>>("operations"), ["delete", "insert", "update"]);
    assert_eq!(row.get::<_, Option<i32>>("timeout_ms"), None);
}
