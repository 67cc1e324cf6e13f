//! Replies that no API should give. Each has the right outcome in finite time, costs a bounded amount of memory, and leaves a
//! session whose next call works.

mod cuts;
mod early;

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sequin_harness::{Database, RawServer, raw};

use crate::network::{
    Api, Pending, RECORD, backend, column, create, foreign_server, refusal, serve, server, status_kib,
};

/// The limit that the servers here have.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// What the first connection gets after its request.
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

fn point_to(database: &Database<'_>, peer: &RawServer) {
    let options = format!(", max_response_bytes '{MAX_RESPONSE_BYTES}', request_timeout_ms '2000'");
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

/// A name, a reply, the SQLSTATE, and a part of the message that shows that it is for the right reason.
fn hostile_replies() -> Vec<(&'static str, Reply, &'static str, &'static str)> {
    let length = RECORD.len();
    let long = format!("{RECORD}{}", " ".repeat(MAX_RESPONSE_BYTES));
    // What gzip makes of `{}`.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let gzip_head = head(&format!("content-encoding: gzip\r\ncontent-length: {}\r\n", gzip.len()));
    vec![
        ("a long body, announced", and_stays(raw::reply(200, &long)), "HV00M", "larger than 1048576 bytes"),
        ("an announced lie", and_stays(head("content-length: 9999999999999\r\n")), "HV00M", "larger than 1048576 bytes"),
        ("a long body, not announced", bytes(head("") + &long), "HV00M", "larger than 1048576 bytes"),
        ("an endless body", endless("HTTP/1.1 200 OK\r\n\r\n", " "), "HV00M", "larger than 1048576 bytes"),
        (
            "endless chunks",
            endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "4\r\n    \r\n"),
            "HV00M",
            "larger than 1048576 bytes",
        ),
        (
            "one endless chunk",
            endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffff\r\n", " "),
            "HV00M",
            "larger than 1048576 bytes",
        ),
        (
            "an endless chunk size",
            endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "0"),
            "HV00M",
            "",
        ),
        (
            "endless trailers",
            endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", "a: b\r\n"),
            "HV00M",
            "",
        ),
        (
            "a trickle of chunks",
            trickle("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n \r\n"),
            "HV00M",
            "timed out",
        ),
        ("chunks that are none", bytes(head("transfer-encoding: chunked\r\n") + "x\r\n"), "HV00M", ""),
        ("an error, endless", endless("HTTP/1.1 400 X\r\n\r\n", "e"), "HV024", "HTTP status 400"),
        ("a gzip body", bytes([gzip_head.as_bytes(), gzip].concat()), "HV00M", "its body is not"),
        ("10,000 headers", bytes(head(&"a: b\r\n".repeat(10_000)) + RECORD), "HV00K", ""),
        ("an endless header", endless("HTTP/1.1 200 OK\r\nx-long: ", "x"), "HV00K", "header"),
        ("endless headers", endless("HTTP/1.1 200 OK\r\n", "a: b\r\n"), "HV00K", ""),
        ("an endless status line", endless("HTTP/1.1 200 ", "x"), "HV00K", ""),
        ("a trickle of headers", trickle("HTTP/1.1 200 OK\r\nx-long: ", "x"), "HV00K", "did not reply within 2000 ms"),
        ("garbage", bytes("\x16\x03\x01 this is not HTTP\r\n\r\n"), "HV00K", ""),
        ("endless garbage", endless("\0", "\x07"), "HV00K", ""),
        ("a reply as in HTTP/0.9", bytes(RECORD), "HV00K", ""),
        ("HTTP/9.9", bytes(format!("HTTP/9.9 200 OK\r\ncontent-length: {length}\r\n\r\n{RECORD}")), "HV00K", ""),
        ("a status that is no number", bytes("HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\n{}"), "HV00K", ""),
        ("a status of 000", bytes("HTTP/1.1 000 OK\r\ncontent-length: 2\r\n\r\n{}"), "HV00K", ""),
        ("interim replies for ever", endless("", "HTTP/1.1 102 Processing\r\n\r\n"), "HV00K", ""),
        (
            "a trickle of interim replies",
            trickle("", "HTTP/1.1 100 Continue\r\n\r\n"),
            "HV00K",
            "did not reply within 2000 ms",
        ),
        ("another protocol", bytes("HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n"), "HV00K", "HTTP status 101"),
        ("a length that is too long", bytes(head(&format!("content-length: {}\r\n", length + 1)) + RECORD), "HV00M", "cut off"),
        ("a length that is too short", bytes(head(&format!("content-length: {}\r\n", length - 1)) + RECORD), "HV00M", "not JSON"),
        (
            "two lengths that differ",
            bytes(head(&format!("content-length: {length}\r\ncontent-length: 2\r\n")) + RECORD),
            "HV00K",
            "content-length",
        ),
        ("a negative length", bytes(head("content-length: -1\r\n") + RECORD), "HV00K", "content-length"),
        ("no body", bytes("HTTP/1.1 204 No Content\r\n\r\n"), "HV00M", "empty"),
        ("an empty body", bytes(raw::reply(200, "")), "HV00M", "empty"),
        ("not UTF-8", bytes(head("content-length: 4\r\n").into_bytes().into_iter().chain(*b"\"\xff\xfe\"").collect::<Vec<_>>()), "HV00M", ""),
        ("JSON without records", bytes(raw::reply(200, r#"{"ok": true}"#)), "HV00M", "records"),
        ("records that are none", bytes(raw::reply(200, r#"{"records": 3}"#)), "HV00M", "records"),
        ("no end of arrays", bytes(raw::reply(200, &"[".repeat(500_000))), "HV00M", ""),
    ]
}

#[test]
fn each_hostile_reply_has_its_outcome_and_the_next_call_works() {
    let database = server().fresh_database();
    let mut client = database.connect();
    let pid = backend(&mut client);
    let api = Api::start();
    foreign_server(&database, "hostile", &api.raw.url(), "");
    assert_eq!(column(&mut client, &create("hostile")), ["003"]);
    let before = status_kib(pid, "VmHWM");
    let mut wrong = Vec::new();
    for (what, reply, code, message) in hostile_replies() {
        let peer = hostile(reply);
        point_to(&database, &peer);
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
        assert_eq!(column(&mut client, &create("hostile")), ["003"], "after {what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The largest body that is let in has 1 MiB, the largest header 64 KiB, and the buffers of all that are less than this.
    // Of what these replies had to give, each endless one would have given more.
    let grown = status_kib(pid, "VmHWM") - before;
    assert!(grown < 16 * 1024, "the backend has grown by {grown} KiB at its peak");
}

/// What comes in strange clothes and is nevertheless whole.
#[test]
fn odd_but_whole_replies_are_read() {
    let length = RECORD.len();
    let spaces = " ".repeat(MAX_RESPONSE_BYTES - length);
    let database = server().fresh_database();
    let mut client = database.connect();
    for (what, reply) in [
        ("just the largest body", and_stays(raw::reply(200, &format!("{RECORD}{spaces}")))),
        ("just the largest body, not announced", bytes(head("") + RECORD + &spaces)),
        ("the same length twice", and_stays(head(&format!("content-length: {length}\r\ncontent-length: {length}\r\n")) + RECORD)),
        ("a few interim replies", and_stays("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(9) + &head(&format!("content-length: {length}\r\n")) + RECORD)),
        ("a continue that nobody asked for", and_stays(format!("HTTP/1.1 100 Continue\r\n\r\n{}{RECORD}", head(&format!("content-length: {length}\r\n"))))),
        ("chunks with extensions and trailers", and_stays(format!("{}{length:x};a=b\r\n{RECORD}\r\n0\r\na: b\r\n\r\n", head("transfer-encoding: chunked\r\n")))),
        ("a last chunk without its end", bytes(format!("{}{length:x}\r\n{RECORD}\r\n0\r\n", head("transfer-encoding: chunked\r\n")))),
        ("no reason", and_stays(format!("HTTP/1.1 200\r\ncontent-length: {length}\r\n\r\n{RECORD}"))),
        ("another 2xx", and_stays(raw::reply(207, RECORD))),
        ("line ends without carriage return", and_stays(format!("HTTP/1.1 200 OK\ncontent-length: {length}\n\n{RECORD}"))),
    ] {
        let peer = hostile(reply);
        point_to(&database, &peer);
        let (session, rows) = Pending::start(client, &create("hostile")).end(what);
        client = session;
        assert_eq!(rows.unwrap_or_else(|e| panic!("{what}: {e:?}")), ["003"], "{what}");
        assert_eq!(column(&mut client, &create("hostile")), ["003"], "after {what}");
    }
}

/// Bytes after the reply could be taken for the next reply.
#[test]
fn a_connection_with_bytes_after_the_reply_is_not_used_again() {
    let database = server().fresh_database();
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
        point_to(&database, &peer);
        let mut client = database.connect();
        assert_eq!(column(&mut client, &create("hostile")), ["003"]);
        if !in_one_piece {
            follows.store(true, Ordering::SeqCst);
            crate::network::eventually("the forged reply is sent", || !follows.load(Ordering::SeqCst));
        }
        assert_eq!(column(&mut client, &create("hostile")), ["003"], "in one piece: {in_one_piece}");
        assert_eq!(peer.accepted(), 2, "in one piece: {in_one_piece}");
    }
}

/// The text of an error is shown, but not at any length, and not as it pleases.
#[test]
fn an_error_body_is_shown_tamed() {
    let database = server().fresh_database();
    let text = format!("Error: \\u001b[2J\\u0007{}", "long ".repeat(50_000));
    let peer = hostile(and_stays(raw::reply(400, &format!(r#"{{"error":"{text}"}}"#))));
    point_to(&database, &peer);
    let error = refusal(&mut database.connect(), &create("hostile"));
    assert_eq!(error.code().code(), "HV024");
    assert!(error.message().len() < 10_000, "{} bytes", error.message().len());
    assert!(!error.message().contains(['\u{1b}', '\u{7}']), "{error:?}");
}
