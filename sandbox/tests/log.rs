//! The log of received requests.

use std::io::Write;
use std::net::Shutdown;

use serde_json::{Value, json};

use crate::support::{create, head, start, start_with};

#[test]
fn each_request_is_shown_as_it_came() {
    let sandbox = start();
    let mut client = sandbox.connect();
    client.mutate(&create(1));
    client.call("POST", "/v1/nowhere?x=1", "not json");
    let log = sandbox.log();
    assert_eq!(log["connections"], 1);
    let [first, second] = log["requests"].as_array().unwrap().as_slice() else { panic!("{log}") };
    assert_eq!(first["method"], "POST");
    assert_eq!(first["path"], "/v1/mutations/run");
    assert_eq!(first["headers"]["authorization"], "Bearer sandbox-token");
    assert_eq!(first["body"], create(1).to_string());
    assert_eq!(first["body_bytes"], create(1).to_string().len());
    assert_eq!((&first["complete"], &first["status"]), (&json!(true), &json!(200)));
    assert_eq!((&second["path"], &second["status"]), (&json!("/v1/nowhere?x=1"), &json!(404)));
    assert_eq!(first["connection"], second["connection"]);
    assert!(first["at_us"].as_u64() < second["at_us"].as_u64());
    let answered = first["answered_us"].as_u64().expect("it was answered");
    assert!(first["at_us"].as_u64() <= Some(answered) && Some(answered) <= second["at_us"].as_u64());
}

#[test]
fn a_body_that_was_cut_stays_as_far_as_it_came() {
    let sandbox = start();
    for arrived in [0, 1, 100, 70_000] {
        sandbox.control("DELETE", "log", Value::Null);
        let mut client = sandbox.connect();
        client.send(&(head("POST", "/v1/mutations/run", 100_000) + &"x".repeat(arrived)));
        client.0.shutdown(Shutdown::Write).unwrap();
        client.rest();
        sandbox.until("the connection has ended", |log| log["open"] == 0);
        let log = sandbox.log();
        let request = &log["requests"][0];
        assert_eq!(request["body_bytes"], arrived, "{request}");
        assert_eq!(request["body"], "x".repeat(arrived));
        assert_eq!((&request["complete"], &request["status"]), (&json!(false), &Value::Null));
    }
}

#[test]
fn a_request_that_arrived_whole_is_applied_though_its_client_left_at_once() {
    let sandbox = start();
    for n in 1..=200 {
        sandbox.connect().start(&create(n % 7 * 50 + 1));
    }
    sandbox.until("all have come", |log| log["open"] == 0 && log["connections"] == 200);
    let log = sandbox.log();
    let requests = log["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 200);
    assert!(requests.iter().all(|request| request["complete"] == true && request["status"] == 200));
    assert_eq!(sandbox.records().len(), (1..=200).map(|n| n % 7 * 50 + 1).sum::<usize>());
}

#[test]
fn an_incomplete_request_is_shown() {
    let sandbox = start();
    let mut client = sandbox.connect();
    client.send(&(head("POST", "/v1/mutations/run", 4) + "no"));
    sandbox.until("half of the body is there", |log| log["requests"][0]["body"] == "no");
    assert_eq!(sandbox.log()["requests"][0]["complete"], false);
    client.send("pe");
    assert_eq!(client.reply().status, 422);
    assert_eq!(sandbox.log()["requests"][0]["body"], "nope");
    assert_eq!(sandbox.log()["requests"][0]["complete"], true);
}

#[test]
fn control_requests_leave_no_trace() {
    let sandbox = start();
    for _ in 0..5 {
        assert_eq!(sandbox.log(), json!({"connections": 0, "open": 0, "requests": []}));
    }
    // A connection that carries both counts from its first request to the API.
    let mut client = sandbox.connect();
    assert_eq!(client.call("GET", "/sandbox/faults", "").status, 200);
    assert_eq!(sandbox.log()["connections"], 0);
    client.mutate(&create(1));
    client.call("GET", "/sandbox/faults", "");
    client.mutate(&create(1));
    let log = sandbox.log();
    assert_eq!((&log["connections"], &log["open"]), (&json!(1), &json!(1)));
    assert_eq!(log["requests"].as_array().unwrap().len(), 2);
}

#[test]
fn a_silent_connection_counts_and_a_closed_one_is_not_open() {
    let sandbox = start();
    let silent = sandbox.connect();
    sandbox.until("it was accepted", |log| log["connections"] == 1);
    drop(silent);
    sandbox.until("it has ended", |log| log["open"] == 0);
    assert_eq!(sandbox.log()["connections"], 1);
}

#[test]
fn emptying_starts_the_count_anew() {
    let sandbox = start();
    let mut old = sandbox.connect();
    old.mutate(&create(1));
    assert_eq!(sandbox.control("DELETE", "log", Value::Null).status, 204);
    old.mutate(&create(1));
    let log = sandbox.log();
    assert_eq!((&log["connections"], &log["open"]), (&json!(0), &json!(1)));
    assert_eq!(log["requests"][0]["connection"], 1);
    sandbox.connect().mutate(&create(1));
    let log = sandbox.log();
    assert_eq!(log["connections"], 1);
    assert_eq!(log["requests"][1]["connection"], 2);
}

#[test]
fn bodies_can_be_left_out() {
    let sandbox = start();
    sandbox.create(1);
    let log = sandbox.control("GET", "log?bodies=false", Value::Null).json();
    assert!(log["requests"][0].get("body").is_none());
    assert!(log["requests"][0]["body_bytes"].as_u64() > Some(0));

    let sandbox = start_with(&["--no-log-bodies"]);
    sandbox.create(1);
    sandbox.create(2_000);
    let log = sandbox.log();
    for (at, n) in [1, 2_000].into_iter().enumerate() {
        assert_eq!(log["requests"][at]["body"], "");
        assert_eq!(log["requests"][at]["body_bytes"], create(n).to_string().len());
    }
}

#[test]
fn a_body_in_chunks_is_one_body() {
    let sandbox = start();
    let mut client = sandbox.connect();
    let body = create(1).to_string();
    let (one, two) = body.split_at(10);
    client.send(
        "POST /v1/mutations/run HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sandbox-token\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    client.send(&format!("{:x}\r\n{one}\r\n", one.len()));
    client.0.flush().unwrap();
    client.send(&format!("{:x}\r\n{two}\r\n0\r\n\r\n", two.len()));
    assert_eq!(client.reply().status, 200);
    assert_eq!(sandbox.log()["requests"][0]["body"], body);
}
