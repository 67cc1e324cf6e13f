//! A peer that never pauses: there is always input, so a call that checked interrupts only while it waits would never
//! check.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postgres::error::SqlState;
use sequin_harness::{RawServer, raw};

use crate::support::Session;
use crate::support::network::{Pending, create, eventually, foreign_server, open_connections};
use crate::support::server::shared;

/// The start of a reply, and its endless rest. The client keeps one byte in six of the body, and each takes some work.
/// So there is always input, and yet the largest limit stays far away.
const FLOODS: [(&str, &str, &str); 2] = [
    ("a body", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n \r\n"),
    ("trailers", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", "a: b\r\n"),
];

/// Floods its first connection until the client closes it.
fn flood(first: &'static str, then: &'static str) -> (RawServer, Arc<AtomicBool>) {
    let flowing = Arc::new(AtomicBool::new(false));
    let flag = flowing.clone();
    let peer = RawServer::start(move |stream: &mut TcpStream| {
        let _ = raw::read_request(stream);
        let _ = stream.write_all(first.as_bytes());
        let much = then.repeat((1 << 20) / then.len());
        while stream.write_all(much.as_bytes()).is_ok() {
            flag.store(true, Ordering::SeqCst);
        }
    });
    (peer, flowing)
}

#[test]
fn a_call_that_is_flooded_can_be_cancelled() {
    let database = shared().fresh_database();
    let mut admin = database.connect();
    for (what, first, then) in FLOODS {
        let (peer, flowing) = flood(first, then);
        // A limit that the flood does not come to.
        foreign_server(&database, "flood", &peer.url(), ", max_response_bytes '1073741824'");
        let mut client = database.connect();
        let pid = client.pid();
        let pending = Pending::start(client, &create("flood"));
        eventually(&format!("{what}: it flows"), || flowing.load(Ordering::SeqCst));
        admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
        let (_, error) = pending.refusal(what);
        assert_eq!(error.code(), &SqlState::QUERY_CANCELED, "{what}: {error:?}");
        assert!(open_connections(peer.address().port()) == 0, "{what}: the connection is still open");
    }
}

#[test]
fn a_flood_ends_with_the_time_for_the_request() {
    let database = shared().fresh_database();
    for (what, first, then) in FLOODS {
        let (peer, _) = flood(first, then);
        let options = ", max_response_bytes '1073741824', request_timeout_ms '3000'";
        foreign_server(&database, "flood", &peer.url(), options);
        let (_, error) = Pending::start(database.connect(), &create("flood")).refusal(what);
        // A status of 200 had come, and nothing that is the API's.
        assert_eq!(error.code().code(), "HV00K", "{what}: {error:?}");
        assert!(!error.message().contains("larger than"), "{what}: its size ended it, not the time: {error:?}");
    }
}
