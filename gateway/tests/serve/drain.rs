//! The end: a request in progress is answered, everything else is closed.

use super::raw::Raw;
use super::server::{PATIENT, Server};

#[tokio::test]
async fn closing_waits_for_requests_in_progress() {
    let mut server = Server::plain(PATIENT).await;
    let mut client = Raw::connect(server.address).await;
    client.send("GET /hold HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.held.recv().await.unwrap();
    let closing = server.connections.clone();
    let closed = tokio::spawn(async move { closing.close().await });
    // Once the port is closed, the request in progress is all there is.
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!closed.is_finished());
    server.release.notify_one();
    closed.await.unwrap();
    let reply = client.until_closed().await;
    assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("let go"), "{reply}");
}

#[tokio::test]
async fn closing_ends_idle_connections_and_the_port() {
    let server = Server::plain(PATIENT).await;
    let mut silent = Raw::connect(server.address).await;
    let mut kept = Raw::connect(server.address).await;
    kept.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    kept.until("hello").await;
    server.connections.close().await;
    assert_eq!((silent.until_closed().await, kept.until_closed().await), (String::new(), String::new()));
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}
