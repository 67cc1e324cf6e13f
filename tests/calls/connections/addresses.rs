//! The address of a connection: IPv4, IPv6, and names with an address that does not answer.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sequin_harness::raw::FullBacklog;

use crate::support::Session;
use crate::support::network::{Api, Pending, REFUSING, create, foreign_server};
use crate::support::server::{own, shared};

/// An API at a port that these tests' other addresses refuse: a listener of another test may have its number there.
fn alone(listen: &str) -> Api {
    let refuses = |other: &str, port| {
        let address = SocketAddr::new(other.parse().unwrap(), port);
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err_and(refused)
    };
    loop {
        let api = Api::on(listen);
        let port = api.raw.address().port();
        let mut others = ["127.0.0.1", "127.0.0.2", "::1"].into_iter().filter(|other| !listen.contains(other));
        if others.all(|other| refuses(other, port)) {
            return api;
        }
    }
}

#[test]
fn ipv4_and_ipv6_by_literal_and_by_name() {
    let database = shared().fresh_database();
    for (listen, host) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("127.0.0.1:0", "localhost"),
        ("127.0.0.1:0", "LocalHost"),
        ("[::1]:0", "[::1]"),
        ("[::1]:0", "localhost"),
        ("127.0.0.1:0", "127-0-0-1.two.test"),
        ("[::1]:0", "ipv6.two.test"),
    ] {
        let api = alone(listen);
        let url = format!("http://{host}:{}/", api.raw.address().port());
        foreign_server(&database, "sequin", &url, ", allow_http 'true'");
        let mut client = database.connect();
        for _ in 0..2 {
            assert_eq!(client.column(&create("sequin")), ["003"], "{host}");
        }
        assert_eq!((api.requests(), api.raw.accepted()), (2, 1), "{host}");
    }
}

/// 127.0.0.2 and ::1 refuse at the same port.
#[test]
fn an_address_that_refuses_is_passed_over() {
    let database = shared().fresh_database();
    for host in ["127-0-0-2.127-0-0-1.two.test", "ipv6.127-0-0-1.two.test", "127-0-0-2.ipv6.127-0-0-1.two.test"] {
        let api = alone("127.0.0.1:0");
        let url = format!("http://{host}:{}", api.raw.address().port());
        foreign_server(&database, "sequin", &url, ", allow_http 'true'");
        assert_eq!(database.connect().column(&create("sequin")), ["003"], "{host}");
        assert_eq!(api.requests(), 1);
    }
}

/// An address that never answers gets a part of the time for connecting, and the next one the rest.
#[test]
fn an_address_that_never_answers_is_passed_over_in_time() {
    // Of its own: a session that waits this long beside other tests' DDL may have to forget the server object meanwhile,
    // and its connection with it.
    let server = own("");
    let database = server.fresh_database();
    let silent = FullBacklog::start();
    let port = silent.address().port();
    let api = Api::on(&format!("127.0.0.2:{port}"));
    let url = format!("http://127-0-0-1.127-0-0-2.two.test:{port}");
    foreign_server(&database, "sequin", &url, ", allow_http 'true', connect_timeout_ms '6000'");
    let (mut client, rows) = Pending::start(database.connect(), &create("sequin")).end("a dead first address");
    assert_eq!(rows.unwrap(), ["003"]);
    assert_eq!(client.column(&create("sequin")), ["003"]);
    assert_eq!((api.requests(), api.raw.accepted()), (2, 1));
}

/// If none answers, the message names each with its error, and nothing was sent.
#[test]
fn when_every_address_is_dead_each_is_named() {
    let database = shared().fresh_database();
    let silent = FullBacklog::start();
    let port = silent.address().port();
    let url = format!("http://127-0-0-2.127-0-0-1.two.test:{port}");
    foreign_server(&database, "sequin", &url, ", allow_http 'true', connect_timeout_ms '4000'");
    let (_, error) = Pending::start(database.connect(), &create("sequin")).refusal("two dead addresses");
    assert_eq!(error.code().code(), "HV00N", "{error:?}");
    assert!(error.message().contains(&format!("127.0.0.2:{port}: Connection refused")), "{error:?}");
    assert!(error.message().contains(&format!("127.0.0.1:{port}: no answer within ")), "{error:?}");
    assert!(error.detail().unwrap_or_default().contains(r#""outcome": "not_sent", "applied": "none""#), "{error:?}");
}

#[test]
fn a_port_that_refuses_is_not_sent() {
    let database = shared().fresh_database();
    foreign_server(&database, "sequin", &format!("http://{REFUSING}"), "");
    let error = database.connect().error(&create("sequin"));
    assert_eq!(error.code().code(), "HV00N", "{error:?}");
    assert!(error.message().contains("Connection refused"), "{error:?}");
    assert!(error.hint().unwrap_or_default().contains("Nothing was sent"), "{error:?}");
}
