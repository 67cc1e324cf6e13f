//! The table of outcomes, written out a second time: every status is in exactly one row, and every row is checked
//! with every kind, number of records and body. Nothing here looks at the code's own rules.

use std::ops::RangeInclusive;

use super::*;
use crate::mutation::kind::Kind;
use crate::mutation::request::Invalid;

const OUR_TOKEN: &str = "s3cr3t-token";

fn facts(kind: Kind, records: usize, atomic_batches: bool) -> Facts<'static> {
    Facts { kind, records, collection_id: "salesforce:contact", server: "sequin", atomic_batches, token: OUR_TOKEN }
}

fn reply(status: u16, body: Body<'_>) -> Observation<'_> {
    Observation::Reply { status, retry_after: None, body }
}

/// name, applied, SQLSTATE, action.
type Expected = (&'static str, &'static str, &'static str, Action);

fn summary(outcome: &Outcome) -> Expected {
    (outcome.name.as_str(), outcome.applied.as_str(), outcome.sqlstate.code(), outcome.action)
}

const GOOD: &[u8] = br#"{"records":[{"id":"a"}]}"#;
const CONSUMERS: &[u8] = br#"{"error":"Error: Timed out waiting for consumers: contacts","docs":[]}"#;

const WHOLE_BODIES: [&[u8]; 9] = [
    GOOD,
    CONSUMERS,
    b"",
    b"{}",
    br#"{"records":null}"#,
    br#"{"error":"Error: refused","docs":[1]}"#,
    br#"{"summary":"s","validation_errors":{"a":"b"}}"#,
    b"<html>\nproxy</html>",
    b"\xff\x00",
];

fn all_bodies() -> Vec<Body<'static>> {
    let mut bodies: Vec<_> = WHOLE_BODIES.map(Body::Whole).into();
    bodies.push(Body::Truncated { cause: "connection reset" });
    bodies.push(Body::TooLarge { limit: 1_024 });
    bodies
}

/// What holds for a mutation of one record, of three, and of three where a refusal is total; a create and the others.
struct Row {
    statuses: RangeInclusive<u16>,
    create: [Expected; 3],
    other: [Expected; 3],
}

/// A row in which neither the kind nor the number matters.
const fn same(statuses: RangeInclusive<u16>, expected: Expected) -> Row {
    Row { statuses, create: [expected; 3], other: [expected; 3] }
}

const REDIRECTED: Expected = ("refused", "none", "HV00R", Action::PauseServer);
const NOWHERE: Expected = ("refused", "none", "HV00R", Action::PauseServer);
const NO_ENTRY: Expected = ("refused", "none", "28000", Action::PauseServer);
const PAUSE: Expected = ("refused_for_now", "none", "53400", Action::Defer);
const CREATE_UNKNOWN: Expected = ("unknown", "unknown", "HV00K", Action::ParkUnknown);
const OTHER_UNKNOWN: Expected = ("unknown", "unknown", "HV00K", Action::Retry);

const fn rejected(statuses: RangeInclusive<u16>) -> Row {
    Row {
        statuses,
        create: [
            ("rejected", "none", "HV024", Action::Reject),
            ("rejected", "unknown", "HV024", Action::ParkUnknown),
            ("rejected", "none", "HV024", Action::Bisect),
        ],
        other: [
            ("rejected", "none", "HV024", Action::Reject),
            ("rejected", "unknown", "HV024", Action::Bisect),
            ("rejected", "none", "HV024", Action::Bisect),
        ],
    }
}

const fn unknown(statuses: RangeInclusive<u16>) -> Row {
    Row { statuses, create: [CREATE_UNKNOWN; 3], other: [OTHER_UNKNOWN; 3] }
}

/// Every status outside 2xx.
fn table() -> Vec<Row> {
    vec![
        unknown(100..=199),
        same(300..=399, REDIRECTED),
        rejected(400..=400),
        same(401..=401, NO_ENTRY),
        unknown(402..=402),
        same(403..=403, NO_ENTRY),
        same(404..=404, NOWHERE),
        same(405..=405, NOWHERE),
        unknown(406..=421),
        rejected(422..=422),
        unknown(423..=428),
        same(429..=429, PAUSE),
        unknown(430..=499),
        unknown(500..=599),
    ]
}

const NUMBERS: [(usize, bool); 3] = [(1, false), (3, false), (3, true)];

#[test]
fn every_status_is_in_one_row() {
    let rows = table();
    for status in (100..=199).chain(300..=599) {
        assert_eq!(rows.iter().filter(|row| row.statuses.contains(&status)).count(), 1, "{status}");
    }
    assert!(!rows.iter().any(|row| row.statuses.contains(&200) || row.statuses.contains(&299)));
}

#[test]
fn every_status_kind_number_and_body() {
    let mut checked = 0;
    for row in table() {
        for status in row.statuses.clone() {
            for kind in Kind::ALL {
                let row = if kind == Kind::Create { &row.create } else { &row.other };
                for ((records, atomic_batches), expected) in NUMBERS.into_iter().zip(row) {
                    for body in all_bodies() {
                        if status == 500 && matches!(body, Body::Whole(CONSUMERS)) {
                            continue;
                        }
                        let facts = facts(kind, records, atomic_batches);
                        let end = outcome(&facts, &reply(status, body)).unwrap_err();
                        assert_eq!(summary(&end), *expected, "{status} {kind} {records} {atomic_batches} {body:?}");
                        assert_eq!(end.http_status, Some(status));
                        assert_is_well_formed(&end);
                        checked += 1;
                    }
                }
            }
        }
    }
    assert_eq!(checked, 400 * 9 * 11 - 9);
}

#[test]
fn a_single_record_is_alone_with_or_without_atomic_batches() {
    for kind in Kind::ALL {
        let end = outcome(&facts(kind, 1, true), &reply(400, Body::Whole(b""))).unwrap_err();
        assert_eq!(summary(&end), ("rejected", "none", "HV024", Action::Reject));
    }
}

#[test]
fn statuses_that_http_does_not_have_are_unknown() {
    for status in [0, 99, 600, 999, u16::MAX] {
        let end = outcome(&facts(Kind::Create, 1, true), &reply(status, Body::Whole(GOOD))).unwrap_err();
        assert_eq!(summary(&end), CREATE_UNKNOWN, "{status}");
    }
}

#[test]
fn the_one_500_that_was_applied() {
    for kind in Kind::ALL {
        for (records, atomic_batches) in NUMBERS {
            let facts = facts(kind, records, atomic_batches);
            let end = outcome(&facts, &reply(500, Body::Whole(CONSUMERS))).unwrap_err();
            let expected = ("applied_not_confirmed", "all", "HV00M", Action::DeliverNotConfirmed);
            assert_eq!(summary(&end), expected);
            assert_eq!(end.message, "Error: Timed out waiting for consumers: contacts");
            assert_eq!(end.docs.as_deref(), Some("[]"));
            assert_is_well_formed(&end);
        }
    }
}

#[test]
fn every_2xx_was_applied() {
    for status in 200..=299 {
        for kind in Kind::ALL {
            for (records, atomic_batches) in NUMBERS {
                let facts = facts(kind, records, atomic_batches);
                for body in all_bodies() {
                    match outcome(&facts, &reply(status, body)) {
                        Ok(records) => {
                            assert!(matches!(body, Body::Whole(GOOD)), "{body:?}");
                            let ids: Vec<_> = records.map(|record| record.unwrap().id.unwrap()).collect();
                            assert_eq!(ids, ["a"]);
                        }
                        Err(end) => {
                            assert!(!matches!(body, Body::Whole(GOOD)), "{body:?}");
                            let expected = ("applied_reply_lost", "all", "HV00M", Action::DeliverReplyLost);
                            assert_eq!(summary(&end), expected, "{status} {body:?}");
                            assert_eq!(end.http_status, Some(status));
                            assert_is_well_formed(&end);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn without_a_status() {
    let causes = |cause| [Observation::Cut { cause }, Observation::TimedOut { after: Duration::from_secs(60) }];
    for kind in Kind::ALL {
        for (records, atomic_batches) in NUMBERS {
            let facts = facts(kind, records, atomic_batches);
            let not_sent = outcome(&facts, &Observation::NotSent { cause: "connection refused" }).unwrap_err();
            assert_eq!(summary(&not_sent), ("not_sent", "none", "HV00N", Action::Retry));
            assert_eq!(not_sent.message, "could not connect to the API: connection refused");
            assert_eq!(not_sent.http_status, None);
            assert_is_well_formed(&not_sent);
            for observed in causes("connection reset by peer") {
                let end = outcome(&facts, &observed).unwrap_err();
                assert_eq!(summary(&end), if kind == Kind::Create { CREATE_UNKNOWN } else { OTHER_UNKNOWN });
                assert_eq!(end.http_status, None);
                assert_is_well_formed(&end);
            }
        }
    }
}

/// What holds for every outcome, whatever it is.
fn assert_is_well_formed(outcome: &Outcome) {
    let Outcome { message, hint, .. } = outcome;
    assert!(!message.is_empty() && message.chars().count() <= 2_000, "{message}");
    assert!(hint.ends_with('.') && hint.starts_with(char::is_uppercase), "{hint}");
    for text in [message, hint, &outcome.detail_json()] {
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(!text.contains(OUR_TOKEN), "{text}");
    }
    assert_eq!(outcome.to_string(), *message);
    let detail: serde_json::Value = serde_json::from_str(&outcome.detail_json()).unwrap();
    let keys: Vec<_> = detail.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["applied", "docs", "http_status", "outcome", "retry_after_ms"]);
    assert_eq!(detail["outcome"], outcome.name.as_str());
    assert_eq!(detail["applied"], outcome.applied.as_str());
    assert_eq!(detail["http_status"], serde_json::json!(outcome.http_status));
}

#[test]
fn messages() {
    let update = facts(Kind::Update, 1, false);
    for (status, body, message) in [
        (
            400,
            r#"{"error":"Error: Salesforce validation error: `Invalid email`"}"#,
            "Error: Salesforce validation error: `Invalid email`",
        ),
        (422, r#"{"summary":"Invalid","validation_errors":{"sync_id":[]}}"#, "Invalid (sync_id)"),
        (504, r#"{"error":"Error: Salesforce API timed out"}"#, "Error: Salesforce API timed out"),
        (400, "", "the API rejected the request: HTTP status 400"),
        (302, "", "the API redirects to another address: HTTP status 302"),
        (401, "", "the API does not accept the token: HTTP status 401"),
        (403, "{}", "the API does not permit this: HTTP status 403: {}"),
        (404, "<html>\nno</html>", "the API has nothing at this address: HTTP status 404: <html> no</html>"),
        (405, "", "the API takes no mutations at this address: HTTP status 405"),
        (408, "", "the API timed out: HTTP status 408"),
        (409, "", "the API gave an unexpected answer: HTTP status 409"),
        (429, "", "the API received too many requests: HTTP status 429"),
        (500, "", "the API failed: HTTP status 500"),
        (504, "", "the API timed out: HTTP status 504"),
        (500, r#"{"error":"a\nb\u001b[2J"}"#, "a\\nb\\u001b[2J"),
        (500, r#"{"error":"your token s3cr3t-token"}"#, "your token [redacted]"),
        (200, "", "the update was applied, but its reply cannot be read: its body is empty"),
        (200, "[]", "the update was applied, but its reply cannot be read: its body is not a JSON object"),
    ] {
        let end = outcome(&update, &reply(status, Body::Whole(body.as_bytes()))).unwrap_err();
        assert_eq!(end.message, message);
    }
    for (observed, message) in [
        (
            reply(200, Body::Truncated { cause: "timed out" }),
            "the update was applied, but its reply cannot be read: its body was cut off: timed out",
        ),
        (
            reply(200, Body::TooLarge { limit: 1_024 }),
            "the update was applied, but its reply is larger than 1024 bytes",
        ),
        (reply(502, Body::TooLarge { limit: 1_024 }), "the API failed: HTTP status 502"),
        (Observation::Cut { cause: "reset" }, "lost the connection to the API before its reply: reset"),
        (Observation::TimedOut { after: Duration::from_millis(60_500) }, "the API did not reply within 60500 ms"),
        (Observation::NotSent { cause: "a\nb s3cr3t-token" }, "could not connect to the API: a\\nb [redacted]"),
    ] {
        assert_eq!(outcome(&update, &observed).unwrap_err().message, message);
    }
}

#[test]
fn hints_name_the_kind_and_what_is_known() {
    let lost = Observation::Cut { cause: "reset" };
    let consumers = reply(500, Body::Whole(CONSUMERS));
    let none = Body::Whole(b"");
    for (kind, records, observed, parts) in [
        (Kind::Create, 1, lost, ["Do not simply repeat it", "look for the record in salesforce:contact first"]),
        (Kind::Create, 3, lost, ["the records were created", "look for the records in salesforce:contact first"]),
        (Kind::Update, 1, lost, ["not known", "Repeating the update is safe"]),
        (Kind::Delete, 3, lost, ["the records were deleted", "Repeating the delete is safe"]),
        (Kind::Create, 1, reply(503, none), ["not known", "Do not simply repeat it"]),
        (
            Kind::Create,
            1,
            Observation::NotSent { cause: "x" },
            ["Nothing was sent, so repeating it is safe", "\"url\" of server \"sequin\""],
        ),
        (Kind::Create, 1, reply(400, none), ["Nothing was applied", "Correct the record"]),
        (Kind::Create, 3, reply(400, none), ["Some of the 3 records may have been created", "\"atomic_batches\""]),
        (
            Kind::Update,
            3,
            reply(422, none),
            ["Some of the 3 records may have been updated", "repeating the update is safe"],
        ),
        (
            Kind::Delete,
            3,
            reply(400, none),
            ["Some of the 3 records may have been deleted", "repeating the delete is safe"],
        ),
        (Kind::Delete, 1, reply(400, none), ["Nothing was applied", "upstream_id"]),
        (Kind::Update, 1, reply(401, none), ["Nothing was applied", "token in the user mapping of server \"sequin\""]),
        (Kind::Update, 1, reply(403, none), ["Nothing was applied", "may do"]),
        (Kind::Update, 1, reply(404, none), ["Nothing was applied", "sync_id, the collection salesforce:contact"]),
        (Kind::Update, 1, reply(405, none), ["Nothing was applied", "\"url\""]),
        (Kind::Update, 1, reply(301, none), ["Redirects are not followed", "\"url\""]),
        (Kind::Update, 1, reply(429, none), ["Nothing was applied", "later"]),
        (Kind::Create, 1, consumers, ["The provider applied the create", "Do not repeat it"]),
        (Kind::Update, 1, consumers, ["The provider applied the update", "holds locks"]),
        (Kind::Create, 1, reply(200, none), ["Do not repeat it", "look in salesforce:contact"]),
        (Kind::Delete, 1, reply(200, none), ["no need to repeat it", "the delete is done"]),
        (
            Kind::Create,
            1,
            reply(200, Body::TooLarge { limit: 9 }),
            ["Do not repeat it", "\"max_response_bytes\" of server \"sequin\""],
        ),
    ] {
        let hint = outcome(&facts(kind, records, false), &observed).unwrap_err().hint;
        for part in parts {
            assert!(hint.contains(part), "{kind} {records} {observed:?}\n  wanted: {part}\n  got: {hint}");
        }
    }
    let atomic = outcome(&facts(Kind::Create, 3, true), &reply(400, none)).unwrap_err().hint;
    assert!(atomic.starts_with("Nothing was applied") && atomic.contains("3 records"), "{atomic}");
}

#[test]
fn details_always_have_all_keys() {
    let create = facts(Kind::Create, 1, false);
    let pause = Observation::Reply {
        status: 429,
        retry_after: Some(Duration::from_millis(1_500)),
        body: Body::Whole(br#"{"error":"slow down","docs":[ {"n": 1.10} ]}"#),
    };
    let end = outcome(&create, &pause).unwrap_err();
    assert_eq!(
        end.detail_json(),
        r#"{"outcome": "refused_for_now", "applied": "none", "http_status": 429, "docs": [{"n":1.10}], "retry_after_ms": 1500}"#
    );
    assert!(end.hint.contains("1500 ms"), "{}", end.hint);

    let end = outcome(&create, &Observation::Cut { cause: "x" }).unwrap_err();
    assert_eq!(
        end.detail_json(),
        r#"{"outcome": "unknown", "applied": "unknown", "http_status": null, "docs": null, "retry_after_ms": null}"#
    );
}

#[test]
fn a_pause_is_told_with_any_status() {
    let retry_after = Some(Duration::from_secs(5));
    let observed = Observation::Reply { status: 503, retry_after, body: Body::Whole(b"") };
    let end = outcome(&facts(Kind::Update, 1, false), &observed).unwrap_err();
    assert_eq!(end.retry_after, retry_after);
    assert_eq!(summary(&end), OTHER_UNKNOWN);
}

#[test]
fn docs_that_are_left_out_are_mentioned() {
    let body = format!(r#"{{"error":"e","docs":"{}"}}"#, "x".repeat(20_000));
    let end = outcome(&facts(Kind::Update, 1, false), &reply(400, Body::Whole(body.as_bytes()))).unwrap_err();
    assert_eq!(end.docs, None);
    assert!(end.hint.contains("docs are left out"), "{}", end.hint);
    assert_is_well_formed(&end);
}

#[test]
fn problems_before_sending() {
    for (state, code, action) in [
        (SqlState::UndefinedObject, "42704", Action::PauseServer),
        (SqlState::InsufficientPrivilege, "42501", Action::PauseServer),
        (SqlState::InvalidParameterValue, "22023", Action::PauseServer),
        (SqlState::ReadOnlySqlTransaction, "25006", Action::Retry),
    ] {
        let end = Outcome::not_sent(state, "message".to_owned(), "Hint.".to_owned());
        assert_eq!(summary(&end), ("not_sent", "none", code, action));
        assert_is_well_formed(&end);
    }
    for (invalid, code) in [(Invalid::Null("sync_id"), "22004"), (Invalid::NoRecords, "22023")] {
        let message = invalid.to_string();
        let end = Outcome::from(invalid);
        assert_eq!(summary(&end), ("not_sent", "none", code, Action::Reject));
        assert_eq!(end.message, message);
        assert_is_well_formed(&end);
    }
}

#[test]
fn a_reply_that_the_database_cannot_store_was_applied() {
    let end = Outcome::reply_lost(&facts(Kind::Create, 1, false), 201, "invalid input\nfor s3cr3t-token");
    assert_eq!(summary(&end), ("applied_reply_lost", "all", "HV00M", Action::DeliverReplyLost));
    assert_eq!(end.message, "the create was applied, but its reply cannot be read: invalid input\\nfor [redacted]");
    assert_eq!(end.http_status, Some(201));
    assert_is_well_formed(&end);
}
