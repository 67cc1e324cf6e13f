//! An API that repeats the token in each of its answers, in every place and spelling that the extension can know.
//!
//! Not: a part of it, another encoding, and the records of a reply that succeeds. Those are stated limits.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sequin_harness::{RawServer, raw};
use serde_json::json;

/// A request with this text is answered in part and then never ended.
pub const STALL: &str = "way-stall";

/// The kinds of answers.
type Ways = Vec<Vec<u8>>;

pub struct EchoingApi {
    pub raw: RawServer,
    requests: Arc<AtomicUsize>,
}

impl EchoingApi {
    /// Answers in the way whose number follows `way-` in the request.
    pub fn start() -> EchoingApi {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        // Of each token they are made once: a long one has many bytes to be spelled.
        let known: Mutex<HashMap<String, Arc<Ways>>> = Mutex::default();
        let raw = RawServer::start(move |stream: &mut TcpStream| {
            while let Ok((head, body)) = raw::read_request(stream) {
                counter.fetch_add(1, Ordering::SeqCst);
                let bearer = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
                let token = bearer.unwrap_or_else(|| panic!("no token: {head}"));
                let new = || Arc::new(ways(token));
                let ways = known.lock().unwrap().entry(token.to_owned()).or_insert_with(new).clone();
                if !answer(stream, token, &ways, &String::from_utf8_lossy(&body)) {
                    return;
                }
            }
        });
        EchoingApi { raw, requests }
    }

    /// How many requests came, each of which was answered with its token.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Says whether the connection can be used again.
fn answer(stream: &mut TcpStream, token: &str, ways: &Ways, body: &str) -> bool {
    if body.contains(STALL) {
        let _ = stream.write_all(format!("HTTP/1.1 200 {token}\r\nx-token: {token}\r\n").as_bytes());
        raw::hold(stream);
        return false;
    }
    let (_, rest) = body.split_once("way-").unwrap_or_else(|| panic!("no way: {body}"));
    let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
    let way: usize = digits.parse().unwrap_or_else(|e| panic!("{e}: {body}"));
    // The other side may have had enough.
    stream.write_all(&ways[way]).is_ok() && way < ways.len() - broken("").len()
}

/// How many ways there are.
pub fn count() -> usize {
    ways("").len()
}

/// The numbers of some ways, one of each sort, for cases that are slower than a call.
pub fn some() -> Vec<usize> {
    (0..count()).filter(|way| way % 7 == 3 || *way >= count() - 4).collect()
}

fn ways(token: &str) -> Ways {
    let mut all = refusals(token);
    all.extend(lost_replies(token));
    all.extend(broken(token));
    all
}

/// Errors with a body.
fn refusals(token: &str) -> Ways {
    let quoted = in_json(token);
    let (slashes, units) = (quoted.replace('/', "\\/"), units(token));
    let nested = in_json(&format!("{{\"token\":{quoted}}}"));
    let edge = |before: usize| format!("{}{token} and more", "x".repeat(before));
    let bodies = [
        format!("{{\"error\":{quoted}}}"),
        format!("{{\"error\":{slashes},\"docs\":[{slashes}]}}"),
        format!("{{\"error\":{units},\"docs\":{{{units}:{units}}}}}"),
        format!("{{\"error\":{nested},\"docs\":{nested}}}"),
        json!({"summary": token, "validation_errors": {token: [token, {"a": token}]}}).to_string(),
        json!({"error": {"message": token}}).to_string(),
        json!([token, [token]]).to_string(),
        // Cut off, so no JSON.
        format!("{{\"error\":{quoted},\"docs\":[{quoted},"),
        format!("{{\"error\":{slashes},"),
        format!("{{\"error\":{units},"),
        format!("{{\"error\":{nested},"),
        format!("<p>authorization: Bearer {token}</p>"),
        format!("<p>{}</p>", in_html(token)),
        format!("/login?token={}", utf8_percent_encode(token, NON_ALPHANUMERIC)),
        // Where an excerpt ends.
        edge(190),
        edge(4_090),
        json!({"error": edge(990), "docs": edge(16_000)}).to_string(),
        format!("{}{token}", "\u{fffd}".repeat(66)),
    ];
    let statuses = [400, 401, 404, 429, 500];
    let mut all: Ways =
        statuses.iter().flat_map(|status| bodies.iter().map(|body| raw::reply(*status, body))).collect();
    all.push(raw::reply(
        500,
        &json!({"error": format!("Error: Timed out waiting for consumers: {token}")}).to_string(),
    ));
    all
}

/// 2xx with a body that holds no records, or none that can be kept.
fn lost_replies(token: &str) -> Ways {
    let quoted = in_json(token);
    let bodies = [
        token.to_owned(),
        quoted.clone(),
        format!("{{\"records\":{quoted}}}"),
        format!("{{\"records\":[{quoted}]}}"),
        format!("{{\"records\":[{{\"data\":{{\"a\":\"\\u0000\",\"b\":{quoted}}}}}]}}"),
        format!("{{\"records\":[{{\"data\":{{\"a\":\"\\ud800\",{quoted}:1}}}}]}}"),
        format!("{{\"records\":[{{\"data\":{{\"a\":1e999999,\"b\":{quoted}}}}}]}}"),
        format!("{{{quoted}:{quoted}}}"),
        format!("{{\"records\":[],{quoted}"),
    ];
    let mut all: Ways = bodies.iter().map(|body| raw::reply(200, body)).collect();
    all.push(raw::reply(299, token));
    all
}

/// Heads that hold the token, and bytes that are no HTTP. The connection ends behind each.
fn broken(token: &str) -> Ways {
    let headers = format!(
        "location: /{token}\r\nretry-after: {token}\r\nwww-authenticate: Bearer {token}\r\nset-cookie: {token}\r\n\
         x-echo: Bearer {token}\r\ncontent-type: {token}\r\nconnection: close\r\n"
    );
    let chunked =
        |chunks: String| format!("HTTP/1.1 400 X\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    let (first, second) = token.split_at(token.len() / 2);
    let mut all: Vec<String> = [302, 307, 400, 401, 429, 503]
        .map(|status| format!("HTTP/1.1 {status} {token}\r\n{headers}content-length: 0\r\n\r\n"))
        .into();
    all.extend([
        chunked(format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len())),
        chunked(format!("{token}\r\n")),
        chunked(format!("1;{token}\r\nx\r\n0\r\n{token}: {token}\r\n\r\n")),
        format!("HTTP/1.1 200 X\r\ncontent-length: {token}\r\n\r\n"),
        format!("HTTP/1.1 200 X\r\ntransfer-encoding: {token}\r\n\r\n"),
        format!("HTTP/1.1 200 X\r\n{token}: 1\r\ncontent-length: 0\r\n\r\n"),
        format!("HTTP/1.1 200 X\r\n{token}\r\ncontent-length: 0\r\n\r\n"),
        format!("HTTP/1.1 103 {token}\r\nlink: {token}\r\n\r\n"),
        format!("HTTP/1.1 200 X\r\ncontent-length: 99999\r\n\r\n{token}"),
        format!("HTTP/1.1 200 X\r\nx-token: {token}\r\n"),
        format!("HTTP/1.1 {token}\r\n\r\n"),
        format!("{token}\r\n\r\n"),
        token.to_owned(),
        format!("HTTP/1.1 400 X\r\ncontent-length: 90000\r\n\r\n{token}{}", " ".repeat(90_000 - token.len())),
        format!("HTTP/1.1 200 X\r\ncontent-length: 90000\r\n\r\n{token}{}", " ".repeat(90_000 - token.len())),
        format!("HTTP/1.1 400 X\r\n\r\n{token}"),
    ]);
    let mut all: Ways = all.into_iter().map(String::into_bytes).collect();
    // Bytes that are no UTF-8.
    all.push([b"HTTP/1.1 400 X\r\n\r\n\xff\xe9", token.as_bytes()].concat());
    all
}

fn in_json(text: &str) -> String {
    json!(text).to_string()
}

/// A JSON string of escapes alone.
fn units(text: &str) -> String {
    format!("\"{}\"", text.bytes().map(|byte| format!("\\u{byte:04x}")).collect::<String>())
}

fn in_html(text: &str) -> String {
    let pairs = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")];
    pairs.iter().fold(text.to_owned(), |text, (plain, spelled)| text.replace(plain, spelled))
}
