//! Pull consumers, and waiting for them. Postgres consumers are tested together with the extension, against real servers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Sandbox, create, start};

fn register(sandbox: &Sandbox, consumer: Value) {
    let reply = sandbox.control("POST", "consumers", consumer);
    assert_eq!(reply.status, 201, "{}", reply.body);
}

fn next(client: &mut Client, query: &str) -> Vec<Value> {
    let reply = client.call("GET", &format!("/v1/http-consumers/pull/next{query}"), "");
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()["data"].as_array().unwrap().clone()
}

fn settle(client: &mut Client, verb: &str, deliveries: &[Value]) {
    let tokens: Vec<_> = deliveries.iter().map(|delivery| delivery["ack_token"].clone()).collect();
    let body = json!({"ack_tokens": tokens}).to_string();
    let reply = client.call("POST", &format!("/v1/http-consumers/pull/{verb}"), &body);
    assert_eq!(reply.status, 200, "{}", reply.body);
}

fn name(delivery: &Value) -> &str {
    delivery["record"]["data"]["LastName"].as_str().unwrap()
}

fn awaiting(mut mutation: Value, timeout: u64) -> Value {
    mutation["await_consumer_ids"] = json!(["pull"]);
    mutation["await_consumers_timeout"] = json!(timeout);
    mutation
}

#[test]
fn records_are_taken_given_back_and_acknowledged() {
    let sandbox = start();
    sandbox.create(1);
    register(&sandbox, json!({"id": "pull", "kind": "pull"}));
    sandbox.create(3);
    let mut client = sandbox.connect();
    let first = next(&mut client, "?batch_size=2");
    // It starts at the end of the stream.
    assert_eq!(first.iter().map(name).collect::<Vec<_>>(), ["Contact 0", "Contact 1"]);
    settle(&mut client, "nack", &first[..1]);
    let reply = client.call("POST", "/v1/http-consumers/pull/next", r#"{"batch_size": 5, "wait_for": 0}"#).json();
    let second = reply["data"].as_array().unwrap();
    assert_eq!(second.iter().map(name).collect::<Vec<_>>(), ["Contact 0", "Contact 2"]);
    settle(&mut client, "ack", &first[1..]);
    settle(&mut client, "ack", second);
    assert_eq!(next(&mut client, "?batch_size=5"), [] as [Value; 0]);
}

#[test]
fn what_is_not_acknowledged_comes_again_under_a_new_token() {
    let sandbox = start();
    register(&sandbox, json!({"id": "pull", "kind": "pull", "lease_ms": 50}));
    sandbox.create(1);
    let mut client = sandbox.connect();
    let first = next(&mut client, "");
    let second = next(&mut client, "?wait_for=20000");
    assert_eq!(name(&second[0]), "Contact 0");
    assert_ne!(first[0]["ack_token"], second[0]["ack_token"]);
    // The stale token settles nothing.
    settle(&mut client, "ack", &first);
    let third = next(&mut client, "?wait_for=20000");
    assert_eq!(name(&third[0]), "Contact 0");
    // A slow machine may be late for a lease of 50 ms, but not every time.
    let done = (0..50).any(|_| {
        let taken = next(&mut client, "?wait_for=200");
        settle(&mut client, "ack", &taken);
        taken.is_empty()
    });
    assert!(done);
}

#[test]
fn next_waits_for_a_record() {
    let sandbox = start();
    register(&sandbox, json!({"id": "pull", "kind": "pull", "collection_id": "stripe:customer"}));
    let mut client = sandbox.connect();
    client.send(&crate::support::head("GET", "/v1/http-consumers/pull/next?wait_for=20000", 0));
    sandbox.until("the request has come", |log| log["requests"][0]["complete"] == true);
    sandbox.create(1);
    let mut stripe = create(1);
    stripe["collection_id"] = json!("stripe:customer");
    sandbox.connect().mutate(&stripe);
    let reply = client.reply().json();
    assert_eq!(reply["data"][0]["record"]["collection_id"], "stripe:customer");
}

#[test]
fn awaiting_a_consumer_ends_when_it_has_acknowledged_all() {
    let sandbox = start();
    register(&sandbox, json!({"id": "pull", "kind": "pull"}));
    let mut writer = sandbox.connect();
    writer.start(&awaiting(create(2), 20_000));
    let mut client = sandbox.connect();
    let mut taken = next(&mut client, "?batch_size=2&wait_for=20000");
    while taken.len() < 2 {
        taken.extend(next(&mut client, "?batch_size=2&wait_for=20000"));
    }
    settle(&mut client, "ack", &taken[1..]);
    assert!(writer.so_far(<[u8]>::is_empty).is_empty());
    settle(&mut client, "ack", &taken[..1]);
    let reply = writer.reply();
    assert_eq!((reply.status, reply.json()["records"].as_array().unwrap().len()), (200, 2));
}

#[test]
fn a_wait_that_times_out_has_applied_all_the_same() {
    let sandbox = start();
    register(&sandbox, json!({"id": "pull", "kind": "pull"}));
    let begin = Instant::now();
    let reply = sandbox.connect().mutate(&awaiting(create(1), 100));
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert_eq!(reply.status, 500);
    assert_eq!(reply.json()["error"], "Error: Timed out waiting for consumers: pull");
    assert!(reply.json().get("records").is_none());
    assert_eq!(sandbox.records().len(), 1);
}

#[test]
fn an_unknown_consumer_is_refused_before_anything_is_applied() {
    let sandbox = start();
    let reply = sandbox.connect().mutate(&awaiting(create(1), 100));
    assert_eq!(reply.status, 422);
    assert_eq!(reply.json()["validation_errors"]["await_consumer_ids"][0], "unknown consumer: pull");
    assert!(sandbox.records().is_empty());
}

#[test]
fn a_consumer_that_does_not_take_the_collection_is_not_waited_for() {
    let sandbox = start();
    register(&sandbox, json!({"id": "pull", "kind": "pull", "collection_id": "stripe:customer"}));
    assert_eq!(sandbox.connect().mutate(&awaiting(create(1), 20_000)).status, 200);
}

#[test]
fn consumers_can_start_at_the_start_be_listed_and_removed() {
    let sandbox = start();
    sandbox.create(2);
    register(&sandbox, json!({"id": "pull", "kind": "pull", "from": "start"}));
    let mut client = sandbox.connect();
    assert_eq!(next(&mut client, "?batch_size=10").len(), 2);
    let list = sandbox.control("GET", "consumers", Value::Null).json();
    assert_eq!((&list["consumers"][0]["id"], &list["consumers"][0]["behind"]), (&json!("pull"), &json!(0)));
    assert_eq!(sandbox.control("DELETE", "consumers/pull", Value::Null).status, 204);
    assert_eq!(sandbox.control("DELETE", "consumers/pull", Value::Null).status, 404);
    assert_eq!(client.call("GET", "/v1/http-consumers/pull/next", "").status, 404);
}

#[test]
fn a_postgres_that_is_not_there_is_said_so() {
    let sandbox = start();
    let consumer = json!({"id": "x", "kind": "postgres", "dsn": "host=/nonexistent user=x", "table": "t"});
    let reply = sandbox.control("POST", "consumers", consumer);
    assert_eq!(reply.status, 502);
    assert!(reply.json()["error"].as_str().unwrap().contains("connect"), "{}", reply.body);
    for bad in
        [json!({"id": "x", "kind": "postgres", "dsn": "x", "table": "a.b.c"}), json!({"id": "x", "kind": "nonsense"})]
    {
        assert_eq!(sandbox.control("POST", "consumers", bad).status, 400);
    }
}
