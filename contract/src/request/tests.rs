use super::*;
use std::borrow::Cow;

const ARGUMENTS: Arguments<'static> = Arguments {
    sync_id: Some("my-sync"),
    collection_id: Some("salesforce:contact"),
    await_consumers: None,
    timeout_ms: None,
};

fn body(request: &Request<'_>) -> String {
    String::from_utf8(request.body().to_vec()).unwrap()
}

/// The records part of the body that `kind` makes of `records`, and how many there are.
fn sent(kind: &str, records: &str) -> (String, usize) {
    let request = Request::from_records(Some(kind), &ARGUMENTS, Some(records)).unwrap();
    let body = body(&request);
    assert!(json::is_valid(&body), "{body}");
    let key = if kind == "delete" { "upstream_ids" } else { "records" };
    let head = format!(r#"{{"kind":"{kind}","sync_id":"my-sync","collection_id":"salesforce:contact","{key}":"#);
    let records = body.strip_prefix(&head).and_then(|rest| rest.strip_suffix('}')).expect(&body);
    (records.to_owned(), request.len())
}

fn refused(kind: &str, records: &str) -> InvalidRequest {
    Request::from_records(Some(kind), &ARGUMENTS, Some(records)).unwrap_err()
}

#[test]
fn records_that_are_right_pass_byte_for_byte() {
    for (kind, records, count) in [
        ("create", r#"[{"data": {}}]"#, 1),
        ("create", r#"[{"data": {"Email": "a@b.c"}}, {"data": {"n": 1.10}}]"#, 2),
        ("create", r#" [ { "data" : { } } ] "#, 1),
        ("create", r#"[{"data": {"n": 12345678901234567890.1230, "e": 1E400, "z": -0}}]"#, 1),
        ("create", r#"[{"data": {"upstream_id": "within data is data", "data": [null, [[]], "\"}]"]}}]"#, 1),
        ("create", "[{\"data\": {\"é\": \"日本 \\u0007 \\\\\"}}]", 1),
        ("update", r#"[{"data": {"a": null}, "upstream_id": "x"}]"#, 1),
        ("update", r#"[{"upstream_id": "x", "data": {}}, {"upstream_id": "x", "data": {"again": true}}]"#, 2),
        ("update", r#"[{"upstream_id": "a\"b\\", "data": {}}]"#, 1),
        ("delete", r#"["a"]"#, 1),
        ("delete", r#"["a", "b", "a", "c\"d"]"#, 4),
    ] {
        assert_eq!(sent(kind, records), (records.to_owned(), count));
    }
}

#[test]
fn a_bare_element_counts_as_an_array_of_one() {
    for (kind, records, expected) in [
        ("create", r#"{"data": {"a": [1]}}"#, r#"[{"data": {"a": [1]}}]"#),
        ("update", r#"{"data": {}, "upstream_id": "x"}"#, r#"[{"data": {}, "upstream_id": "x"}]"#),
        ("delete", r#""x""#, r#"["x"]"#),
        ("delete", r#"{"upstream_id": "x"}"#, r#"["x"]"#),
    ] {
        assert_eq!(sent(kind, records), (expected.to_owned(), 1));
    }
}

#[test]
fn a_delete_sends_ids_whatever_form_they_came_in() {
    for (records, expected, count) in [
        (r#"[{"upstream_id": "a"}]"#, r#"["a"]"#, 1),
        (r#"["a", {"upstream_id": "b\"c"}, "d"]"#, r#"["a","b\"c","d"]"#, 3),
        (r#"[{"upstream_id": "a"}, {"upstream_id": "a"}]"#, r#"["a","a"]"#, 2),
    ] {
        assert_eq!(sent("delete", records), (expected.to_owned(), count));
    }
}

#[test]
fn depth_and_size_have_no_limit() {
    let depth = 100_000;
    let deep = format!(r#"[{{"data": {{"a": {}{}}}}}]"#, "[".repeat(depth), "]".repeat(depth));
    let request = Request::from_records(Some("create"), &ARGUMENTS, Some(&deep)).unwrap();
    assert!(body(&request).contains(&deep));

    let many = format!("[{}]", vec![r#"{"data":{}}"#; 50_000].join(","));
    assert_eq!(Request::from_records(Some("create"), &ARGUMENTS, Some(&many)).unwrap().len(), 50_000);
}

#[test]
fn records_that_are_wrong_are_named() {
    for (kind, records, message) in [
        ("create", "null", "records must be an array, not null"),
        ("create", "5", "records must be an array, not a number"),
        ("create", "true", "records must be an array, not a boolean"),
        ("create", r#""x""#, "records must be an array, not a string"),
        ("update", r#""x""#, "records must be an array, not a string"),
        ("delete", "1", "records must be an array, not a number"),
        ("delete", "null", "records must be an array, not null"),
        ("create", "[]", "records is an empty array"),
        ("delete", " [ ] ", "records is an empty array"),
        ("create", "[[]]", "records[0]: a create needs an object, not an array"),
        ("create", "[null]", "records[0]: a create needs an object, not null"),
        ("create", r#"[{"data": {}}, 1e400]"#, "records[1]: a create needs an object, not a number"),
        ("update", r#"["x"]"#, "records[0]: an update needs an object, not a string"),
        ("delete", r#"["a", ["b"]]"#, "records[1]: a delete needs a string or an object, not an array"),
        ("delete", r#"["a", 1]"#, "records[1]: a delete needs a string or an object, not a number"),
        ("delete", r#"[null]"#, "records[0]: a delete needs a string or an object, not null"),
        ("create", "{}", r#"records[0]: a create needs "data""#),
        ("create", r#"[{"data": {}}, {}]"#, r#"records[1]: a create needs "data""#),
        ("create", r#"[{"data": null}]"#, r#"records[0]: "data" must be an object, not null"#),
        ("create", r#"[{"data": [{}]}]"#, r#"records[0]: "data" must be an object, not an array"#),
        ("create", r#"[{"data": "{}"}]"#, r#"records[0]: "data" must be an object, not a string"#),
        ("create", r#"[{"data": {}, "upstream_id": "x"}]"#, r#"records[0]: a create takes no "upstream_id""#),
        ("create", r#"[{"Email": "a@b.c"}]"#, r#"records[0]: a create takes no key "Email""#),
        ("create", r#"[{"data": {}, "a\nb": 1}]"#, r#"records[0]: a create takes no key "a\nb""#),
        ("update", "[{}]", r#"records[0]: an update needs "upstream_id""#),
        ("update", r#"[{"data": {}}]"#, r#"records[0]: an update needs "upstream_id""#),
        ("update", r#"[{"upstream_id": "x"}]"#, r#"records[0]: an update needs "data""#),
        ("update", r#"[{"upstream_id": "", "data": {}}]"#, r#"records[0]: "upstream_id" must not be empty"#),
        ("update", r#"[{"upstream_id": "  ", "data": {}}]"#, r#"records[0]: "upstream_id" must not be empty"#),
        (
            "update",
            r#"[{"upstream_id": 7, "data": {}}]"#,
            r#"records[0]: "upstream_id" must be a string, not a number"#,
        ),
        ("update", r#"[{"upstream_id": null, "data": {}}]"#, r#"records[0]: "upstream_id" must be a string, not null"#),
        ("update", r#"[{"upstream_id": "x", "data": 1}]"#, r#"records[0]: "data" must be an object, not a number"#),
        ("update", r#"[{"upstream_id": "x", "data": {}, "id": 1}]"#, r#"records[0]: an update takes no key "id""#),
        ("delete", "[{}]", r#"records[0]: a delete needs "upstream_id""#),
        ("delete", r#"[{"upstream_id": "x", "data": {}}]"#, r#"records[0]: a delete takes no "data""#),
        ("delete", r#"[{"id": "x"}]"#, r#"records[0]: a delete takes no key "id""#),
        ("update", r#"[{"upstream_id": "\n", "data": {}}]"#, r#"records[0]: "upstream_id" must not be empty"#),
        ("delete", r#"["a", "b", ""]"#, r#"records[2]: "upstream_id" must not be empty"#),
        ("delete", r#"["a", "\t \r\n"]"#, r#"records[1]: "upstream_id" must not be empty"#),
        ("delete", r#"[{"upstream_id": ""}]"#, r#"records[0]: "upstream_id" must not be empty"#),
        ("delete", r#"[{"upstream_id": ["x"]}]"#, r#"records[0]: "upstream_id" must be a string, not an array"#),
    ] {
        let invalid = refused(kind, records);
        assert_eq!(invalid.to_string(), message, "{kind} {records}");
        assert!(!invalid.is_null(), "{kind} {records}");
        assert_is_hint(&invalid);
    }
}

#[test]
fn the_third_of_many_is_named() {
    let records =
        r#"[{"upstream_id":"a","data":{}},{"upstream_id":"b","data":{}},{"upstream_id":"c","data":{}},{"data":{}}]"#;
    assert_eq!(refused("update", records).to_string(), r#"records[3]: an update needs "upstream_id""#);
}

#[test]
fn hints_say_what_to_write() {
    for (kind, records, part) in [
        ("create", "[1]", r#"{"data": {...}}"#),
        ("update", "[1]", r#"{"upstream_id": "...", "data": {...}}"#),
        ("delete", "[1]", r#"a string, the upstream_id, or {"upstream_id": "..."}"#),
        ("create", "null", r#"{"data": {...}}"#),
        ("update", r#"[{"Email": 1}]"#, r#"fields go inside "data""#),
        ("create", r#"[{"upstream_id": "x"}]"#, "use an update"),
        ("delete", r#"[{"data": {}}]"#, "use an update"),
        ("delete", r#"[{"upstream_id": 1}]"#, "in quotes"),
    ] {
        let hint = refused(kind, records).hint();
        assert!(hint.contains(part), "{hint}");
    }
}

/// A hint is made of sentences.
fn assert_is_hint(invalid: &InvalidRequest) {
    let hint = invalid.hint();
    assert!(hint.ends_with('.') && hint.starts_with(|c: char| c.is_ascii_alphabetic()), "{invalid}: {hint}");
}

#[test]
fn arguments_that_are_wrong_are_named() {
    let records = Some(r#"{"data":{}}"#);
    let with = |change: fn(&mut Arguments<'static>)| {
        let mut arguments = ARGUMENTS;
        change(&mut arguments);
        Request::from_records(Some("create"), &arguments, records)
    };
    let null = true;
    for (result, message, is_null) in [
        (Request::from_records(None, &ARGUMENTS, records), "kind must not be NULL", null),
        (Request::from_records(Some("create"), &ARGUMENTS, None), "records must not be NULL", null),
        (with(|a| a.sync_id = None), "sync_id must not be NULL", null),
        (with(|a| a.collection_id = None), "collection_id must not be NULL", null),
        (with(|a| a.await_consumers = Some((&[Some("a"), None]).into())), "await_consumers[2] must not be NULL", null),
        (with(|a| a.await_consumers = Some((&[Some(" ")]).into())), "await_consumers[1] must not be empty", !null),
        (with(|a| a.sync_id = Some("")), "sync_id must not be empty", !null),
        (with(|a| a.sync_id = Some("\t")), "sync_id must not be empty", !null),
        (with(|a| a.collection_id = Some("")), "collection_id must not be empty", !null),
        (with(|a| a.timeout_ms = Some(-1)), "timeout_ms must not be negative, but is -1", !null),
        (
            Request::from_records(Some("upsert"), &ARGUMENTS, records),
            r#"unknown kind "upsert": it must be create, update or delete"#,
            !null,
        ),
        (Request::create_one(&ARGUMENTS, None), "data must not be NULL", null),
        (Request::create_one(&ARGUMENTS, Some("null")), "data must be a JSON object, not null", !null),
        (Request::create_one(&ARGUMENTS, Some("[]")), "data must be a JSON object, not an array", !null),
        (Request::update_one(&ARGUMENTS, None, Some("{}")), "upstream_id must not be NULL", null),
        (Request::update_one(&ARGUMENTS, Some(""), Some("{}")), "upstream_id must not be empty", !null),
        (Request::update_one(&ARGUMENTS, Some("x"), None), "data must not be NULL", null),
        (Request::update_one(&ARGUMENTS, Some("x"), Some("1")), "data must be a JSON object, not a number", !null),
        (Request::delete_one(&ARGUMENTS, None), "upstream_id must not be NULL", null),
        (Request::delete_one(&ARGUMENTS, Some(" ")), "upstream_id must not be empty", !null),
        (Request::delete_one(&Arguments::default(), Some("x")), "sync_id must not be NULL", null),
    ] {
        let invalid = result.unwrap_err();
        assert_eq!(invalid.to_string(), message);
        assert_eq!(invalid.is_null(), is_null, "{message}");
        assert_is_hint(&invalid);
    }
}

#[test]
fn one_record_verbs_write_one_record() {
    let head = r#"{"kind":"KIND","sync_id":"my-sync","collection_id":"salesforce:contact","#;
    for (request, kind, rest) in [
        (Request::create_one(&ARGUMENTS, Some(r#"{"n": 1.10}"#)), Kind::Create, r#""records":[{"data":{"n": 1.10}}]}"#),
        (
            Request::update_one(&ARGUMENTS, Some("a\"b"), Some("{}")),
            Kind::Update,
            r#""records":[{"upstream_id":"a\"b","data":{}}]}"#,
        ),
        (Request::delete_one(&ARGUMENTS, Some("a\\b\n")), Kind::Delete, r#""upstream_ids":["a\\b\n"]}"#),
    ] {
        let request = request.unwrap();
        assert_eq!(body(&request), head.replace("KIND", kind.as_str()) + rest);
        assert_eq!((request.kind(), request.len()), (kind, 1));
        assert_eq!((request.sync_id(), request.collection_id()), ("my-sync", "salesforce:contact"));
    }
}

#[test]
fn awaiting_consumers() {
    let ms = Duration::from_millis;
    let two: &[Option<&str>] = &[Some("contacts"), Some("a\"b")];
    for (await_consumers, timeout_ms, fields, consumer_wait) in [
        (None, None, "", None),
        (Some(&[][..]), None, "", None),
        (Some(two), None, r#""await_consumer_ids":["contacts","a\"b"],"#, Some(ms(30_000))),
        (
            Some(two),
            Some(5_000),
            r#""await_consumer_ids":["contacts","a\"b"],"await_consumers_timeout":5000,"#,
            Some(ms(5_000)),
        ),
        (Some(&two[..1]), Some(0), r#""await_consumer_ids":["contacts"],"await_consumers_timeout":0,"#, Some(ms(0))),
        (
            Some(&two[..1]),
            Some(i32::MAX),
            r#""await_consumer_ids":["contacts"],"await_consumers_timeout":2147483647,"#,
            Some(ms(2_147_483_647)),
        ),
        (None, Some(7), r#""await_consumers_timeout":7,"#, None),
        (Some(&[][..]), Some(7), r#""await_consumers_timeout":7,"#, None),
    ] {
        let await_consumers = await_consumers.map(Cow::Borrowed);
        let request = Request::delete_one(&Arguments { await_consumers, timeout_ms, ..ARGUMENTS }, Some("x")).unwrap();
        let expected = format!(
            r#"{{"kind":"delete","sync_id":"my-sync","collection_id":"salesforce:contact",{fields}"upstream_ids":["x"]}}"#
        );
        assert_eq!(body(&request), expected);
        assert_eq!(request.consumer_wait(), consumer_wait, "{expected}");
    }
}

#[test]
fn ids_and_collections_are_escaped_not_judged() {
    let arguments = Arguments { sync_id: Some("é\"\n"), collection_id: Some("a:b:c\"d"), ..ARGUMENTS };
    let request = Request::delete_one(&arguments, Some("x")).unwrap();
    assert_eq!(
        body(&request),
        r#"{"kind":"delete","sync_id":"é\"\n","collection_id":"a:b:c\"d","upstream_ids":["x"]}"#
    );
}

#[test]
fn a_draft_takes_its_records_in_pieces() {
    let mut draft = Request::draft(Some("create"), &ARGUMENTS).unwrap();
    draft.records_mut().extend_from_slice(br#"[{"data""#);
    draft.records_mut().extend_from_slice(br#": {}}]"#);
    let request = draft.finish().unwrap();
    let whole = Request::from_records(Some("create"), &ARGUMENTS, Some(r#"[{"data": {}}]"#)).unwrap();
    assert_eq!(request.body(), whole.body());
}

#[test]
fn a_draft_without_records_or_with_other_bytes_is_refused() {
    let draft = || Request::draft(Some("create"), &ARGUMENTS).unwrap();
    assert_eq!(draft().finish().unwrap_err().to_string(), "records must be an array, not nothing");
    let mut latin1 = draft();
    latin1.records_mut().extend_from_slice(b"[{\"data\":{\"a\":\"\xe9\"}}]");
    let invalid = latin1.finish().unwrap_err();
    assert_eq!(invalid, InvalidRequest::NotUtf8);
    assert_is_hint(&invalid);
}

#[test]
fn a_large_body_is_allocated_once() {
    let records = format!("[{}]", vec![r#"{"data":{}}"#; 10_000].join(","));
    for kind in ["create", "update"] {
        let kind_records =
            if kind == "create" { records.clone() } else { records.replace("{\"d", "{\"upstream_id\":\"x\",\"d") };
        let request = Request::from_records(Some(kind), &ARGUMENTS, Some(&kind_records)).unwrap();
        assert!(request.body.capacity() < kind_records.len() + 300);
    }
}
