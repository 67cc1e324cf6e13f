//! Clients that do nothing, or do it slowly, do not keep others out.

use std::time::Duration;

use gateway::config::Clients;

use super::raw::{Raw, within_reason};
use super::server::{PATIENT, Server};

const SOON: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_connection_without_a_request_ends() {
    let server = Server::plain(Clients { head_timeout: SOON, ..PATIENT }).await;
    // The last three end in a different place each: before the version is known, in a head, in HTTP/2's preface.
    for begun in ["", "G", "GET / HTTP/1.1\r\nhost: x\r\nx-slow: ", "PRI * HTTP/2.0\r\n"] {
        let mut client = Raw::connect(server.address).await;
        client.send(begun).await;
        assert_eq!(client.until_closed().await, "", "{begun:?}");
    }
}

#[tokio::test]
async fn an_http2_connection_without_a_request_ends() {
    let server = Server::plain(Clients { head_timeout: SOON, ..PATIENT }).await;
    let mut client = Raw::connect(server.address).await;
    // The preface and empty SETTINGS.
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    client.until_closed().await;
}

#[tokio::test]
async fn an_idle_connection_ends_after_its_last_reply() {
    let server = Server::plain(Clients { idle_timeout: SOON, ..PATIENT }).await;
    let mut client = Raw::connect(server.address).await;
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(client.until("hello").await.starts_with("HTTP/1.1 200"));
    assert_eq!(client.until_closed().await, "");
}

#[tokio::test]
async fn a_reply_that_its_client_does_not_read_is_given_up() {
    let server = Server::plain(Clients { write_timeout: SOON, ..PATIENT }).await;
    let mut client = Raw::connect(server.address).await;
    client.send("GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.until("HTTP/1.1 200 OK\r\n").await;
    // A connection that is in the middle of a reply has to finish it, or to fail.
    within_reason(server.connections.close()).await;
    assert!(client.until_closed().await.len() < 64 << 20);
}

#[tokio::test]
async fn a_request_in_progress_is_not_idle() {
    let mut server = Server::plain(Clients { head_timeout: SOON, idle_timeout: SOON, ..PATIENT }).await;
    let mut client = Raw::connect(server.address).await;
    client.send("GET /hold HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.held.recv().await.unwrap();
    // Another connection lives and dies of idleness meanwhile: the first had as long.
    let mut idle = Raw::connect(server.address).await;
    idle.until_closed().await;
    server.release.notify_one();
    client.until("let go").await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let mut server = Server::plain(Clients { max_connections: 1, ..PATIENT }).await;
    let mut first = Raw::connect(server.address).await;
    first.send("GET /hold HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.held.recv().await.unwrap();
    let mut second = Raw::connect(server.address).await;
    second.send("GET /hold HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    server.release.notify_one();
    first.until("let go").await;
    assert!(server.held.try_recv().is_err(), "the second was served beside the first");
    drop(first);
    server.held.recv().await.unwrap();
    server.release.notify_one();
    assert!(second.until_closed().await.ends_with("let go"));
}
