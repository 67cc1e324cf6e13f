//! Replies that no API should give. Each has the right outcome in finite time, costs a bounded amount of memory, and leaves a
//! session whose next call works.

mod cuts;
mod early;
mod table;

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postgres::Client;
use sequin_harness::{Database, RawServer, raw};

use crate::support::Session;
use crate::support::network::{
    Api, Pending, RECORD, create, eventually, foreign_server, has_all_arrived, serve, status_kib,
};
use crate::support::server::shared;

/// The limit that the servers here have.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// The answer on the first connection after its request.
type Reply = Box<dyn Fn(&mut TcpStream) -> io::Result<()> + Send + Sync>;

/// Replies to the first connection with `reply` and closes it; serves the others.
fn hostile(reply: Reply) -> RawServer {
    let served = AtomicBool::new(false);
    RawServer::start(move |stream| {
        if served.swap(true, Ordering::SeqCst) {
            return serve(stream);
        }
        if raw::read_request(stream).is_ok() {
            // The client may have had enough.
            let _ = reply(stream);
        }
    })
}

fn point_to(database: &Database, peer: &RawServer, milliseconds: u32) {
    let options = format!(", max_response_bytes '{MAX_RESPONSE_BYTES}', request_timeout_ms '{milliseconds}'");
    foreign_server(database, "hostile", &peer.url(), &options);
}

/// These bytes, and then the end of the connection.
fn bytes(bytes: impl Into<Vec<u8>>) -> Reply {
    let bytes = bytes.into();
    Box::new(move |stream| stream.write_all(&bytes))
}

/// These bytes, and then silence until the next request: the client must not wait for more.
fn and_stays(bytes: impl Into<Vec<u8>>) -> Reply {
    let bytes = bytes.into();
    Box::new(move |stream| {
        stream.write_all(&bytes)?;
        serve(stream);
        Ok(())
    })
}

/// `first`, and then `more` without end.
fn endless(first: &'static str, more: &'static str) -> Reply {
    Box::new(move |stream| {
        stream.write_all(first.as_bytes())?;
        let more = more.repeat(16_384 / more.len() + 1);
        loop {
            stream.write_all(more.as_bytes())?;
        }
    })
}

/// The same, a piece each millisecond: nothing but time ends it.
fn trickle(first: &'static str, more: &'static str) -> Reply {
    Box::new(move |stream| {
        stream.write_all(first.as_bytes())?;
        loop {
            stream.write_all(more.as_bytes())?;
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    })
}

fn head(headers: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}\r\n")
}

/// A session that has made a call, and its memory at its peak.
fn warm_session(database: &Database) -> (Client, i64) {
    let mut client = database.connect();
    let api = Api::start();
    foreign_server(database, "hostile", &api.raw.url(), "");
    assert_eq!(client.column(&create("hostile")), ["003"]);
    let pid = client.pid();
    (client, status_kib(pid, "VmHWM"))
}

/// Runs the cases in one session, each followed by a call that must work.
fn run(database: &Database, mut client: Client, cases: Vec<table::Case>, milliseconds: u32) -> Client {
    let mut wrong = Vec::new();
    for (what, reply, code, message) in cases {
        let peer = hostile(reply);
        point_to(database, &peer, milliseconds);
        let (session, error) = Pending::start(client, &create("hostile")).refusal(what);
        client = session;
        let detail = error.detail().unwrap_or_default();
        let outcome = match code {
            "HV00K" => r#"{"outcome": "unknown", "applied": "unknown""#,
            "HV00M" => r#"{"outcome": "applied_reply_lost", "applied": "all", "http_status": 20"#,
            _ => r#"{"outcome": "rejected", "applied": "none", "http_status": 400"#,
        };
        if error.code().code() != code || !error.message().contains(message) || !detail.starts_with(outcome) {
            wrong.push(format!("{what}: not {code} {message:?} but {error:?}"));
        }
        database.execute("ALTER SERVER hostile OPTIONS (DROP request_timeout_ms)");
        assert_eq!(client.column(&create("hostile")), ["003"], "after {what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    client
}

#[test]
fn each_hostile_reply_has_its_outcome_and_the_next_call_works() {
    let database = shared().fresh_database();
    let (client, before) = warm_session(&database);
    let mut client = run(&database, client, table::limited(), 60_000);
    // The largest body that is let in has 1 MiB, the largest header 64 KiB, and the buffers of all that are less than this.
    // Each endless one would have given more.
    let grown = status_kib(client.pid(), "VmHWM") - before;
    assert!(grown < 16 * 1024, "the backend has grown by {grown} KiB at its peak");
}

#[test]
fn a_reply_without_an_end_is_ended_by_the_time_for_the_request() {
    let database = shared().fresh_database();
    let (client, before) = warm_session(&database);
    // Enough for the head of a reply to arrive, on a busy machine too.
    let milliseconds = 3_000;
    let mut client = run(&database, client, table::timed(milliseconds), milliseconds);
    let grown = status_kib(client.pid(), "VmHWM") - before;
    assert!(grown < 16 * 1024, "the backend has grown by {grown} KiB at its peak");
}

/// Unusual replies that are nevertheless whole.
#[test]
fn odd_but_whole_replies_are_read() {
    let length = RECORD.len();
    let spaces = " ".repeat(MAX_RESPONSE_BYTES - length);
    let database = shared().fresh_database();
    let mut client = database.connect();
    for (what, reply) in [
        ("just the largest body", and_stays(raw::reply(200, &format!("{RECORD}{spaces}")))),
        ("just the largest body, not announced", bytes(head("") + RECORD + &spaces)),
        (
            "the same length twice",
            and_stays(head(&format!("content-length: {length}\r\ncontent-length: {length}\r\n")) + RECORD),
        ),
        (
            "a few interim replies",
            and_stays(
                "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(9)
                    + &head(&format!("content-length: {length}\r\n"))
                    + RECORD,
            ),
        ),
        (
            "a continue that nobody asked for",
            and_stays(format!(
                "HTTP/1.1 100 Continue\r\n\r\n{}{RECORD}",
                head(&format!("content-length: {length}\r\n"))
            )),
        ),
        (
            "chunks with extensions and trailers",
            and_stays(format!(
                "{}{length:x};a=b\r\n{RECORD}\r\n0\r\na: b\r\n\r\n",
                head("transfer-encoding: chunked\r\n")
            )),
        ),
        (
            "a last chunk without its end",
            bytes(format!("{}{length:x}\r\n{RECORD}\r\n0\r\n", head("transfer-encoding: chunked\r\n"))),
        ),
        ("no reason", and_stays(format!("HTTP/1.1 200\r\ncontent-length: {length}\r\n\r\n{RECORD}"))),
        ("another 2xx", and_stays(raw::reply(207, RECORD))),
        (
            "line ends without carriage return",
            and_stays(format!("HTTP/1.1 200 OK\ncontent-length: {length}\n\n{RECORD}")),
        ),
    ] {
        let peer = hostile(reply);
        point_to(&database, &peer, 60_000);
        let (session, rows) = Pending::start(client, &create("hostile")).end(what);
        client = session;
        assert_eq!(rows.unwrap_or_else(|e| panic!("{what}: {e:?}")), ["003"], "{what}");
        assert_eq!(client.column(&create("hostile")), ["003"], "after {what}");
    }
}

/// Bytes after the reply could be taken for the next reply.
#[test]
fn a_connection_with_bytes_after_the_reply_is_not_used_again() {
    let database = shared().fresh_database();
    let forged = raw::reply(200, r#"{"records":[{"upstream_id":"forged"}]}"#);
    for in_one_piece in [true, false] {
        let forged = forged.clone();
        let follows = Arc::new(AtomicBool::new(false));
        let flag = follows.clone();
        let peer = hostile(Box::new(move |stream| {
            let reply = raw::reply(200, RECORD);
            if in_one_piece {
                stream.write_all(&[&reply[..], &forged].concat())?;
            } else {
                stream.write_all(&reply)?;
                // After the client has put the connection away.
                while !flag.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                stream.write_all(&forged)?;
                flag.store(false, Ordering::SeqCst);
            }
            raw::hold(stream);
            Ok(())
        }));
        point_to(&database, &peer, 60_000);
        let mut client = database.connect();
        assert_eq!(client.column(&create("hostile")), ["003"]);
        if !in_one_piece {
            follows.store(true, Ordering::SeqCst);
            let port = peer.address().port();
            eventually("the forged reply is there", || !follows.load(Ordering::SeqCst) && has_all_arrived(port));
        }
        assert_eq!(client.column(&create("hostile")), ["003"], "in one piece: {in_one_piece}");
        assert_eq!(peer.accepted(), 2, "in one piece: {in_one_piece}");
    }
}

/// The text of an error is shown, but not at any length, and not as it pleases.
#[test]
fn an_error_body_is_shown_tamed() {
    let database = shared().fresh_database();
    let text = format!("Error: \\u001b[2J\\u0007{}", "long ".repeat(50_000));
    let peer = hostile(and_stays(raw::reply(400, &format!(r#"{{"error":"{text}"}}"#))));
    point_to(&database, &peer, 60_000);
    let error = database.connect().error(&create("hostile"));
    assert_eq!(error.code().code(), "HV024");
    assert!(error.message().len() < 10_000, "{} bytes", error.message().len());
    assert!(!error.message().contains(['\u{1b}', '\u{7}']), "{error:?}");
}
