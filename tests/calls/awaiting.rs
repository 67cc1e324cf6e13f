//! Waiting for consumers: reading after the call, and the error when the wait was too short.

use serde_json::{Value, json};

use crate::calls::outcomes::assert_reported;
use crate::support::{Session, TARGET, World, create_three, detail, hint_of};

const AWAIT: &str = "await_consumers => '{contacts}'";

#[test]
fn the_row_is_in_the_consumers_table_when_the_call_returns() {
    let mut world = World::new();
    let dsn = world.database.dsn();
    world
        .sandbox
        .consumer(json!({"kind": "postgres", "id": "contacts", "dsn": dsn, "table": "contacts", "delay_ms": 20}));
    let id: String =
        world.one(&format!("SELECT (sequin_create({TARGET}, '{{\"Name\":\"Paul\"}}', {AWAIT})).upstream_id"));
    for name in ["Muad'Dib", "Usul"] {
        let data = json!({"Name": name}).to_string();
        let update = format!("SELECT count(*) FROM sequin_update({TARGET}, $1, $2::text::jsonb, {AWAIT})");
        assert_eq!(world.one_of::<i64>(&update, &[&id, &data]), 1);
        let read: String = world.one_of("SELECT data->>'Name' FROM contacts WHERE upstream_id = $1", &[&id]);
        assert_eq!(read, name);
    }
    world.run(&format!("SELECT sequin_delete({TARGET}, '{id}', {AWAIT})"));
    assert!(world.one_of::<bool>("SELECT deleted FROM contacts WHERE upstream_id = $1", &[&id]));
}

#[test]
fn a_wait_that_times_out_is_reported_as_applied() {
    let mut world = World::new();
    world.sandbox.consumer(json!({"kind": "pull", "id": "contacts"}));
    let id: String = world.one(&format!("SELECT (sequin_create({TARGET}, '{{}}')).upstream_id"));
    let wait = format!("{AWAIT}, timeout_ms => 30");
    let calls = [
        ("create", 1, format!("sequin_create({TARGET}, '{{}}', {wait})")),
        ("update", 1, format!("sequin_update({TARGET}, '{id}', '{{}}', {wait})")),
        ("create", 2, format!("sequin_mutate('create', {TARGET}, '[{{\"data\":{{}}}},{{\"data\":{{}}}}]', {wait})")),
        ("delete", 1, format!("sequin_delete({TARGET}, '{id}', {wait})")),
    ];
    for (kind, records, call) in calls {
        let error = world.error(&format!("SELECT {call}"));
        assert_eq!(error.message(), "Error: Timed out waiting for consumers: contacts");
        let expected = detail("applied_not_confirmed", "all", Some(500), json!([]), None);
        assert_reported(&error, kind, records, "HV00M", &expected);
        assert!(hint_of(&error).contains("A larger timeout_ms waits longer"), "{error:?}");
    }
    assert_eq!(world.contact_count(), 3);
}

/// The deadlock that the contract warns of: this session locks the rows that the consumer must write.
#[test]
fn a_lock_of_ones_own_makes_the_wait_vain_and_the_hint_says_so() {
    let mut world = World::new();
    let dsn = world.database.dsn();
    world.sandbox.consumer(json!({"kind": "postgres", "id": "contacts", "dsn": dsn, "table": "contacts"}));
    let id: String = world.one(&format!("SELECT (sequin_create({TARGET}, '{{}}', {AWAIT})).upstream_id"));
    world.run("BEGIN; SELECT * FROM contacts FOR UPDATE");
    let error =
        world.error(&format!("SELECT sequin_update({TARGET}, '{id}', '{{\"a\":1}}', {AWAIT}, timeout_ms => 50)"));
    assert_eq!(error.code().code(), "HV00M");
    assert!(hint_of(&error).contains("while this session holds locks on rows that a consumer must write"), "{error:?}");
    world.run("ROLLBACK");
    // With the lock gone the consumer catches up.
    world.run(&format!("SELECT sequin_update({TARGET}, '{id}', '{{\"b\":2}}', {AWAIT})"));
    assert_eq!(world.one::<String>("SELECT data::text FROM contacts"), r#"{"a": 1, "b": 2}"#);
}

/// Only the API's own text at its beginning means "applied"; in a record's text the words mean nothing.
#[test]
fn only_the_apis_own_words_mean_applied() {
    let mut world = World::new();
    let cases = [
        (500, "Error: Timed out waiting for consumers: contacts", true),
        (500, "Error: timed out waiting for consumer contacts", true),
        (500, "Timed out waiting for consumers: a, b", true),
        (500, "Error: `Timed out waiting for consumers` is no name", false),
        (500, "Error: Salesforce: Timed out waiting for consumers", false),
        (500, "Error: Timed out", false),
        (502, "Error: Timed out waiting for consumers: contacts", false),
        (504, "Error: Timed out waiting for consumers: contacts", false),
    ];
    for (status, text, is_applied) in cases {
        world.sandbox.fault(json!({"status": status, "body": json!({"error": text}).to_string()}));
        let error = world.error(&create_three());
        assert_eq!(error.message(), text);
        let (state, outcome, applied) =
            if is_applied { ("HV00M", "applied_not_confirmed", "all") } else { ("HV00K", "unknown", "unknown") };
        assert_reported(&error, "create", 3, state, &detail(outcome, applied, Some(status), Value::Null, None));
    }
}
