//! https: both versions of HTTP, and a certificate that changes while the server runs.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway::config::{Clients, Config};
use gateway::serve::Settings;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::raw::Raw;
use super::server::{PATIENT, Server, client};
use crate::config::{Folder, SMALLEST};

const TLS: &str = "tls = { cert_file = \"cert.pem\", key_file = \"key.pem\" }\n";

fn config(folder: &Folder) -> Config {
    folder.load(&format!("{TLS}{SMALLEST}")).unwrap()
}

/// A connection that trusts the folder's certificate alone.
async fn connect(address: SocketAddr, folder: &Folder, alpn: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.path("cert.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn https_speaks_both_versions() {
    let folder = Folder::new();
    let server = Server::start(Settings { tls: config(&folder).tls, clients: PATIENT }).await;
    let mut client = Raw(connect(server.address, &folder, "http/1.1").await.unwrap());
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.until("hello").await;
    let client = connect(server.address, &folder, "h2").await.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let (old, new) = (Folder::new(), Folder::new());
    let server = Server::start(Settings { tls: config(&old).tls, clients: PATIENT }).await;
    let mut client = Raw(connect(server.address, &old, "http/1.1").await.unwrap());
    assert!(connect(server.address, &new, "http/1.1").await.is_err());
    server.settings.send_replace(Settings { tls: config(&new).tls, clients: PATIENT });
    assert!(connect(server.address, &new, "http/1.1").await.is_ok());
    assert!(connect(server.address, &old, "http/1.1").await.is_err());
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.until("hello").await;
}

#[tokio::test]
async fn a_handshake_that_stalls_is_given_up() {
    let folder = Folder::new();
    let clients = Clients { head_timeout: std::time::Duration::from_millis(50), ..PATIENT };
    let server = Server::start(Settings { tls: config(&folder).tls, clients }).await;
    let mut client = Raw::connect(server.address).await;
    client.send("\x16\x03\x01").await;
    client.until_closed().await;
}

#[tokio::test]
async fn http2_works_without_tls_too() {
    let server = Server::plain(PATIENT).await;
    let client = client(reqwest::ClientBuilder::http2_prior_knowledge);
    let reply = client.post(server.url("/")).body("abc").send().await.unwrap();
    assert_eq!((reply.version(), reply.text().await.unwrap().as_str()), (reqwest::Version::HTTP_2, "3"));
}
