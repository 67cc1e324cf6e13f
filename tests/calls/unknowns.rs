//! The request was sent, and no status came back: its effect is unknown, and the error says so. Before the first byte
//! was sent, the error says that nothing was sent.

use std::thread;

use serde_json::{Value, json};

use crate::calls::outcomes::assert_reported;
use crate::support::network::REFUSING;
use crate::support::{Session, World, context_of, create_three, detail, detail_of, hint_of, mutate};

fn unknown() -> Value {
    detail("unknown", "unknown", None, Value::Null, None)
}

/// (kind, records, arguments); the ids are made up, because the sandbox applies only the creates here.
fn calls() -> [(&'static str, usize, String); 4] {
    [
        ("create", 3, create_three()),
        ("create", 1, mutate("create", r#"{"data":{}}"#)),
        ("update", 1, mutate("update", r#"{"upstream_id":"a","data":{}}"#)),
        ("delete", 2, mutate("delete", r#"["a","b"]"#)),
    ]
}

#[test]
fn a_connection_that_is_cut_before_the_status_leaves_it_unknown() {
    let mut world = World::new();
    let faults = [
        json!({"reset": true}),
        json!({"cut_after": 0}),
        json!({"cut_after": 0, "reset": true}),
        json!({"cut_after": 1}),
        json!({"cut_after": 12}),
        json!({"cut_after": 30, "reset": true}),
        json!({"read_only_bytes": 10}),
        json!({"read_only_bytes": 10, "reset": true}),
        json!({"raw": "SSH-2.0-OpenSSH_9.2\r\n"}),
        json!({"raw": "HTTP/1.1 twohundred OK\r\n\r\n"}),
        json!({"raw": "\r\n\r\n\r\n\r\n"}),
        json!({"raw": ""}),
    ];
    for fault in faults {
        for (kind, records, sql) in calls() {
            world.sandbox.fault(fault.clone());
            let error = world.error(&sql);
            assert_reported(&error, kind, records, "HV00K", &unknown());
            let start = "lost the connection to the API before its reply: ";
            assert!(error.message().starts_with(start) && error.message().len() > start.len(), "{fault}: {error:?}");
            assert_eq!(world.sent(), 1, "never twice: {fault}");
        }
        assert_eq!(world.rows(&create_three(), &[]).len(), 3, "the next call works after {fault}");
        world.sent();
    }
}

#[test]
fn a_reply_that_never_comes_leaves_it_unknown() {
    thread::scope(|scope| {
        for fault in [json!({"stall": "reply"}), json!({"stall": "body_read"})] {
            scope.spawn(move || {
                let mut world = World::with_options("request_timeout_ms '3000'");
                for (kind, records, sql) in calls() {
                    world.sandbox.fault(fault.clone());
                    let error = world.error(&sql);
                    assert_reported(&error, kind, records, "HV00K", &unknown());
                    assert_eq!(error.message(), "the API did not reply within 3000 ms", "{fault}");
                }
                world.run("ALTER SERVER sequin OPTIONS (DROP request_timeout_ms)");
                assert_eq!(world.rows(&create_three(), &[]).len(), 3, "the next call works after {fault}");
            });
        }
    });
}

/// The API answers later than usual when it waits for consumers, and the client must not give up before it.
#[test]
fn the_await_time_is_added_to_the_patience() {
    let mut world = World::with_options("request_timeout_ms '2500'");
    world.sandbox.consumer(json!({"kind": "pull", "id": "nobody"}));
    world.sandbox.fault(json!({"stall": "reply"}));
    let awaiting = "'sync', 'salesforce:contact', '{}', await_consumers => '{nobody}', timeout_ms => 500";
    let error = world.error(&format!("SELECT sequin_create({awaiting})"));
    assert_eq!(error.message(), "the API did not reply within 3000 ms");
    // Without consumers there is nothing to wait for.
    world.sandbox.fault(json!({"stall": "reply"}));
    let error = world.error("SELECT sequin_create('sync', 'salesforce:contact', '{}', timeout_ms => 500)");
    assert_eq!(error.message(), "the API did not reply within 2500 ms");
}

#[test]
fn an_address_without_a_listener_is_reported_as_not_sent() {
    let mut world = World::new();
    world.run(&format!("ALTER SERVER sequin OPTIONS (SET url 'http://{REFUSING}')"));
    for (kind, records, sql) in calls() {
        let error = world.error(&sql);
        assert_eq!(error.code().code(), "HV00N");
        assert!(error.message().starts_with("could not connect to the API: "), "{error:?}");
        assert_eq!(detail_of(&error), detail("not_sent", "none", None, Value::Null, None));
        assert!(hint_of(&error).starts_with("Nothing was sent, so a retry is safe."), "{error:?}");
        let noun = if records == 1 { "record" } else { "records" };
        let call = format!("{kind} of {records} {noun} in salesforce:contact through server \"sequin\"");
        assert_eq!(context_of(&error), format!("{call}: nothing was applied"));
    }
    assert_eq!(world.sent(), 0);
}
