//! What the program prints: a line for each mutation, and never a secret or a record.

use rustix::process::Signal;
use serde_json::Value;

use super::program::Program;
use super::{Folder, create, stripe_at};
use crate::kit::{Act, Scripted};

/// What must not be printed: a token, a credential, a header, data on its way there and back.
const CANARIES: [&str; 6] =
    ["the-token-of-app", "canary-credential", "canary-header", "canary-guess", "canary-data", "canary-reply"];

#[tokio::test]
async fn no_secret_and_no_record_is_printed_at_any_level() {
    let folder = Folder::new();
    folder.secret("stripe.key", "canary-credential");
    let provider = Scripted::start(async |received| match received.number {
        0 => Act::json(200, r#"{"id":"cus_1","object":"customer","name":"canary-reply"}"#),
        1 => Act::json(400, r#"{"error":{"type":"invalid_request_error","message":"canary-reply is wrong"}}"#),
        2 => Act::json(401, r#"{"error":{"message":"Invalid API Key: canary-reply"}}"#),
        3 => {
            Act::Reply { status: 302, headers: vec![("location", "http://canary-header".into())], body: String::new() }
        }
        _ => Act::Raw(b"canary-reply\r\n\r\n".to_vec()),
    })
    .await;
    // Everything that there is to hear, of dependencies as well.
    let text = format!("log = \"trace\"\n{}\ntimeout = \"2s\"\n", stripe_at(provider.addr));
    let program = Program::start(&folder, &text).await;
    let body = create(r#"{"name":"canary-data"}"#);
    for _ in 0..5 {
        program.post("the-token-of-app", body.clone()).await;
    }
    program.post("canary-guess", body.clone()).await;
    program.post("the-token-of-app", body.replace("\"kind\"", "\"canary-data\"")).await;
    let url = format!("{}/v1/mutations/run?canary-header", program.url);
    super::program::client().get(url).header("x-a", "canary-header").send().await.unwrap();
    // HTTP/2's crate would log what it reads.
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    http2.get(&program.url).bearer_auth("canary-guess").send().await.unwrap();
    std::fs::write(folder.path("gateway.toml"), format!("log = 1\n{text}\ntoken = \"canary-data\"\n")).unwrap();
    program.signal(Signal::HUP);
    program.stderr.line_with("nothing changed").await;
    program.signal(Signal::TERM);
    let (status, lines) = program.end().await;
    assert!(status.success());
    for line in &lines {
        let line: Value = serde_json::from_str(line).unwrap();
        let is_loud = ["WARN", "ERROR"].iter().any(|level| line["level"] == *level);
        assert!(is_loud || line["target"].as_str().unwrap().starts_with("gateway"), "{line}");
    }
    for canary in CANARIES {
        let found: Vec<&String> = lines.iter().filter(|line| line.contains(canary)).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[tokio::test]
async fn each_mutation_has_one_line_with_names_and_numbers() {
    let folder = Folder::new();
    let program = Program::start(&folder, super::FILE).await;
    let request = super::program::client().post(format!("{}/v1/mutations/run", program.url));
    let request = request.bearer_auth("the-token-of-app").header("content-type", "application/json");
    let reply = request.header("x-request-id", "my-id").body(create("{}")).send().await.unwrap();
    assert_eq!(reply.headers()["x-request-id"], "my-id");
    program.signal(Signal::TERM);
    let (_, lines) = program.end().await;
    let mut lines = lines.iter().filter(|line| line.contains("my-id"));
    let line: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert!(lines.next().is_none());
    for (key, value) in [
        ("level", Value::from("INFO")),
        ("request_id", "my-id".into()),
        ("token", "app".into()),
        ("sync", "dev".into()),
        ("collection", "stripe:customer".into()),
        ("kind", "create".into()),
        ("records", 1.into()),
        ("status", 200.into()),
        ("outcome", "applied".into()),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert!(line["ms"].is_u64() && line["timestamp"].is_string(), "{line}");
}

#[tokio::test]
async fn a_long_collection_does_not_fill_the_log() {
    let program = Program::start(&Folder::new(), super::FILE).await;
    let body = create("{}").replace("stripe:customer", &"x".repeat(100_000));
    program.post("the-token-of-app", body).await;
    let line = program.stderr.line_with("\"message\":\"mutation\"").await;
    assert!(line.len() < 1_000, "{line}");
}

#[tokio::test]
async fn a_request_with_a_wrong_token_has_a_line() {
    let program = Program::start(&Folder::new(), super::FILE).await;
    assert_eq!(program.post("guess", create("{}")).await.status(), 401);
    let line: Value = serde_json::from_str(&program.stderr.line_with("refused before it was read").await).unwrap();
    assert_eq!((&line["status"], line["request_id"].as_str().map(str::len)), (&401.into(), Some(36)));
}
