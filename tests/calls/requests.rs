//! The request on the wire: the fields of the contract, each present or absent as the call says.

use sequin_harness::literal;
use serde_json::{Value, json};

use crate::support::{Session, TARGET, World};

/// The body of a call that the sandbox answers with success whatever is in it.
fn body_of(world: &mut World, call: &str) -> Value {
    world.sandbox.fault(json!({"status": 200, "apply": false, "body": "{\"records\":[{\"id\":\"1\"}]}"}));
    world.run(&format!("SELECT * FROM {call}"));
    serde_json::from_str(&world.body()).unwrap()
}

#[test]
fn each_kind_has_the_fields_of_the_contract_and_no_others() {
    let mut world = World::new();
    let with = |kind: &str, more: Value| {
        let mut body = json!({"kind": kind, "sync_id": "sync", "collection_id": "salesforce:contact"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let (a, b) = (json!({"data": {"a": 1}}), json!({"upstream_id": "x", "data": {"b": null}}));
    let ids = |ids: Value| with("delete", json!({"upstream_ids": ids}));
    let verbs = [
        (format!("sequin_create({TARGET}, '{{\"a\":1}}')"), with("create", json!({"records": [a]}))),
        (format!("sequin_update({TARGET}, 'x', '{{\"b\":null}}')"), with("update", json!({"records": [b]}))),
        (format!("sequin_delete({TARGET}, 'x')"), ids(json!(["x"]))),
    ];
    for (call, expected) in verbs {
        assert_eq!(body_of(&mut world, &call), expected, "{call}");
    }
    // (kind, records, body)
    let many = [
        ("create", a.clone(), with("create", json!({"records": [a]}))),
        ("create", json!([a, a]), with("create", json!({"records": [a, a]}))),
        ("update", b.clone(), with("update", json!({"records": [b]}))),
        ("update", json!([b, b]), with("update", json!({"records": [b, b]}))),
        ("delete", json!("x"), ids(json!(["x"]))),
        ("delete", json!(["x", "y", "x"]), ids(json!(["x", "y", "x"]))),
        ("delete", json!({"upstream_id": "x"}), ids(json!(["x"]))),
        ("delete", json!(["a\"b", {"upstream_id": "é\\"}, "z\n"]), ids(json!(["a\"b", "é\\", "z\n"]))),
    ];
    for (kind, records, expected) in many {
        let call = format!("sequin_mutate('{kind}', {TARGET}, {})", literal(&records.to_string()));
        assert_eq!(body_of(&mut world, &call), expected, "{call}");
    }
}

#[test]
fn the_await_fields_are_there_when_they_are_given() {
    let mut world = World::new();
    let cases = [
        ("", None, None),
        (", await_consumers => NULL, timeout_ms => NULL", None, None),
        (", await_consumers => '{}'", None, None),
        (", await_consumers => '{a}'", Some(json!(["a"])), None),
        (", await_consumers => '{b,a,b}'", Some(json!(["b", "a", "b"])), None),
        (", await_consumers => '{{a,b},{c,d}}'", Some(json!(["a", "b", "c", "d"])), None),
        (", await_consumers => '[0:1]={a,b}'", Some(json!(["a", "b"])), None),
        (
            ", await_consumers => ARRAY(SELECT 'c' || n FROM generate_series(1, 3) n)",
            Some(json!(["c1", "c2", "c3"])),
            None,
        ),
        (", timeout_ms => 0", None, Some(json!(0))),
        (", timeout_ms => 2147483647", None, Some(json!(2_147_483_647))),
        (", await_consumers => '{a}', timeout_ms => 0", Some(json!(["a"])), Some(json!(0))),
        (", '{a}', 5000", Some(json!(["a"])), Some(json!(5000))),
        (", await_consumers => '{a}', timeout_ms => 2147483647", Some(json!(["a"])), Some(json!(2_147_483_647))),
    ];
    let verbs = [
        format!("sequin_mutate('create', {TARGET}, '{{\"data\":{{}}}}'"),
        format!("sequin_create({TARGET}, '{{}}'"),
        format!("sequin_update({TARGET}, 'x', '{{}}'"),
        format!("sequin_delete({TARGET}, 'x'"),
    ];
    for (arguments, consumers, timeout) in cases {
        for verb in &verbs {
            let body = body_of(&mut world, &format!("{verb}{arguments})"));
            assert_eq!(body.get("await_consumer_ids"), consumers.as_ref(), "{verb}{arguments}");
            assert_eq!(body.get("await_consumers_timeout"), timeout.as_ref(), "{verb}{arguments}");
        }
    }
}

/// The longest wait that can be asked for is no reason to give up at once.
#[test]
fn a_huge_timeout_is_waited_for() {
    let mut world = World::new();
    world.sandbox.consumer(json!({"kind": "pull", "id": "done", "collection_id": "another:one"}));
    let call = format!("sequin_create({TARGET}, '{{}}', await_consumers => '{{done}}', timeout_ms => 2147483647)");
    world.run(&format!("SELECT {call}"));
    assert_eq!(world.contact_count(), 1);
}

#[test]
fn the_request_has_the_headers_of_the_contract() {
    let mut world = World::new();
    world.run(&format!("SELECT sequin_create({TARGET}, '{{\"name\":\"é🪐\"}}')"));
    let log = world.sandbox.log();
    let request = log.mutations()[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/mutations/run"));
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    assert_eq!(header("authorization"), Some("Bearer sandbox-token"));
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(header("content-length"), Some(&*request.body.len().to_string()));
    assert_eq!(header("transfer-encoding"), None);
    assert_eq!(header("accept-encoding"), Some("identity"));
}

/// The rest of the request is the extension's own text.
#[test]
fn texts_beside_the_records_are_escaped() {
    let mut world = World::new();
    for odd in ["a\"b", "a\\b", "a\nb\tc", "🪐é", "\u{1}\u{1f}\u{7f}", "'; --", "{\"x\":1}", "a\u{2028}b", " a "] {
        world.sandbox.fault(json!({"status": 429, "body": ""}));
        world.error_of("SELECT sequin_update($1, 'a:b', $1, '{}', await_consumers => ARRAY[$1, 'plain'])", &[&odd]);
        let body: Value = serde_json::from_str(&world.body()).unwrap();
        let expected = json!({
            "kind": "update", "sync_id": odd, "collection_id": "a:b", "await_consumer_ids": [odd, "plain"],
            "records": [{"upstream_id": odd, "data": {}}]
        });
        assert_eq!(body, expected);
        world.sandbox.fault(json!({"status": 429, "body": ""}));
        world.error_of("SELECT sequin_delete($1, 'a:b', $1)", &[&odd]);
        let body: Value = serde_json::from_str(&world.body()).unwrap();
        let expected = json!({"kind": "delete", "sync_id": odd, "collection_id": "a:b", "upstream_ids": [odd]});
        assert_eq!(body, expected);
    }
}
