//! Tests the outcome table in `matrix`, and the texts of outcomes in `messages`.

use super::*;
use crate::kind::Kind;
use crate::request::InvalidRequest;

mod matrix;
mod messages;

const OUR_TOKEN: &str = "s3cr3t-token";

fn facts(kind: Kind, records: usize, atomic_batches: bool) -> Facts<'static> {
    Facts { kind, records, collection_id: "salesforce:contact", server: "sequin", atomic_batches, token: OUR_TOKEN }
}

fn reply(status: u16, body: Body) -> Observation {
    Observation::Reply { status, retry_after: None, content: ContentHeaders::default(), body }
}

/// The kind, the extent applied, the SQLSTATE and the action.
type Expected = (&'static str, &'static str, &'static str, Action);

fn summary(outcome: &Outcome) -> Expected {
    (outcome.kind.as_str(), outcome.applied.as_str(), outcome.sqlstate.code(), outcome.action)
}

const GOOD: &[u8] = br#"{"records":[{"id":"a"}]}"#;
const CONSUMERS: &[u8] = br#"{"error":"Error: Timed out waiting for consumers: contacts","docs":[]}"#;

const CREATE_UNKNOWN: Expected = ("unknown", "unknown", "HV00K", Action::MarkUnknown);
const OTHER_UNKNOWN: Expected = ("unknown", "unknown", "HV00K", Action::Retry);

#[test]
fn statuses_that_http_does_not_have_are_unknown() {
    for status in [0, 99, 600, 999, u16::MAX] {
        let end = judge(&facts(Kind::Create, 1, true), &reply(status, Body::Whole(GOOD.into()))).unwrap_err();
        assert_eq!(summary(&end), CREATE_UNKNOWN, "{status}");
    }
}

#[test]
fn the_one_500_that_was_applied_keeps_its_text() {
    for kind in Kind::ALL {
        let end = judge(&facts(kind, 3, false), &reply(500, Body::Whole(CONSUMERS.into()))).unwrap_err();
        assert_eq!(end.message, "Error: Timed out waiting for consumers: contacts");
        assert_eq!(end.docs.as_deref(), Some("[]"));
    }
}

#[test]
fn a_record_that_is_gone_is_recognised_by_status_or_words() {
    for (status, body, is_gone) in [
        (410, br#"{"error":"Error: deleted"}"#.as_slice(), true),
        (400, br#"{"error":"Error: Contact Not Found"}"#, true),
        (400, br#"{"error":"Error: INVALID_FIELD"}"#, false),
    ] {
        let end = judge(&facts(Kind::Delete, 1, false), &reply(status, Body::Whole(body.into()))).unwrap_err();
        assert_eq!(end.says_gone(), is_gone, "{status} {}", end.message);
    }
}

/// Checks the properties of every outcome.
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
    assert_eq!(detail["outcome"], outcome.kind.as_str());
    assert_eq!(detail["applied"], outcome.applied.as_str());
    assert_eq!(detail["http_status"], serde_json::json!(outcome.http_status));
}
