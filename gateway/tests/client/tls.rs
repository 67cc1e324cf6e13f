//! The client over TLS: whom it trusts, and HTTP/2.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gateway::client::{Client, Sent, Trust};
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{limits, post, word};

/// A server on `localhost` that signs for itself.
struct Secure {
    addr: SocketAddr,
    /// Its certificate, PEM.
    certificate: String,
    /// The version of each request.
    seen: Arc<Mutex<Vec<Version>>>,
}

async fn secure(alpn: &[&[u8]]) -> Secure {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
    let mut config =
        config.with_no_client_auth().with_single_cert(vec![signed.cert.der().clone()], key.into()).unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shared = seen.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, seen) = (acceptor.clone(), shared.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: Request<Incoming>| {
                    seen.lock().unwrap().push(request.version());
                    async { Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"{}")))) }
                });
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Secure { addr, certificate: signed.cert.pem(), seen }
}

fn trusting(path: &Path) -> Client {
    Client::new(limits(), &Trust::File(path.into())).unwrap()
}

#[tokio::test]
async fn a_server_is_trusted_by_the_file_and_by_its_name() {
    let (server, other) = (secure(&[]).await, secure(&[]).await);
    let folder = tempfile::tempdir().unwrap();
    let [file, other_file] = ["ca.pem", "other.pem"].map(|name| folder.path().join(name));
    std::fs::write(&file, format!("{}{}", server.certificate, server.certificate)).unwrap();
    std::fs::write(&other_file, other.certificate).unwrap();
    let port = server.addr.port();
    for (client, host, want) in [
        (trusting(&file), "localhost", "reply 200"),
        (trusting(&file), "127.0.0.1", "not sent"),
        (trusting(&other_file), "localhost", "not sent"),
        (Client::new(limits(), &Trust::None).unwrap(), "localhost", "not sent"),
        (Client::new(limits(), &Trust::Machine).unwrap(), "localhost", "not sent"),
    ] {
        let sent = post(&client, &format!("https://{host}:{port}/")).await;
        assert_eq!(word(&sent), want, "{host}: {sent:?}");
    }
    assert_eq!(server.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn http_2_is_spoken_where_the_server_does() {
    let folder = tempfile::tempdir().unwrap();
    for (alpn, version) in [
        ([&b"h2"[..], b"http/1.1"].as_slice(), Version::HTTP_2),
        (&[b"http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let server = secure(alpn).await;
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, &server.certificate).unwrap();
        let client = trusting(&file);
        let uri = format!("https://localhost:{}/", server.addr.port());
        let sent = at_once(&client, &uri, 10).await;
        assert!(sent.iter().all(|sent| matches!(sent, Sent::Reply(_))), "{sent:?}");
        assert_eq!(*server.seen.lock().unwrap(), vec![version; 10]);
    }
}

/// That many requests at once.
async fn at_once(client: &Client, uri: &str, count: usize) -> Vec<Sent> {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let (client, uri) = (client.clone(), uri.to_owned());
            tokio::spawn(async move { post(&client, &uri).await })
        })
        .collect();
    let mut sent = Vec::new();
    for task in tasks {
        sent.push(task.await.unwrap());
    }
    sent
}

#[test]
fn a_file_without_an_authority_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let error = |text: Option<&str>| {
        match text {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        Client::new(limits(), &Trust::File(file.clone())).err().unwrap().to_string()
    };
    for (text, words) in [
        (Some(""), "there is no certificate in"),
        (Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "a certificate in"),
        (Some("-----BEGIN CERTIFICATE-----\n"), "cannot read the authorities in"),
        (None, "cannot read the authorities in"),
    ] {
        let error = error(text);
        assert!(error.starts_with(words), "{error}");
    }
}
