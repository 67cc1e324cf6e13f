//! The contract over HTTP: the form of a request, and the replies to wrong ones.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kit::{App, config, create, sync, told};

async fn memory() -> App {
    App::start(config(sync(gateway::config::Backend::Memory))).await
}

#[tokio::test]
async fn each_wrong_request_has_its_status() {
    let app = memory().await;
    let body = create("{}");
    let post = || app.post().body(body.clone());
    let url = |path: &str| format!("http://{}{path}", app.addr);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let bare = |path: &str| client.post(url(path)).body(body.clone());
    let json = |request: reqwest::RequestBuilder| request.header("content-type", "application/json");
    for (what, request, status) in [
        ("good", post(), 200),
        ("no token", json(bare("/v1/mutations/run")), 401),
        ("another token", json(bare("/v1/mutations/run")).bearer_auth("tokem"), 401),
        ("a token that begins right", json(bare("/v1/mutations/run")).bearer_auth("toke"), 401),
        ("basic", json(bare("/v1/mutations/run")).basic_auth("token", Some("token")), 401),
        ("another address", json(bare("/v1/mutations")).bearer_auth("token"), 404),
        ("a slash at the end", json(bare("/v1/mutations/run/")).bearer_auth("token"), 404),
        ("GET", client.get(url("/v1/mutations/run")).bearer_auth("token"), 405),
        ("HEAD", client.head(url("/v1/mutations/run")).bearer_auth("token"), 405),
        ("PUT", client.put(url("/v1/mutations/run")).bearer_auth("token"), 405),
        ("a form", bare("/v1/mutations/run").bearer_auth("token"), 415),
        ("too large", app.post().body("x".repeat((1 << 20) + 1)), 413),
        ("too large in chunks", app.post().body(chunks((1 << 20) + 1)), 413),
        ("as large as allowed", app.post().body(" ".repeat((1 << 20) - body.len()) + &body), 200),
        ("no JSON", app.post().body("x"), 422),
        ("an empty body", app.post(), 422),
        ("an empty key", post().header("idempotency-key", " "), 422),
        ("two keys", post().header("idempotency-key", "a").header("idempotency-key", "b"), 422),
        ("a long key", post().header("idempotency-key", "k".repeat(256)), 422),
        ("a key", post().header("idempotency-key", "k".repeat(255)), 200),
        ("per-record", post().header("prefer", "per-record"), 200),
    ] {
        let reply = request.send().await.unwrap();
        let headers = reply.headers().clone();
        assert_eq!(reply.status(), status, "{what}");
        assert_eq!(headers["content-type"], "application/json", "{what}");
        assert!(!headers["x-request-id"].is_empty(), "{what}");
        assert!(!headers.contains_key("preference-applied"), "{what}");
        assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{what}");
        assert_eq!(headers.get("allow").map(|value| value == "POST"), (status == 405).then_some(true), "{what}");
        let text = reply.text().await.unwrap();
        match status {
            200 => assert!(text.starts_with(r#"{"records":[{"id""#), "{what}: {text}"),
            422 => assert!(text.contains(r#""validation_errors":{""#), "{what}: {text}"),
            _ if what == "HEAD" => assert_eq!(text, ""),
            _ => assert!(text.starts_with(r#"{"error":"Error: "#), "{what}: {text}"),
        }
    }
}

/// A body without a length.
fn chunks(bytes: usize) -> reqwest::Body {
    struct Chunks(usize);
    impl http_body::Body for Chunks {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
            let next = self.0.min(1 << 16);
            self.0 -= next;
            let frame = http_body::Frame::data(bytes::Bytes::from(vec![b'x'; next]));
            std::task::Poll::Ready((next > 0).then_some(Ok(frame)))
        }
    }
    reqwest::Body::wrap(Chunks(bytes))
}

#[tokio::test]
async fn a_request_id_is_kept_if_it_fits_and_made_if_not() {
    let app = memory().await;
    for (given, kept) in [(Some("abc-1".to_owned()), true), (Some("x".repeat(129)), false), (None, false)] {
        let mut request = app.post().body(create("{}"));
        if let Some(given) = &given {
            request = request.header("x-request-id", given);
        }
        let reply = request.send().await.unwrap();
        let id = reply.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(given.as_ref() == Some(&id), kept);
        assert!(id.len() <= 128);
    }
}

#[tokio::test]
async fn the_memory_provider_shows_each_outcome() {
    let app = memory().await;
    let data = |domain: &str| create(&format!(r#"{{"email":"a@{domain}"}}"#));
    for (body, status, words) in [
        (data("b.example"), 200, r#""updated_idx":"#),
        (data("timeout.example"), 504, r#"{"error":"Error: Notes API timed out","docs":[]}"#),
        (data("limit.example"), 429, "Error: Notes limits its requests; nothing was applied"),
        (create(r#"{"email":"nonsense"}"#), 400, "Error: Notes validation error: `Invalid email`"),
    ] {
        let told = app.mutate(body).await;
        assert_eq!(told.status, status);
        assert!(told.body.contains(words), "{}", told.body);
        assert_eq!(told.retry_after.is_some(), status == 429);
    }
    // A key is one effect here too.
    let first = app.keyed("k", data("b.example")).await;
    assert_eq!(app.keyed("k", data("b.example")).await, first);
    assert_ne!(app.keyed("l", data("b.example")).await, first);
}

#[tokio::test]
async fn a_token_sees_its_own_syncs_only() {
    let mut config = config(sync(gateway::config::Backend::Memory));
    config.syncs.insert("t".into(), sync(gateway::config::Backend::Memory));
    let app = App::start(config).await;
    assert_eq!(app.mutate(create("{}")).await.status, 200);
    let hidden = app.mutate(create("{}").replace(r#""s""#, r#""t""#)).await;
    let absent = app.mutate(create("{}").replace(r#""s""#, r#""u""#)).await;
    assert_eq!((hidden.status, &hidden), (422, &absent));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_applied() {
    let app = memory().await;
    let body = create(r#"{"n":1}"#);
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    let head = format!(
        "POST /v1/mutations/run HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token\r\ncontent-type: application/json\r\nidempotency-key: k\r\ncontent-length: {}\r\n\r\n",
        body.len() + 1
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut reply = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut reply)).await;
    assert!(read.is_ok() && !reply.contains(" 200 "), "{reply}");
    // The key is free.
    assert_eq!(told(app.post().header("idempotency-key", "k").body(create("{}"))).await.status, 200);
}

/// A connection that ends after a refusal would take the next mutation with it.
#[tokio::test]
async fn a_connection_goes_on_after_a_refusal_whose_body_was_not_needed() {
    let app = memory().await;
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    let body = create("{}");
    let request = |token: &str, body: &str| {
        format!(
            "POST /v1/mutations/run HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let large = " ".repeat(3 << 20);
    for (what, token, body, status) in [
        ("refused unread", "wrong", large.as_str(), "401"),
        ("the next one", "token", &body, "200"),
        ("too large", "token", &large, "413"),
        ("the last one", "token", &body, "200"),
    ] {
        // In two parts, so that the refusal is there before the body is.
        let request = request(token, body);
        let (head, rest) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(rest.as_bytes()).await.unwrap();
        let reply = reply(&mut stream).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {reply}");
        assert!(!reply.contains("connection: close"), "{what}: {reply}");
    }
    // More than the gateway throws away: the connection ends.
    let head = request("wrong", &body).split("content-length").next().unwrap().to_owned();
    stream.write_all(format!("{head}content-length: {}\r\n\r\n", 1_u64 << 40).as_bytes()).await.unwrap();
    while stream.write_all(&[b' '; 1 << 16]).await.is_ok() {}
}

/// One reply with a content-length.
async fn reply(stream: &mut TcpStream) -> String {
    let mut reply = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&reply).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return text;
            }
        }
        assert!(stream.read_buf(&mut reply).await.unwrap() > 0, "the connection ended: {text}");
    }
}
