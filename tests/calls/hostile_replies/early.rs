//! Replies to a request that has not been read to its end: a proxy refuses a large body, or a token, by its head.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use sequin_harness::{RawServer, Tls, raw, tls};

use crate::support::Session;
use crate::support::network::{Pending, RECORD, create, create_of, foreign_server, serve};
use crate::support::server::shared;

/// More than the kernel keeps for a connection.
const LARGE: usize = 8 << 20;

/// How the connection ends after the early reply.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// With the rest unread: the kernel resets it.
    Closes,
    /// Politely: the reply is ended, and the rest is read for a while.
    Drains,
}

fn early(status: u16, then: Then) -> RawServer {
    let replied = AtomicBool::new(false);
    RawServer::start(move |stream: &mut TcpStream| {
        if replied.swap(true, Ordering::SeqCst) {
            return serve(stream);
        }
        let mut head = [0; 64];
        let _ = stream.read_exact(&mut head);
        let _ = stream.write_all(&raw::reply(status, r#"{"error":"Error: too much"}"#));
        if let Then::Drains = then {
            let _ = stream.shutdown(Shutdown::Write);
            raw::hold(stream);
        }
    })
}

#[test]
fn a_reply_before_the_request_was_read_is_reported() {
    let database = shared().fresh_database();
    for then in [Then::Closes, Then::Drains] {
        for (status, code) in [(413, "HV024"), (401, "28000"), (400, "HV024"), (429, "53400")] {
            let peer = early(status, then);
            foreign_server(&database, "early", &peer.url(), "");
            let what = format!("{status}, {then:?}");
            let (mut client, error) = Pending::start(database.connect(), &create_of("early", LARGE)).refusal(&what);
            assert_eq!(error.code().code(), code, "{what}: {error:?}");
            assert!(error.message().contains("too much"), "{what}: {error:?}");
            let detail = error.detail().unwrap_or_default();
            assert!(detail.contains(&format!(r#""http_status": {status}"#)), "{what}: {detail}");
            assert_eq!(client.column(&create("early")), ["003"], "after {what}");
            assert_eq!(peer.accepted(), 2, "{what}: the connection was used again");
        }
    }
}

/// The same through TLS, where the reply comes in a record and the rest is in the middle of one.
#[test]
fn a_reply_before_the_request_was_read_is_reported_through_tls() {
    let database = shared().fresh_database();
    let certificates = Tls::in_directory(&shared().scratch("early"));
    let replied = AtomicBool::new(false);
    let peer = RawServer::tls(certificates.server(tls::Kind::Valid), move |stream| {
        if replied.swap(true, Ordering::SeqCst) {
            while raw::read_request(stream).is_ok() && stream.write_all(&raw::reply(200, RECORD)).is_ok() {}
            return;
        }
        // Bytes without an acknowledgement are not sent when the connection is closed.
        let _ = stream.sock.set_nodelay(true);
        let mut head = [0; 64];
        let _ = stream.read_exact(&mut head);
        let _ = stream.write_all(&raw::reply(401, r#"{"error":"Error: too much"}"#));
    });
    let options = format!(", ca_file '{}'", certificates.ca_file().display());
    foreign_server(&database, "early", &peer.https_url("localhost"), &options);
    let (mut client, error) = Pending::start(database.connect(), &create_of("early", LARGE)).refusal("401");
    assert_eq!(error.code().code(), "28000", "{error:?}");
    assert!(error.message().contains("too much"), "{error:?}");
    assert_eq!(client.column(&create("early")), ["003"]);
}

/// Without a reply, a request that was sent in part may have been applied.
#[test]
fn a_request_that_is_cut_off_is_unknown() {
    let database = shared().fresh_database();
    let cut = AtomicBool::new(false);
    let peer = RawServer::start(move |stream: &mut TcpStream| {
        if cut.swap(true, Ordering::SeqCst) {
            return serve(stream);
        }
        let _ = stream.read_exact(&mut [0; 64]);
    });
    foreign_server(&database, "early", &peer.url(), "");
    let (mut client, error) = Pending::start(database.connect(), &create_of("early", LARGE)).refusal("a cut");
    assert_eq!(error.code().code(), "HV00K", "{error:?}");
    assert_eq!(client.column(&create("early")), ["003"]);
}
