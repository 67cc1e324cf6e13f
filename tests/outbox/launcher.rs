//! The launcher: many databases on few background workers, databases that go, and workers that fail.

use std::fs;
use std::path::{Path, PathBuf};

use postgres::Client;
use sequin_harness::{SUPERUSER, Sandbox, Server, literal};
use serde_json::json;

use crate::support::network::eventually;
use crate::support::server::{APP, PRELOADED, own};
use crate::support::{Session, World, enqueue_in};

/// The databases of the test with many.
const DATABASES: usize = 40;

/// A database from which others are made: with the extension and a server object, and without a queue.
fn template(server: &Server, sandbox: &Sandbox) {
    let mut admin = server.connect("postgres");
    admin.run("CREATE DATABASE pattern");
    let (url, token) = (literal(sandbox.url()), literal(sandbox.token()));
    server.connect("pattern").run(&format!(
        "CREATE EXTENSION sequin_mutations;
         CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url {url}, ordered_replies 'true');
         CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token {token})"
    ));
    admin.run("ALTER DATABASE pattern IS_TEMPLATE true");
}

fn enqueue(client: &mut Client, count: usize) {
    let records: Vec<_> = (0..count).map(|n| json!({"data": {"n": n}})).collect();
    enqueue_in(client, "create", &json!(records));
}

/// All databases have work at once, and keep their worker for a minute when it is done, unless another one waits.
fn many_databases_share_few_workers(conf: &str) {
    let server = own(&format!("max_worker_processes = 8\nautovacuum = off\n{conf}"));
    let sandbox = Sandbox::start();
    template(&server, &sandbox);
    let mut admin = server.connect("postgres");
    for n in 0..DATABASES {
        admin.run(&format!("CREATE DATABASE many{n} TEMPLATE pattern STRATEGY wal_log"));
    }
    let begun = std::time::Instant::now();
    for n in 0..DATABASES {
        enqueue(&mut server.connect(&format!("many{n}")), 3);
    }
    eventually("all databases have delivered", || sandbox.log().mutations().len() == 3 * DATABASES);
    eprintln!("{DATABASES} databases delivered within {:?} after the first commit", begun.elapsed());
    // And again, though the workers of others are there.
    for n in 0..DATABASES {
        enqueue(&mut server.connect(&format!("many{n}")), 1);
    }
    eventually("all have delivered again", || sandbox.log().mutations().len() == 4 * DATABASES);
    for n in 0..DATABASES {
        let mut client = server.connect(&format!("many{n}"));
        eventually("it is settled", || client.one::<i64>("SELECT count(*) FROM sequin.delivered") == 4);
    }
}

#[test]
fn many_databases_deliver_with_few_background_workers() {
    many_databases_share_few_workers("");
}

#[test]
fn preloaded_many_databases_deliver_with_few_background_workers() {
    many_databases_share_few_workers(PRELOADED);
}

/// A busy database does not keep its place for ever: with one place, two databases take turns.
#[test]
fn a_database_that_always_has_work_gives_its_place_to_others() {
    // One for the launcher, one for a worker, one for logical replication.
    let server = own("max_worker_processes = 3");
    let sandbox = Sandbox::start();
    template(&server, &sandbox);
    let mut admin = server.connect("postgres");
    admin.run("CREATE DATABASE busy TEMPLATE pattern");
    admin.run("CREATE DATABASE other TEMPLATE pattern");
    let mut busy = server.connect("busy");
    busy.run("ALTER SERVER sequin OPTIONS (ADD max_in_flight '1')");
    sandbox.fault(json!({"times": null, "delay_ms": 50}));
    enqueue(&mut busy, 400);
    eventually("it has a worker", || !sandbox.log().mutations().is_empty());
    let mut other = server.connect("other");
    enqueue(&mut other, 1);
    eventually("the other has delivered", || other.one::<i64>("SELECT count(*) FROM sequin.delivered") == 1);
    let open: i64 = busy.one("SELECT count(*) FROM sequin.outbox");
    assert!(open > 0, "the busy database was not busy for long enough");
    eventually("the busy one goes on", || busy.one::<i64>("SELECT count(*) FROM sequin.outbox") < open);
    sandbox.clear_faults();
    eventually("and ends", || busy.one::<i64>("SELECT count(*) FROM sequin.outbox") == 0);
    assert_eq!(sandbox.log().mutations().len(), 401, "no create was repeated");
}

/// How often the log has these words.
fn lines(server: &Server, words: &str) -> usize {
    server.log().lines().filter(|line| line.contains(words)).count()
}

#[test]
fn databases_that_are_dropped_during_deliveries_leave_no_worker() {
    let rounds = std::env::var("SEQUIN_SOAK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(6);
    let server = own("max_worker_processes = 8\nautovacuum = off");
    let sandbox = Sandbox::start();
    template(&server, &sandbox);
    let mut admin = server.connect("postgres");
    sandbox.fault(json!({"times": null, "delay_ms": 20}));
    for round in 0..rounds {
        admin.run("CREATE DATABASE gone TEMPLATE pattern");
        sandbox.clear_log();
        let mut client = server.connect("gone");
        enqueue(&mut client, 500);
        eventually("it delivers", || sandbox.log().mutations().len() > round % 5);
        drop(client);
        let force = if round % 2 == 0 { "" } else { " WITH (FORCE)" };
        // Postgres waits five seconds for sessions and workers. On a busy machine they may be late.
        eventually("it is dropped", || admin.batch_execute(&format!("DROP DATABASE gone{force}")).is_ok());
    }
    let workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'sequin worker'";
    eventually("no worker is left", || admin.one::<i64>(workers) == 0);
    // A worker that Postgres restarted would look for its database each second, and say so.
    let missing = lines(&server, "FATAL:  database");
    assert!(missing <= rounds, "{}", server.log());
    sandbox.clear_faults();
    sandbox.clear_log();
    admin.run("CREATE DATABASE next TEMPLATE pattern");
    enqueue(&mut server.connect("next"), 1);
    eventually("the next database delivers", || sandbox.log().mutations().len() == 1);
    assert_eq!(lines(&server, "FATAL:  database"), missing, "{}", server.log());
    assert_eq!(lines(&server, "was terminated by signal"), 0, "{}", server.log());
}

/// Settings that are made for the sessions of a database or a role, and would break a worker that obeyed them.
fn settings() -> Vec<(String, String)> {
    let of_database = [
        "role = 'nobody_much'",
        "session_authorization = 'nobody_much'",
        "session_replication_role = 'replica'",
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "statement_timeout = 1",
        "lock_timeout = 1",
        "idle_in_transaction_session_timeout = 1",
        "search_path = 'nowhere'",
        "row_security = off",
        "default_table_access_method = 'missing'",
        "default_tablespace = 'missing'",
        "temp_tablespaces = 'missing'",
        "session_preload_libraries = 'missing'",
        "local_preload_libraries = 'missing'",
        "backslash_quote = 'off'",
        "quote_all_identifiers = on",
        "standard_conforming_strings = off",
        "extra_float_digits = -15",
        "datestyle = 'SQL, DMY'",
        "timezone = 'Asia/Tokyo'",
        "bytea_output = 'escape'",
        "array_nulls = off",
        "zero_damaged_pages = on",
        "ignore_checksum_failure = on",
        "work_mem = 64",
        "temp_buffers = 100",
        "temp_file_limit = 0",
        "max_stack_depth = 100",
        "allow_system_table_mods = on",
        "application_name = 'an application'",
    ];
    let mut statements: Vec<(String, String)> = Vec::new();
    for owner in ["DATABASE app".to_owned(), format!("ROLE {SUPERUSER}"), format!("ROLE {SUPERUSER} IN DATABASE app")] {
        for setting in of_database {
            statements.push((format!("ALTER {owner} SET {setting}"), format!("ALTER {owner} RESET ALL")));
        }
    }
    statements.push(("ALTER DATABASE app CONNECTION LIMIT 0".into(), "ALTER DATABASE app CONNECTION LIMIT -1".into()));
    statements.push((
        format!("ALTER ROLE {SUPERUSER} CONNECTION LIMIT 0"),
        format!("ALTER ROLE {SUPERUSER} CONNECTION LIMIT -1"),
    ));
    statements
}

#[test]
fn settings_of_a_database_or_a_role_do_not_reach_the_worker() {
    let mut cluster = World::with_own_server("");
    // Each delivery writes back, so that statements on a user's table run too.
    cluster.run(
        "CREATE ROLE nobody_much;
         CREATE TABLE people (id int PRIMARY KEY, \"Name\" text, sf_id text);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id')",
    );
    let delivers = |cluster: &mut World, what: &str| {
        // The next processes connect with the setting.
        cluster.run(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity \
             WHERE backend_type IN ('sequin worker', 'sequin write-back')",
        );
        let row: i32 = cluster.one("SELECT COALESCE(max(id), 0) + 1 FROM people");
        cluster.run(&format!("INSERT INTO people VALUES ({row}, 'Paul')"));
        let is_written = format!("SELECT sf_id IS NOT NULL FROM people WHERE id = {row}");
        eventually(what, || cluster.one::<bool>(&is_written));
    };
    let mut are_set = 0;
    let one_by_one = settings().into_iter().filter(|(set, _)| set.starts_with("ALTER DATABASE"));
    for (set, reset) in one_by_one {
        if cluster.client.batch_execute(&set).is_err() {
            // Some cannot be set for a role, or not in this version.
            continue;
        }
        delivers(&mut cluster, &set);
        cluster.run(&reset);
        are_set += 1;
    }
    assert!(are_set >= 25, "only {are_set} could be set");
    // All at once.
    for (set, _) in settings() {
        let _ = cluster.client.batch_execute(&set);
    }
    delivers(&mut cluster, "all settings at once");
    assert_eq!(lines(&cluster.server, "has ended by an error"), 0, "{}", cluster.server.log());
}

/// The directory of the database's files.
fn files_of(cluster: &mut World) -> PathBuf {
    let (data, oid): (String, i64) = (
        cluster.one("SHOW data_directory"),
        cluster.one("SELECT oid::bigint FROM pg_database WHERE datname = current_database()"),
    );
    Path::new(&data).join("base").join(oid.to_string())
}

/// No process can connect to the database, and a worker ends before it runs any code of the extension.
#[test]
fn a_worker_that_keeps_failing_is_started_less_and_less_and_no_commit_hastens_it() {
    let mut cluster = World::with_own_server("sequin.worker_idle_timeout = 0");
    let version = files_of(&mut cluster).join("PG_VERSION");
    let aside = version.with_extension("aside");
    fs::rename(&version, &aside).unwrap();
    cluster.enqueue_create("Paul");
    eventually("three workers have failed", || lines(&cluster.server, "has ended by an error") >= 3);
    let before = lines(&cluster.server, "has ended by an error");
    for _ in 0..100 {
        cluster.enqueue_create("Chani");
    }
    let after = lines(&cluster.server, "has ended by an error");
    assert!(after <= before + 1, "{after} after {before}: {}", cluster.server.log());
    assert_eq!(cluster.workers(), [] as [i32; 0]);
    fs::rename(&aside, &version).unwrap();
    // A person who has removed the cause need not wait.
    cluster.run("SELECT sequin_resume('sequin')");
    cluster.settled();
    assert_eq!(cluster.contacts().len(), 101);
}

#[test]
fn a_database_that_accepts_no_connections_delivers_when_it_does_again() {
    let mut cluster = World::with_own_server("sequin.worker_idle_timeout = 0");
    cluster.create("Paul");
    let mut admin = cluster.server.connect("postgres");
    admin.run("ALTER DATABASE app ALLOW_CONNECTIONS false");
    cluster.enqueue_create("Chani");
    assert_eq!(cluster.one::<String>("SELECT state FROM sequin.outbox"), "pending");
    admin.run("ALTER DATABASE app ALLOW_CONNECTIONS true");
    cluster.settled();
    assert_eq!(cluster.contacts().len(), 2);
    assert_eq!(lines(&cluster.server, "not currently accepting connections"), 0, "{}", cluster.server.log());
}

/// All background workers are in use when the records are queued. Nothing is queued afterwards.
#[test]
fn a_launcher_that_could_not_start_is_started_by_a_later_commit() {
    // One for logical replication, and two that queries use.
    let mut cluster = World::with_own_server("max_worker_processes = 3");
    let mut sessions: Vec<Client> = (0..2).map(|_| cluster.server.connect(APP)).collect();
    for session in &mut sessions {
        for name in ["force_parallel_mode", "debug_parallel_query"] {
            // The setting has another name from version 16 on.
            let _ = session.batch_execute(&format!("SET {name} = on"));
        }
    }
    let cancels: Vec<_> = sessions.iter().map(Client::cancel_token).collect();
    let queries: Vec<_> = sessions
        .into_iter()
        .map(|mut s| std::thread::spawn(move || s.batch_execute("SELECT pg_sleep(3600)")))
        .collect();
    cluster.until("SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'parallel worker'");
    cluster.enqueue_create("Paul");
    assert!(!cluster.one::<bool>("SELECT worker_alive FROM sequin.status"));
    for cancel in cancels {
        cancel.cancel_query(postgres::NoTls).unwrap();
    }
    for query in queries {
        assert!(query.join().unwrap().is_err());
    }
    cluster.settled();
    assert_eq!(cluster.contacts().len(), 1);
}

#[test]
fn a_commit_warns_only_while_no_database_can_have_a_worker() {
    // One for the launcher, and one for logical replication.
    let cluster = World::with_own_server(&format!("max_worker_processes = 2\n{PRELOADED}"));
    let enqueue = r#"SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '[{"data":{"Name":"Paul"}}]')"#;
    let warned = |server: &Server| {
        let output = server.psql(APP, enqueue);
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).contains("max_worker_processes")
    };
    eventually("it warns", || warned(&cluster.server));
    assert_eq!(lines(&cluster.server, "LOG:  no background worker could be started for the outbox"), 1);
}
