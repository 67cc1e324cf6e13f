//! The facts about Stripe, a row for each.

use mutation_api::request::NewRecord;
use proptest::prelude::*;

use super::*;
use crate::providers::testing::{create, delete, judge, plan, raw, reply, short, update};

#[test]
fn a_change_becomes_a_request() {
    for (change, method, path, body, kind, ids, repeat) in [
        (
            create(r#"{"email":"a@b.c","metadata":{"k":"v"}}"#),
            Method::POST,
            "/v1/customers",
            "email=a%40b.c&metadata[k]=v",
            Kind::Create,
            &[] as &[&str],
            Repeat::Key { window: KEY_WINDOW },
        ),
        (
            update("cus_1", r#"{"name":"Z","metadata":{"k":null}}"#),
            Method::POST,
            "/v1/customers/cus_1",
            "name=Z&metadata[k]=",
            Kind::Update,
            &["cus_1"],
            Repeat::Key { window: KEY_WINDOW },
        ),
        (
            delete("25% off"),
            Method::DELETE,
            "/v1/customers/25%25%20off",
            "",
            Kind::Delete,
            &["25% off"],
            Repeat::Absolute,
        ),
    ] {
        let request = plan(&Stripe, "stripe:customers", change).unwrap();
        assert_eq!((&request.method, &*request.path, &*request.body), (&method, path, body.as_bytes()));
        assert_eq!((request.kind, request.repeat, &*request.elements), (kind, repeat, &[0_usize] as &[usize]));
        assert_eq!(request.upstream_ids, ids);
        assert_eq!(request.collection, "stripe:customers");
        assert_eq!(request.headers.get("stripe-version").unwrap(), "2026-10-28.endive");
        let post = method == Method::POST;
        let header = |name| request.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("idempotency-key"), post.then_some("6ba7b810-9dad-41d1-80b4-00c04fd430c8"));
        assert_eq!(header("content-type"), post.then_some("application/x-www-form-urlencoded"));
    }
}

#[test]
fn each_element_has_a_request_and_its_key() {
    let records = (0..3).map(|n| NewRecord { data: raw(&format!(r#"{{"n":{n}}}"#)) }).collect();
    let mutation =
        Mutation { sync_id: "s".into(), collection_id: "stripe:prices".into(), change: Change::Create(records) };
    assert_eq!(Stripe.max_records(&mutation), 1);
    let keys: Vec<Uuid> = (0..3).map(Uuid::from_u128).collect();
    let requests = Stripe.plan(&mutation, &keys).unwrap();
    for (at, (request, key)) in requests.iter().zip(&keys).enumerate() {
        assert_eq!((&*request.elements, &*request.body), (&[at] as &[usize], format!("n={at}").as_bytes()));
        assert_eq!(request.headers.get(KEY_HEADER).unwrap().to_str().unwrap(), key.to_string());
    }
    assert_eq!(requests.len(), 3);
}

#[test]
fn a_collection_is_a_path_or_the_name_of_an_object() {
    for (collection, want) in [
        ("stripe:customers", Some("/v1/customers")),
        ("stripe:customer", Some("/v1/customers")),
        ("stripe:tax_rate", Some("/v1/tax_rates")),
        ("stripe:invoiceitem", Some("/v1/invoiceitems")),
        ("stripe:checkout.session", Some("/v1/checkout/sessions")),
        ("stripe:checkout/sessions", Some("/v1/checkout/sessions")),
        ("stripe:test_helpers.test_clock", Some("/v1/test_helpers/test_clocks")),
        ("stripe:customers/cus_1/sources", Some("/v1/customers/cus_1/sources")),
        ("stripe:invoices/in_1/pay", Some("/v1/invoices/in_1/pay")),
        ("stripe:tax/settings", Some("/v1/tax/settings")),
        ("stripe:", None),
        ("customers", None),
        ("Stripe:customers", None),
        ("hubspot:customers", None),
        ("stripe:customers?x=1", None),
        ("stripe:customers/", None),
        ("stripe:/customers", None),
        ("stripe:../v2/customers", None),
        ("stripe:customers/../../v2/x", None),
        ("stripe:a b", None),
        ("stripe:kündës", None),
    ] {
        assert_eq!(resource(collection).ok().as_deref(), want, "{collection}");
    }
}

#[test]
fn what_cannot_be_sent_is_refused() {
    for (change, want) in [
        (update("", "{}"), "an id in the path"),
        (update("..", "{}"), "an id in the path"),
        (delete("../charges"), "an id in the path"),
        (create(r#"{"a[b]":1}"#), "a bracket"),
    ] {
        let refusal = plan(&Stripe, "stripe:customers", change).unwrap_err();
        assert!(refusal.message.contains(want), "{}", refusal.message);
    }
}

const CUSTOMER: &str = r#"{"id":"cus_1","object":"customer","created":1738006596,"email":"a@b.c","balance":1.50}"#;
const DELETED: &str = r#"{"id":"cus_1","object":"customer","deleted":true}"#;
const MISSING: &str = r#"{"error":{"type":"invalid_request_error","code":"resource_missing",
"message":"No such customer: 'cus_1'","param":"id"}}"#;
const OTHER_MODE: &str = r#"{"error":{"type":"invalid_request_error","code":"resource_missing",
"message":"No such customer: 'cus_1'; a similar object exists in live mode, but ...","param":"id"}}"#;
const NO_PARENT: &str = r#"{"error":{"type":"invalid_request_error","code":"resource_missing",
"message":"No such customer: 'cus_9'","param":"customer"}}"#;
const NO_WORDS: &str = r#"{"error":{"type":"invalid_request_error","code":"resource_missing"}}"#;
const NO_ROUTE: &str =
    r#"{"error":{"type":"invalid_request_error","message":"Unrecognized request URL (DELETE: /v1/customer/cus_1)."}}"#;
const INVALID: &str = r#"{"error":{"type":"invalid_request_error","code":"email_invalid",
"message":"Invalid email address: x","param":"email"}}"#;
const BAD_KEY: &str =
    r#"{"error":{"type":"invalid_request_error","message":"Invalid API Key provided: sk_test_****1234"}}"#;
const FORBIDDEN: &str =
    r#"{"error":{"type":"invalid_request_error","message":"The provided key does not have the required permissions"}}"#;
const REUSED: &str = r#"{"error":{"type":"idempotency_error",
"message":"Keys for idempotent requests can only be used with the same parameters ..."}}"#;
const IN_USE: &str = r#"{"error":{"type":"idempotency_error","code":"idempotency_key_in_use",
"message":"There is currently another in-progress request using this Idempotency Key"}}"#;
const LOCK: &str = r#"{"error":{"type":"invalid_request_error","code":"lock_timeout",
"message":"This object cannot be accessed right now"}}"#;
const RATE: &str =
    r#"{"error":{"type":"invalid_request_error","code":"rate_limit","message":"Request rate limit exceeded."}}"#;
const DECLINED: &str = r#"{"error":{"type":"card_error","code":"card_declined","message":"Your card was declined.",
"charge":"ch_1","payment_intent":{"id":"pi_1"}}}"#;
const API: &str = r#"{"error":{"type":"api_error","message":"An unknown error occurred"}}"#;

const AGAIN: (&str, &str) = ("stripe-should-retry", "true");
const NEVER: (&str, &str) = ("stripe-should-retry", "false");
const REPLAYED: (&str, &str) = ("idempotent-replayed", "true");

#[test]
fn each_reply_has_its_outcome() {
    let wait = ("retry-after", "7");
    for (kind, status, headers, body, want) in [
        // Applied.
        ('c', 200, &[] as &[_], CUSTOMER, "applied cus_1 2025-01-27T19:36:36Z data"),
        ('c', 200, &[REPLAYED], CUSTOMER, "applied cus_1 2025-01-27T19:36:36Z data"),
        ('u', 200, &[], CUSTOMER, "applied cus_1 2025-01-27T19:36:36Z data"),
        ('d', 200, &[], DELETED, "applied cus_1 deleted"),
        ('d', 200, &[], r#"{"id":"cus_1","object":"x","status":"canceled"}"#, "applied cus_1 data"),
        ('c', 200, &[], r#"{"object":"tax.settings","created":"soon"}"#, "applied - data"),
        ('c', 200, &[], r#"{"object":"x","id":7,"created":1e400}"#, "applied 7 data"),
        ('u', 200, &[], r#"{"object":"tax.settings"}"#, "applied cus_1 data"),
        // 200 without the object that was written.
        (
            'u',
            200,
            &[],
            r#"{"id":"cus_2","object":"customer"}"#,
            "unknown None Stripe's reply is not the object that was written",
        ),
        (
            'd',
            200,
            &[],
            r#"{"id":"cus_2","object":"customer","deleted":true}"#,
            "unknown None Stripe's reply is not the object that was written",
        ),
        ('c', 200, &[], "{}", "unknown None Stripe's reply is not the object that was written"),
        ('c', 200, &[], r#"{"id":"","object":"x"}"#, "unknown None Stripe's reply is not the object that was written"),
        ('c', 200, &[], "[]", "unknown None Stripe's reply is not the object that was written"),
        ('c', 200, &[], MISSING, "unknown None Stripe's reply is not the object that was written"),
        ('c', 200, &[AGAIN], "", "unknown Some(true) HTTP status 200 without an answer of Stripe"),
        ('c', 204, &[], "", "unknown None HTTP status 204 without an answer of Stripe"),
        ('c', 302, &[], "", "unknown None HTTP status 302 without an answer of Stripe"),
        // Rejected.
        ('c', 400, &[], INVALID, "rejected Invalid email address: x (email)"),
        ('c', 400, &[NEVER], INVALID, "rejected Invalid email address: x (email)"),
        ('c', 402, &[], DECLINED, "rejected Your card was declined."),
        ('d', 403, &[], FORBIDDEN, "rejected The provided key does not have the required permissions"),
        ('u', 400, &[], REUSED, "rejected Keys for idempotent requests can only be used with the same parameters ..."),
        ('c', 404, &[], MISSING, "rejected No such customer: 'cus_1' (id)"),
        ('d', 404, &[], NO_ROUTE, "rejected Unrecognized request URL (DELETE: /v1/customer/cus_1)."),
        ('c', 400, &[], r#"{"error":{"type":"a","code":"b"}}"#, "rejected b"),
        ('c', 400, &[], r#"{"error":{"type":"a"}}"#, "rejected a"),
        ('c', 400, &[], r#"{"error":{"type":"a","message":"\u0000","code":""}}"#, "rejected a"),
        ('c', 400, &[], r#"{"error":{"type":""}}"#, "rejected HTTP status 400"),
        // Gone. An object of the account's other mode is not.
        ('u', 404, &[], MISSING, "gone No such customer: 'cus_1' (id)"),
        ('d', 404, &[], MISSING, "gone No such customer: 'cus_1' (id)"),
        ('d', 404, &[], NO_PARENT, "rejected No such customer: 'cus_9' (customer)"),
        ('d', 404, &[], NO_WORDS, "gone resource_missing"),
        ('d', 400, &[], MISSING, "rejected No such customer: 'cus_1' (id)"),
        (
            'd',
            404,
            &[],
            OTHER_MODE,
            "rejected No such customer: 'cus_1'; a similar object exists in live mode, but ... (id)",
        ),
        // Limited.
        ('c', 429, &[], RATE, "limited None Request rate limit exceeded."),
        ('c', 429, &[wait], RATE, "limited Some(7) Request rate limit exceeded."),
        ('c', 429, &[NEVER], LOCK, "limited Some(1) This object cannot be accessed right now"),
        ('c', 429, &[wait], "<html>", "limited Some(7) HTTP status 429 without an answer of Stripe"),
        ('c', 400, &[AGAIN], INVALID, "limited None Invalid email address: x (email)"),
        ('d', 404, &[AGAIN, wait], MISSING, "limited Some(7) No such customer: 'cus_1' (id)"),
        // Unauthorised.
        ('c', 401, &[], BAD_KEY, "unauthorised Invalid API Key provided: [redacted]"),
        ('d', 401, &[], "", "unauthorised HTTP status 401 without an answer of Stripe"),
        // Unknown, with Stripe's own word on repeating.
        (
            'c',
            409,
            &[],
            IN_USE,
            "unknown Some(true) There is currently another in-progress request using this Idempotency Key",
        ),
        (
            'c',
            409,
            &[NEVER],
            IN_USE,
            "unknown Some(false) There is currently another in-progress request using this Idempotency Key",
        ),
        ('c', 409, &[], INVALID, "unknown None Invalid email address: x (email)"),
        ('c', 424, &[], INVALID, "unknown None Invalid email address: x (email)"),
        ('c', 400, &[], API, "unknown None An unknown error occurred"),
        ('c', 500, &[], API, "unknown None An unknown error occurred"),
        ('c', 500, &[AGAIN], API, "unknown Some(true) An unknown error occurred"),
        ('c', 500, &[NEVER], API, "unknown Some(false) An unknown error occurred"),
        ('c', 500, &[REPLAYED], API, "unknown Some(false) An unknown error occurred"),
        ('c', 500, &[REPLAYED, AGAIN], API, "unknown Some(true) An unknown error occurred"),
        ('d', 503, &[wait], "", "unknown None HTTP status 503 without an answer of Stripe"),
        ('c', 400, &[], "<html>Bad gateway</html>", "unknown None HTTP status 400 without an answer of Stripe"),
        ('d', 404, &[], "404 page not found", "unknown None HTTP status 404 without an answer of Stripe"),
        ('c', 400, &[], r#"{"error":"invalid_grant"}"#, "unknown None HTTP status 400 without an answer of Stripe"),
        ('c', 500, &[("stripe-should-retry", "maybe")], API, "unknown None An unknown error occurred"),
    ] {
        let request = match kind {
            'c' => plan(&Stripe, "stripe:customers", create("{}")),
            'u' => plan(&Stripe, "stripe:customers", update("cus_1", "{}")),
            _ => plan(&Stripe, "stripe:customers", delete("cus_1")),
        };
        let outcome = judge(&Stripe, &request.unwrap(), &reply(status, headers, body));
        assert_eq!(short(&outcome), want, "{kind} {status} {headers:?} {body}");
    }
}

#[test]
fn a_declined_payment_that_stripe_keeps_is_neither_applied_nor_rejected() {
    for (collection, want) in [
        ("stripe:payment_intents", "unknown Some(false) Your card was declined."),
        ("stripe:payment_intent", "unknown Some(false) Your card was declined."),
        ("stripe:charges", "unknown Some(false) Your card was declined."),
        ("stripe:setup_intents", "rejected Your card was declined."),
        ("stripe:customers", "rejected Your card was declined."),
    ] {
        for change in [create("{}"), update("pi_1", "{}")] {
            let request = plan(&Stripe, collection, change).unwrap();
            assert_eq!(short(&judge(&Stripe, &request, &reply(402, &[], DECLINED))), want, "{collection}");
        }
    }
}

#[test]
fn data_and_error_bodies_keep_every_digit() {
    let request = plan(&Stripe, "stripe:customers", create("{}")).unwrap();
    let Outcome::Applied(written) = judge(&Stripe, &request, &reply(200, &[], CUSTOMER)) else { panic!("not applied") };
    assert_eq!(written.data.unwrap().get(), CUSTOMER);
    let body = r#"{"error":{"type":"x","message":"m","n":1.10},"key":"sk_live_0123456789"}"#;
    let Outcome::Rejected(refusal) = judge(&Stripe, &request, &reply(400, &[], body)) else { panic!("not rejected") };
    let detail = r#"{"error":{"type":"x","message":"m","n":1.10},"key":"[redacted]"}"#;
    assert_eq!(refusal.detail.unwrap().get(), detail);
}

proptest! {
    #[test]
    fn any_reply_has_a_fitting_outcome(
        status in 100..999u16,
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[{}\\[\\]\",:a0-9.truefalsn]{0,30}".prop_map(String::into_bytes),
            Just(CUSTOMER.into()), Just(DELETED.into()), Just(MISSING.into()), Just(API.into()),
        ],
        cut in 0..200usize,
        kind in 0..3,
    ) {
        let body = body[..cut.min(body.len())].to_vec();
        let change = [create("{}"), update("cus_1", "{}"), delete("cus_1")][kind as usize].clone();
        let request = plan(&Stripe, "stripe:customers", change).unwrap();
        let is_json = serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|body| body.is_object());
        let reply = ProviderReply { status, headers: HeaderMap::new(), body: body.into() };
        match judge(&Stripe, &request, &reply) {
            Outcome::Applied(_) => prop_assert!(is_json && (200..300).contains(&status)),
            Outcome::Rejected(_) => prop_assert!(is_json && (400..500).contains(&status)),
            Outcome::Gone(_) => prop_assert!(is_json && status == 404 && request.kind != Kind::Create),
            Outcome::Limited { .. } => prop_assert_eq!(status, 429),
            Outcome::Unauthorised(_) => prop_assert_eq!(status, 401),
            Outcome::Unknown { .. } => prop_assert!(status != 429 && status != 401),
        }
    }
}
