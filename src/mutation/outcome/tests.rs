//! The table of outcomes, written out a second time: every status is in exactly one row, and every row is checked
//! with every kind, number of records and body. Nothing here looks at the code's own rules.

use std::ops::RangeInclusive;

use super::*;
use crate::mutation::kind::Kind;
use crate::mutation::request::Invalid;

mod words;

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
