use super::*;

/// The single record of a reply that holds this object.
fn record(object: &str) -> Record<'static> {
    let body: &'static str = format!(r#"{{"records":[{object}]}}"#).leak();
    let mut records = parse(body.as_bytes()).unwrap();
    let record = records.next().unwrap().unwrap();
    assert!(records.next().is_none());
    record
}

fn error(object: &str) -> ReplyError {
    let body = format!(r#"{{"records":[{{}},{object},{{}}]}}"#);
    let mut records = parse(body.as_bytes()).unwrap();
    assert_eq!(records.next(), Some(Ok(Record::default())));
    let error = records.next().unwrap().unwrap_err();
    assert!(records.next().is_none(), "nothing follows an error");
    error
}

#[test]
fn the_documented_example() {
    let body = br#"{"records":[{"sync_id":"70a313f8-7c94-43d4-8d0c-5659a52de5c4","collection_id":"salesforce:task",
"upstream_id":"0018b000021BldZAAS","upstream_updated_at":"2024-11-10T18:39:00.070453Z",
"data":{"activity_date":"2023-09-12","description":"call back"},"deleted":false}]}"#;
    let records: Vec<_> = parse(body).unwrap().map(Result::unwrap).collect();
    let expected = Record {
        sync_id: Some("70a313f8-7c94-43d4-8d0c-5659a52de5c4".into()),
        collection_id: Some("salesforce:task".into()),
        upstream_id: Some("0018b000021BldZAAS".into()),
        upstream_updated_at: Some(Timestamp(784_579_140_070_453)),
        data: Some(r#"{"activity_date":"2023-09-12","description":"call back"}"#),
        deleted: Some(false),
        ..Record::default()
    };
    assert_eq!(records, [expected]);
}

#[test]
fn every_field() {
    let record = record(
        r#"{"id":"i","sync_id":"s","collection_id":"c","upstream_id":"u","upstream_created_at":"2000-01-01T00:00:01Z",
        "upstream_updated_at":"2000-01-01T00:00:02Z","inserted_at":"2000-01-01T00:00:03Z","updated_idx":9223372036854775807,
        "data":{"n": 1.10},"deleted":true,"provider":"salesforce","stream_id":"st"}"#,
    );
    let expected = Record {
        id: Some("i".into()),
        sync_id: Some("s".into()),
        collection_id: Some("c".into()),
        upstream_id: Some("u".into()),
        upstream_created_at: Some(Timestamp(1_000_000)),
        upstream_updated_at: Some(Timestamp(2_000_000)),
        inserted_at: Some(Timestamp(3_000_000)),
        updated_idx: Some(i64::MAX),
        deleted: Some(true),
        data: Some(r#"{"n": 1.10}"#),
        extra: Some(r#"{"provider":"salesforce","stream_id":"st"}"#.to_owned()),
    };
    assert_eq!(record, expected);
}

#[test]
fn replies_of_no_record_and_of_records_without_fields() {
    assert_eq!(parse(br#"{"records":[]}"#).unwrap().count(), 0);
    assert_eq!(record("{}"), Record::default());
    assert_eq!(record(" { } "), Record::default());
    assert_eq!(
        record(r#"{"id":null,"sync_id":null,"inserted_at":null,"updated_idx":null,"deleted":null,"data":null}"#),
        Record::default()
    );
}

#[test]
fn the_order_of_the_reply_is_kept() {
    let body = format!("{{\"records\":[{}]}}", ["3", "1", "2"].map(|id| format!(r#"{{"id":"{id}"}}"#)).join(" ,\n"));
    let ids: Vec<_> = parse(body.as_bytes()).unwrap().map(|record| record.unwrap().id.unwrap().into_owned()).collect();
    assert_eq!(ids, ["3", "1", "2"]);
}

#[test]
fn what_stands_beside_the_records_is_ignored_and_the_last_records_count() {
    for body in [
        r#"{"a":{"records":[1]},"records":[{"id":"x"}],"b":[{}]}"#,
        r#"{"records":[],"records":[{"id":"x"}]}"#,
        r#" { "\u0072ecords" : [ {"id":"x"} ] } "#,
    ] {
        let records: Vec<_> = parse(body.as_bytes()).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), 1, "{body}");
        assert_eq!(records[0].id.as_deref(), Some("x"), "{body}");
    }
}

#[test]
fn where_a_sync_id_comes_from() {
    for (object, sync_id, extra) in [
        (r#"{"sync_id":"a"}"#, Some("a"), None),
        (r#"{"sync_id":"a","resource_id":"r"}"#, Some("a"), Some(r#"{"resource_id":"r"}"#)),
        (r#"{"sync":{"id":"b","metadata":{}}}"#, Some("b"), Some(r#"{"sync":{"id":"b","metadata":{}}}"#)),
        (r#"{"resource_id":"r","sync":{"id":"b"}}"#, Some("b"), Some(r#"{"sync":{"id":"b"},"resource_id":"r"}"#)),
        (r#"{"resource_id":"r"}"#, Some("r"), None),
        (r#"{"sync_id":null,"resource_id":"r"}"#, Some("r"), None),
        (r#"{"sync_id":7,"resource_id":"r"}"#, Some("r"), Some(r#"{"sync_id":7}"#)),
        (r#"{"sync":{"id":1},"resource_id":"r"}"#, Some("r"), Some(r#"{"sync":{"id":1}}"#)),
        (r#"{"sync":{"external_id":"e"}}"#, None, Some(r#"{"sync":{"external_id":"e"}}"#)),
        (r#"{"sync":"text"}"#, None, Some(r#"{"sync":"text"}"#)),
        (r#"{"sync":null}"#, None, Some(r#"{"sync":null}"#)),
        (
            r#"{"sync":{"x":{"id":"deep"},"\u0069d":"b"}}"#,
            Some("b"),
            Some(r#"{"sync":{"x":{"id":"deep"},"\u0069d":"b"}}"#),
        ),
        (r#"{"resource_id":5}"#, None, Some(r#"{"resource_id":5}"#)),
    ] {
        let record = record(object);
        assert_eq!(record.sync_id.as_deref(), sync_id, "{object}");
        assert_eq!(record.extra.as_deref(), extra, "{object}");
    }
}

#[test]
fn where_inserted_at_comes_from() {
    const ONE: Option<Timestamp> = Some(Timestamp(1_000_000));
    for (object, inserted_at, extra) in [
        (r#"{"inserted_at":"2000-01-01T00:00:01Z"}"#, ONE, None),
        (r#"{"created_at":"2000-01-01T00:00:01Z"}"#, ONE, None),
        (r#"{"inserted_at":null,"created_at":"2000-01-01T00:00:01Z"}"#, ONE, None),
        (
            r#"{"inserted_at":"2000-01-01T00:00:01Z","created_at":"2000-01-01T00:00:09Z"}"#,
            ONE,
            Some(r#"{"created_at":"2000-01-01T00:00:09Z"}"#),
        ),
        (
            r#"{"inserted_at":"yesterday","created_at":"2000-01-01T00:00:01Z"}"#,
            ONE,
            Some(r#"{"inserted_at":"yesterday"}"#),
        ),
        (r#"{"created_at":17}"#, None, Some(r#"{"created_at":17}"#)),
    ] {
        let record = record(object);
        assert_eq!(record.inserted_at, inserted_at, "{object}");
        assert_eq!(record.extra.as_deref(), extra, "{object}");
    }
}

#[test]
fn what_does_not_fit_its_column_goes_to_extra_digit_for_digit() {
    for field in [
        r#""id":{"a":[1.10]}"#,
        r#""id":false"#,
        r#""collection_id":[]"#,
        r#""upstream_id":true"#,
        r#""upstream_created_at":"soon""#,
        r#""upstream_created_at":"2024-11-10T18:39:00""#,
        r#""upstream_updated_at":1731263940"#,
        r#""updated_idx":1e400"#,
        r#""updated_idx":1.0"#,
        r#""updated_idx":"12""#,
        r#""updated_idx":9223372036854775808"#,
        r#""deleted":"yes""#,
        r#""deleted":1"#,
        r#""unknown":null"#,
        r#""unknown":{"a" : [ 1.10 ]}"#,
        r#""a\"b":1"#,
        r#""":0"#,
    ] {
        let object = format!("{{{field}}}");
        let expected = Record { extra: Some(object.clone()), ..Record::default() };
        assert_eq!(record(&object), expected);
    }
}

#[test]
fn numbers_that_fit() {
    for (text, updated_idx) in [("0", 0), ("-0", 0), ("-9223372036854775808", i64::MIN), ("4294967296", 1 << 32)] {
        assert_eq!(record(&format!(r#"{{"updated_idx":{text}}}"#)).updated_idx, Some(updated_idx));
    }
}

#[test]
fn of_equal_keys_the_last_wins() {
    let record = record(r#"{"id":"a","deleted":"yes","id":"b","deleted":true,"\u0069d":"c","x":1,"x":2}"#);
    assert_eq!(record.id.as_deref(), Some("c"));
    assert_eq!(record.deleted, Some(true));
    // jsonb keeps the last of equal names.
    assert_eq!(record.extra.as_deref(), Some(r#"{"x":1,"x":2}"#));
}

#[test]
fn texts_lose_their_escapes_and_data_keeps_them() {
    let record = record(r#"{"id":"\u00e9\n\"\ud83d\ude00","upstream_id":"é","data":{"a":"\u00e9\/"}}"#);
    assert_eq!(record.id.as_deref(), Some("é\n\"😀"));
    assert_eq!(record.upstream_id.as_deref(), Some("é"));
    assert_eq!(record.data, Some(r#"{"a":"\u00e9\/"}"#));
}

#[test]
fn data_of_any_type_is_kept() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for data in [r#"{"n": 12345678901234567890.1230}"#, "[]", "\"text\"", "1e131071", "false", deep.as_str()] {
        assert_eq!(record(&format!(r#"{{"data":{data}}}"#)).data, Some(data));
    }
}

#[test]
fn what_postgres_cannot_store_is_said_with_its_place() {
    for (object, field) in [
        (r#"{"id":"a\u0000b"}"#, "id"),
        (r#"{"sync_id":"\ud83d"}"#, "sync_id"),
        (r#"{"resource_id":"\u0000"}"#, "resource_id"),
        (r#"{"collection_id":"\ude00\ud83d"}"#, "collection_id"),
        (r#"{"upstream_id":"\u0000"}"#, "upstream_id"),
        (r#"{"data":{"a":["\u0000"]}}"#, "data"),
        (r#"{"data":{"\u0000":1}}"#, "data"),
        (r#"{"data":"\udead"}"#, "data"),
        (r#"{"provider":"\u0000"}"#, "extra"),
        (r#"{"\u0000":1}"#, "extra"),
        (r#"{"updated_idx":"\u0000"}"#, "extra"),
        (r#"{"deleted":["\ud800"]}"#, "extra"),
        (r#"{"upstream_created_at":"\u0000"}"#, "extra"),
        (r#"{"sync":{"id":"\u0000"}}"#, "sync"),
        (r#"{"sync":{"external_id":"\u0000"}}"#, "extra"),
    ] {
        assert_eq!(error(object), ReplyError::NotStorable { index: 1, field }, "{object}");
    }
    // An escaped backslash, not an escape of NUL.
    assert_eq!(record(r#"{"id":"\\u0000"}"#).id.as_deref(), Some("\\u0000"));
}

#[test]
fn elements_that_are_no_records() {
    for element in ["1", "null", "\"x\"", "[]", "[{}]", "1e400"] {
        assert_eq!(error(element), ReplyError::RecordNotAnObject { index: 1 }, "{element}");
    }
}

#[test]
fn bodies_that_are_no_reply() {
    let not_json = |line, column| ReplyError::NotJson { line, column };
    let cases: [(&[u8], ReplyError); 22] = [
        (b"", ReplyError::Empty),
        (b" \r\n", ReplyError::Empty),
        (b"\xff", ReplyError::NotUtf8),
        (b"{\"records\":[{\"id\":\"\xe9\"}]}", ReplyError::NotUtf8),
        (b"ok", not_json(1, 1)),
        (b"<html></html>", not_json(1, 1)),
        (b"{\"records\":[{}]", ReplyError::Incomplete),
        (b"{", ReplyError::Incomplete),
        (b"\xef\xbb\xbf", ReplyError::Empty),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", not_json(1, 1)),
        (b"{\"error\":\"no\",\"records\":[]}", ReplyError::HasError),
        (b"{\"records\":[],\"\\u0065rror\":false}", ReplyError::HasError),
        (b"{\"records\":[{}]}}", not_json(1, 17)),
        (b"{\"records\":[{]}", not_json(1, 14)),
        (b"{\"records\":[{\"id\":\"a\nb\"}]}", not_json(1, 20)),
        (b"[]", ReplyError::NotAnObject),
        (b"null", ReplyError::NotAnObject),
        (b"\"s3cret\"", ReplyError::NotAnObject),
        (b"{}", ReplyError::NoRecords),
        (b"{\"records\":{}}", ReplyError::NoRecords),
        (b"{\"records\":null}", ReplyError::NoRecords),
        (b"{\"data\":[]}", ReplyError::NoRecords),
    ];
    for (body, expected) in cases {
        let error = parse(body).unwrap_err();
        assert_eq!(error, expected, "{}", String::from_utf8_lossy(body));
        assert!(error.to_string().starts_with("its body "), "{error}");
    }
}

#[test]
fn an_id_that_is_a_number_is_its_digits() {
    for digits in ["51", "0", "-7", "12345678901234567890.1230", "1e400"] {
        let body = format!(r#"{{"records":[{{"id":{digits},"upstream_id":{digits}}}]}}"#);
        let records = parse(body.as_bytes()).unwrap();
        assert_eq!(records.raw_records()[0].upstream_id.as_deref(), Some(digits));
        let record = records.clone().next().unwrap().unwrap();
        assert_eq!(
            (record.id.as_deref(), record.upstream_id.as_deref(), record.extra),
            (Some(digits), Some(digits), None)
        );
    }
    let records = parse(br#"{"records":[{"upstream_id":null},{"upstream_id":[1]},{"upstream_id":true}]}"#).unwrap();
    assert!(records.raw_records().iter().all(|record| record.upstream_id.is_none()));
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let body = b"\xef\xbb\xbf{\"records\":[{\"id\":\"a\"}], \"error\": null}";
    assert_eq!(parse(body).unwrap().next().unwrap().unwrap().id.as_deref(), Some("a"));
}

#[test]
fn records_are_counted_whether_they_can_be_read_or_not() {
    for (records, readable, length) in [("", 0, 0), ("{},{}", 2, 2), ("{},7,{}", 1, 3), ("[{},{}]", 0, 1)] {
        let body = format!("{{\"records\":[{records}]}}");
        let records = parse(body.as_bytes()).unwrap();
        assert_eq!((records.raw_records().len(), records.element_count()), (readable, length), "{body}");
    }
}

#[test]
fn the_beginning_of_a_body_says_what_it_is_or_leaves_it_open() {
    use ReplyPrefix::{Other, Reply, Undecided};
    let cases: [(&[u8], ReplyPrefix); 22] = [
        (b"", Undecided),
        (b" \n", Undecided),
        (b"\xef\xbb\xbf", Undecided),
        (b"{", Undecided),
        (b"{\"rec", Undecided),
        (b"{\"records\"", Undecided),
        (b"{\"records\": ", Undecided),
        (b"{\"records\": [", Reply),
        (b"{\"a\": {\"records\": [1]}, \"error\": null, \"records\":[{\"x\":\"\xff", Reply),
        (b"\xef\xbb\xbf {\"\\u0072ecords\":[", Reply),
        (b"{\"a\": {\"records\": [", Undecided),
        (b"{\"records\": nu", Other),
        (b"{\"records\": {\"a\"", Other),
        (b"{\"error\":", Undecided),
        (b"{\"error\": \"Er", Other),
        (b"{\"error\": \"no\", \"records\": [", Other),
        (b"[{\"records\": [", Other),
        (b"<html>", Other),
        (b"\x1f\x8b", Other),
        (b"\xff", Other),
        (b"{% if %}", Other),
        (b"{records: [", Other),
    ];
    for (body, expected) in cases {
        assert_eq!(classify_prefix(body), expected, "{}", String::from_utf8_lossy(body));
    }
}
