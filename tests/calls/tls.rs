//! Where a token may travel: to a host with a valid certificate, or within the local machine, and nowhere else.

mod elsewhere;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sequin_harness::tls::Kind;
use sequin_harness::{RawServer, Sandbox, Tls, raw};

use crate::support::Session;
use crate::support::network::{
    Pending, RECORD, create, create_of, eventually, foreign_server, open_connections, sockets_to,
};
use crate::support::server::shared;

/// A server that records the plain text of its clients.
struct Listener {
    raw: RawServer,
    decrypted: Arc<Mutex<Vec<u8>>>,
    /// Connections that have ended.
    ended: Arc<AtomicUsize>,
}

impl Listener {
    fn start(certificates: &Tls, kind: Kind) -> Listener {
        let (decrypted, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (heard, over) = (decrypted.clone(), ended.clone());
        let raw = RawServer::tls(certificates.server(kind), move |stream| {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                heard.lock().unwrap().extend_from_slice(&buffer[..read]);
                if buffer[..read].ends_with(b"}}]}") {
                    let _ = stream.write_all(&raw::reply(200, RECORD));
                }
            }
            over.fetch_add(1, Ordering::SeqCst);
        });
        Listener { raw, decrypted, ended }
    }
}

#[test]
fn a_certificate_from_a_private_authority_is_accepted_with_ca_file() {
    let database = shared().fresh_database();
    let certificates = Tls::in_directory(&shared().scratch("valid"));
    let (certificate, key) = certificates.files(Kind::Valid);
    let sandbox = Sandbox::builder().tls(&certificate, &key).start().unwrap();
    let port = sandbox.url().rsplit_once(':').unwrap().1;
    let options = format!(", ca_file '{}'", certificates.ca_file().display());
    let mut client = database.connect();
    for host in ["localhost", "127.0.0.1"] {
        sandbox.clear_log();
        database.execute("DROP SERVER IF EXISTS sequin CASCADE");
        foreign_server(&database, "sequin", &format!("https://{host}:{port}"), &options);
        database
            .execute(&format!("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token '{}')", sandbox.token()));
        for _ in 0..3 {
            assert_eq!(client.column(&create("sequin")).len(), 1, "{host}");
        }
        // Larger than a TLS record, and than any buffer on the way.
        assert_eq!(client.column(&create_of("sequin", 3_000_000)).len(), 1, "{host}");
        let log = sandbox.log();
        assert_eq!((log.mutations().len(), log.connections), (4, 1), "{host}: {:?}", log.connections);
        assert!(log.mutations()[3].complete && log.mutations()[3].body_bytes > 3_000_000);
    }
}

#[test]
fn a_certificate_that_proves_nothing_is_refused_before_the_token_leaves() {
    let database = shared().fresh_database();
    let certificates = Tls::in_directory(&shared().scratch("refused"));
    let mut client = database.connect();
    for (kind, reason) in
        [(Kind::Expired, "expired"), (Kind::OtherHost, "not valid for name"), (Kind::UnknownAuthority, "certificate")]
    {
        let listener = Listener::start(&certificates, kind);
        let options = format!(", ca_file '{}'", certificates.ca_file().display());
        foreign_server(&database, "sequin", &listener.raw.https_url("localhost"), &options);
        let error = client.error(&create("sequin"));
        assert_eq!(error.code().code(), "HV00N", "{kind:?}: {error:?}");
        assert!(error.message().contains(reason), "{kind:?}: {error:?}");
        let detail = error.detail().unwrap_or_default();
        assert!(detail.contains(r#""outcome": "not_sent", "applied": "none""#), "{kind:?}: {detail}");
        assert!(!format!("{error:?}").contains("the-token"), "{kind:?}: {error:?}");
        // All that the client sent has come by the time that the connection has ended.
        eventually("the connection ends", || listener.ended.load(Ordering::SeqCst) == 1);
        assert_eq!(listener.raw.accepted(), 1, "{kind:?}");
        assert_eq!(*listener.decrypted.lock().unwrap(), b"", "{kind:?}: the server has heard something");
        assert_eq!(open_connections(listener.raw.address().port()), 0, "{kind:?}");
    }
}

/// The system does not trust the test's authority.
#[test]
fn without_ca_file_only_the_machines_authorities_count() {
    let database = shared().fresh_database();
    let certificates = Tls::in_directory(&shared().scratch("machine"));
    let listener = Listener::start(&certificates, Kind::Valid);
    foreign_server(&database, "sequin", &listener.raw.https_url("localhost"), "");
    let error = database.connect().error(&create("sequin"));
    assert_eq!(error.code().code(), "HV00N", "{error:?}");
    eventually("the connection ends", || listener.ended.load(Ordering::SeqCst) == 1);
    assert_eq!(*listener.decrypted.lock().unwrap(), b"");
}

/// An authority that is no longer trusted is not trusted by a kept connection either.
#[test]
fn a_changed_ca_file_holds_for_the_next_call() {
    let database = shared().fresh_database();
    let trusted = Tls::in_directory(&shared().scratch("trusted"));
    let stranger = Tls::in_directory(&shared().scratch("stranger"));
    let listener = Listener::start(&trusted, Kind::Valid);
    let options = format!(", ca_file '{}'", trusted.ca_file().display());
    foreign_server(&database, "sequin", &listener.raw.https_url("localhost"), &options);
    let mut client = database.connect();
    let sql = "SELECT upstream_id FROM sequin_create('sync', 'salesforce:contact', '{\"a\": {}}', server => 'sequin')";
    assert_eq!(client.column(sql), ["003"]);
    let change = format!("ALTER SERVER sequin OPTIONS (SET ca_file '{}')", stranger.ca_file().display());
    client.run(&change);
    assert_eq!(client.error(sql).code().code(), "HV00N");
}

/// Each ends before the request could begin.
#[test]
fn a_handshake_that_fails_is_not_sent() {
    let database = shared().fresh_database();
    let certificates = Tls::in_directory(&shared().scratch("failing"));
    let options = format!(", ca_file '{}', connect_timeout_ms '200'", certificates.ca_file().display());
    type Answer = fn(&mut std::net::TcpStream);
    let answers: [(&str, Answer); 5] = [
        ("silence", raw::hold),
        ("an end", |_| {}),
        ("an end after the hello", |stream| drop(stream.read(&mut [0; 4096]))),
        ("http", |stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&raw::reply(400, "this port speaks http"));
            raw::hold(stream);
        }),
        ("an alert", |stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"\x15\x03\x03\x00\x02\x02\x28");
        }),
    ];
    for (what, answer) in answers {
        let peer = RawServer::start(answer);
        foreign_server(&database, "sequin", &peer.https_url("localhost"), &options);
        let (_, error) = Pending::start(database.connect(), &create("sequin")).refusal(what);
        assert_eq!(error.code().code(), "HV00N", "{what}: {error:?}");
    }
}

/// Bytes after the reply could be taken for the next one; TLS may buffer them where the socket does not show them.
#[test]
fn a_tls_connection_with_bytes_after_the_reply_is_not_used_again() {
    let database = shared().fresh_database();
    let certificates = Tls::in_directory(&shared().scratch("forging"));
    let peer = RawServer::tls(certificates.server(Kind::Valid), |stream| {
        if raw::read_request(stream).is_ok() {
            let forged = raw::reply(200, r#"{"records":[{"upstream_id":"forged"}]}"#);
            // In one record, and as much again in further ones.
            let _ = stream.write_all(&[&raw::reply(200, RECORD)[..], &forged].concat());
            let _ = stream.write_all(&forged);
            raw::hold(stream);
        }
    });
    let options = format!(", ca_file '{}'", certificates.ca_file().display());
    foreign_server(&database, "sequin", &peer.https_url("localhost"), &options);
    let mut client = database.connect();
    for calls in 1..=3 {
        assert_eq!(client.column(&create("sequin")), ["003"], "the call {calls}");
        let port = peer.address().port();
        eventually("all has come", || {
            sockets_to(port).iter().all(|socket| !socket.is_open() || !socket.has_read_all())
        });
    }
    assert_eq!(peer.accepted(), 3);
}

/// The same for an incomplete record that arrived with the reply: it waits in the TLS library.
#[test]
fn a_tls_connection_with_the_beginning_of_something_after_the_reply_is_not_used_again() {
    let database = shared().fresh_database();
    let certificates = Tls::in_directory(&shared().scratch("beginning"));
    // A type of record that there is, for another would be refused at once; a header; and a record without its end.
    for beginning in [&[23][..], &[23, 3, 3, 0, 40], &[23, 3, 3, 0, 40, 1, 2, 3]] {
        let peer = RawServer::tls(certificates.server(Kind::Valid), move |stream| {
            while raw::read_request(stream).is_ok() {
                stream.conn.writer().write_all(&raw::reply(200, RECORD)).unwrap();
                let mut flight = Vec::new();
                while stream.conn.wants_write() {
                    stream.conn.write_tls(&mut flight).unwrap();
                }
                flight.extend(beginning);
                let _ = stream.sock.write_all(&flight);
            }
        });
        let options = format!(", ca_file '{}'", certificates.ca_file().display());
        foreign_server(&database, "sequin", &peer.https_url("localhost"), &options);
        let mut client = database.connect();
        for calls in 1..=3 {
            assert_eq!(client.column(&create("sequin")), ["003"], "the call {calls} with {beginning:?}");
        }
        assert_eq!(peer.accepted(), 3, "{beginning:?}");
    }
}

/// Neither an orderly end nor a forged one counts as the end of a body.
#[test]
fn a_body_that_is_cut_within_tls_is_a_lost_reply() {
    let database = shared().fresh_database();
    let certificates = Tls::in_directory(&shared().scratch("cut"));
    let options = format!(", ca_file '{}'", certificates.ca_file().display());
    let length = RECORD.len();
    for headers in [String::new(), format!("content-length: {length}\r\n")] {
        for in_good_order in [true, false] {
            let reply = format!("HTTP/1.1 200 OK\r\n{headers}\r\n{}", &RECORD[..length - 1]);
            let peer = RawServer::tls(certificates.server(Kind::Valid), move |stream| {
                if raw::read_request(stream).is_ok() {
                    let _ = stream.write_all(reply.as_bytes());
                    if !in_good_order {
                        // Before the harness can say the end of the TLS session.
                        let _ = stream.sock.shutdown(std::net::Shutdown::Both);
                    }
                }
            });
            foreign_server(&database, "sequin", &peer.https_url("localhost"), &options);
            let error = database.connect().error(&create("sequin"));
            assert_eq!(error.code().code(), "HV00M", "{headers:?}, in good order: {in_good_order}: {error:?}");
        }
    }
}
