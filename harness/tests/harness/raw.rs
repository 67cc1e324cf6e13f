//! The listener that misbehaves, and the certificates.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use sequin_harness::raw::{self, FullBacklog};
use sequin_harness::tls::Kind;
use sequin_harness::{RawServer, Server, Tls};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

#[test]
fn serves_what_the_closure_says() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let server = RawServer::on(address, |stream| {
            let (head, body) = raw::read_request(stream).unwrap();
            assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
            assert_eq!(body, b"ping");
            stream.write_all(&raw::reply(200, "pong")).unwrap();
        });
        let mut reply = ureq::post(server.url()).send("ping").unwrap();
        assert_eq!(reply.body_mut().read_to_string().unwrap(), "pong");
        assert_eq!(server.accepted(), 1);
    }
}

/// The peer sees the end of a connection whose closure returned, although the server keeps a second handle.
#[test]
fn closes_when_the_closure_returns() {
    let server = RawServer::start(|stream| stream.write_all(b"HTTP/1.1 200").unwrap());
    let mut text = String::new();
    TcpStream::connect(server.address()).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "HTTP/1.1 200");
}

#[test]
fn a_closure_that_holds_on_ends_with_the_server() {
    let server = RawServer::start(raw::hold);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"hello").unwrap();
    drop(server);
    let ended = stream.read(&mut [0]);
    assert!(matches!(&ended, Ok(0)) || ended.is_err(), "{ended:?}");
}

#[test]
fn a_full_backlog_answers_nobody() {
    let full = FullBacklog::start();
    let error = TcpStream::connect_timeout(&full.address(), Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// One certificate is good, and each of the others is refused for its own reason.
#[test]
fn certificates_are_what_they_say() {
    let tls = Tls::in_directory(&Server::shared().scratch("certificates"));
    let pem = std::fs::read(tls.ca_file()).unwrap();
    let roots = RootCerts::new_with_certs(&[Certificate::from_pem(&pem).unwrap()]);
    let ciphers = Arc::new(rustls::crypto::ring::default_provider());
    let tls_config = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(ciphers);
    let agent = Agent::new_with_config(Agent::config_builder().tls_config(tls_config.build()).build());
    for (kind, refusal) in [
        (Kind::Valid, None),
        (Kind::Expired, Some("expired")),
        (Kind::OtherHost, Some("not valid for name")),
        (Kind::UnknownAuthority, Some("BadSignature")),
    ] {
        let server = RawServer::tls(tls.server(kind), |stream| {
            if raw::read_request(stream).is_ok() {
                stream.write_all(&raw::reply(200, "in good order")).unwrap();
            }
        });
        let reply = agent.get(server.https_url("localhost")).call();
        match (reply, refusal) {
            (Ok(mut reply), None) => assert_eq!(reply.body_mut().read_to_string().unwrap(), "in good order"),
            (Err(error), Some(refusal)) => assert!(error.to_string().contains(refusal), "{kind:?}: {error}"),
            (reply, _) => panic!("{kind:?}: {reply:?}"),
        }
        let (certificate, key) = tls.files(kind);
        assert!(certificate.is_file() && key.is_file());
    }
}
