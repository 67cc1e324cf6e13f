//! The same over TLS: bytes are counted before they are encrypted.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{create, head, start_with};

#[test]
fn it_serves_and_cuts() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = std::env::temp_dir().join(format!("sandbox-tls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let sandbox = start_with(&["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    std::fs::remove_dir_all(&directory).unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let exchange = |path: &str, body: String| {
        let tls = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut stream = StreamOwned::new(tls, TcpStream::connect(&sandbox.address).unwrap());
        let close = head("POST", path, body.len()).replace("\r\nhost", "\r\nconnection: close\r\nhost");
        stream.write_all((close + &body).as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes).err().map(|error| error.kind());
        (bytes, end)
    };
    let (bytes, end) = exchange("/v1/mutations/run", create(1).to_string());
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(end, None);
    for cut in [1, 100, 500] {
        exchange("/sandbox/faults", json!({"cut_after": cut}).to_string());
        let (bytes, end) = exchange("/v1/mutations/run", create(1).to_string());
        // No close_notify: a client must see that the stream is incomplete.
        assert_eq!((bytes.len(), end), (cut, Some(ErrorKind::UnexpectedEof)));
    }
}
