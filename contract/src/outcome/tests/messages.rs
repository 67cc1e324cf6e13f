//! Tests the messages, hints and details of outcomes.

use super::*;

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
        (405, "", "the API accepts no mutations at this address: HTTP status 405"),
        (408, "", "the API timed out: HTTP status 408"),
        (409, "", "the API rejected the request: HTTP status 409"),
        (413, "", "the request is larger than the API accepts: HTTP status 413"),
        (425, "", "the API has not processed the request yet: HTTP status 425"),
        (429, "", "the API received too many requests: HTTP status 429"),
        (500, "", "the API failed: HTTP status 500"),
        (504, "", "the API timed out: HTTP status 504"),
        (500, r#"{"error":"a\nb\u001b[2J"}"#, "a\\nb\\u001b[2J"),
        (500, r#"{"error":"your token s3cr3t-token"}"#, "your token [redacted]"),
        (200, "", "the response with status 200 is not a reply of the API: its body is empty (no content-type)"),
        (
            200,
            "[]",
            "the response with status 200 is not a reply of the API: its body is not a JSON object (no content-type): []",
        ),
        (
            200,
            r#"{"records":[],"error":"your token s3cr3t-token"}"#,
            "the response with status 200 is not a reply of the API: its body has an \"error\" (no content-type): your token [redacted]",
        ),
        (200, "{\"records\":[7", "the update was applied, but its reply cannot be read: its body is incomplete JSON"),
        (
            200,
            "{\"more\":7",
            "the API answered 200, but its reply ended before its records: its body is incomplete JSON",
        ),
    ] {
        let end = judge(&update, &reply(status, Body::Whole(body.as_bytes().into()))).unwrap_err();
        assert_eq!(end.message, message);
    }
    for (observed, message) in [
        (
            reply(200, Body::Truncated { beginning: b"{\"records\":[".into(), cause: "timed out".into() }),
            "the update was applied, but its reply cannot be read: its body was cut off: timed out",
        ),
        (
            reply(200, Body::TooLarge { beginning: b"{\"records\":[".into(), limit: 1_024 }),
            "the update was applied, but its reply is larger than 1024 bytes",
        ),
        (
            reply(200, Body::Truncated { beginning: b"".into(), cause: "timed out".into() }),
            "the API answered 200, but its reply ended before its records: its body was cut off: timed out",
        ),
        (
            reply(200, Body::InvalidHeaders { cause: "invalid header".into() }),
            "the API answered 200 with invalid headers: invalid header",
        ),
        (
            reply(400, Body::InvalidHeaders { cause: "invalid header".into() }),
            "the API rejected the request: HTTP status 400",
        ),
        (reply(502, Body::TooLarge { beginning: b"".into(), limit: 1_024 }), "the API failed: HTTP status 502"),
        (
            Observation::ConnectionLost { cause: "reset".into() },
            "lost the connection to the API before its reply: reset",
        ),
        (Observation::TimedOut { after: Duration::from_millis(60_500) }, "the API did not reply within 60500 ms"),
        (Observation::NotSent { cause: "a\nb s3cr3t-token".into() }, "could not connect to the API: a\\nb [redacted]"),
    ] {
        assert_eq!(judge(&update, &observed).unwrap_err().message, message);
    }
}

#[test]
fn hints_name_the_kind_and_what_is_known() {
    let lost = || Observation::ConnectionLost { cause: "reset".into() };
    let consumers = || reply(500, Body::Whole(CONSUMERS.into()));
    let none = || Body::Whole(b"".into());
    let begun = || Body::Whole(b"{\"records\":[".into());
    for (kind, records, observed, parts) in [
        (Kind::Create, 1, lost(), ["Before a retry, look for", "look for the record in salesforce:contact"]),
        (Kind::Create, 3, lost(), ["the records were created", "look for the records in salesforce:contact"]),
        (Kind::Update, 1, lost(), ["not known", "A retry is safe"]),
        (Kind::Delete, 3, lost(), ["the records were deleted", "A retry is safe"]),
        (Kind::Create, 1, reply(503, none()), ["not known", "Before a retry, look for"]),
        (
            Kind::Create,
            1,
            Observation::NotSent { cause: "x".into() },
            ["Nothing was sent, so a retry is safe", "\"url\" of server \"sequin\""],
        ),
        (Kind::Create, 1, reply(400, none()), ["Nothing was applied", "Correct the record"]),
        (Kind::Create, 3, reply(400, none()), ["Some of the 3 records may have been created", "\"atomic_batches\""]),
        (Kind::Update, 3, reply(422, none()), ["Some of the 3 records may have been updated", "a retry is safe"]),
        (Kind::Delete, 3, reply(400, none()), ["Some of the 3 records may have been deleted", "a retry is safe"]),
        (Kind::Delete, 1, reply(400, none()), ["Nothing was applied", "upstream_id"]),
        (
            Kind::Update,
            3,
            reply(413, none()),
            ["Some of the 3 records may have been updated", "Send fewer records at a time"],
        ),
        (Kind::Create, 1, reply(409, none()), ["Nothing was applied", "Correct the record"]),
        (
            Kind::Update,
            1,
            reply(401, none()),
            ["Nothing was applied", "token in the user mapping of server \"sequin\""],
        ),
        (Kind::Update, 1, reply(403, none()), ["Nothing was applied", "permissions"]),
        (Kind::Update, 1, reply(404, none()), ["Nothing was applied", "sync_id, the collection salesforce:contact"]),
        (Kind::Update, 1, reply(405, none()), ["Nothing was applied", "\"url\""]),
        (Kind::Update, 1, reply(301, none()), ["Redirects are not followed", "\"url\""]),
        (Kind::Update, 1, reply(429, none()), ["Nothing was applied", "later"]),
        (Kind::Create, 1, consumers(), ["The provider applied the create", "Do not retry"]),
        (Kind::Update, 1, consumers(), ["The provider applied the update", "holds locks"]),
        (Kind::Create, 1, reply(200, begun()), ["Do not retry", "look in salesforce:contact"]),
        (Kind::Delete, 1, reply(200, begun()), ["no need to retry", "the delete was applied"]),
        (Kind::Create, 1, reply(200, none()), ["Before a retry, look for", "\"url\" of server \"sequin\""]),
        (Kind::Update, 1, reply(200, none()), ["A retry is safe", "another service"]),
        (
            Kind::Update,
            1,
            reply(200, Body::InvalidHeaders { cause: "x".into() }),
            ["A retry is safe", "Correct the API"],
        ),
        (
            Kind::Create,
            1,
            reply(200, Body::TooLarge { beginning: b"{\"records\":[".into(), limit: 9 }),
            ["Do not retry", "\"max_response_bytes\" of server \"sequin\""],
        ),
    ] {
        let hint = judge(&facts(kind, records, false), &observed).unwrap_err().hint;
        for part in parts {
            assert!(hint.contains(part), "{kind} {records} {observed:?}\n  wanted: {part}\n  got: {hint}");
        }
    }
    let atomic = judge(&facts(Kind::Create, 3, true), &reply(400, none())).unwrap_err().hint;
    assert!(atomic.starts_with("Nothing was applied") && atomic.contains("3 records"), "{atomic}");
}

#[test]
fn details_always_have_all_keys() {
    let create = facts(Kind::Create, 1, false);
    let pause = Observation::Reply {
        status: 429,
        retry_after: Some(Duration::from_millis(1_500)),
        content: ContentHeaders::default(),
        body: Body::Whole(br#"{"error":"slow down","docs":[ {"n": 1.10} ]}"#.into()),
    };
    let end = judge(&create, &pause).unwrap_err();
    assert_eq!(
        end.detail_json(),
        r#"{"outcome": "refused_for_now", "applied": "none", "http_status": 429, "docs": [{"n":1.10}], "retry_after_ms": 1500}"#
    );
    assert!(end.hint.contains("1500 ms"), "{}", end.hint);

    let end = judge(&create, &Observation::ConnectionLost { cause: "x".into() }).unwrap_err();
    assert_eq!(
        end.detail_json(),
        r#"{"outcome": "unknown", "applied": "unknown", "http_status": null, "docs": null, "retry_after_ms": null}"#
    );
}

#[test]
fn a_pause_is_told_with_any_status() {
    let retry_after = Some(Duration::from_secs(5));
    let observed = Observation::Reply {
        status: 503,
        retry_after,
        content: ContentHeaders::default(),
        body: Body::Whole(b"".into()),
    };
    let end = judge(&facts(Kind::Update, 1, false), &observed).unwrap_err();
    assert_eq!(end.retry_after, retry_after);
    assert_eq!(summary(&end), OTHER_UNKNOWN);
}

#[test]
fn docs_that_are_left_out_are_mentioned() {
    let body = format!(r#"{{"error":"e","docs":"{}"}}"#, "x".repeat(20_000));
    let end = judge(&facts(Kind::Update, 1, false), &reply(400, Body::Whole(body.as_bytes().into()))).unwrap_err();
    assert_eq!(end.docs, None);
    assert!(end.hint.contains("docs are omitted"), "{}", end.hint);
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
    for (invalid, code) in [(InvalidRequest::Null("sync_id"), "22004"), (InvalidRequest::NoRecords, "22023")] {
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

#[test]
fn an_answer_of_another_service_is_quoted() {
    let seen = |media_type: Option<&str>, encoding: Option<&str>, body: &[u8]| {
        let owned = |text: &str| text.to_owned();
        let content = ContentHeaders { media_type: media_type.map(owned), encoding: encoding.map(owned) };
        let observed = Observation::Reply { status: 203, retry_after: None, content, body: Body::Whole(body.into()) };
        judge(&facts(Kind::Create, 3, true), &observed).unwrap_err()
    };
    let page = seen(Some("text/html; charset=utf-8"), None, b"<html>\n <h1>Welcome to nginx!</h1> s3cr3t-token");
    assert_eq!(
        page.message,
        "the response with status 203 is not a reply of the API: its body is not JSON (line 1, column 1) (content-type \
         text/html; charset=utf-8): <html> <h1>Welcome to nginx!</h1> [redacted]"
    );
    assert_eq!((page.http_status, page.action), (Some(203), Action::PauseServer));
    assert_is_well_formed(&page);

    let packed = seen(Some("application/json"), Some("gzip\n"), b"\x1f\x8b\x08\x00s3cr3t");
    assert!(
        packed.message.ends_with("(content-type application/json, content-encoding gzip\\n)"),
        "{}",
        packed.message
    );
    assert!(packed.hint.contains("unencoded JSON"), "{}", packed.hint);
    assert_is_well_formed(&packed);
    // `identity`, or a wrong header.
    let content = ContentHeaders { media_type: None, encoding: Some("gzip".to_owned()) };
    let observed = Observation::Reply { status: 200, retry_after: None, content, body: Body::Whole(GOOD.into()) };
    assert!(judge(&facts(Kind::Create, 1, true), &observed).is_ok());
    assert!(!seen(None, Some(" Identity "), b"").message.contains("encoding"));

    let long = seen(Some(&"x".repeat(5_000)), Some(&"y".repeat(5_000)), "z".repeat(5_000).as_bytes());
    assert!(long.message.chars().count() < 500, "{}", long.message);
}

#[test]
fn what_a_reply_does_not_hold_is_unknown() {
    for (kind, action) in [(Kind::Create, Action::MarkUnknown), (Kind::Update, Action::Retry)] {
        let end = Outcome::missing(&facts(kind, 1, false), 200, "it holds no record");
        assert_eq!(summary(&end), ("unknown", "unknown", "HV00K", action));
        assert_eq!(
            end.message,
            format!("the reply with status 200 does not say that the {kind} was applied: it holds no record")
        );
        assert_is_well_formed(&end);
    }
}
