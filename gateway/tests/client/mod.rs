//! The HTTP client over raw sockets: a reply, nothing sent, or lost. The difference decides what may be sent again.

mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway::client::{Client, Limits, Sent, Trust};
use http::{HeaderMap, Method};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::kit::{Act, Scripted};

fn limits() -> Limits {
    Limits { connect: Duration::from_millis(500), request: Duration::from_secs(5), reply: 10_000 }
}

fn client() -> Client {
    Client::new(limits(), &Trust::None).unwrap()
}

async fn post(client: &Client, uri: &str) -> Sent {
    let deadline = Instant::now() + Duration::from_secs(60);
    client.send(Method::POST, uri.parse().unwrap(), HeaderMap::new(), Bytes::from_static(b"{}"), deadline).await
}

/// `reply 200`, `not sent` or `lost`.
fn word(sent: &Sent) -> String {
    match sent {
        Sent::Reply(reply) => format!("reply {}", reply.status),
        Sent::NotSent(_) => "not sent".into(),
        Sent::Lost(_) => "lost".into(),
    }
}

fn raw(text: impl Into<String>) -> Act {
    Act::Raw(text.into().into_bytes())
}

#[tokio::test]
async fn what_comes_back_is_a_reply_or_lost_and_is_asked_for_once() {
    type Row = (&'static str, fn() -> Act, &'static str);
    let rows: [Row; 17] = [
        ("a reply", || Act::json(201, "{}"), "reply 201"),
        ("no content", || Act::Reply { status: 204, headers: vec![], body: String::new() }, "reply 204"),
        ("HTML", || Act::Reply { status: 200, headers: vec![], body: "<html>".into() }, "reply 200"),
        ("a body until the close", || raw("HTTP/1.1 200 x\r\n\r\nall"), "reply 200"),
        ("a redirect", || redirect(302), "reply 302"),
        ("a redirect that keeps the method", || redirect(307), "reply 307"),
        ("an early hint", || raw("HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n"), "reply 200"),
        ("closed", || Act::Close, "lost"),
        ("reset", || Act::Reset, "lost"),
        ("cut in the head", || raw("HTTP/1.1 200 x\r\ncontent-le"), "lost"),
        ("cut in the body", || raw("HTTP/1.1 200 x\r\ncontent-length: 5\r\n\r\n{"), "lost"),
        ("cut in a chunk", || raw("HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"), "lost"),
        ("garbage", || raw("SSH-2.0-OpenSSH_9.2\r\n"), "lost"),
        ("10,000 headers", || raw(format!("HTTP/1.1 200 x\r\n{}\r\n", "a: b\r\n".repeat(10_000))), "lost"),
        ("two lengths", || raw("HTTP/1.1 200 x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"), "lost"),
        ("a body beyond the limit", || Act::json(200, " ".repeat(10_001)), "lost"),
        ("an endless body", || Act::Endless(b"HTTP/1.1 200 x\r\n\r\n".to_vec(), vec![b' '; 4096]), "lost"),
    ];
    for (what, act, want) in rows {
        let server = Scripted::start(move |_| async move { act() }).await;
        let sent = post(&client(), &format!("http://{}/a?b=c", server.addr)).await;
        assert_eq!(word(&sent), want, "{what}: {sent:?}");
        let log = server.log();
        assert_eq!(log.len(), 1, "{what}");
        assert_eq!((log[0].path.as_str(), log[0].header("accept-encoding")), ("/a?b=c", None), "{what}");
        assert!(log[0].header("user-agent").is_some_and(|agent| agent.starts_with("sequin-gateway/")), "{what}");
    }
}

fn redirect(status: u16) -> Act {
    Act::Reply { status, headers: vec![("location", "/b".into())], body: String::new() }
}

#[tokio::test]
async fn every_phase_ends_in_time() {
    let short = Limits { request: Duration::from_millis(200), ..limits() };
    let client = Client::new(short, &Trust::None).unwrap();
    for act in [|| Act::Stall(Vec::new()), || Act::Drip(vec![b'H'; 99], 50), || half()] {
        let server = Scripted::start(move |_| async move { act() }).await;
        let sent = post(&client, &format!("http://{}/", server.addr)).await;
        assert!(matches!(&sent, Sent::Lost(why) if why.0.contains("in time")), "{sent:?}");
    }
    let server = Scripted::start(|_| async { Act::json(200, "{}") }).await;
    let uri = format!("http://{}/", server.addr).parse().unwrap();
    let sent = client.send(Method::POST, uri, HeaderMap::new(), Bytes::new(), Instant::now()).await;
    assert_eq!((word(&sent).as_str(), server.log().len()), ("not sent", 0));
}

fn half() -> Act {
    Act::Stall(b"HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\n{".to_vec())
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let gone: SocketAddr = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    // Accepts, and never says a word of TLS.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute_addr = mute.local_addr().unwrap();
    for uri in [
        format!("http://{gone}/"),
        "http://name.invalid/".into(),
        format!("https://{mute_addr}/"),
        format!("https://{}/", closing().await),
    ] {
        let sent = post(&client(), &uri).await;
        assert_eq!(word(&sent), "not sent", "{uri}: {sent:?}");
    }
}

/// A listener that closes each connection at once.
async fn closing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    addr
}

#[tokio::test]
async fn a_full_queue_of_connections_is_not_sent() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    // Nothing accepts: the kernel takes some connections and then answers no more.
    let mut taken = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(addr)).await
    {
        taken.push(stream);
        assert!(taken.len() < 1000, "the queue has no end");
    }
    let sent = post(&client(), &format!("http://{addr}/")).await;
    assert_eq!(word(&sent), "not sent", "{sent:?}");
}

#[tokio::test]
async fn a_connection_that_is_reset_after_it_was_made_may_have_carried_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_zero_linger().unwrap();
        }
    });
    let sent = post(&client(), &format!("http://{addr}/")).await;
    assert_eq!(word(&sent), "lost", "{sent:?}");
}

#[tokio::test]
async fn a_kept_connection_is_used_again_and_one_that_the_server_closed_is_not() {
    let server = Scripted::start(|received| async move {
        if received.number % 2 == 0 { Act::json(200, "{}") } else { Act::ReplyAndClose("{}".into()) }
    })
    .await;
    let client = client();
    let uri = format!("http://{}/", server.addr);
    for round in 1..=10 {
        for _ in 0..2 {
            assert_eq!(word(&post(&client, &uri).await), "reply 200");
        }
        server.closed(round).await;
    }
    let connections: Vec<_> = server.log().iter().map(|received| received.connection).collect();
    assert_eq!(connections, (0..10).flat_map(|round| [round, round]).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_asked() {
    // The variables are those of the child that runs this very test.
    if std::env::var_os("http_proxy").is_none() {
        let proxy = Scripted::start(|_| async { Act::json(200, "{}") }).await;
        let url = format!("http://{}", proxy.addr);
        let name = "client::a_proxy_of_the_environment_is_not_asked";
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
        child.args([name, "--exact"]).env("http_proxy", &url).env("HTTP_PROXY", &url).env("ALL_PROXY", &url);
        assert!(child.status().await.unwrap().success());
        assert!(proxy.log().is_empty());
        return;
    }
    let server = Scripted::start(|_| async { Act::json(200, "{}") }).await;
    assert_eq!(word(&post(&client(), &format!("http://{}/", server.addr)).await), "reply 200");
}

#[tokio::test]
async fn many_requests_at_once_have_connections_of_their_own() {
    let server = Scripted::start(|received| async move { Act::json(200, received.number.to_string()) }).await;
    let client = Arc::new(client());
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (client, uri) = (client.clone(), format!("http://{}/", server.addr));
            tokio::spawn(async move { post(&client, &uri).await })
        })
        .collect();
    let mut bodies = std::collections::BTreeSet::new();
    for task in tasks {
        let Sent::Reply(reply) = task.await.unwrap() else { panic!("no reply") };
        bodies.insert(reply.body);
    }
    assert_eq!((bodies.len(), server.log().len()), (64, 64));
}
