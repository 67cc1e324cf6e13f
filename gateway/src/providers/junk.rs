//! Replies that no service means to send. Each gets the outcome that is true, from every provider.

use mutation_api::request::Change;
use proptest::prelude::*;

use super::rest::{Description, Rest};
use super::stripe::Stripe;
use super::testing::{create, delete, judge, plan, reply, update};
use super::*;

/// A described service in the usual way: a whole record in a reply, and an id that it chooses.
fn rest() -> Rest {
    let collection = r#"
        create = { method = "POST", path = "/c", body = "{data}" }
        update = { method = "PATCH", path = "/c/{upstream_id}", body = "{data}" }
        delete = { method = "DELETE", path = "/c/{upstream_id}", gone = [404] }
        reply = { upstream_id = "/id", created_at = { at = "/created", unit = "s" }, data = "" }
    "#;
    let description: Description = toml::from_str(collection).unwrap();
    Rest::compile([("customers".to_owned(), description)].into()).unwrap_or_else(|fault| panic!("{}", fault.message))
}

fn changes() -> [Change<'static>; 3] {
    [create("{}"), update("cus_1", "{}"), delete("cus_1")]
}

/// The statuses with which junk comes.
const STATUSES: [u16; 14] = [200, 201, 202, 204, 206, 301, 400, 404, 409, 412, 422, 500, 502, 999];

fn junk() -> Vec<(&'static str, Vec<u8>)> {
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0x56, 0xca, 0x4c, 0x51, 0xb2, 0x52, 0x4a, 0x2e, 0x2d];
    let object = br#"{"id":"cus_1","object":"customer"}"#;
    let whole = |before: &[u8], after: &[u8]| [before, object, after].concat();
    vec![
        ("HTML", b"<!doctype html><html><title>Log in</title>".to_vec()),
        ("HTML after space", b"\r\n  <html>".to_vec()),
        ("gzip", gzip.to_vec()),
        ("JSON that was cut", object[..20].to_vec()),
        ("JSON that was cut by a byte", object[..object.len() - 1].to_vec()),
        ("a list that was cut", b"[[[[[[".to_vec()),
        ("a text that was cut", b"\"cus_1".to_vec()),
        ("endless nesting", b"[".repeat(100_000)),
        ("two documents", whole(b"", object)),
        ("JSON with a rest", whole(b"", b"x")),
        ("JSON with a prefix", whole(b"<!-- -->", b"")),
        ("JSON in UTF-16", object.iter().flat_map(|&byte| [byte, 0]).collect()),
        ("invalid UTF-8 in a text", [&object[..8], b"\xff", &object[8..]].concat()),
        ("a surrogate in UTF-8", [&object[..8], b"\xed\xa0\x80", &object[8..]].concat()),
        ("a raw NUL", [&object[..8], b"\0", &object[8..]].concat()),
        ("NUL after it", whole(b"", b"\0")),
        ("NUL only", vec![0; 1_000]),
        ("a number that is none", br#"{"id":01,"object":"x"}"#.to_vec()),
        ("NaN", br#"{"id":NaN,"object":"x"}"#.to_vec()),
        ("single quotes", br"{'id':'cus_1','object':'x'}".to_vec()),
        ("a comma too much", br#"{"id":"cus_1","object":"x",}"#.to_vec()),
    ]
}

#[test]
fn junk_leaves_every_outcome_unknown() {
    let providers: [(&dyn Provider, &str); 2] = [(&Stripe, "stripe:customers"), (&rest(), "customers")];
    for (provider, collection) in providers {
        for change in changes() {
            let request = plan(provider, collection, change).unwrap();
            for (name, body) in junk() {
                for status in STATUSES {
                    let outcome = judge(provider, &request, &reply(status, &[], body.clone()));
                    assert!(
                        matches!(outcome, Outcome::Unknown { .. }),
                        "{} {:?} {status} {name}: {outcome:?}",
                        provider.name(),
                        request.kind
                    );
                }
                // These two say by themselves that nothing was applied.
                let outcome = judge(provider, &request, &reply(429, &[], body.clone()));
                assert!(matches!(outcome, Outcome::Limited { .. }), "{name}: {outcome:?}");
                let outcome = judge(provider, &request, &reply(401, &[], body));
                assert!(matches!(outcome, Outcome::Unauthorised(_)), "{name}: {outcome:?}");
            }
        }
    }
}

#[test]
fn json_that_is_compressed_is_not_read() {
    let request = plan(&rest(), "customers", update("cus_1", "{}")).unwrap();
    for (encoding, is_applied) in [("gzip", false), ("br", false), ("identity", true)] {
        let reply = reply(200, &[("content-encoding", encoding)], r#"{"id":"cus_1"}"#);
        let outcome = judge(&rest(), &request, &reply);
        assert_eq!(matches!(outcome, Outcome::Applied(_)), is_applied, "{encoding}");
    }
}

/// What is strange and yet says what became of the record.
#[test]
fn strange_json_is_read() {
    let deep = format!(r#"{{"id":"cus_1","object":"c","deep":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let long = format!(r#"{{"id":"cus_1","object":"c","n":{}}}"#, "9".repeat(100_000));
    for (name, body, created) in [
        ("deep nesting", deep.as_str(), None),
        ("a huge number", &long, None),
        ("huge exponents", r#"{"id":"cus_1","object":"c","created":1e999999}"#, None),
        (
            "a key twice",
            r#"{"id":"cus_2","object":7,"id":"cus_1","object":"c","created":1}"#,
            Some("1970-01-01T00:00:01Z"),
        ),
        ("an escaped key", r#"{"\u0069d":"cus_\u0031","object":"c"}"#, None),
        ("a NUL in a text", r#"{"id":"cus_1","object":"c","name":"\u0000"}"#, None),
        ("half a surrogate pair", r#"{"id":"cus_1","object":"c","name":"\ud800"}"#, None),
        ("a byte order mark", "\u{feff}{\"id\":\"cus_1\",\"object\":\"c\"}", None),
        ("white space", " \r\n\t{\"id\":\"cus_1\" ,\n\"object\":\"c\"}\n ", None),
    ] {
        let providers: [(&dyn Provider, &str); 2] = [(&Stripe, "stripe:customers"), (&rest(), "customers")];
        for (provider, collection) in providers {
            for change in [create("{}"), update("cus_1", "{}")] {
                let request = plan(provider, collection, change).unwrap();
                match judge(provider, &request, &reply(200, &[], body)) {
                    Outcome::Applied(written) => {
                        assert_eq!(written.upstream_id.as_deref(), Some("cus_1"), "{name}");
                        assert_eq!(written.created_at.as_deref(), created, "{name}");
                        assert_eq!(written.data.unwrap().get(), body.trim_matches('\u{feff}').trim(), "{name}");
                    }
                    other => panic!("{} {name}: {other:?}", provider.name()),
                }
            }
        }
    }
}

#[test]
fn ids_that_are_no_ids_leave_a_create_unknown() {
    let long = format!("\"{}\"", "x".repeat(1_025));
    for id in ["null", "true", "[]", "{}", r#""""#, r#""\u0000""#, r#""\ud800""#, &long] {
        let body = format!(r#"{{"id":{id},"object":"c"}}"#);
        let providers: [(&dyn Provider, &str); 2] = [(&Stripe, "stripe:customers"), (&rest(), "customers")];
        for (provider, collection) in providers {
            let request = plan(provider, collection, create("{}")).unwrap();
            let outcome = judge(provider, &request, &reply(200, &[], &*body));
            assert!(matches!(outcome, Outcome::Unknown { .. }), "{} {body:.40}: {outcome:?}", provider.name());
        }
    }
}

#[test]
fn a_refusal_shows_no_secret_and_no_control_character() {
    let said = "\u{1b}[2J\u{202e}`x` sk_live_0123456789 Bearer abcdefghijklmnopqrst\r\nx";
    for (provider, collection, body) in [
        (&Stripe as &dyn Provider, "stripe:customers", serde_json::json!({"error": {"type": "x", "message": said}})),
        (&rest(), "customers", serde_json::json!({"message": said})),
    ] {
        let request = plan(provider, collection, create("{}")).unwrap();
        let Outcome::Rejected(refusal) = judge(provider, &request, &reply(400, &[], body.to_string())) else {
            panic!("not rejected")
        };
        assert_eq!(refusal.message, "[2J'x' [redacted] Bearer [redacted] x");
        let detail = refusal.detail.unwrap();
        assert!(!detail.get().contains("sk_live") && !detail.get().contains("abcdefghij"), "{detail}");
    }
}

proptest! {
    #[test]
    fn any_reply_to_a_described_service_has_a_fitting_outcome(
        status in 100..600u16,
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[{}\\[\\]\",:a0-9.truefalsnid]{0,30}".prop_map(String::into_bytes),
            Just(br#"{"id":"cus_1","created":7}"#.to_vec()),
            Just(br#"{"message":"no"}"#.to_vec()),
        ],
        cut in 0..60usize,
        kind in 0..3usize,
    ) {
        let body = body[..cut.min(body.len())].to_vec();
        let rest = rest();
        let request = plan(&rest, "customers", changes()[kind].clone()).unwrap();
        let is_json = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
        let is_empty = body.trim_ascii().is_empty();
        match judge(&rest, &request, &reply(status, &[], body)) {
            Outcome::Applied(written) => {
                prop_assert!([200, 201, 204].contains(&status) && (is_json || is_empty));
                prop_assert!(request.kind != Kind::Create || (is_json && written.upstream_id.is_some()));
                prop_assert_eq!(written.is_deleted, request.kind == Kind::Delete);
            }
            Outcome::Gone(_) => prop_assert!(status == 404 && request.kind == Kind::Delete),
            Outcome::Rejected(refusal) => {
                prop_assert!((400..500).contains(&status) && !refusal.message.is_empty());
            }
            Outcome::Limited { .. } => prop_assert!([423, 429].contains(&status)),
            Outcome::Unauthorised(_) => prop_assert_eq!(status, 401),
            Outcome::Unknown { .. } => prop_assert!(![401, 423, 429].contains(&status)),
        }
    }
}
