//! Several databases, and commands on a whole database: its worker exits, and comes back if the database still exists.

use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;
use sequin_harness::literal;
use serde_json::json;

use crate::support::network::eventually;
use crate::support::server::{APP, PRELOADED};
use crate::support::{Session, World, enqueue_in};

/// A second database like the first one.
fn second(cluster: &mut World, name: &str) -> Client {
    cluster.run(&format!("CREATE DATABASE {name}"));
    let mut client = cluster.server.connect(name);
    let (url, token) = (literal(cluster.sandbox.url()), literal(cluster.sandbox.token()));
    client.run(&format!(
        "CREATE EXTENSION sequin_mutations;
             CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url {url}, ordered_replies 'true');
             CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token {token})"
    ));
    client
}

fn settled(client: &mut Client) {
    eventually("it is settled", || {
        let open = "SELECT count(*) FROM sequin.outbox WHERE state IN ('pending', 'sending')";
        client.one::<i64>(open) == 0
    });
}

fn workers(client: &mut Client) -> Vec<i32> {
    client.one("SELECT sequin.workers()")
}

fn contact(name: &str) -> serde_json::Value {
    json!([{"data": {"Name": name}}])
}

/// For tests that count workers which give up: autovacuum does so too, in a database that is dropped.
const QUIET: &str = "autovacuum = off";

/// How many lines of the server's log say that a process gave up; those of sessions, which have a user, apart.
fn fatal_lines(cluster: &World) -> usize {
    cluster.server.log().lines().filter(|line| line.contains("FATAL") && !line.contains('@')).count()
}

/// A worker that is started again and again for a database that is gone leaves a line each time; one line for each of
/// `dropped` databases is that of a worker that has looked for it once.
fn assert_no_worker_looks_for_a_database(cluster: &World, dropped: usize) {
    // Postgres would start such a worker every second. Long enough to see three.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        assert!(fatal_lines(cluster) <= dropped, "{}", cluster.server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn each_database_has_its_own_worker_and_its_own_queue() {
    let mut cluster = World::with_own_server("");
    let mut other = second(&mut cluster, "other");
    cluster.enqueue_create("Paul");
    assert!(workers(&mut other).is_empty(), "a worker is no business of another database");
    enqueue_in(&mut other, "create", &contact("Chani"));
    cluster.settled();
    settled(&mut other);
    let (one, two) = (cluster.workers(), workers(&mut other));
    assert_eq!((one.len(), two.len()), (1, 1));
    assert_ne!(one, two);
    assert_eq!(cluster.contacts().len(), 2);
    for client in [&mut cluster.client, &mut other] {
        assert_eq!(client.one::<i64>("SELECT count(*) FROM sequin.delivered"), 1);
    }
}

/// Possible states of a database's queue when it is dropped.
fn queues(client: &mut Client) -> [(&'static str, Vec<&'static str>); 3] {
    settled(client);
    [
        ("idle", vec![]),
        ("paused", vec!["SELECT sequin_pause('sequin')"]),
        ("unreachable", vec!["ALTER SERVER sequin OPTIONS (SET url 'http://127.0.0.1:1')"]),
    ]
}

#[test]
fn a_database_can_be_dropped_while_its_worker_runs_and_none_looks_for_it_afterwards() {
    // Each worker that makes way is looked for once: with one, the lines can be counted.
    let mut cluster = World::with_own_server(QUIET);
    for case in 0..3 {
        let mut other = second(&mut cluster, "other");
        enqueue_in(&mut other, "create", &contact("Paul"));
        let (what, statements) = queues(&mut other)[case].clone();
        for statement in &statements {
            other.run(statement);
        }
        if !statements.is_empty() {
            enqueue_in(&mut other, "create", &contact("Chani"));
            enqueue_in(&mut other, "update", &json!([{"upstream_id": "1", "data": {"n": 1}}]));
        }
        assert_eq!(workers(&mut other).len(), 1, "{what}");
        drop(other);
        let begun = Instant::now();
        // Within the five seconds that Postgres waits for the others to leave.
        cluster.run("DROP DATABASE other");
        eprintln!("DROP DATABASE, {what}: {:?}", begun.elapsed());
    }
    assert_no_worker_looks_for_a_database(&cluster, 3);
    // The other database's worker has not noticed.
    cluster.enqueue_create("Leto");
    cluster.settled();
}

#[test]
fn a_database_can_be_dropped_with_force_while_a_request_is_in_the_air() {
    // Each worker that makes way is looked for once: with one, the lines can be counted.
    let mut cluster = World::with_own_server(QUIET);
    for is_idle in [true, false] {
        let mut other = second(&mut cluster, "other");
        if !is_idle {
            cluster.sandbox.fault(json!({"stall": "reply"}));
        }
        enqueue_in(&mut other, "create", &contact("Paul"));
        if is_idle {
            settled(&mut other);
        } else {
            cluster.in_the_air();
        }
        let begun = Instant::now();
        // Postgres waits five seconds, and the request alone may take three: once a busy machine may be late.
        let drop = "DROP DATABASE other WITH (FORCE)";
        if let Err(error) = cluster.client.batch_execute(drop) {
            assert_eq!(error.code(), Some(&SqlState::OBJECT_IN_USE), "{error:?}");
            cluster.run(drop);
        }
        eprintln!("DROP DATABASE WITH (FORCE), idle {is_idle}: {:?}", begun.elapsed());
    }
    assert_no_worker_looks_for_a_database(&cluster, 2);
    cluster.enqueue_create("Chani");
    cluster.settled();
}

#[test]
fn a_database_that_is_copied_or_renamed_gets_its_worker_back() {
    let mut cluster = World::with_own_server(QUIET);
    let mut client = cluster.server.connect("postgres");
    cluster.enqueue_create("Paul");
    cluster.settled();
    for statement in ["CREATE DATABASE copy TEMPLATE app", "ALTER DATABASE app RENAME TO app2"] {
        cluster.worker();
        // A session of the database, this one too, is in the way.
        let (session, server, sandbox) = cluster.into_parts();
        drop(session);
        eventually("the session has ended", || {
            let sessions =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND backend_type = 'client backend'";
            client.one::<i64>(sessions) == 0
        });
        let begun = Instant::now();
        client.run(statement);
        eprintln!("{statement}: {:?}", begun.elapsed());
        // No session connects to the database until the worker is back.
        let begun = Instant::now();
        let back = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'app%' AND backend_type = 'sequin worker'";
        eventually("the worker is back", || client.one::<i64>(back) > 0);
        eprintln!("the worker was back {:?} later", begun.elapsed());
        if statement.starts_with("ALTER") {
            client.run("ALTER DATABASE app2 RENAME TO app");
        }
        cluster = World::at(&server, APP, sandbox);
        cluster.enqueue_create("Chani");
        cluster.settled();
    }
    assert_eq!(cluster.contacts().len(), 3);
    assert_no_worker_looks_for_a_database(&cluster, 0);
}

#[test]
fn preloaded_databases_with_the_extension_have_a_worker_and_the_others_none() {
    let mut cluster = World::with_own_server(&format!("{QUIET}\n{PRELOADED}"));
    drop(second(&mut cluster, "other"));
    cluster.run("CREATE DATABASE bare");
    cluster.server.stop(sequin_harness::Stop::Fast);
    // Some may have been about to start.
    let stopped = fatal_lines(&cluster);
    cluster.server.restart();
    cluster.connect_again();
    let where_they_are = "SELECT COALESCE(string_agg(datname, ' ' ORDER BY datname), '') FROM pg_stat_activity \
                          WHERE backend_type = 'sequin worker'";
    // And this is final: workers that check for the extension do not come again.
    let (mut since, mut looks) = (Instant::now(), 0);
    eventually("only these two are there, for three seconds", || {
        looks += 1;
        if cluster.one::<String>(where_they_are) != "app other" {
            (since, looks) = (Instant::now(), 0);
        }
        looks > 100 && since.elapsed() > Duration::from_secs(3)
    });
    assert_eq!(fatal_lines(&cluster), stopped, "{}", cluster.server.log());
}
