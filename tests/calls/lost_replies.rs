//! After a reply of the API with a 2xx the mutation exists. Whatever is wrong with the reply, the error says "applied",
//! never "failed". A 2xx of another service says nothing, and an error says so.

use serde_json::{Value, json};

use crate::calls::outcomes::assert_reported;
use crate::support::{Session, TARGET, World, create, create_three, detail, hint_of, mutate};

fn lost(status: u16) -> Value {
    detail("applied_reply_lost", "all", Some(status), Value::Null, None)
}

fn unknown(status: u16) -> Value {
    detail("unknown", "unknown", Some(status), Value::Null, None)
}

/// (description of the reply's body, required part of the message)
fn unreadable() -> Vec<(String, &'static str)> {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let record = |field: &str| format!("{{\"records\":[{{\"id\":\"1\"}},{{{field}}}]}}");
    vec![
        ("{\"records\":[{\"id\":\"1\"}".into(), "its body is incomplete JSON"),
        ("{\"records\":[]} trailing".into(), "its body is not JSON"),
        ("{\"records\":[{\"data\":{\"a\":01}}]}".into(), "its body is not JSON"),
        ("{\"records\":[{},7]}".into(), "records[1] is not an object"),
        (record("\"data\":{\"a\":\"\\u0000\"}"), "records[1] has a string in \"data\" that Postgres cannot store"),
        (record("\"data\":{\"\\u0000\":1}"), "records[1] has a string in \"data\" that Postgres cannot store"),
        (record("\"data\":{\"a\":\"\\ud83e\"}"), "records[1] has a string in \"data\" that Postgres cannot store"),
        (record("\"id\":\"a\\u0000b\""), "records[1] has a string in \"id\" that Postgres cannot store"),
        (
            record("\"upstream_id\":\"\\udead\""),
            "records[1] has a string in \"upstream_id\" that Postgres cannot store",
        ),
        (record("\"more\":[\"\\u0000\"]"), "records[1] has a string in \"extra\" that Postgres cannot store"),
        (record("\"data\":{\"a\":1e200000}"), "numeric"),
        (record("\"more\":-1e200000"), "numeric"),
        (record(&format!("\"data\":{deep}")), "stack depth limit exceeded"),
    ]
}

#[test]
fn a_reply_that_cannot_be_read_or_stored_is_reported_as_applied() {
    let mut world = World::new();
    for (applied, (body, reason)) in unreadable().into_iter().enumerate() {
        world.sandbox.fault(json!({"status": 200, "body": body}));
        let error = world.error(&create_three());
        assert_reported(&error, "create", 3, "HV00M", &lost(200));
        let start = "the create was applied, but its reply cannot be read: ";
        assert!(error.message().starts_with(start) && error.message().contains(reason), "{body:.80}: {error:?}");
        assert_eq!(world.contact_count(), 3 * (applied + 1), "{body:.80}");
    }
    world.run(&create_three());
}

/// A page of a proxy, a login form, JSON of something else: nothing says that the API has seen the mutation.
#[test]
fn a_200_that_is_no_answer_of_the_api_is_unknown() {
    let mut world = World::new();
    let page = "<html><body><h1>Welcome to nginx!</h1></body></html>";
    for (body, reason) in [
        (page, "its body is not JSON (line 1, column 1) (content-type text/html): <html><body><h1>Welcome to nginx!"),
        ("", "its body is empty (content-type text/html)"),
        (" \r\n", "its body is empty"),
        ("accepted", "its body is not JSON (line 1, column 1) (content-type text/html): accepted"),
        ("[]", "its body is not a JSON object"),
        ("null", "its body is not a JSON object"),
        ("{}", "its body has no array \"records\""),
        ("{\"records\":null}", "its body has no array \"records\""),
        ("{\"records\":{}}", "its body has no array \"records\""),
        ("{\"error\":\"Error: INVALID_FIELD\"}", "(content-type text/html): Error: INVALID_FIELD"),
        ("{\"error\":\"Error: INVALID_FIELD\",\"records\":[]}", "its body has an \"error\""),
        ("{\"records\":[{\"upstream_id\":\"1\"}],\"error\":{\"code\":7}}", "its body has an \"error\""),
    ] {
        let rule = json!({"status": 200, "body": body, "headers": {"content-type": "text/html"}, "apply": false});
        world.sandbox.fault(rule);
        let error = world.error(&create_three());
        assert_reported(&error, "create", 3, "HV00K", &unknown(200));
        assert!(error.message().starts_with("the response with status 200 is not a reply of the API: "), "{error:?}");
        assert!(error.message().contains(reason), "{body}: {error:?}");
        assert!(hint_of(&error).contains("Check the option \"url\" of server \"sequin\""), "{error:?}");
    }
    world.run(&create_three());
}

/// The API may have written it, but then it was not asked to.
#[test]
fn a_reply_with_a_content_encoding_names_it() {
    let mut world = World::new();
    let headers = json!({"content-encoding": "gzip"});
    world
        .sandbox
        .fault(json!({"status": 200, "headers": headers, "body_hex": "1f8b08000000000000ffabae050043bfa6a302000000"}));
    let error = world.error(&create_three());
    assert_reported(&error, "create", 3, "HV00K", &unknown(200));
    assert!(error.message().ends_with("(content-type application/json, content-encoding gzip)"), "{error:?}");
    assert!(hint_of(&error).contains("unencoded JSON"), "{error:?}");
}

#[test]
fn a_byte_order_mark_is_skipped_and_an_id_may_be_a_number() {
    let mut world = World::new();
    let body = "\u{feff}{\"records\":[{\"id\":7,\"upstream_id\":12345678901234567890,\"data\":{}}]}";
    world.sandbox.fault(json!({"status": 200, "body": body}));
    let row =
        &world.rows("SELECT id, upstream_id, extra FROM sequin_create('sync', 'salesforce:contact', '{}')", &[])[0];
    assert_eq!((row.get(0), row.get(1)), ("7", "12345678901234567890"));
    world.sandbox.fault(json!({"status": 400, "body": "\u{feff}{\"error\":\"Error: no\"}"}));
    assert_eq!(world.error(&create_three()).message(), "Error: no");
}

#[test]
fn the_same_holds_for_each_kind_and_verb() {
    let mut world = World::new();
    let id: String = world.one(&format!("SELECT ({}).upstream_id", create("'{}'")));
    let calls = [
        ("create", mutate("create", r#"{"data":{}}"#)),
        ("update", mutate("update", &format!(r#"{{"upstream_id":"{id}","data":{{"a":1}}}}"#))),
        ("create", format!("SELECT {}", create("'{}'"))),
        ("update", format!("SELECT sequin_update({TARGET}, '{id}', '{{\"a\":2}}')")),
        ("delete", format!("SELECT sequin_delete({TARGET}, '{id}')")),
    ];
    for (kind, sql) in calls {
        for body in
            ["{\"records\":[", "{\"records\":[{\"data\":{\"a\":\"\\u0000\"}}]}", "{\"records\":[{\"data\":1e200000}]}"]
        {
            let repeated_delete = kind == "delete" && body != "{\"records\":[";
            world.sandbox.fault(json!({"status": 200, "body": body, "apply": !repeated_delete}));
            let error = world.error(&sql);
            assert_reported(&error, kind, 1, "HV00M", &lost(200));
            assert!(error.message().starts_with(&format!("the {kind} was applied, but ")), "{error:?}");
        }
    }
    // Six were created, and the first one is deleted.
    assert_eq!(world.contact_count(), 6);
}

#[test]
fn any_2xx_is_applied() {
    let mut world = World::new();
    for status in [200, 201, 202, 203, 206, 207, 226, 299] {
        world.sandbox.fault(json!({"status": status}));
        assert_eq!(world.rows(&create_three(), &[]).len(), 3, "{status}");
        world.sandbox.fault(json!({"status": status, "body": "{\"records\":[?"}));
        assert_reported(&world.error(&create_three()), "create", 3, "HV00M", &lost(status));
    }
    // These have no body, which the API's replies have.
    for status in [204, 205] {
        world.sandbox.fault(json!({"status": status, "body": ""}));
        assert_reported(&world.error(&create_three()), "create", 3, "HV00K", &unknown(status));
    }
}

#[test]
fn a_body_that_ends_early_is_reported_as_applied() {
    let mut world = World::new();
    // The reply's head is about 110 bytes and ends before these.
    let cases = [
        json!({"cut_after": 300}),
        json!({"cut_after": 300, "chunked": true}),
        json!({"cut_after": 300, "reset": true}),
        json!({"stall": "reply_body"}),
        json!({"stall": "reply_body", "chunked": true}),
    ];
    for fault in cases {
        world.sandbox.fault(fault.clone());
        let stalls = fault.get("stall").is_some();
        if stalls {
            // Long enough for the head of the reply to arrive.
            world.run("ALTER SERVER sequin OPTIONS (ADD request_timeout_ms '3000')");
        }
        let error = world.error(&create_three());
        assert_reported(&error, "create", 3, "HV00M", &lost(200));
        let start = "the create was applied, but its reply cannot be read: its body was cut off: ";
        assert!(error.message().starts_with(start), "{fault}: {error:?}");
        if stalls {
            world.run("ALTER SERVER sequin OPTIONS (DROP request_timeout_ms)");
        }
        assert_eq!(world.rows(&create_three(), &[]).len(), 3, "the next call works after {fault}");
    }
}

#[test]
fn a_body_over_the_servers_limit_is_reported_as_applied() {
    let mut world = World::new();
    world.run("ALTER SERVER sequin OPTIONS (max_response_bytes '4000')");
    let body = |bytes: usize| {
        let frame = "{\"records\":[{\"id\":\"\"}]}";
        frame.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - frame.len())))
    };
    for chunked in [false, true] {
        world.sandbox.fault(json!({"status": 200, "body": body(4000), "chunked": chunked}));
        assert_eq!(world.rows(&create_three(), &[]).len(), 1);
        world.sandbox.fault(json!({"status": 200, "body": body(4001), "chunked": chunked}));
        let error = world.error(&create_three());
        assert_reported(&error, "create", 3, "HV00M", &lost(200));
        assert_eq!(error.message(), "the create was applied, but its reply is larger than 4000 bytes");
        assert!(hint_of(&error).contains("raise the option \"max_response_bytes\" of server \"sequin\""));
    }
}

/// One record was sent: two are not the record, and none does not say that it was applied.
#[test]
fn a_verb_for_one_record_wants_one_back() {
    let mut world = World::new();
    for (records, state, detail, reason) in [
        ("", "HV00K", unknown(200), "it has no record"),
        ("{\"id\":\"1\"},{}", "HV00M", lost(200), "it has more than one record"),
    ] {
        world.sandbox.fault(json!({"status": 200, "body": format!("{{\"records\":[{records}]}}")}));
        let error = world.error(&format!("SELECT {}", create("'{}'")));
        assert_reported(&error, "create", 1, state, &detail);
        assert!(error.message().ends_with(reason), "{error:?}");
    }
    assert_eq!(world.contact_count(), 2);
}

/// It says of the other record that it was applied, and nothing of the one that was sent.
#[test]
fn a_reply_with_another_record_is_no_answer_to_an_update_or_delete() {
    let mut world = World::new();
    for (kind, call) in [
        ("update", "sequin_update({}, '0018b000021Bldz', '{\"n\": 1}')"),
        ("delete", "sequin_delete({}, '0018b000021Bldz')"),
    ] {
        let sql = format!("SELECT ({}).upstream_id", call.replace("{}", TARGET));
        for id in ["\"another\"", "51"] {
            let body = format!("{{\"records\":[{{\"upstream_id\":{id}}}]}}");
            world.sandbox.fault(json!({"status": 200, "body": body, "apply": false}));
            let error = world.error(&sql);
            assert_reported(&error, kind, 1, "HV00K", &unknown(200));
            assert!(error.message().ends_with("it has another record than the one sent"), "{error:?}");
        }
        // The same id as Salesforce also writes it, and a record that does not say which it is.
        for (id, given) in [("\"0018b000021BldzAAS\"", Some("0018b000021BldzAAS")), ("null", None)] {
            let body = format!("{{\"records\":[{{\"upstream_id\":{id}}}]}}");
            world.sandbox.fault(json!({"status": 200, "body": body, "apply": false}));
            assert_eq!(world.one::<Option<String>>(&sql).as_deref(), given);
        }
    }
}

/// A set has the records of the reply, which the contract does not promise to be those that were sent.
#[test]
fn a_set_has_the_rows_of_the_reply() {
    let mut world = World::new();
    for (body, ids) in [
        ("{\"records\":[{\"id\":\"b\"},{\"id\":\"a\"}]}", &["b", "a"][..]),
        (
            " {\"more\": [{}], \"records\" :\n[ {\"id\":\"1\"} , {\"id\":\"2\"},{\"id\":\"3\"},{\"id\":\"4\"}] } ",
            &["1", "2", "3", "4"],
        ),
    ] {
        world.sandbox.fault(json!({"status": 200, "body": body}));
        let rows = world.rows(&create_three(), &[]);
        assert_eq!(rows.iter().map(|row| row.get::<_, String>("id")).collect::<Vec<_>>(), ids, "{body}");
    }
}

/// The ids of created records matter more than an error, and a warning reports the others.
#[test]
fn a_set_with_fewer_records_than_were_sent_comes_with_a_warning() {
    let mut world = World::new();
    world.sandbox.fault(json!({"status": 200, "body": "{\"records\":[{\"id\":\"b\"},{\"id\":\"a\"}]}"}));
    let mut psql = world.database.server().psql_command(world.database.name());
    psql.args(["-v", "SHOW_CONTEXT=always", "-c", &create_three()]);
    let output = psql.output().unwrap();
    let (rows, warning) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && rows.contains("(2 rows)"), "{rows}{warning}");
    for part in [
        "WARNING:",
        "does not say that the create was applied: it has 2 of the 3 records sent",
        "\"applied\": \"unknown\"",
        "Before a retry, look for",
        "through server \"sequin\": whether it was applied is unknown",
    ] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    world.sandbox.fault(json!({"status": 200, "body": "{\"records\":[]}"}));
    let error = world.error(&create_three());
    assert_reported(&error, "create", 3, "HV00K", &unknown(200));
    assert!(error.message().ends_with("it has no record"), "{error:?}");
}

/// And no row before it is given out: a caller who has seen rows would take the statement for done.
#[test]
fn an_unreadable_record_among_good_ones_ends_the_call() {
    let mut world = World::new();
    let good: String = (0..2_000).map(|n| format!("{{\"id\":\"{n}\"}},")).collect();
    world.sandbox.fault(json!({"status": 200, "body": format!("{{\"records\":[{good}7]}}")}));
    let mut rows = 0;
    let mut transaction = world.client.transaction().unwrap();
    let portal = transaction.bind(&create_three(), &[]).unwrap();
    let error = loop {
        match transaction.query_portal(&portal, 10) {
            Ok(some) => rows += some.len(),
            Err(error) => break error,
        }
    };
    let error = error.as_db_error().unwrap();
    assert_eq!((rows, error.code().code()), (0, "HV00M"));
    assert!(error.message().ends_with("records[2000] is not an object"), "{error:?}");
}
