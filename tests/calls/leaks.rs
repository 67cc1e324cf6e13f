//! Ten thousand calls that end in every way leave a backend as large as it was.

use std::io::{Read, Write};
use std::net::TcpStream;

use postgres::Client;
use sequin_harness::{Database, RawServer, Server, raw};

use crate::support::Session;
use crate::support::network::{
    RECORD, REFUSING, create, descriptors, foreign_server, private_kib, reset_statement_timeout, status_kib,
};
use crate::support::server::own;

/// The part of a round that runs on the server; the client must make the other calls itself. Each turn makes five
/// calls: one that works, one that is refused and caught, one in a rolled back subtransaction, one whose cursor is
/// closed after its first row, and one for each row of a query.
const TURNS: &str = "
    CREATE FUNCTION turns(number int) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE r sequin_record; rows refcursor;
    BEGIN
        FOR i IN 1..number LOOP
            r := sequin_create('sync', 'salesforce:contact', '{\"Email\": \"a@b.c\"}', server => 'api');
            BEGIN
                PERFORM sequin_create('sync', 'salesforce:contact', '{\"say\": \"refuse\"}', server => 'api');
                RAISE 'it was not refused';
            EXCEPTION WHEN fdw_invalid_attribute_value THEN
                NULL;
            END;
            BEGIN
                PERFORM sequin_update('sync', 'salesforce:contact', '003', '{}', server => 'api');
                RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN
                NULL;
            END;
            OPEN rows FOR SELECT * FROM sequin_mutate(
                'delete', 'sync', 'salesforce:contact', '[\"many\", \"of\", \"them\"]', server => 'api');
            FETCH rows INTO r;
            CLOSE rows;
            PERFORM sequin_delete('sync', 'salesforce:contact', '00' || (n + 2), server => 'api') FROM generate_series(1, 1) n;
        END LOOP;
    END $$";

const ROUNDS: usize = 10;
const TURNS_A_ROUND: usize = 150;
/// Of each of the client's kinds.
const CALLS_OF_A_KIND: usize = 50;
/// Each of these calls waits for its timeout.
const CANCELS: usize = 10;

/// A kept connection's server that is fast enough for this: one read and one write a request.
fn api(stream: &mut TcpStream) {
    let many = format!(r#"{{"records":[{0},{0},{0}]}}"#, r#"{"upstream_id":"003","data":{"a":"b"}}"#);
    let replies = [raw::reply(200, RECORD), raw::reply(200, &many), raw::reply(400, r#"{"error":"Error: refused"}"#)];
    let mut buffer = [0; 4096];
    let mut request = Vec::new();
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next().and_then(|number| number.trim().parse::<usize>().ok()));
        if length.is_none_or(|length| body.len() < length) {
            continue;
        }
        let reply = if body.contains("refuse") { 2 } else { usize::from(body.contains("many")) };
        if stream.write_all(&replies[reply]).is_err() {
            return;
        }
        request.clear();
    }
}

/// One round; returns how many calls it made.
fn round(client: &mut Client) -> usize {
    client.execute("SELECT turns($1)", &[&(TURNS_A_ROUND as i32)]).unwrap();
    for _ in 0..CALLS_OF_A_KIND {
        // Uncaught errors, three of them different ways to lose a connection.
        for server in ["cut", "garbage", "dead"] {
            client.simple_query(&create(server)).unwrap_err();
        }
        // A savepoint of the client's own.
        client.run("BEGIN; SAVEPOINT s");
        assert_eq!(client.column(&create("api")), ["003"]);
        client.run("ROLLBACK TO s; COMMIT");
        // A portal that is closed before its end.
        let mut transaction = client.transaction().unwrap();
        let portal = transaction
            .bind(
                "SELECT upstream_id FROM sequin_mutate('delete', 'sync', 'salesforce:contact', '[\"many\"]', \
                 server => 'api')",
                &[],
            )
            .unwrap();
        assert_eq!(transaction.query_portal(&portal, 1).unwrap().len(), 1);
        drop(portal);
        transaction.commit().unwrap();
    }
    client.run("SET statement_timeout = '50ms'");
    for _ in 0..CANCELS {
        client.simple_query(&create("silent")).unwrap_err();
    }
    reset_statement_timeout(client);
    5 * TURNS_A_ROUND + 5 * CALLS_OF_A_KIND + CANCELS
}

/// For one test alone. Beside other tests' DDL a session may have to forget all that it knows of the catalogs, and takes
/// memory to learn it again.
fn undisturbed() -> Server {
    own("")
}

/// A database with the server objects that a round needs. Their peers end with the second value.
fn world(server: &Server) -> (Database, Vec<RawServer>) {
    let database = server.fresh_database();
    let cut = |stream: &mut TcpStream| {
        let _ = raw::read_request(stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
    };
    let garbage = |stream: &mut TcpStream| {
        let _ = raw::read_request(stream);
        let _ = stream.write_all(b"\0\0\0\0\r\n\r\n");
    };
    let peers =
        vec![RawServer::start(api), RawServer::start(cut), RawServer::start(garbage), RawServer::start(raw::hold)];
    for (name, peer) in ["api", "cut", "garbage", "silent"].into_iter().zip(&peers) {
        foreign_server(&database, name, &peer.url(), "");
    }
    foreign_server(&database, "dead", &format!("http://{REFUSING}"), "");
    database.execute(TURNS);
    (database, peers)
}

#[test]
fn ten_thousand_calls_leave_no_descriptor_and_no_memory() {
    let server = undisturbed();
    let (database, _peers) = world(&server);
    let mut client = database.connect();
    let pid = client.pid();
    let mut calls = 0;
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        calls += round(&mut client);
        seen.push((descriptors(pid), private_kib(pid)));
    }
    assert!(calls >= 10_000, "{calls}");

    // The first three rounds fill caches and arenas. After them the size goes up and down by what malloc makes of two or
    // three buffers of 128 KiB, depending on where a cancel comes. A leak of 75 bytes a call would be 512 KiB.
    let (warm, last) = (seen[2], seen[ROUNDS - 1]);
    assert_eq!(last.0, warm.0, "descriptors: {seen:?}");
    assert!(last.1 - warm.1 < 512, "KiB: {seen:?}");
}

/// Memory that is kept until the end of a statement would be as bad for callers with a loop.
#[test]
fn thousands_of_calls_in_one_statement_hold_no_memory_until_its_end() {
    let server = undisturbed();
    let (database, _peers) = world(&server);
    let mut client = database.connect();
    let pid = client.pid();
    let peak = |client: &mut Client, turns: i32| {
        client.execute("SELECT turns($1)", &[&turns]).unwrap();
        status_kib(pid, "VmHWM")
    };
    peak(&mut client, 200);
    let before = peak(&mut client, 200);
    let after = peak(&mut client, 1_000);
    // 4,000 calls more. Two subtransactions a turn cost Postgres itself some; 256 bytes a call would be 1,000 KiB.
    assert!(after - before < 1_000, "from {before} to {after} KiB");
}
