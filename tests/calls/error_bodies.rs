//! The message of an error's body becomes the message and the `docs` of the DETAIL. It is readable, of limited length
//! and without the token, whatever the API or a proxy has written.

use sequin_harness::TOKEN;
use serde_json::{Value, json};

use crate::support::{Session, World, create_three, detail_of, hint_of};

/// The message and the docs of a 400 with this body.
fn told(world: &mut World, body: &str) -> (String, Value) {
    world.sandbox.fault(json!({"status": 400, "body": body}));
    let error = world.error(&create_three());
    assert_eq!(error.code().code(), "HV024", "{body}");
    (error.message().to_owned(), detail_of(&error)["docs"].clone())
}

#[test]
fn both_forms_of_the_hosts_errors_are_read() {
    let mut world = World::new();
    let cases = [
        (r#"{"error":"Error: Salesforce validation error: `Invalid email`"}"#, "`Invalid email`", Value::Null),
        (r#"{"error":"Error: x","docs":[]}"#, "Error: x", json!([])),
        (r#"{"error":"Error: x","docs":null}"#, "Error: x", Value::Null),
        (r#"{"error":"Error: x","docs":"https://docs"}"#, "Error: x", json!("https://docs")),
        (r#"{"error":"Error: x","docs":{"a":[1,{"b":null}]}}"#, "Error: x", json!({"a": [1, {"b": null}]})),
        (r#"{"docs":[1],"error":"Error: x"}"#, "Error: x", json!([1])),
        (
            r#"{"error":"Error: Ünïcödé 🪐 \"quoted\" \\ / 100%s %d"}"#,
            "Ünïcödé 🪐 \"quoted\" \\ / 100%s %d",
            Value::Null,
        ),
        (r#"{"summary":"Bad request"}"#, "Bad request", Value::Null),
        (r#"{"summary":"Bad request","validation_errors":{}}"#, "Bad request", json!({})),
        (
            r#"{"summary":"Bad request","validation_errors":{"sync_id":["unknown"],"kind":["odd","worse"]}}"#,
            "Bad request (sync_id, kind)",
            json!({"sync_id": ["unknown"], "kind": ["odd", "worse"]}),
        ),
        (
            r#"{"validation_errors":{"records[0]":["unknown"]}}"#,
            "validation failed (records[0])",
            json!({"records[0]": ["unknown"]}),
        ),
    ];
    for (body, message, docs) in cases {
        let told = told(&mut world, body);
        assert!(told.0.ends_with(message), "{body}: {}", told.0);
        assert_eq!(told.1, docs, "{body}");
    }
}

#[test]
fn a_body_of_another_form_is_quoted_in_part() {
    let mut world = World::new();
    let cases = [
        ("", "the API rejected the request: HTTP status 400"),
        (" \n ", "the API rejected the request: HTTP status 400"),
        (
            "<html>\n <body>Bad\tGateway</body>",
            "the API rejected the request: HTTP status 400: <html> <body>Bad Gateway",
        ),
        ("{\"message\":\"no\"}", "the API rejected the request: HTTP status 400: {\"message\":\"no\"}"),
        ("{\"error\": 7}", "the API rejected the request: HTTP status 400: {\"error\":7}"),
        ("[1, 2]", "the API rejected the request: HTTP status 400: [1,2]"),
        ("{\"error\": \"cut off", "the API rejected the request: HTTP status 400: {\"error\": \"cut off"),
    ];
    for (body, message) in cases {
        let told = told(&mut world, body);
        assert!(told.0.starts_with(message), "{body}: {}", told.0);
        assert_eq!(told.1, Value::Null, "{body}");
    }
    world.sandbox.fault(json!({"status": 502, "body_hex": "ff00fe41"}));
    let message = world.error(&create_three()).message().to_owned();
    assert!(message.starts_with("the API failed: HTTP status 502: "), "{message}");
}

#[test]
fn texts_are_printable_and_end() {
    let mut world = World::new();
    let (message, _) = told(&mut world, r#"{"error":"two\nlines\u001b[31m red \u202e back"}"#);
    assert_eq!(message, r"two\nlines\u001b[31m red \u202e back");
    let (message, _) = told(&mut world, r#"{"error":"nul \u0000 within"}"#);
    assert_eq!(message, r"nul \u0000 within");
    let (message, _) = told(&mut world, &json!({"error": "ü".repeat(100_000)}).to_string());
    assert_eq!((message.chars().count(), message.ends_with('…')), (1_000, true));
    let (message, _) = told(&mut world, &"x".repeat(1_000_000));
    assert!(message.chars().count() < 300, "{message}");
}

/// A program casts the DETAIL to jsonb, and that must not fail whatever the API has put into its docs.
#[test]
fn the_detail_is_always_a_jsonb() {
    let mut world = World::new();
    world.run(
        "CREATE FUNCTION caught() RETURNS jsonb LANGUAGE plpgsql AS $$
         DECLARE said text;
         BEGIN
           PERFORM sequin_create('sync', 'salesforce:contact', '{}');
         EXCEPTION WHEN fdw_invalid_attribute_value THEN
           GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
           RETURN said::jsonb;
         END $$",
    );
    let deep = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    // (docs, how they begin and end as a jsonb)
    let cases = [
        (
            r#"{"n": 1.10, "m": 12345678901234567890.123}"#.to_owned(),
            r#"{"m": 12345678901234567890.123, "n": 1.10}"#,
            "",
        ),
        (r#"["\u0000", "\ud800", "1e9"]"#.into(), "[", "\"1e9\"]"),
        ("[1e999999, -1E+200000, 2]".into(), "[", "2]"),
        (r#"{"a": 1, "a": 2, "é": "\u00e9\n\"\\"}"#.into(), r#"{"a": 2, "é": "é\n\"\\"}"#, ""),
        (deep(60), "[[[", "]]]"),
        (deep(70), "null", ""),
        (deep(100_000), "null", ""),
        (format!("[\"{}\"]", "x".repeat(20_000)), "null", ""),
    ];
    for (docs, start, end) in cases {
        world.sandbox.fault(json!({"status": 422, "body": format!(r#"{{"error": "Error: x", "docs": {docs}}}"#)}));
        let told: String = world.one("SELECT (caught()->'docs')::text");
        assert!(told.starts_with(start) && told.ends_with(end), "{docs:.80}: {told:.200}");
    }
}

#[test]
fn docs_that_are_left_out_are_mentioned() {
    let mut world = World::new();
    world.sandbox.fault(json!({"status": 400, "body": json!({"error": "x", "docs": "y".repeat(20_000)}).to_string()}));
    let error = world.error(&create_three());
    assert!(hint_of(&error).contains("docs are omitted"), "{}", hint_of(&error));
    assert_eq!(detail_of(&error)["docs"], Value::Null);
}

#[test]
fn a_token_that_the_api_echoes_is_taken_out() {
    let mut world = World::new();
    let bodies = [
        format!("{{\"error\": \"bad header Bearer {TOKEN}\"}}"),
        format!("{{\"error\": \"x\", \"docs\": {{\"headers\": [\"Bearer {TOKEN}\"], \"{TOKEN}\": 1}}}}"),
        format!("{{\"summary\": \"{TOKEN}\", \"validation_errors\": {{\"{TOKEN}\": [\"{TOKEN}\"]}}}}"),
        format!("<html>authorization: Bearer {TOKEN}</html>"),
        format!("{{\"error\": \"escaped \\u0073{}\"}}", &TOKEN[1..]),
        format!("{}{TOKEN}", "x".repeat(190)),
        format!("{}{TOKEN}", "x".repeat(4_090)),
    ];
    for body in bodies {
        world.sandbox.fault(json!({"status": 400, "body": body}));
        let error = world.error(&create_three());
        let all = format!("{error:?}");
        assert!(!all.contains(TOKEN), "{body}: {all}");
    }
}
