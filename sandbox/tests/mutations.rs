//! The contract: creates, updates, deletes, refusals.

use serde_json::{Value, json};

use crate::support::{CONTACT, create, start, start_with};

fn mutation(kind: &str, key: &str, list: Value) -> Value {
    json!({"kind": kind, "sync_id": "s", "collection_id": CONTACT, key: list})
}

#[test]
fn a_create_answers_with_records_in_request_order() {
    let sandbox = start();
    let reply = sandbox.create(3).json();
    let records = reply["records"].as_array().unwrap();
    for (at, record) in records.iter().enumerate() {
        let keys: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
        let mut wanted = vec![
            "id",
            "sync_id",
            "collection_id",
            "upstream_id",
            "upstream_created_at",
            "upstream_updated_at",
            "inserted_at",
            "updated_idx",
            "data",
            "deleted",
            "provider",
        ];
        wanted.sort();
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(sorted, wanted);
        assert_eq!(record["data"]["LastName"], format!("Contact {at}"));
        assert_eq!(record["collection_id"], CONTACT);
        assert_eq!(record["provider"], "salesforce");
        assert_eq!(record["deleted"], false);
        assert_eq!(record["upstream_id"].as_str().unwrap().len(), 18);
        assert!(record["updated_idx"].as_u64().unwrap() > 1 << 32);
    }
    let idx = |at: usize| records[at]["updated_idx"].as_u64().unwrap();
    assert!(idx(0) < idx(1) && idx(1) < idx(2));
}

#[test]
fn an_update_patches_top_level_keys_and_keeps_every_digit() {
    let sandbox = start();
    let mut client = sandbox.connect();
    let body = r#"{"kind":"create","sync_id":"s","collection_id":"stripe:customer",
        "records":[{"data":{"a":1.10,"b":{"x":1,"y":2},"c":"\u00e9"}}]}"#;
    let id = client.call("POST", "/v1/mutations/run", body).json()["records"][0]["upstream_id"].clone();
    let body = format!(
        r#"{{"kind":"update","sync_id":"s","collection_id":"stripe:customer","records":[
            {{"upstream_id":{id},"data":{{"b":{{"z": 1e400}},"d":12345678901234567890.123}}}}]}}"#
    );
    let reply = client.call("POST", "/v1/mutations/run", &body);
    let data = r#""data":{"a":1.10,"b":{"z": 1e400},"c":"\u00e9","d":12345678901234567890.123},"#;
    assert!(reply.body.contains(data), "{}", reply.body);
}

#[test]
fn data_may_be_deeper_than_a_parser_likes() {
    let sandbox = start();
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let body = format!(
        r#"{{"kind":"create","sync_id":"s","collection_id":"{CONTACT}","records":[{{"data":{{"Email":"a@b.c","d":{deep}}}}}]}}"#
    );
    let reply = sandbox.connect().call("POST", "/v1/mutations/run", &body);
    assert_eq!(reply.status, 200);
    assert!(reply.body.contains(&deep));
}

#[test]
fn a_delete_marks_and_a_second_one_finds_nothing() {
    let sandbox = start();
    let ids = sandbox.contacts(2);
    let delete = mutation("delete", "upstream_ids", json!([ids[0]]));
    let reply = sandbox.connect().mutate(&delete).json();
    assert_eq!(reply["records"][0]["deleted"], true);
    assert_eq!(reply["records"][0]["data"]["LastName"], "Contact 0");
    let again = sandbox.connect().mutate(&delete);
    assert_eq!(again.status, 400);
    let text = format!("Error: Salesforce validation error: `Record not found: {}`", ids[0]);
    assert_eq!(again.json()["error"], text);
    assert!(again.json()["docs"].is_array());
    let update = mutation("update", "records", json!([{"upstream_id": ids[0], "data": {}}]));
    assert_eq!(sandbox.connect().mutate(&update).status, 400);
}

#[test]
fn a_refused_batch_applies_nothing() {
    let sandbox = start();
    let ids = sandbox.contacts(1);
    let before = sandbox.records();
    let bad = json!({"data": {"Email": "nonsense"}});
    let good = json!({"data": {"Email": "paul@arrakis.org"}});
    let reply = sandbox.connect().mutate(&mutation("create", "records", json!([good, bad])));
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"], "Error: Salesforce validation error: `Invalid email`");
    for refused in [
        mutation(
            "update",
            "records",
            json!([{"upstream_id": ids[0], "data": {"x": 1}}, {"upstream_id": "gone", "data": {}}]),
        ),
        mutation("delete", "upstream_ids", json!([ids[0], "gone"])),
        mutation("delete", "upstream_ids", json!([ids[0], ids[0]])),
    ] {
        assert_eq!(sandbox.connect().mutate(&refused).status, 400, "{refused}");
    }
    assert_eq!(sandbox.records(), before);
}

#[test]
fn the_provider_is_named_after_the_collection() {
    let sandbox = start();
    let mut bad = create(0);
    bad["records"] = json!([{"data": {"email": "nonsense"}}]);
    for (collection, name) in [("hubspot:contact", "HubSpot"), ("stripe:customer", "Stripe"), ("acme:thing", "Acme")] {
        bad["collection_id"] = json!(collection);
        let reply = sandbox.connect().mutate(&bad);
        assert_eq!(reply.json()["error"], format!("Error: {name} validation error: `Invalid email`"));
    }
}

#[test]
fn a_malformed_request_is_answered_field_by_field() {
    let sandbox = start();
    let reply =
        sandbox.connect().mutate(&json!({"kind": "create", "sync_id": 7, "collection_id": "contact", "nonsense": 1}));
    assert_eq!(reply.status, 422);
    let body = reply.json();
    assert!(body["summary"].is_string());
    let fields: Vec<_> = body["validation_errors"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["collection_id", "nonsense", "records", "sync_id"]);
}

#[test]
fn only_a_known_token_a_known_path_and_the_right_method_and_type_pass() {
    let sandbox = start_with(&["--token", "one", "--token", "two"]);
    let body = create(1).to_string();
    let length = body.len();
    let json = "content-type: application/json";
    for (line, headers, status) in [
        ("POST /v1/mutations/run", format!("authorization: Bearer one\r\n{json}"), 200),
        ("POST /v1/mutations/run", format!("Authorization: bearer two\r\n{json}; charset=utf-8"), 200),
        ("POST /v1/mutations/run", format!("authorization: Bearer sandbox-token\r\n{json}"), 401),
        ("POST /v1/mutations/run", json.to_string(), 401),
        ("POST /v1/mutations/run", format!("authorization: Basic one\r\n{json}"), 401),
        ("POST /v1/mutations/run", "authorization: Bearer one".to_string(), 422),
        ("PUT /v1/mutations/run", format!("authorization: Bearer one\r\n{json}"), 405),
        ("POST /v1/mutation/run", format!("authorization: Bearer one\r\n{json}"), 404),
    ] {
        let mut client = sandbox.connect();
        client.send(&format!("{line} HTTP/1.1\r\nhost: x\r\n{headers}\r\ncontent-length: {length}\r\n\r\n{body}"));
        assert_eq!(client.reply().status, status, "{line} {headers}");
    }
    assert_eq!(sandbox.records().len(), 2);
}

#[test]
fn ten_thousand_records_in_one_request() {
    let sandbox = start();
    let reply = sandbox.create(10_000).json();
    let records = reply["records"].as_array().unwrap();
    assert_eq!(records.len(), 10_000);
    assert_eq!(records[9_999]["data"]["LastName"], "Contact 9999");
    let ids: std::collections::HashSet<_> = records.iter().map(|record| record["upstream_id"].as_str()).collect();
    assert_eq!(ids.len(), 10_000);
    let deletes: Vec<_> = ids.into_iter().collect();
    let reply = sandbox.connect().mutate(&mutation("delete", "upstream_ids", json!(deletes)));
    assert_eq!(reply.status, 200);
    assert!(sandbox.records().iter().all(|record| record["deleted"] == true));
}

#[test]
fn records_are_filtered_and_forgotten() {
    let sandbox = start();
    sandbox.contacts(2);
    let mut other = create(1);
    other["sync_id"] = json!("t");
    sandbox.connect().mutate(&other);
    let count = |query: &str| {
        let reply = sandbox.control("GET", &format!("records{query}"), Value::Null).json();
        reply["records"].as_array().unwrap().len()
    };
    assert_eq!((count(""), count("?sync_id=s"), count("?sync_id=t&collection_id=salesforce:contact")), (3, 2, 1));
    assert_eq!(sandbox.control("DELETE", "records", Value::Null).status, 204);
    assert_eq!(count(""), 0);
}
