//! The examples of attached tables, run as they are; then the cases that they claim to handle.

use serde_json::{Value, json};

use crate::docs::{psql, read};
use crate::support::{Session, World};

/// Runs SQL as a user does, to its end, and returns psql's output.
fn run(world: &World, sql: &str) -> String {
    let (output, ok) = psql(world.database.server().psql_command(world.database.name()), sql);
    assert!(ok, "{output}");
    output
}

/// The requests since the last time: kind, collection, and records or upstream ids.
fn sent(world: &World) -> Vec<(String, String, Value)> {
    let part = |body: String| {
        let mut body: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        assert_eq!(body["sync_id"], "my-sync-id");
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (kind, collection) = (text("kind"), text("collection_id"));
        let records = if kind == "delete" { "upstream_ids" } else { "records" };
        (kind, collection, body[records].take())
    };
    world.bodies().into_iter().map(part).collect()
}

/// The result of [`sent`] for one request.
fn request(kind: &str, collection: &str, records: Value) -> (String, String, Value) {
    (kind.to_owned(), collection.to_owned(), records)
}

#[test]
fn address_book_sql() {
    let mut world = World::new();
    let output = run(&world, &read("examples/address_book.sql"));
    let contacts = world.sandbox.records("salesforce:contact");
    let id = |name: &str| {
        let mut found = contacts.iter().filter(|contact| contact["data"]["LastName"] == name);
        found.next().unwrap_or_else(|| panic!("no contact {name}: {contacts:?}"))["upstream_id"].clone()
    };
    let contact = |name: &str, email: &str| json!({"data": {"LastName": name, "Email": email}});
    let update = |name: &str, data: Value| {
        request("update", "salesforce:contact", json!([{"upstream_id": id(name), "data": data}]))
    };
    let created = json!([
        contact("Paul", "paul@arrakis.org"),
        contact("Chani", "chani@tabr.org"),
        contact("Duncan", "duncan@caladan.org"),
    ]);
    let expected = [
        request("create", "salesforce:contact", created),
        update("Muad'Dib", json!({"LastName": "Muad'Dib"})),
        update("Chani", json!({"Email": null})),
        request("delete", "salesforce:contact", json!([id("Duncan")])),
        request("create", "salesforce:contact", json!([{"data": {"LastName": "Gurney"}}])),
        update("Gurney", json!({"Email": "gurney@caladan.org"})),
    ];
    assert_eq!(sent(&world), expected);
    assert_eq!(world.contact_count(), 3);

    // Each row has its own record's id, and psql showed it.
    let rows = world.rows("SELECT name, contact_id FROM people ORDER BY id", &[]);
    let names: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["Muad'Dib", "Chani", "Gurney"]);
    for row in &rows {
        let (name, contact_id): (&str, &str) = (row.get(0), row.get(1));
        assert_eq!(id(name), contact_id, "{name}");
        assert!(output.contains(contact_id), "{name}: {output}");
    }
    assert!(output.contains(" people   | salesforce:contact | {delete,insert,update} |"), "{output}");

    // As its head says.
    let error = world.error("INSERT INTO people (name, email) VALUES ('Feyd', 'nobody')");
    assert_eq!(error.code().code(), "HV024", "{error:?}");
    assert_eq!((world.one::<i64>("SELECT count(*) FROM people"), world.contact_count()), (3, 3));
}

const BALANCES: &str = "SELECT (SELECT balance FROM stripe_accounts WHERE owner = 'Paul')::text || ' '
    || (SELECT balance FROM salesforce_accounts WHERE owner = 'Chani')::text";

/// Paul's and Chani's balances, here and upstream.
fn balances(world: &mut World) -> (String, String) {
    let upstream = |collection: &str, name: &str, balance: &str| {
        let records = world.sandbox.records(collection);
        assert_eq!(records.len(), 1, "{records:?}");
        assert!(records[0]["data"][name].is_string(), "{records:?}");
        records[0]["data"][balance].to_string()
    };
    let there = [upstream("stripe:customer", "name", "balance"), upstream("salesforce:account", "Name", "Balance__c")];
    (world.one(BALANCES), there.join(" "))
}

#[test]
fn two_tables_sql() {
    let mut world = World::new();
    let output = run(&world, &read("examples/two_tables.sql"));
    assert!(output.contains(" Paul  |      70\n Chani |      40\n"), "{output}");
    assert!(output.contains("WARNING:  not moved, and put right upstream: there is no account of Nobody"), "{output}");
    let requests = sent(&world);
    let order: Vec<(&str, &str)> =
        requests.iter().map(|(kind, collection, _)| (kind.as_str(), collection.as_str())).collect();
    let (stripe, salesforce) = ("stripe:customer", "salesforce:account");
    assert_eq!(
        order,
        [
            ("create", stripe),
            ("create", salesforce),
            ("update", stripe),
            ("update", salesforce),
            ("update", stripe),
            ("update", stripe),
        ]
    );
    assert_eq!(requests[2].2[0]["data"], json!({"balance": 70}));
    assert_eq!(requests[3].2[0]["data"], json!({"Balance__c": 40}));
    assert_eq!(requests[4].2[0]["data"], json!({"balance": 65}));
    assert_eq!(requests[5].2[0]["data"], json!({"balance": 70}));
    let before = ("70 40".to_owned(), "70 40".to_owned());
    assert_eq!(balances(&mut world), before);

    // The API refuses the second, in each way that says so: the first is put right.
    for status in [400, 401, 404, 429] {
        world.sandbox.fault(json!({"match": {"body_contains": "Balance__c"}, "status": status}));
        let output = run(&world, "CALL move(30, 'Paul', 'Chani');");
        assert!(output.contains("WARNING:  not moved, and put right upstream: "), "{status}: {output}");
        assert_eq!(balances(&mut world), before, "{status}");
        assert_eq!(world.sent(), 3, "{status}");
    }

    // It refuses the first, or the table does: the error is the caller's, and nothing was applied.
    world.sandbox.fault(json!({"match": {"body_contains": "stripe:customer"}, "status": 400}));
    assert_eq!(world.error("CALL move(30, 'Paul', 'Chani')").code().code(), "HV024");
    assert_eq!(world.sent(), 1);
    assert_eq!(world.error("CALL move(300, 'Paul', 'Chani')").code().code(), "23514");
    assert_eq!((balances(&mut world), world.sent()), (before, 0));

    // The second is unknown: a person must look, and sees that both were applied.
    world.sandbox.fault(json!({"match": {"body_contains": "Balance__c"}, "apply": true, "status": 504}));
    let output = run(&world, "CALL move(30, 'Paul', 'Chani');");
    assert!(output.contains("look at both accounts upstream") && output.contains("(applied: unknown)"), "{output}");
    assert_eq!(balances(&mut world), ("70 40".to_owned(), "40 70".to_owned()));
    assert_eq!(world.sent(), 2);
}

#[test]
fn read_your_writes_procedure_sql() {
    let mut world = World::new();
    // Slow enough that a call which did not wait would read too early.
    world.sandbox.consumer(json!({
        "kind": "postgres", "id": "contacts", "collection_id": "salesforce:contact",
        "dsn": world.database.dsn(), "table": "contacts", "delay_ms": 150,
    }));
    let output = run(&world, &read("examples/read_your_writes_procedure.sql"));
    assert!(output.contains(" {\"Email\": \"paul@arrakis.org\", \"LastName\": \"Paul\"}"), "{output}");
    assert!(output.contains(" Paul | muaddib@arrakis.org"), "{output}");
    let bodies: Vec<Value> = world.bodies().iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    let id: String = world.one("SELECT contact_id FROM members");
    let expected = [
        ("create", json!([{"data": {"LastName": "Paul", "Email": "paul@arrakis.org"}}])),
        ("update", json!([{"upstream_id": id, "data": {"Email": "muaddib@arrakis.org"}}])),
    ];
    assert_eq!(bodies.len(), expected.len(), "{bodies:?}");
    for (body, (kind, records)) in bodies.iter().zip(&expected) {
        assert_eq!((body["kind"].as_str(), &body["records"]), (Some(*kind), records));
        assert_eq!(
            (&body["await_consumer_ids"], &body["await_consumers_timeout"]),
            (&json!(["contacts"]), &json!(5000))
        );
    }

    // The wait ends too early: the row is not there, the contact is.
    world.sandbox.fault(json!({
        "apply": true, "status": 500, "body": "{\"error\":\"Error: Timed out waiting for consumers: contacts\"}",
    }));
    let error = world.error("CALL join_up('Chani', 'chani@tabr.org')");
    assert_eq!(error.code().code(), "HV00M", "{error:?}");
    assert_eq!((world.one::<i64>("SELECT count(*) FROM members"), world.contact_count()), (1, 2));
}
