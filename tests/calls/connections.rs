//! A connection is kept for the next call while its server and mapping stay the same.

mod addresses;
mod missed_news;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postgres::Client;
use sequin_harness::tls::Kind;
use sequin_harness::{RawServer, Sandbox, TOKEN, Tls, literal, raw};

use crate::support::network::{Api, RECORD, create, eventually, foreign_server, open_connections, sockets_to};
use crate::support::server::shared;
use crate::support::{Session, World};

/// A call that must work.
fn call(client: &mut Client) {
    assert_eq!(client.column(&create("sequin")).len(), 1);
}

#[test]
fn ten_calls_take_one_connection() {
    let World { sandbox, database: _database, mut client, .. } = World::new();
    // Each in a transaction of its own, then within one, then in one statement.
    for _ in 0..4 {
        call(&mut client);
    }
    client.run("BEGIN");
    call(&mut client);
    client.run("SAVEPOINT before");
    call(&mut client);
    client.run("ROLLBACK TO before");
    call(&mut client);
    client.run("ROLLBACK");
    client.run(
        "DO $$ BEGIN FOR i IN 1..3 LOOP PERFORM sequin_create('sync', 'salesforce:contact', '{}'); END LOOP; END $$",
    );

    let log = sandbox.log();
    assert_eq!((log.mutations().len(), log.connections, log.open), (10, 1, 1), "{log:?}");
    drop(client);
    eventually("the connection ends with the session", || sandbox.log().open == 0);
}

/// An error of the API leaves a connection that can be used again.
#[test]
fn an_error_of_the_api_keeps_the_connection() {
    let World { sandbox, database: _database, mut client, .. } = World::new();
    call(&mut client);
    for status in [400, 401, 404, 429, 500, 503, 302] {
        sandbox.fault(serde_json::json!({"status": status}));
        client.simple_query(&create("sequin")).unwrap_err();
    }
    call(&mut client);
    let log = sandbox.log();
    assert_eq!((log.mutations().len(), log.connections), (9, 1), "{log:?}");
}

/// Two servers with the same address do not share a connection: the API may see two clients.
#[test]
fn servers_do_not_share_connections() {
    let World { sandbox, database, mut client, .. } = World::new();
    database.create_server_named("other", sandbox.url(), TOKEN);
    for _ in 0..2 {
        call(&mut client);
        assert_eq!(client.column(&create("other")).len(), 1);
    }
    let log = sandbox.log();
    let connections: Vec<u64> = log.mutations().iter().map(|request| request.connection).collect();
    assert_eq!(connections[..2], connections[2..], "{connections:?}");
    assert_eq!(log.connections, 2, "{connections:?}");
}

/// Who calls servers without end in one session does not collect sockets without end, and only loses time.
#[test]
fn a_session_keeps_sixteen_connections() {
    let api = Api::start();
    let database = shared().fresh_database();
    let mut client = database.connect();
    for i in 0..20 {
        foreign_server(&database, &format!("api_{i}"), &api.raw.url(), "");
    }
    for _ in 0..2 {
        for i in 0..20 {
            assert_eq!(client.column(&create(&format!("api_{i}"))), ["003"]);
        }
    }
    // The kernel's table, read while others open and close connections, may show one twice.
    eventually("sixteen connections are open", || open_connections(api.raw.address().port()) == 16);
    assert_eq!((api.requests(), api.raw.accepted()), (40, 40));
}

/// A session that changes its role keeps the server's connection; the token is the role's in each request.
#[test]
fn roles_share_a_connection_and_not_a_token() {
    let sandbox = Sandbox::builder().arg("--token").arg("second").start().unwrap();
    let database = shared().fresh_database();
    database.create_server(sandbox.url(), TOKEN);
    let mut client = database.connect();
    let role = "role_with_a_token";
    client.run(&format!(
        "CREATE ROLE {role};
             GRANT USAGE ON FOREIGN SERVER sequin TO {role};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {role};
             CREATE USER MAPPING FOR {role} SERVER sequin OPTIONS (token 'second')"
    ));
    for _ in 0..2 {
        call(&mut client);
        client.run(&format!("SET ROLE {role}"));
        call(&mut client);
        client.run("RESET ROLE");
    }
    let log = sandbox.log();
    let tokens: Vec<_> = log.mutations().iter().map(|request| request.headers["authorization"].clone()).collect();
    let (first, second) = (format!("Bearer {TOKEN}"), "Bearer second".to_owned());
    assert_eq!(tokens, [first.clone(), second.clone(), first, second]);
    assert_eq!(log.connections, 1);
    drop(database);
    shared().connect("postgres").run(&format!("DROP ROLE {role}"));
}

/// Whatever is changed about the server or the mapping, by whatever session, holds from the next call on.
#[test]
fn a_changed_server_or_mapping_gets_a_fresh_connection() {
    let sandbox = Sandbox::builder().arg("--token").arg("second").start().unwrap();
    let other = Sandbox::builder().arg("--token").arg("second").start().unwrap();
    let (first, second) = (literal(sandbox.url()), literal(other.url()));
    let database = shared().fresh_database();
    database.create_server(sandbox.url(), TOKEN);
    let mut client = database.connect();
    let mut admin = database.connect();
    // The change, and the token and the sandbox of the next call.
    let changes = [
        (format!("ALTER SERVER sequin OPTIONS (SET url {second})"), TOKEN, &other),
        (format!("ALTER SERVER sequin OPTIONS (SET url {first})"), TOKEN, &sandbox),
        ("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token 'second')".into(), "second", &sandbox),
        (format!("CREATE USER MAPPING FOR CURRENT_USER SERVER sequin OPTIONS (token '{TOKEN}')"), TOKEN, &sandbox),
        ("DROP USER MAPPING FOR CURRENT_USER SERVER sequin".into(), "second", &sandbox),
        ("ALTER SERVER sequin OPTIONS (ADD max_response_bytes '1000000')".into(), "second", &sandbox),
        (
            format!(
                "DROP SERVER sequin CASCADE;
                 CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url {second});
                 CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token '{TOKEN}')"
            ),
            TOKEN,
            &other,
        ),
    ];
    for in_own_session in [false, true] {
        database.execute(&format!(
            "ALTER SERVER sequin OPTIONS (SET url {first});
             ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token '{TOKEN}')"
        ));
        for (change, token, target) in &changes {
            call(&mut client);
            sandbox.clear_log();
            other.clear_log();
            if in_own_session {
                // Uncommitted, and in the middle of a transaction.
                client.run(&format!("BEGIN; {change}"));
                call(&mut client);
                client.run("COMMIT");
            } else {
                admin.run(change);
                call(&mut client);
            }
            let log = target.log();
            let arrived: Vec<_> =
                log.mutations().iter().map(|request| request.headers["authorization"].clone()).collect();
            assert_eq!(arrived, [format!("Bearer {token}")], "{change}");
            assert_eq!(log.connections, 1, "{change}: not on a fresh connection");
            assert_eq!(sandbox.log().open + other.log().open, 1, "{change}: the old connection is still open");
        }
    }
}

/// After a rollback the old address and the old token hold again.
#[test]
fn a_change_that_is_rolled_back_is_forgotten() {
    let World { sandbox, database: _database, mut client, .. } = World::new();
    let other = Sandbox::start();
    call(&mut client);
    client.run(&format!("BEGIN; ALTER SERVER sequin OPTIONS (SET url {})", literal(other.url())));
    call(&mut client);
    client.run("ROLLBACK");
    call(&mut client);
    assert_eq!((sandbox.log().mutations().len(), other.log().mutations().len()), (2, 1));
}

#[test]
fn a_dropped_server_or_mapping_is_gone_at_once() {
    let World { sandbox, database, mut client, .. } = World::new();
    call(&mut client);
    for drop in ["DROP USER MAPPING FOR PUBLIC SERVER sequin", "DROP SERVER sequin"] {
        database.execute(drop);
        let error = client.simple_query(&create("sequin")).unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42704", "{drop}: {error:?}");
        assert_eq!(sandbox.log().open, 0, "{drop}: the connection is still open");
    }
    assert_eq!(sandbox.log().mutations().len(), 1);
}

/// Serves `requests` of each connection and closes it, without having said that it would.
fn closing_after(requests: usize) -> (RawServer, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let peer = RawServer::start(move |stream: &mut TcpStream| {
        for _ in 0..requests {
            if raw::read_request(stream).is_err() {
                return;
            }
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(&raw::reply(200, RECORD));
        }
    });
    (peer, seen)
}

#[test]
fn a_connection_that_the_server_closed_while_it_was_idle_is_replaced() {
    let (peer, seen) = closing_after(2);
    let port = peer.address().port();
    let database = shared().fresh_database();
    foreign_server(&database, "sequin", &peer.url(), "");
    let mut client = database.connect();
    for calls in 1..=9 {
        call(&mut client);
        assert_eq!(seen.load(Ordering::SeqCst), calls, "a request was repeated");
        if calls % 2 == 0 {
            eventually("the server closes", || sockets_to(port).iter().all(|socket| socket.is_half_closed()));
        }
    }
    assert_eq!(peer.accepted(), 5);
    // As above, one may be shown twice.
    eventually("one connection is open", || open_connections(port) == 1);
}

/// Below TLS the end is a message of its own, which is not read until the next call.
#[test]
fn a_tls_connection_that_the_server_closed_while_it_was_idle_is_replaced() {
    let certificates = Tls::in_directory(&shared().scratch("idle"));
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let peer = RawServer::tls(certificates.server(Kind::Valid), move |stream| {
        if raw::read_request(stream).is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(&raw::reply(200, RECORD));
        }
    });
    let port = peer.address().port();
    let database = shared().fresh_database();
    let options = format!(", ca_file '{}'", certificates.ca_file().display());
    foreign_server(&database, "sequin", &peer.https_url("localhost"), &options);
    let mut client = database.connect();
    for calls in 1..=5 {
        call(&mut client);
        assert_eq!((seen.load(Ordering::SeqCst), peer.accepted()), (calls, calls));
        eventually("the server closes", || {
            sockets_to(port).iter().all(|socket| !socket.is_open() || socket.is_half_closed())
        });
    }
}

/// `Connection: close`, in both versions of HTTP, and HTTP/1.0's silence on the matter.
#[test]
fn a_connection_that_the_server_will_close_is_not_used_again() {
    let length = RECORD.len();
    for head in [
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: {length}\r\n\r\n"),
        format!("HTTP/1.0 200 OK\r\ncontent-length: {length}\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned(),
        "HTTP/1.0 200 OK\r\n\r\n".to_owned(),
    ] {
        let reply = format!("{head}{RECORD}");
        let has_length = head.contains("content-length");
        let peer = RawServer::start(move |stream: &mut TcpStream| {
            if raw::read_request(stream).is_ok() {
                let _ = stream.write_all(reply.as_bytes());
                // The client must not wait for the end of a connection after a whole reply.
                if has_length {
                    raw::hold(stream);
                }
            }
        });
        let database = shared().fresh_database();
        foreign_server(&database, "sequin", &peer.url(), "");
        let mut client = database.connect();
        for calls in 1..=3 {
            call(&mut client);
            assert_eq!(peer.accepted(), calls, "{head}");
        }
        assert_eq!(open_connections(peer.address().port()), 0, "{head}");
    }
}

/// Two sessions have separate connections, and do not affect each other.
#[test]
fn sessions_do_not_share_connections() {
    let api = Api::start();
    let database = shared().fresh_database();
    foreign_server(&database, "sequin", &api.raw.url(), "");
    let mut sessions = [database.connect(), database.connect()];
    for _ in 0..2 {
        sessions.iter_mut().for_each(call);
    }
    assert_eq!((api.requests(), api.raw.accepted()), (4, 2));
}
