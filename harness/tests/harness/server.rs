//! One server: its settings, its databases, its stops.

use std::path::Path;

use sequin_harness::{Database, Encoding, Server, Stop};

fn value(client: &mut postgres::Client, sql: &str) -> String {
    client.query_one(sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e}")).get(0)
}

/// After each stop, even a crash, the next start still has the committed rows.
#[test]
fn comes_back_after_each_kind_of_stop() {
    let server = Server::start();
    server.connect("postgres").batch_execute("CREATE TABLE kept (how text)").unwrap();
    for (already, how) in [Stop::Fast, Stop::Immediate, Stop::Kill].into_iter().enumerate() {
        let mut client = server.connect("postgres");
        client.execute("INSERT INTO kept VALUES ($1)", &[&format!("{how:?}")]).unwrap();
        server.stop(how);
        assert!(client.simple_query("SELECT 1").is_err(), "a session survived {how:?}");
        assert_eq!(server.postmaster(), None);
        server.restart();
        let kept = value(&mut server.connect("postgres"), "SELECT count(*)::text FROM kept");
        assert_eq!(kept, (already + 1).to_string(), "after {how:?}");
    }
    assert!(server.log().contains("automatic recovery in progress"));
}

#[test]
fn takes_settings_of_its_own() {
    let server = Server::builder().conf("max_connections = 7").conf("fsync = on").start().unwrap();
    let mut client = server.connect("postgres");
    assert_eq!(value(&mut client, "SHOW max_connections"), "7");
    assert_eq!(value(&mut client, "SHOW fsync"), "on");
    assert_eq!(value(&mut client, "SHOW listen_addresses"), "");
}

#[test]
fn says_why_it_does_not_start() {
    let error = Server::builder().conf("no_such_setting = 1").start().unwrap_err().to_string();
    assert!(error.contains("unrecognized configuration parameter \"no_such_setting\""), "{error}");
}

/// The server finds its files relative to its executable, and so finds the extension.
#[test]
fn looks_for_its_files_in_the_image() {
    let server = Server::shared();
    let mut client = server.connect("postgres");
    for name in ["BINDIR", "SHAREDIR", "PKGLIBDIR"] {
        let place = value(&mut client, &format!("SELECT setting FROM pg_config WHERE name = '{name}'"));
        assert!(Path::new(&place).starts_with(server.home().root()), "{name} is {place}");
    }
}

#[test]
fn databases_have_encodings_and_go() {
    let server = Server::shared();
    let mut names = Vec::new();
    for (encoding, name) in [(Encoding::Utf8, "UTF8"), (Encoding::Latin1, "LATIN1"), (Encoding::SqlAscii, "SQL_ASCII")]
    {
        let database = server.create_database_in(encoding);
        assert_eq!(value(&mut database.connect(), "SHOW server_encoding"), name);
        names.push(database.name().to_owned());
    }
    let mut client = server.connect("postgres");
    let left: i64 =
        client.query_one("SELECT count(*) FROM pg_database WHERE datname = ANY ($1)", &[&names]).unwrap().get(0);
    assert_eq!(left, 0);
}

/// A session that a test has left open does not keep its database alive.
#[test]
fn a_database_goes_while_it_is_in_use() {
    let server = Server::shared();
    let database = server.create_database();
    let name = database.name().to_owned();
    let mut client = database.connect();
    drop(database);
    assert!(client.simple_query("SELECT 1").is_err());
    assert!(server.try_connect(&name, "postgres").is_err());
}

#[test]
fn psql_speaks_to_the_same_database() {
    let database = Server::shared().create_database();
    database.execute("CREATE ROLE \"it's\\me\" LOGIN");
    let mut command = Server::shared().psql_command(database.name());
    let output = command.args(["-At", "-d", &database.dsn_as("it's\\me")]);
    let output = output.args(["-c", "SELECT current_user, current_database()"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("it's\\me|{}\n", database.name()));

    let refused = database.psql("SELECT 1; SELECT nothing; SELECT 2");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("column \"nothing\" does not exist"));
    database.execute("DROP ROLE \"it's\\me\"");
}

/// Two threads that ask at the same time get one server and two databases.
#[test]
fn is_shared_between_threads() {
    let ask = || {
        let database: Database = Server::shared().create_database();
        (Server::shared().postmaster(), value(&mut database.connect(), "SELECT current_database()::text"))
    };
    let other = std::thread::spawn(ask);
    let (here, there) = (ask(), other.join().unwrap());
    assert_eq!(here.0, there.0);
    assert_ne!(here.1, there.1);
}
