//! The API's answers and their outcomes: the outcome table, row by row, from the wire to the client.

use postgres::error::DbError;
use serde_json::{Value, json};

use crate::support::{Session, World, context_of, create_three, detail, detail_of, hint_of, mutate};

/// A call of each kind with one record and with three; whether the sandbox knows the ids does not matter to a fault.
const CALLS: [(&str, usize, &str); 6] = [
    ("create", 1, r#"{"data":{}}"#),
    ("create", 3, r#"[{"data":{}},{"data":{}},{"data":{}}]"#),
    ("update", 1, r#"{"upstream_id":"a","data":{}}"#),
    ("update", 3, r#"[{"upstream_id":"a","data":{}},{"upstream_id":"b","data":{}},{"upstream_id":"c","data":{}}]"#),
    ("delete", 1, r#""a""#),
    ("delete", 3, r#"["a","b",{"upstream_id":"c"}]"#),
];

/// One row of the table.
struct Row {
    statuses: &'static [u16],
    state: &'static str,
    outcome: &'static str,
    /// For one record, and for several.
    applied: [&'static str; 2],
}

const TABLE: &[Row] = &[
    Row {
        statuses: &[
            400, 402, 406, 407, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 420, 421, 422, 423, 424, 426, 428,
            431, 451, 460, 499,
        ],
        state: "HV024",
        outcome: "rejected",
        applied: ["none", "unknown"],
    },
    Row { statuses: &[401, 403], state: "28000", outcome: "refused", applied: ["none"; 2] },
    Row {
        statuses: &[300, 301, 302, 303, 304, 305, 307, 308, 399, 404, 405],
        state: "HV00R",
        outcome: "refused",
        applied: ["none"; 2],
    },
    Row { statuses: &[429], state: "53400", outcome: "refused_for_now", applied: ["none"; 2] },
    Row {
        statuses: &[408, 425, 500, 501, 502, 503, 504, 505, 529, 599],
        state: "HV00K",
        outcome: "unknown",
        applied: ["unknown"; 2],
    },
];

/// The words that a hint must contain, by known effect and kind of mutation.
fn advice(kind: &str, outcome: &str, applied: &str) -> &'static str {
    match (applied, kind) {
        ("none", _) => "Nothing was applied.",
        ("all", "create") => "Do not retry",
        ("all", _) => "There is no need to retry",
        (_, "create") => "Before a retry, look for",
        (_, "update") if outcome == "rejected" => "a retry is safe",
        (_, "update") => "A retry is safe",
        _ if outcome == "rejected" => "a retry is safe",
        _ => "A retry is safe",
    }
}

fn known(applied: &str) -> &'static str {
    match applied {
        "none" => "nothing was applied",
        "all" => "it was applied",
        _ => "whether it was applied is unknown",
    }
}

/// Everything that an error says besides the message.
pub fn assert_reported(error: &DbError, kind: &str, records: usize, state: &str, expected: &Value) {
    let what = format!("{kind} of {records}: {error:?}");
    assert_eq!(error.code().code(), state, "{what}");
    assert_eq!(detail_of(error), *expected, "{what}");
    let (outcome, applied) = (expected["outcome"].as_str().unwrap(), expected["applied"].as_str().unwrap());
    assert!(hint_of(error).contains(advice(kind, outcome, applied)), "{what}");
    let noun = if records == 1 { "record" } else { "records" };
    let known = known(applied);
    let context = format!("{kind} of {records} {noun} in salesforce:contact through server \"sequin\": {known}");
    assert_eq!(context_of(error), context, "{what}");
}

#[test]
fn each_status_tells_what_was_applied() {
    let mut world = World::new();
    for row in TABLE {
        for status in row.statuses {
            // A reply of 304 has no body, whatever one writes behind it.
            let has_body = *status != 304;
            let body = if has_body { r#"{"error": "Error: as told", "docs": ["see"]}"# } else { "" };
            world.sandbox.fault(json!({"status": status, "body": body, "times": null}));
            for (kind, records, text) in CALLS {
                let error = world.error(&mutate(kind, text));
                let docs = if has_body { json!(["see"]) } else { Value::Null };
                let expected = detail(row.outcome, row.applied[(records > 1) as usize], Some(*status), docs, None);
                assert_reported(&error, kind, records, row.state, &expected);
                if has_body {
                    assert_eq!(error.message(), "Error: as told", "{status}");
                }
            }
            world.sandbox.clear_faults();
            assert_eq!(world.sent(), CALLS.len(), "{status}");
        }
    }
    assert_eq!(world.contact_count(), 0);
}

#[test]
fn the_verbs_for_one_record_tell_the_same() {
    let mut world = World::new();
    let calls = [
        ("create", "sequin_create('sync', 'salesforce:contact', '{}')"),
        ("update", "sequin_update('sync', 'salesforce:contact', 'a', '{}')"),
        ("delete", "sequin_delete('sync', 'salesforce:contact', 'a')"),
    ];
    for row in TABLE {
        for (kind, call) in calls {
            let status = row.statuses[0];
            world.sandbox.fault(json!({"status": status, "body": "{\"error\":\"Error: as told\"}"}));
            let error = world.error(&format!("SELECT {call}"));
            let expected = detail(row.outcome, row.applied[0], Some(status), Value::Null, None);
            assert_reported(&error, kind, 1, row.state, &expected);
        }
    }
}

/// The sandbox's own answers, as the documentation shows them.
#[test]
fn the_apis_own_refusals_come_through() {
    let mut world = World::new();
    let contacts = |kind, text: &str| mutate(kind, text);
    let rejected = detail("rejected", "none", Some(400), json!([]), None);

    let error = world.error(&contacts("create", r#"{"data":{"Email":"not one"}}"#));
    assert_eq!(error.message(), "Error: Salesforce validation error: `Invalid email`");
    assert_reported(&error, "create", 1, "HV024", &rejected);

    let error = world.error(&contacts("update", r#"{"upstream_id":"no such","data":{}}"#));
    assert_eq!(error.message(), "Error: Salesforce validation error: `Record not found: no such`");
    assert_reported(&error, "update", 1, "HV024", &rejected);

    let unknown = "await_consumers => '{nobody}'";
    let error = world.error(&format!("SELECT sequin_create('sync', 'salesforce:contact', '{{}}', {unknown})"));
    assert_eq!(error.message(), "Unknown consumer (await_consumer_ids)");
    let docs = json!({"await_consumer_ids": ["unknown consumer: nobody"]});
    assert_reported(&error, "create", 1, "HV024", &detail("rejected", "none", Some(422), docs, None));

    world.run("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token 'another')");
    let error = world.error(&create_three());
    assert_eq!(error.message(), "Error: The API token is missing or not valid");
    assert_reported(&error, "create", 3, "28000", &detail("refused", "none", Some(401), json!([]), None));
    assert!(hint_of(&error).contains("Check the token in the user mapping of server \"sequin\""));
    world.run("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token 'sandbox-token')");

    let elsewhere = format!("{}/elsewhere", world.sandbox.url());
    world.run(&format!("ALTER SERVER sequin OPTIONS (SET url '{elsewhere}')"));
    let error = world.error(&create_three());
    assert_eq!(error.message(), "Error: Not found");
    assert_reported(&error, "create", 3, "HV00R", &detail("refused", "none", Some(404), json!([]), None));
    assert!(hint_of(&error).contains("Check the option \"url\" of server \"sequin\""));
    assert_eq!(world.contact_count(), 0);
}

/// A refused batch may have been applied in part, unless the server object says that this cannot be.
#[test]
fn a_server_with_atomic_batches_applies_nothing_of_a_refused_one() {
    let mut world = World::new();
    let bad = r#"[{"data":{"Email":"a@b.c"}},{"data":{"Email":"not one"}}]"#;
    let rejected = |applied| detail("rejected", applied, Some(400), json!([]), None);

    let error = world.error(&mutate("create", bad));
    assert_reported(&error, "create", 2, "HV024", &rejected("unknown"));
    assert!(hint_of(&error).contains("the option \"atomic_batches\" of server \"sequin\""), "{}", hint_of(&error));

    world.run("ALTER SERVER sequin OPTIONS (atomic_batches 'true')");
    let error = world.error(&mutate("create", bad));
    assert_reported(&error, "create", 2, "HV024", &rejected("none"));
    assert!(hint_of(&error).contains("send all 2 records again"), "{}", hint_of(&error));
    for (kind, records, text) in CALLS {
        world.sandbox.fault(json!({"status": 422, "body": ""}));
        let error = world.error(&mutate(kind, text));
        assert_reported(&error, kind, records, "HV024", &detail("rejected", "none", Some(422), Value::Null, None));
    }

    world.run("ALTER SERVER sequin OPTIONS (SET atomic_batches 'false')");
    assert_reported(&world.error(&mutate("create", bad)), "create", 2, "HV024", &rejected("unknown"));
    assert_eq!(world.contact_count(), 0);
}

/// Seconds or a date, in milliseconds.
#[test]
fn the_pause_that_the_api_asks_for_is_passed_on() {
    let mut world = World::new();
    let cases = [
        (Some("2"), Some(2_000)),
        (Some("0"), Some(0)),
        (Some("Fri, 21 Nov 2014 19:20:00 GMT"), Some(0)),
        (Some("Fri, 21 Nov 2194 19:20:00 GMT"), Some(86_400_000)),
        (Some("soon"), None),
        (None, None),
    ];
    for (header, milliseconds) in cases {
        let headers = header.map_or(json!({}), |header| json!({"retry-after": header}));
        for (status, state, outcome, applied) in
            [(429, "53400", "refused_for_now", "none"), (503, "HV00K", "unknown", "unknown")]
        {
            world.sandbox.fault(json!({"status": status, "headers": headers, "body": ""}));
            let error = world.error(&create_three());
            let expected = detail(outcome, applied, Some(status), Value::Null, milliseconds);
            assert_reported(&error, "create", 3, state, &expected);
            if let (429, Some(milliseconds)) = (status, milliseconds) {
                assert!(hint_of(&error).contains(&format!("Retry after {milliseconds} ms.")), "{error:?}");
            }
        }
    }
}
