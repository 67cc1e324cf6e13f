//! The sandbox's process and its controls, without the extension.

use std::process::Command;

use sequin_harness::tls::Kind;
use sequin_harness::{Sandbox, Server, Tls, process};
use serde_json::{Value, json};

const MUTATIONS: &str = "/v1/mutations/run";

fn create(sandbox: &Sandbox, mut more: Value) -> (u16, Value) {
    let mut body = json!({
        "kind": "create",
        "sync_id": "sync",
        "collection_id": "salesforce:contact",
        "records": [{"data": {"Email": "paul@arrakis.org"}}],
    });
    body.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let request = agent.post(format!("{}{MUTATIONS}", sandbox.url()));
    let request = request.header("authorization", format!("Bearer {}", sandbox.token()));
    let mut reply = request.send_json(body).unwrap();
    (reply.status().as_u16(), reply.body_mut().read_json().unwrap())
}

#[test]
fn shows_what_arrived_and_what_became_of_it() {
    let sandbox = Sandbox::builder().token("its own").start().unwrap();
    let (status, reply) = create(&sandbox, json!({}));
    assert_eq!(status, 200, "{reply}");
    let log = sandbox.log();
    assert_eq!(log.requests.len(), 1);
    let request = log.mutations()[0];
    assert_eq!((request.method.as_str(), request.status, request.complete), ("POST", Some(200), true));
    assert_eq!(request.headers["authorization"], "Bearer its own");
    assert_eq!(request.json()["kind"], "create");
    assert_eq!(sandbox.records("salesforce:contact")[0]["data"]["Email"], "paul@arrakis.org");
    assert!(sandbox.records("salesforce:lead").is_empty());
    sandbox.clear_log();
    assert!(sandbox.log().requests.is_empty());
}

#[test]
fn misbehaves_when_told_to_and_stops_when_told_to() {
    let sandbox = Sandbox::start();
    sandbox.fault(json!({"status": 504, "body": "{\"error\": \"as told\"}", "times": null}));
    assert_eq!(create(&sandbox, json!({})), (504, json!({"error": "as told"})));
    sandbox.clear_faults();
    assert_eq!(create(&sandbox, json!({})).0, 200);
}

/// The connection string suits the sandbox's client too.
#[test]
fn copies_records_into_a_table_of_a_server() {
    let (sandbox, database) = (Sandbox::start(), Server::shared().create_database());
    sandbox.consumer(json!({"kind": "postgres", "id": "contacts", "dsn": database.dsn(), "table": "contacts"}));
    let (status, reply) = create(&sandbox, json!({"await_consumer_ids": ["contacts"]}));
    assert_eq!(status, 200, "{reply}");
    let email: String = database.connect().query_one("SELECT data->>'Email' FROM contacts", &[]).unwrap().get(0);
    assert_eq!(email, "paul@arrakis.org");
}

#[test]
fn is_controlled_over_tls_too() {
    let tls = Tls::in_directory(&Server::shared().scratch("sandbox"));
    let (certificate, key) = tls.files(Kind::Expired);
    let sandbox = Sandbox::builder().tls(&certificate, &key).start().unwrap();
    assert!(sandbox.url().starts_with("https://"), "{}", sandbox.url());
    assert!(sandbox.log().requests.is_empty());
}

#[test]
fn says_why_it_does_not_start() {
    let error = Sandbox::builder().arg("--no-such-option").start().unwrap_err().to_string();
    assert!(error.contains("no-such-option"), "{error}");
}

/// Its input is a pipe from this process, and children of this process have not got the other end.
#[test]
fn goes_when_it_is_dropped() {
    let sandbox = Sandbox::start();
    let pid = i32::try_from(sandbox.pid()).unwrap();
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    drop(sandbox);
    assert!(!process::is_alive(pid));
    child.kill().unwrap();
    child.wait().unwrap();
}
