//! A reply that ends at any byte: once its records have begun it says that the mutation was applied, before that it is
//! unknown.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postgres::Client;
use sequin_harness::{RawServer, raw};

use crate::support::Session;
use crate::support::network::{Api, RECORD, create, foreign_server};
use crate::support::server::shared;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Fin,
    /// Unread bytes of the request make the kernel reset the connection.
    Reset,
}

/// The SQLSTATE of a call, or nothing when it gave its record.
fn state(client: &mut Client) -> Option<String> {
    match client.simple_query(&create("cut")) {
        Ok(_) => None,
        Err(error) => Some(error.code().unwrap_or_else(|| panic!("{error:?}")).code().to_owned()),
    }
}

/// Sends the first bytes of `reply`, as many as the variable holds.
fn cutting(reply: Vec<u8>, end: End) -> (RawServer, Arc<AtomicUsize>) {
    let cut = Arc::new(AtomicUsize::new(0));
    let at = cut.clone();
    let peer = RawServer::start(move |stream: &mut TcpStream| {
        // Of a request for a reset the last byte stays unread.
        let read = match end {
            End::Fin => raw::read_request(stream).is_ok(),
            End::Reset => read_most(stream),
        };
        if read {
            let _ = stream.write_all(&reply[..at.load(Ordering::SeqCst)]);
        }
    });
    (peer, cut)
}

/// Cuts `reply` after each of its bytes; what then is to come, by the number of bytes, is what `expected` says: several
/// SQLSTATEs where more than one is right.
fn cut_at_each_byte(reply: &str, expected: impl Fn(usize) -> Vec<Option<&'static str>>) {
    let database = shared().fresh_database();
    let (peer, cut) = cutting(reply.as_bytes().to_vec(), End::Fin);
    foreign_server(&database, "cut", &peer.url(), "");
    let mut client = database.connect();
    for at in 0..=reply.len() {
        cut.store(at, Ordering::SeqCst);
        let state = state(&mut client);
        assert!(expected(at).contains(&state.as_deref()), "{state:?} after {:?}", &reply[..at]);
    }
    // Each call has made its own connection, and sent its request once.
    assert_eq!(peer.accepted(), reply.len() + 1);
}

/// Reads the head, and as much of the body as must have come with it, less some.
fn read_most(stream: &mut TcpStream) -> bool {
    use std::io::Read;
    let mut head = [0; 32];
    // The head is longer than that, and it comes in one piece with the body.
    stream.read_exact(&mut head).is_ok()
}

#[test]
fn a_reply_that_is_cut_anywhere_is_unknown_or_applied() {
    let length = RECORD.len();
    let plain =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{RECORD}");
    let (a, b) = RECORD.split_at(20);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
        a.len(),
        b.len()
    );
    for reply in [plain, chunked] {
        let begun = reply.find(r#"{"records":["#).unwrap() + r#"{"records":["#.len();
        cut_at_each_byte(&reply, |at| match at {
            _ if at < begun => vec![Some("HV00K")],
            // `0\r\n` ends the body: the empty line after it adds nothing, and may be missed or not.
            _ if reply[..at].ends_with("\r\n0\r\n") => vec![Some("HV00M"), None],
            _ if at < reply.len() => vec![Some("HV00M")],
            _ => vec![None],
        });
    }
}

/// A refusal that is cut within its body is that refusal all the same: the status says it.
#[test]
fn a_refusal_that_is_cut_is_a_refusal_once_its_head_is_whole() {
    let reply = String::from_utf8(raw::reply(400, r#"{"error":"Error: no"}"#)).unwrap();
    let head = reply.find("\r\n\r\n").unwrap() + 4;
    cut_at_each_byte(&reply, |at| vec![Some(if at < head { "HV00K" } else { "HV024" })]);
}

/// A reset may overtake what was sent before it, so a cut reply is unknown or applied; but never is it "not sent", and a
/// whole one is never taken for more than it is.
#[test]
fn a_reset_is_never_taken_for_a_request_that_was_not_sent() {
    let database = shared().fresh_database();
    let reply = raw::reply(200, RECORD);
    let head = reply.len() - RECORD.len();
    let (peer, cut) = cutting(reply.clone(), End::Reset);
    foreign_server(&database, "cut", &peer.url(), "");
    let mut client = database.connect();
    for at in (0..=reply.len()).step_by(7).chain([head, reply.len()]) {
        cut.store(at, Ordering::SeqCst);
        let state = state(&mut client);
        let possible: &[Option<&str>] = match at {
            _ if at < head => &[Some("HV00K")],
            _ if at < reply.len() => &[Some("HV00K"), Some("HV00M")],
            _ => &[Some("HV00K"), Some("HV00M"), None],
        };
        assert!(possible.contains(&state.as_deref()), "after {at} bytes: {state:?}");
    }
    // And on a kept connection, whose end comes with the request and not before.
    let api = Api::start();
    foreign_server(&database, "cut", &api.raw.url(), "");
    assert_eq!(client.column(&create("cut")), ["003"]);
}

/// The server takes a second request on a kept connection and then closes silently. The outcome is unknown, and the
/// request is not repeated.
#[test]
fn a_kept_connection_that_ends_after_the_request_is_unknown_and_not_repeated() {
    let database = shared().fresh_database();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let peer = RawServer::start(move |stream: &mut TcpStream| {
        while raw::read_request(stream).is_ok() {
            if counter.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
                return;
            }
            let _ = stream.write_all(&raw::reply(200, RECORD));
        }
    });
    foreign_server(&database, "cut", &peer.url(), "");
    let mut client = database.connect();
    for calls in 1..=6 {
        let expected = if calls % 2 == 0 { Some("HV00K") } else { None };
        assert_eq!(state(&mut client).as_deref(), expected);
        assert_eq!(requests.load(Ordering::SeqCst), calls, "a request was repeated");
    }
}
