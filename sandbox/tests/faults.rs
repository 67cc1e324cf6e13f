//! Each fault, seen from the client.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Sandbox, create, head, start};

/// A client that has sent a create of one record, under this rule.
fn under(sandbox: &Sandbox, rule: Value) -> Client {
    sandbox.fault(rule);
    let mut client = sandbox.connect();
    client.start(&create(1));
    client
}

/// The raw bytes of an undisturbed reply to `create(n)`.
fn whole(sandbox: &Sandbox, n: usize) -> Vec<u8> {
    let reply = sandbox.create(n);
    (reply.head + &reply.body).into_bytes()
}

#[test]
fn a_status_replaces_the_reply_once_and_applies_nothing() {
    let sandbox = start();
    let reply = under(&sandbox, json!({"status": 429, "headers": {"Retry-After": "2"}})).reply();
    assert_eq!(reply.status, 429);
    assert!(reply.head.contains("retry-after: 2\r\n"), "{}", reply.head);
    assert!(reply.json()["error"].is_string());
    assert_eq!(sandbox.records().len(), 0);
    assert_eq!(sandbox.create(1).status, 200);
    let reply = under(&sandbox, json!({"status": 504, "apply": true})).reply();
    assert_eq!((reply.status, reply.json()["error"].as_str()), (504, Some("Error: Salesforce API timed out")));
    assert_eq!(sandbox.records().len(), 2);
    assert_eq!(sandbox.log()["requests"][0]["status"], 429);
}

#[test]
fn a_body_is_sent_as_it_is_given() {
    let sandbox = start();
    let mut client = under(&sandbox, json!({"body": "<html>"}));
    let reply = client.reply();
    assert_eq!((reply.status, &*reply.body), (200, "<html>"));
    assert_eq!(sandbox.records().len(), 1);
    sandbox.fault(json!({"body_hex": "7b22fffe", "headers": {"content-type": "text/plain"}}));
    client.start(&create(1));
    let sent = client.so_far(|bytes| bytes.ends_with(b"\r\n\r\n{\"\xff\xfe"));
    assert!(sent.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[test]
fn rules_are_taken_in_order_and_by_what_they_match() {
    let sandbox = start();
    sandbox.fault(json!({"match": {"kind": "delete"}, "status": 501}));
    sandbox.fault(json!({"match": {"body_contains": "Contact 1"}, "status": 502, "times": 2}));
    sandbox.fault(json!({"match": {"collection_id": "stripe:customer"}, "status": 503, "times": null}));
    sandbox.fault(json!({"match": {"path": "*"}, "status": 500}));
    let status = |body: &Value| sandbox.connect().mutate(body).status;
    let mut stripe = create(1);
    stripe["collection_id"] = json!("stripe:customer");
    assert_eq!([status(&create(2)), status(&create(2))], [502, 502]);
    assert_eq!([status(&stripe), status(&stripe), status(&stripe)], [503, 503, 503]);
    assert_eq!([status(&create(1)), status(&create(1))], [500, 200]);
    let left = sandbox.control("GET", "faults", Value::Null).json();
    assert_eq!(left["faults"].as_array().unwrap().len(), 2);
    assert_eq!(sandbox.control("DELETE", "faults", Value::Null).status, 204);
    assert_eq!(status(&stripe), 200);
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    let sandbox = start();
    for rule in [json!({"statsu": 500}), json!({"stall": "reply", "status": 500}), json!([])] {
        let reply = sandbox.control("POST", "faults", rule);
        assert_eq!(reply.status, 400);
        assert!(reply.json()["error"].is_string());
    }
}

#[test]
fn a_delay_comes_after_the_effect() {
    let sandbox = start();
    let begin = Instant::now();
    let mut client = under(&sandbox, json!({"delay_ms": 400}));
    sandbox.until("it was applied", |_| !sandbox.records().is_empty());
    assert_eq!(client.reply().status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_cut_falls_on_the_byte() {
    let sandbox = start();
    let length = whole(&sandbox, 1).len();
    for cut in [0, 1, 17, 200, length - 1, length] {
        let (bytes, end) = under(&sandbox, json!({"cut_after": cut})).rest();
        assert_eq!((bytes.len(), end), (cut, None));
        let start = b"HTTP/1.1 200 OK\r\n";
        assert_eq!(bytes[..cut.min(start.len())], start[..cut.min(start.len())]);
    }
    // A shorter reply is whole, and its connection stays open without the plan.
    let mut client = under(&sandbox, json!({"cut_after": length + 1}));
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.mutate(&create(3)).status, 200);
    sandbox.until("only the last is open", |log| log["open"] == 1);
}

#[test]
fn a_cut_deep_in_a_large_reply() {
    let sandbox = start();
    sandbox.fault(json!({"cut_after": 2_000_001}));
    let mut client = sandbox.connect();
    client.start(&create(10_000));
    let (bytes, end) = client.rest();
    assert_eq!((bytes.len(), end), (2_000_001, None));
    assert_eq!(sandbox.records().len(), 10_000);
}

#[test]
fn a_reset_is_a_reset() {
    let sandbox = start();
    let (bytes, end) = under(&sandbox, json!({"reset": true})).rest();
    assert_eq!((bytes.len(), end), (0, Some(ErrorKind::ConnectionReset)));
    assert_eq!(sandbox.records().len(), 1);
    assert_eq!(sandbox.log()["requests"][0]["status"], Value::Null);
    let (bytes, end) = under(&sandbox, json!({"reset": true, "cut_after": 30, "status": 500})).rest();
    assert_eq!((bytes.len(), end), (30, Some(ErrorKind::ConnectionReset)));
    let (_, end) = under(&sandbox, json!({"reset": true, "apply": false})).rest();
    assert_eq!(end, Some(ErrorKind::ConnectionReset));
    assert_eq!(sandbox.records().len(), 1);
}

#[test]
fn a_drip_drops_what_it_says() {
    let sandbox = start();
    let begin = Instant::now();
    let mut client = under(&sandbox, json!({"drip": {"bytes": 100, "every_ms": 20}}));
    let reply = client.reply();
    let length = reply.head.len() + reply.body.len();
    assert!(reply.json()["records"].is_array());
    assert!(begin.elapsed() >= Duration::from_millis(20) * (length as u32 / 100 - 1));
    // Its connection stays open without the plan.
    assert_eq!(client.mutate(&create(2)).status, 200);
    let (bytes, end) = under(&sandbox, json!({"drip": {"bytes": 7, "every_ms": 1}, "cut_after": 50})).rest();
    assert_eq!((bytes.len(), end), (50, None));
}

#[test]
fn a_raw_reply_is_all_there_is() {
    let sandbox = start();
    let raw = "HTTP/1.1 999 \u{1}\r\nnonsense";
    let (bytes, end) = under(&sandbox, json!({"raw": raw})).rest();
    assert_eq!((str::from_utf8(&bytes).unwrap(), end), (raw, None));
    assert_eq!(sandbox.records().len(), 1);
}

#[test]
fn a_reply_in_chunks_hides_its_length() {
    let sandbox = start();
    let (bytes, _) = under(&sandbox, json!({"chunked": true, "cut_after": 400})).rest();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("transfer-encoding: chunked\r\n") && !text.contains("content-length"), "{text}");
}

/// However soon after the request the rules are cleared, and not before.
#[test]
fn a_held_reply_comes_when_the_rules_are_cleared() {
    let sandbox = start();
    for applied in 1..=20 {
        let mut client = under(&sandbox, json!({"hold": true, "status": 502, "apply": true}));
        sandbox.until("it is carried out", |_| sandbox.records().len() == applied);
        assert_eq!(sandbox.log()["requests"][applied - 1]["status"], Value::Null);
        sandbox.control("DELETE", "faults", Value::Null);
        assert_eq!(client.reply().status, 502);
    }
}

/// Every stall ends with the client, and with the rules. `enough` holds when all expected bytes have arrived.
fn stalls(rule: Value, enough: impl Fn(&[u8]) -> bool, applied: usize) {
    let sandbox = start();
    for end_by_client in [true, false] {
        sandbox.control("DELETE", "records", Value::Null);
        sandbox.control("DELETE", "log", Value::Null);
        let mut client = under(&sandbox, rule.clone());
        sandbox
            .until("the request has come", |log| log["requests"][0].is_object() && sandbox.records().len() == applied);
        client.so_far(&enough);
        assert_eq!(sandbox.records().len(), applied);
        if end_by_client {
            drop(client);
        } else {
            sandbox.control("DELETE", "faults", Value::Null);
            client.rest();
        }
        sandbox.until("the stall has ended", |log| log["open"] == 0);
    }
}

#[test]
fn a_stalled_reply_never_comes() {
    stalls(json!({"stall": "reply"}), <[u8]>::is_empty, 1);
    stalls(json!({"stall": "reply", "apply": false}), <[u8]>::is_empty, 0);
}

#[test]
fn a_stalled_reply_body_stops_in_the_middle() {
    let half = |sent: &[u8]| {
        let Some((head, body)) = str::from_utf8(sent).unwrap().split_once("\r\n\r\n") else { return false };
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        body.len() == length.parse::<usize>().unwrap() / 2
    };
    stalls(json!({"stall": "reply_body"}), half, 1);
    stalls(json!({"stall": "reply_body", "cut_after": 10}), |sent| sent == b"HTTP/1.1 2", 1);
    stalls(json!({"stall": "reply_body", "raw": "HTTP"}), |sent| sent == b"HTTP", 1);
}

#[test]
fn a_body_that_nobody_reads() {
    stalls(json!({"stall": "body_read"}), <[u8]>::is_empty, 0);
    // A large one fills the window: the client cannot even send it.
    let sandbox = start();
    sandbox.fault(json!({"stall": "body_read"}));
    let mut client = sandbox.connect();
    client.send(&head("POST", "/v1/mutations/run", 100_000_000));
    client.0.set_nonblocking(true).unwrap();
    let piece = vec![b'x'; 1_000_000];
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < Duration::from_secs(1) {
        match client.0.write(&piece) {
            Ok(n) => sent += n,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert!(sent < 50_000_000, "{sent}");
    sandbox.until("the head has come", |log| log["requests"][0]["complete"] == false);
}

#[test]
fn a_body_that_is_read_in_part() {
    let sandbox = start();
    for (rule, bytes) in [
        (json!({"read_only_bytes": 0}), 0),
        (json!({"read_only_bytes": 5}), 5),
        (json!({"read_only_bytes": 70_000, "reset": true}), 70_000),
    ] {
        sandbox.control("DELETE", "log", Value::Null);
        sandbox.fault(rule.clone());
        let mut client = sandbox.connect();
        client.send(&(head("POST", "/v1/mutations/run", 100_000) + &"x".repeat(80_000)));
        client.rest();
        let log = sandbox.log();
        let request = &log["requests"][0];
        assert_eq!((&request["body_bytes"], &request["complete"]), (&json!(bytes), &json!(false)), "{rule}");
    }
    // A request that ends early is read whole, and not answered either.
    let (bytes, _) = under(&sandbox, json!({"read_only_bytes": 100_000})).rest();
    assert_eq!(bytes.len(), 0);
    assert_eq!(sandbox.log()["requests"][1]["complete"], true);
    assert_eq!(sandbox.records().len(), 0);
}
