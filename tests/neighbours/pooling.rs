//! PgBouncer in transaction mode: each transaction may meet another backend, and each backend other clients.
//!
//! Statements go by the simple protocol: PgBouncer before 1.21 has no prepared statements in this mode.

use std::process::{Child, Command, Stdio};

use postgres::Client;
use serde_json::{Value, json};

use crate::bouncer::Bouncer;
use crate::support::network::{assert_known, eventually};
use crate::support::server::shared;
use crate::support::{Session, TARGET, World, context_of, detail, detail_of, hint_of};

/// A create of one contact, whatever `sequin.server` is.
pub const CREATE: &str =
    r#"SELECT (sequin_create('sync', 'salesforce:contact', '{"Name": "Paul"}', server => 'sequin')).upstream_id"#;

/// The first value.
pub fn one(client: &mut Client, sql: &str) -> String {
    client.column(sql).swap_remove(0)
}

#[test]
fn everything_works_through_it() {
    let world = World::new();
    let bouncer = Bouncer::start(shared(), &["postgres"]);
    let mut client = bouncer.connect(world.database.name(), "postgres");

    // At once: the set, and each verb for one record.
    let mutate = format!(
        "SELECT upstream_id FROM sequin_mutate('create', {TARGET}, '[{{\"data\": {{\"n\": 1}}}}, {{\"data\": {{}}}}]')"
    );
    let ids = client.column(&mutate);
    assert_eq!(ids.len(), 2);
    let id = one(&mut client, CREATE);
    let update = format!("SELECT data->>'Name' FROM sequin_update({TARGET}, '{id}', '{{\"Name\": \"Usul\"}}')");
    assert_eq!(one(&mut client, &update), "Usul");
    assert_eq!(one(&mut client, &format!("SELECT deleted FROM sequin_delete({TARGET}, '{id}')")), "t");
    assert_eq!(world.sent(), 4);

    // An attached table, in its statement.
    client.run(&format!(
        "CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text);
             SELECT sequin_attach('people', {TARGET}, 'sf_id', delivery => 'inline')"
    ));
    client.run("INSERT INTO people VALUES (1, 'Chani'), (2, 'Stilgar')");
    assert_eq!(client.column("SELECT sf_id IS NOT NULL FROM people"), ["t", "t"]);
    assert_eq!(world.sent(), 1);

    // After COMMIT. The wait is another transaction than the one that enqueues.
    let enqueue =
        format!("SELECT * FROM sequin_enqueue('create', {TARGET}, '[{{\"data\": {{}}}}, {{\"data\": {{}}}}]')");
    let ids = client.column(&enqueue);
    assert_eq!(one(&mut client, &format!("SELECT sequin_await_delivery('{{{}}}', 60000)", ids.join(","))), "t");
    let outcomes = client.column("SELECT outcome FROM sequin.delivered");
    assert_eq!(outcomes, ["applied", "applied"]);

    // An error has all its fields, and the next call works.
    let error = client.error(&format!("SELECT sequin_create({TARGET}, '{{\"Email\": \"nobody\"}}')"));
    assert_eq!(
        (error.code().code(), error.message()),
        ("HV024", "Error: Salesforce validation error: `Invalid email`")
    );
    assert_eq!(detail_of(&error), detail("rejected", "none", Some(400), json!([]), None));
    assert_eq!(hint_of(&error), "Nothing was applied. Correct the record and send it again.");
    assert_known(context_of(&error), "nothing was applied", "through the pooler");
    world.sandbox.fault(json!({"status": 504}));
    assert_eq!(client.error(CREATE).code().code(), "HV00K");
    assert!(!one(&mut client, CREATE).is_empty());
}

/// psql with a statement in progress. It cancels as libpq does: it waits until the other side has closed. If a client
/// does not wait, PgBouncer 1.18 exits for all clients (pgbouncer/pgbouncer#801). The crate `postgres` does not wait.
struct Psql(Child);

impl Psql {
    fn start(world: &World, bouncer: &Bouncer, sql: &str) -> Psql {
        let mut command = shared().psql_command(world.database.name());
        command.args(["-d", &bouncer.dsn(world.database.name(), "postgres"), "-c", sql]);
        Psql(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Ctrl-C, and psql's output then.
    fn cancel(self) -> String {
        let status = Command::new("/bin/sh").args(["-c", &format!("kill -INT {}", self.0.id())]).status();
        assert!(status.unwrap().success());
        String::from_utf8_lossy(&self.0.wait_with_output().unwrap().stderr).into_owned()
    }
}

#[test]
fn a_cancel_reaches_the_backend_and_says_what_is_known() {
    let world = World::new();
    let bouncer = Bouncer::start(shared(), &["postgres"]);
    let mut other = bouncer.connect(world.database.name(), "postgres");
    let backend = one(&mut other, "SELECT pg_backend_pid()");
    let arrived = || {
        eventually("the request is there", || world.sandbox.log().mutations().iter().any(|request| request.complete))
    };

    world.sandbox.fault(json!({"stall": "reply", "apply": false}));
    let call = Psql::start(&world, &bouncer, CREATE);
    arrived();
    let said = call.cancel();
    assert!(said.contains("ERROR:  canceling statement due to user request\n"), "{said}");
    assert_known(&said, "the request had been sent, whether it was applied is unknown", "cancelled through the pooler");
    // The next client finds this backend in order.
    assert!(!one(&mut other, CREATE).is_empty());
    assert_eq!(one(&mut other, "SELECT pg_backend_pid()"), backend);
    assert_eq!(world.sent(), 2);

    // A wait for the outbox ends in the same way, and the delivery continues.
    world.sandbox.fault(json!({"stall": "reply"}));
    let id = one(&mut other, &format!("SELECT * FROM sequin_enqueue('create', {TARGET}, '{{\"data\": {{}}}}')"));
    arrived();
    let wait = Psql::start(&world, &bouncer, &format!("SELECT sequin_await_delivery('{{{id}}}')"));
    let mut admin = world.database.connect();
    let waits = format!(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {backend} AND state = 'active'
                        AND query LIKE 'SELECT sequin_await_delivery%')"
    );
    eventually("it waits", || admin.column(&waits) == ["t"]);
    let said = wait.cancel();
    assert!(said.ends_with("ERROR:  canceling statement due to user request\n"), "{said}");
    assert_eq!(other.column("SELECT state FROM sequin.outbox"), ["sending"]);
    world.sandbox.clear_faults();
    // The stalled request has ended without an answer.
    assert_eq!(one(&mut other, &format!("SELECT sequin_await_delivery('{{{id}}}', 60000)")), "f");
    assert_eq!(other.column("SELECT state FROM sequin.outbox"), ["unknown"]);
}

/// docs/operations.md, "With PgBouncer".
#[test]
fn a_setting_of_one_client_is_everybodys_unless_it_is_local() {
    let mut world = World::new();
    world.run(&format!(
        "CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text);
         SELECT sequin_attach('people', {TARGET}, 'sf_id', delivery => 'inline')"
    ));
    let bouncer = Bouncer::start(shared(), &["postgres"]);
    let mut sync = bouncer.connect(world.database.name(), "postgres");
    let mut app = bouncer.connect(world.database.name(), "postgres");

    sync.run("BEGIN; SET LOCAL sequin.capture = off; INSERT INTO people VALUES (1, 'from upstream'); COMMIT");
    app.run("INSERT INTO people VALUES (2, 'ours')");
    assert_eq!(world.sent(), 1, "the second alone");

    sync.run("SET sequin.capture = off");
    app.run("INSERT INTO people VALUES (3, 'ours, and not sent')");
    assert_eq!(world.sent(), 0, "the pool has one backend, and it is set");
    sync.run("RESET sequin.capture");

    // PgBouncer does not pass settings that a client makes as it connects.
    let options = format!("{} options='-c sequin.capture=off'", bouncer.dsn(world.database.name(), "postgres"));
    let error = Client::connect(&options, postgres::NoTls).err().map(|error| format!("{error:?}")).unwrap_or_default();
    assert!(error.contains("unsupported startup parameter"), "{error}");
}

#[test]
fn a_reset_between_clients_in_session_mode_does_no_harm() {
    let world = World::new();
    let bouncer = Bouncer::with(shared(), &["postgres"], "pool_mode = session\nserver_reset_query = DISCARD ALL", "");
    let mut backends = Vec::new();
    for _ in 0..3 {
        let mut client = bouncer.connect(world.database.name(), "postgres");
        // A session of the client's own: prepared statements and settings are as they would be without the pooler.
        client.run("SET sequin.server = 'sequin'");
        let create =
            "SELECT (sequin_create('sync', 'salesforce:contact', $1::text::jsonb)).upstream_id, pg_backend_pid()";
        let row = client.query_one(create, &[&r#"{"Name": "Paul"}"#]).unwrap();
        backends.push(row.get::<_, i32>(1));
    }
    backends.dedup();
    assert_eq!(backends.len(), 1, "the same backend, reset in between");
    let log = world.sandbox.log();
    assert_eq!((log.mutations().len(), log.connections), (3, 1), "its connection to the API outlives the reset");
    let sent: Vec<Value> = log.mutations().iter().map(|request| request.json()["records"][0]["data"].clone()).collect();
    assert_eq!(sent, [json!({"Name": "Paul"}), json!({"Name": "Paul"}), json!({"Name": "Paul"})]);
}
