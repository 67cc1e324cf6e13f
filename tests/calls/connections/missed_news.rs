//! A session that misses more catalog changes than Postgres keeps learns only that anything may have changed.

use postgres::Client;
use sequin_harness::{Sandbox, Server, literal};
use serde_json::json;

use super::call;
use crate::support::Session;
use crate::support::network::{Pending, create, eventually};
use crate::support::server::own;

/// More than sinvaladt.c keeps, which is 4096 messages: some forty come of each of these tables.
const FLOOD: &str = "DO $$ BEGIN FOR i IN 1..400 LOOP
    EXECUTE format('CREATE TEMP TABLE flood_%s AS SELECT 1 a, 2 b, 3 c, 4 d, 5 e', i); END LOOP; END $$; DISCARD TEMP";

/// How often a process has learned this.
fn resets(server: &Server) -> usize {
    server.log().lines().filter(|line| line.contains("cache state reset")).count()
}

/// A call during which all this happens.
fn call_during(client: Client, sandbox: &Sandbox, admin: &mut Client, changes: &str) -> Client {
    sandbox.fault(json!({"hold": true}));
    let before = sandbox.log().mutations().len();
    let pending = Pending::start(client, &create("sequin"));
    eventually("the request arrives", || sandbox.log().mutations().len() > before);
    admin.run(changes);
    admin.run(FLOOD);
    sandbox.clear_faults();
    let (client, result) = pending.end("the held call");
    result.unwrap();
    client
}

#[test]
fn a_session_keeps_its_connection_if_nothing_of_its_own_has_changed() {
    let sandbox = Sandbox::builder().arg("--token").arg("second").start().unwrap();
    let other = Sandbox::builder().arg("--token").arg("second").start().unwrap();
    let server = own("");
    let database = server.fresh_database();
    database.create_server(sandbox.url(), sandbox.token());
    let (mut client, mut admin) = (database.connect(), database.connect());
    client.run("SET log_min_messages = debug4");
    call(&mut client);

    client = call_during(client, &sandbox, &mut admin, "");
    call(&mut client);
    assert_eq!(resets(&server), 1);
    let log = sandbox.log();
    assert_eq!((log.mutations().len(), log.connections), (3, 1), "{log:?}");

    // The missed change takes effect all the same.
    let second = "ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token 'second')";
    client = call_during(client, &sandbox, &mut admin, second);
    call(&mut client);
    let log = sandbox.log();
    assert_eq!(log.mutations()[4].headers["authorization"], "Bearer second");
    assert_eq!((log.mutations().len(), log.connections), (5, 2), "{log:?}");
    eventually("the first one is closed", || sandbox.log().open == 1);
    // One that comes to be before the one that was used.
    let own = "CREATE USER MAPPING FOR CURRENT_USER SERVER sequin OPTIONS (token 'sandbox-token')";
    client = call_during(client, &sandbox, &mut admin, own);
    call(&mut client);
    assert_eq!(sandbox.log().mutations()[6].headers["authorization"], "Bearer sandbox-token");
    let elsewhere = format!("ALTER SERVER sequin OPTIONS (SET url {})", literal(other.url()));
    client = call_during(client, &sandbox, &mut admin, &elsewhere);
    call(&mut client);
    assert_eq!((sandbox.log().mutations().len(), other.log().mutations().len()), (8, 1));
    eventually("the second one is closed", || sandbox.log().open == 0);
    let renamed = "ALTER FOREIGN DATA WRAPPER sequin_mutations RENAME TO others";
    client = call_during(client, &other, &mut admin, renamed);
    let error = client.simple_query(&create("sequin")).unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("\"others\""), "{error:?}");
    admin.run("ALTER FOREIGN DATA WRAPPER others RENAME TO sequin_mutations");
    client = call_during(client, &other, &mut admin, "DROP SERVER sequin CASCADE");
    let error = client.simple_query(&create("sequin")).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42704", "{error:?}");
    assert_eq!(resets(&server), 6);
}
