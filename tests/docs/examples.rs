//! The examples that users copy, run as they are; then the cases that they claim to handle.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::docs::{psql, read};
use crate::support::network::REFUSING;
use crate::support::{Session, World};

/// Runs an example as a user does, to its end, and returns psql's output.
fn run(world: &World, sql: &str) -> String {
    let (output, ok) = psql(world.database.server().psql_command(world.database.name()), sql);
    assert!(ok, "{output}");
    output
}

/// The requests since the last time, without what all of them have.
fn sent(world: &World) -> Vec<Value> {
    let strip = |body: String| {
        let mut body: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        let fields = body.as_object_mut().unwrap_or_else(|| panic!("not an object"));
        assert_eq!(fields.remove("sync_id"), Some(json!("my-sync-id")));
        assert_eq!(fields.remove("collection_id"), Some(json!("salesforce:contact")));
        body
    };
    world.bodies().into_iter().map(strip).collect()
}

fn consumer(world: &World, delay_ms: u64) {
    world.sandbox.consumer(json!({
        "kind": "postgres", "id": "contacts", "collection_id": "salesforce:contact",
        "dsn": world.database.dsn(), "table": "contacts", "delay_ms": delay_ms,
    }));
}

/// A contact of the sandbox by its e-mail address.
fn contact(world: &World, email: &str) -> Value {
    let contacts = world.sandbox.records("salesforce:contact");
    let mut found = contacts.into_iter().filter(|contact| contact["data"]["Email"] == email);
    found.next().unwrap_or_else(|| panic!("no contact {email}"))
}

#[test]
fn psql_sql() {
    let world = World::new();
    let example = read("examples/psql.sql");
    let output = run(&world, &example);

    let paul = contact(&world, "paul@arrakis.org");
    assert_eq!((&paul["deleted"], &paul["data"]["Title"]), (&json!(true), &json!("Duke")));
    let people = ["chani@tabr.org", "duncan@caladan.org", "gurney@caladan.org"].map(|email| contact(&world, email));
    let ids: Vec<&str> = people.iter().filter_map(|contact| contact["upstream_id"].as_str()).collect();
    let data = |name: &str, email: &str| json!({"data": {"FirstName": name, "Email": email}});
    let title = |id: &str| json!({"upstream_id": id, "data": {"Title": "Warmaster"}});
    let requests = sent(&world);
    assert_eq!(requests.len(), 6, "{requests:?}");
    assert_eq!(
        requests[3..],
        [
            json!({"kind": "create", "records": [data("Chani", "chani@tabr.org"), data("Duncan", "duncan@caladan.org"),
                data("Gurney", "gurney@caladan.org")]}),
            json!({"kind": "update", "records": [title(ids[1]), title(ids[2])]}),
            json!({"kind": "delete", "upstream_ids": ids}),
        ]
    );
    // The write-back put each id beside its own address.
    for (email, first_name, id) in
        [("chani@tabr.org    ", "Chani     ", ids[0]), ("gurney@caladan.org", "Gurney    ", ids[2])]
    {
        let row = format!(" {email} | {first_name} | {id}");
        assert!(output.contains(&row), "no {row:?} in {output}");
    }

    // A query that finds nothing sends nothing.
    run(&world, &example.replace("'%@caladan.org'", "'%@giedi.prime'"));
    let kinds: Vec<Value> = sent(&world).into_iter().map(|request| request["kind"].clone()).collect();
    assert_eq!(kinds, ["create", "update", "delete", "create", "delete"]);
}

#[test]
fn read_your_writes_sql() {
    let mut world = World::new();
    // Slow enough that a call which did not wait would read too early.
    consumer(&world, 150);
    let output = run(&world, &read("examples/read_your_writes.sql"));
    assert!(output.contains(" Paul       | paul@arrakis.org | f"), "{output}");
    assert!(output.contains("NOTICE:  the table says Duke"), "{output}");
    let requests = sent(&world);
    assert_eq!(requests.len(), 2, "{requests:?}");
    for request in &requests {
        assert_eq!(request["await_consumer_ids"], json!(["contacts"]));
        assert_eq!(request["await_consumers_timeout"], 5000);
    }

    // The wait ends too early: the update was made all the same, and the procedure knows it.
    world.sandbox.fault(json!({
        "apply": true, "status": 500, "body": "{\"error\":\"Error: Timed out waiting for consumers: contacts\"}",
    }));
    let id: String = world.one("SELECT upstream_id FROM contacts");
    let output = run(&world, &format!("CALL set_title('{id}', 'Emperor');"));
    let warning = "WARNING:  updated, but not confirmed: Error: Timed out waiting for consumers: contacts";
    assert!(output.contains(warning) && !output.contains("NOTICE"), "{output}");
    assert_eq!(contact(&world, "paul@arrakis.org")["data"]["Title"], "Emperor");
    assert_eq!(world.sent(), 1);
}

#[test]
fn row_trigger_sql() {
    let mut world = World::new();
    let output = run(&world, &read("examples/row_trigger.sql"));
    assert!(output.contains(" Chani | chani@arrakis.org | t"), "{output}");

    let (stilgar, chani) = (contact(&world, "stilgar@tabr.org"), contact(&world, "chani@arrakis.org"));
    let data = |name: &str, email: &str| json!({"LastName": name, "Email": email});
    let expected = [
        json!({"kind": "create", "records": [{"data": data("Stilgar", "stilgar@tabr.org")}]}),
        json!({"kind": "create", "records": [{"data": data("Chani", "chani@tabr.org")}]}),
        json!({"kind": "update",
            "records": [{"upstream_id": chani["upstream_id"], "data": data("Chani", "chani@arrakis.org")}]}),
        json!({"kind": "delete", "upstream_ids": [stilgar["upstream_id"]]}),
    ];
    assert_eq!(sent(&world), expected);
    assert_eq!(stilgar["deleted"], true);
    let id: String = world.one("SELECT contact_id FROM customers");
    assert_eq!(chani["upstream_id"], id);

    // A row that breaks a constraint does not reach the API, foreign keys included.
    world.run("CREATE TABLE regions (id int PRIMARY KEY); ALTER TABLE customers ADD region int REFERENCES regions");
    for (values, code) in [
        ("('Usul', 'chani@arrakis.org', NULL)", "23505"),
        ("('Usul', NULL, NULL)", "23502"),
        ("('Usul', 'usul@tabr.org', 1)", "23503"),
    ] {
        let error = world.error(&format!("INSERT INTO customers (name, email, region) VALUES {values}"));
        assert_eq!((error.code().code(), world.sent()), (code, 0), "{error:?}");
    }

    // A refusal by the API fails the statement. An earlier applied row stays there, as the example warns.
    let error =
        world.error("INSERT INTO customers (name, email) VALUES ('Jessica', 'jessica@caladan.org'), ('Vladimir', '?')");
    assert_eq!(error.code().code(), "HV024", "{error:?}");
    assert_eq!(world.sent(), 2);
    assert_eq!(contact(&world, "jessica@caladan.org")["deleted"], false);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM customers"), 1);

    // An upsert is sent as the kind of change that it becomes.
    world.run(
        "INSERT INTO customers (name, email) VALUES ('Sihaya', 'chani@arrakis.org')
               ON CONFLICT (email) DO UPDATE SET name = excluded.name",
    );
    assert_eq!(
        sent(&world),
        [json!({"kind": "update", "records": [{"upstream_id": id, "data": data("Sihaya", "chani@arrakis.org")}]})]
    );
}

/// The text of docs/reference.md under "Triggers".
#[test]
fn row_trigger_sql_with_a_deferred_trigger() {
    let mut world = World::new();
    let example = read("examples/row_trigger.sql");
    let deferred = example.replace(
        "CREATE TRIGGER to_salesforce_insert AFTER INSERT ON customers\n",
        "CREATE CONSTRAINT TRIGGER to_salesforce_insert AFTER INSERT ON customers DEFERRABLE INITIALLY DEFERRED\n",
    );
    assert_ne!(deferred, example);
    run(&world, &deferred);
    assert_eq!(world.sent(), 4);

    const INSERT: &str = "INSERT INTO customers (name, email) VALUES ('Gurney', 'gurney@caladan.org')";
    world.run(&format!("BEGIN; {INSERT}; ROLLBACK"));
    assert_eq!(world.sent(), 0);
    world.run(&format!("BEGIN; {INSERT}; COMMIT"));
    let id: String = world.one("SELECT contact_id FROM customers WHERE name = 'Gurney'");
    assert_eq!((contact(&world, "gurney@caladan.org")["upstream_id"].clone(), world.sent()), (json!(id), 1));
    world.run("BEGIN; INSERT INTO customers (name, email) VALUES ('Vladimir', '?')");
    assert_eq!(world.error("COMMIT").code().code(), "HV024");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM customers WHERE name = 'Vladimir'"), 0);
}

const STATES: &str = "SELECT coalesce(string_agg(state, ' ' ORDER BY id), '') FROM new_contacts";

/// Runs the procedure, which must make the first contact in line wait for this many seconds.
fn work_and_pause(world: &mut World, seconds: Option<u64>, what: &str) {
    let pauses = "SELECT not_before FROM new_contacts WHERE state = 'waiting' AND not_before > '-infinity' ORDER BY id";
    let before: SystemTime = world.one("SELECT clock_timestamp()");
    world.run("CALL create_contacts()");
    let after: SystemTime = world.one("SELECT clock_timestamp()");
    let until = world.rows(pauses, &[]).first().map(|row| row.get::<_, SystemTime>(0));
    let expected = seconds.map(Duration::from_secs).map(|pause| before + pause..=after + pause);
    let is_as_expected = match (&until, &expected) {
        (Some(until), Some(expected)) => expected.contains(until),
        (None, None) => true,
        _ => false,
    };
    assert!(is_as_expected, "{what}: {until:?} instead of {expected:?}");
}

/// Ends all pauses and runs the procedure; by itself, because several statements at once are a transaction.
fn work_off(world: &mut World) {
    world.run("UPDATE new_contacts SET not_before = '-infinity'");
    world.run("CALL create_contacts()");
}

#[test]
fn outcomes_sql() {
    let mut world = World::new();
    let output = run(&world, &read("examples/outcomes.sql"));
    assert!(output.contains("1 | created  |") && output.contains("2 | rejected | Error: Salesforce"), "{output}");
    assert_eq!(world.sent(), 2);
    let id: String = world.one("SELECT contact_id FROM new_contacts WHERE state = 'created'");
    assert_eq!(contact(&world, "paul@arrakis.org")["upstream_id"], id);

    // Of two contacts the first meets the fault. Where the next would end the same way, it is not even tried.
    let error = |text: &str| json!({"error": text}).to_string();
    let no_records = json!({"status": 200, "body": "{}"});
    let consumers = json!({"status": 500, "body": error("Error: Timed out waiting for consumers: x")});
    for (fault, states, pause, requests) in [
        (json!({"status": 429, "headers": {"retry-after": "7"}}), "waiting waiting", Some(7), 1),
        (json!({"status": 429}), "waiting waiting", Some(60), 1),
        (json!({"status": 400}), "rejected created", None, 2),
        (json!({"status": 401}), "waiting waiting", None, 1),
        (json!({"status": 404}), "waiting waiting", None, 1),
        (json!({"status": 504}), "look created", None, 2),
        (json!({"status": 500}), "look created", None, 2),
        (no_records, "look created", None, 2),
        (consumers, "look created", None, 2),
    ] {
        world.run("TRUNCATE new_contacts; INSERT INTO new_contacts (data) VALUES ('{\"n\": 1}'), ('{\"n\": 2}')");
        world.sandbox.fault(fault.clone());
        work_and_pause(&mut world, pause, &fault.to_string());
        assert_eq!(world.one::<String>(STATES), states, "{fault}");
        assert_eq!(world.sent(), requests, "{fault}");

        // After the failure, waiting records are sent once; those that need a person are not.
        let before = world.contact_count();
        work_off(&mut world);
        assert_eq!(world.one::<String>(STATES), states.replace("waiting", "created"), "{fault}");
        let waiting = states.matches("waiting").count();
        assert_eq!((world.sent(), world.contact_count() - before), (waiting, waiting), "{fault}");
    }

    // Trouble on this side: nothing is sent, nothing is lost.
    let unreachable = format!("ALTER SERVER sequin OPTIONS (SET url 'http://{REFUSING}')");
    let reachable = format!("ALTER SERVER sequin OPTIONS (SET url '{}')", world.sandbox.url());
    for (trouble, pause, cure) in [
        (unreachable.as_str(), Some(60), reachable.as_str()),
        ("SET sequin.server = 'none'", None, "RESET sequin.server"),
        (
            "ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (DROP token, ADD token_file 'none')",
            None,
            "ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (DROP token_file, ADD token 'sandbox-token')",
        ),
    ] {
        world.run("TRUNCATE new_contacts; INSERT INTO new_contacts (data) VALUES ('{}'), ('{}')");
        world.run(trouble);
        work_and_pause(&mut world, pause, trouble);
        assert_eq!(world.one::<String>(STATES), "waiting waiting", "{trouble}");
        assert_eq!(world.sent(), 0, "{trouble}");
        world.run(cure);
        work_off(&mut world);
        assert_eq!((world.one::<String>(STATES), world.sent()), ("created created".into(), 2), "{trouble}");
    }

    // A row that is not a record blocks no other.
    world.run("TRUNCATE new_contacts; INSERT INTO new_contacts (data) VALUES ('[]'), ('{}')");
    world.run("CALL create_contacts()");
    assert_eq!((world.one::<String>(STATES), world.sent()), ("rejected created".into(), 1));

    // A cancel in the middle: the row says for ever that its call was begun.
    world.run("TRUNCATE new_contacts; INSERT INTO new_contacts (data) VALUES ('{}'), ('{}')");
    world.sandbox.fault(json!({"stall": "reply"}));
    assert_eq!(world.cancelled_after(1, "CALL create_contacts()").code().code(), "57014");
    world.sandbox.clear_faults();
    assert_eq!((world.one::<String>(STATES), world.sent()), ("sending waiting".into(), 1));
    world.run("CALL create_contacts()");
    assert_eq!((world.one::<String>(STATES), world.sent()), ("sending created".into(), 1));
}
