//! A reply's record in the columns of `sequin_record`: each known field in its column, the others in `extra`.

use postgres::Row;
use serde_json::json;

use crate::support::{Session, TARGET, World};

const COLUMNS: &str = "id, sync_id, collection_id, upstream_id, upstream_created_at::text, upstream_updated_at::text,
    inserted_at::text, updated_idx, deleted, data::text, extra::text";

/// The row that comes of a reply with this record.
fn row_of(world: &mut World, record: &str) -> Row {
    world.sandbox.fault(json!({"apply": false, "status": 200, "body": format!("{{\"records\":[{record}]}}")}));
    world.rows(&format!("SELECT {COLUMNS} FROM sequin_create({TARGET}, '{{}}')"), &[]).remove(0)
}

fn text(row: &Row, column: &str) -> Option<String> {
    row.get(column)
}

#[test]
fn each_field_has_its_column() {
    let mut world = World::new();
    let row = row_of(
        &mut world,
        r#"{"id":"1","sync_id":"s","collection_id":"c:d","upstream_id":"u","upstream_created_at":"2024-11-10T18:39:00.070453Z",
            "upstream_updated_at":"2024-11-11T00:00:00Z","inserted_at":"2024-11-12T01:02:03.5+02:00","updated_idx":9223372036854775807,
            "deleted":true,"data":{"a":1.10}}"#,
    );
    let expected =
        [("id", "1"), ("sync_id", "s"), ("collection_id", "c:d"), ("upstream_id", "u"), ("data", "{\"a\": 1.10}")];
    for (column, value) in expected {
        assert_eq!(text(&row, column).as_deref(), Some(value), "{column}");
    }
    assert_eq!(text(&row, "upstream_created_at").as_deref(), Some("2024-11-10 18:39:00.070453+00"));
    assert_eq!(text(&row, "upstream_updated_at").as_deref(), Some("2024-11-11 00:00:00+00"));
    assert_eq!(text(&row, "inserted_at").as_deref(), Some("2024-11-11 23:02:03.5+00"));
    assert_eq!((row.get("updated_idx"), row.get("deleted")), (Some(i64::MAX), Some(true)));
    assert_eq!(text(&row, "extra"), None);
}

#[test]
fn a_record_may_have_nothing() {
    let mut world = World::new();
    let nulls = r#"{"id":null,"sync_id":null,"collection_id":null,"upstream_id":null,"upstream_created_at":null,"upstream_updated_at":null,
        "inserted_at":null,"updated_idx":null,"deleted":null,"data":null}"#;
    for record in ["{}", nulls] {
        let row = row_of(&mut world, record);
        for column in
            ["id", "sync_id", "collection_id", "upstream_id", "upstream_created_at", "inserted_at", "data", "extra"]
        {
            assert_eq!(text(&row, column), None, "{column} of {record}");
        }
        assert_eq!((row.get("updated_idx"), row.get("deleted")), (None::<i64>, None::<bool>));
    }
}

/// (record, sync_id, extra)
#[test]
fn every_way_of_naming_the_sync_is_read() {
    let mut world = World::new();
    let cases = [
        (r#"{"sync_id":"a"}"#, Some("a"), None),
        (r#"{"sync":{"id":"b"}}"#, Some("b"), Some(r#"{"sync": {"id": "b"}}"#)),
        (
            r#"{"sync":{"id":"b","external_id":"e","metadata":{"m":1.10}}}"#,
            Some("b"),
            Some(r#"{"sync": {"id": "b", "metadata": {"m": 1.10}, "external_id": "e"}}"#),
        ),
        (r#"{"resource_id":"c"}"#, Some("c"), None),
        (
            r#"{"resource_id":"c","sync":{"id":"b"},"sync_id":"a"}"#,
            Some("a"),
            Some(r#"{"sync": {"id": "b"}, "resource_id": "c"}"#),
        ),
        (r#"{"resource_id":"c","sync":{"id":"b"}}"#, Some("b"), Some(r#"{"sync": {"id": "b"}, "resource_id": "c"}"#)),
        (r#"{"sync":{"name":"no id"},"resource_id":"c"}"#, Some("c"), Some(r#"{"sync": {"name": "no id"}}"#)),
        (r#"{"sync_id":null,"sync":null,"resource_id":"c"}"#, Some("c"), Some(r#"{"sync": null}"#)),
        (r#"{"sync":"b"}"#, None, Some(r#"{"sync": "b"}"#)),
        (r#"{"sync":{"id":7}}"#, None, Some(r#"{"sync": {"id": 7}}"#)),
        (r#"{"sync_id":7,"resource_id":"c"}"#, Some("c"), Some(r#"{"sync_id": 7}"#)),
        (r#"{"sync\u005fid":"a"}"#, Some("a"), None),
    ];
    for (record, sync_id, extra) in cases {
        let row = row_of(&mut world, record);
        assert_eq!(text(&row, "sync_id").as_deref(), sync_id, "{record}");
        assert_eq!(text(&row, "extra").as_deref(), extra, "{record}");
    }
}

#[test]
fn an_older_name_of_inserted_at_is_read() {
    let mut world = World::new();
    let (new, old) = ("2024-01-02T00:00:00Z", "2023-01-02T00:00:00Z");
    let cases = [
        (format!(r#"{{"created_at":"{old}"}}"#), "2023-01-02 00:00:00+00", None),
        (
            format!(r#"{{"created_at":"{old}","inserted_at":"{new}"}}"#),
            "2024-01-02 00:00:00+00",
            Some(format!(r#"{{"created_at": "{old}"}}"#)),
        ),
        (
            format!(r#"{{"created_at":"{old}","inserted_at":"never"}}"#),
            "2023-01-02 00:00:00+00",
            Some(r#"{"inserted_at": "never"}"#.into()),
        ),
    ];
    for (record, inserted_at, extra) in cases {
        let row = row_of(&mut world, &record);
        assert_eq!(text(&row, "inserted_at").as_deref(), Some(inserted_at), "{record}");
        assert_eq!(text(&row, "extra"), extra, "{record}");
    }
}

#[test]
fn what_does_not_fit_its_column_is_kept_in_extra() {
    let mut world = World::new();
    let cases = [
        (r#"{"id":true}"#, r#"{"id": true}"#),
        (r#"{"id":["a"],"upstream_id":{}}"#, r#"{"id": ["a"], "upstream_id": {}}"#),
        (r#"{"updated_idx":9223372036854775808}"#, r#"{"updated_idx": 9223372036854775808}"#),
        (r#"{"updated_idx":1.5}"#, r#"{"updated_idx": 1.5}"#),
        (r#"{"updated_idx":"12"}"#, r#"{"updated_idx": "12"}"#),
        (r#"{"deleted":0}"#, r#"{"deleted": 0}"#),
        (r#"{"deleted":"true"}"#, r#"{"deleted": "true"}"#),
        (r#"{"upstream_created_at":"now"}"#, r#"{"upstream_created_at": "now"}"#),
        (r#"{"upstream_updated_at":1731263940}"#, r#"{"upstream_updated_at": 1731263940}"#),
        (r#"{"inserted_at":"2024-02-30T00:00:00Z"}"#, r#"{"inserted_at": "2024-02-30T00:00:00Z"}"#),
        (r#"{"inserted_at":"2024-02-29T00:00:00"}"#, r#"{"inserted_at": "2024-02-29T00:00:00"}"#),
        (
            r#"{"provider":"salesforce","stream_id":"x","new":{"n":12345678901234567890.10},"":null}"#,
            r#"{"": null, "new": {"n": 12345678901234567890.10}, "provider": "salesforce", "stream_id": "x"}"#,
        ),
        (r#"{"a":1,"a":2,"\u0061":3}"#, r#"{"a": 3}"#),
    ];
    for (record, extra) in cases {
        let row = row_of(&mut world, record);
        assert_eq!(text(&row, "extra").as_deref(), Some(extra), "{record}");
        for column in ["id", "upstream_id", "upstream_created_at", "upstream_updated_at", "inserted_at"] {
            assert_eq!(text(&row, column), None, "{column} of {record}");
        }
        assert_eq!((row.get("updated_idx"), row.get("deleted")), (None::<i64>, None::<bool>), "{record}");
    }
}

#[test]
fn any_json_is_data() {
    let mut world = World::new();
    for (data, shown) in [("{}", "{}"), ("[1.10]", "[1.10]"), ("\"x\"", "\"x\""), ("7", "7"), ("false", "false")] {
        assert_eq!(text(&row_of(&mut world, &format!("{{\"data\":{data}}}")), "data").as_deref(), Some(shown));
    }
}

/// A form that is read at all is read as Postgres reads it, whatever the session's settings.
#[test]
fn timestamps_are_those_that_postgres_would_read() {
    let mut world = World::new();
    let times = [
        "2024-11-10T18:39:00.070453Z",
        "2024-11-10T18:39:00Z",
        "2024-11-10 18:39:00+00",
        "2024-11-10T18:39:00.1-05:30",
        "2024-11-10T18:39:00.123456789Z",
        "2024-11-10T18:39:00.0000005Z",
        "2024-11-10T18:39:00.0000015Z",
        "2024-11-10T18:39:00.9999995Z",
        "2024-11-10T18:39:00.999999999Z",
        "2024-11-10T24:00:00Z",
        "2024-11-10T23:59:60Z",
        "2024-02-29T00:00:00+14:00",
        "2024-02-29T00:00:00-0930",
        "2024-02-29t00:00:00z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "1900-02-28T00:00:00Z",
        "2000-02-29T12:00:00+15:59",
        "1969-12-31T23:59:59.5Z",
    ];
    for settings in ["SET timezone = 'UTC'", "SET timezone = 'Asia/Kolkata'; SET datestyle = 'SQL, DMY'"] {
        world.run(settings);
        for time in times {
            let row = row_of(&mut world, &format!("{{\"inserted_at\":\"{time}\"}}"));
            let expected: String = world.one_of("SELECT ($1::text::timestamptz)::text", &[&time]);
            assert_eq!(text(&row, "inserted_at"), Some(expected), "{time} with {settings}");
        }
    }
}

#[test]
fn a_procedure_can_declare_a_record_of_it() {
    let mut world = World::new();
    world.run(&format!(
        "CREATE TABLE kept (id text, record sequin_record);
         DO $$
         DECLARE made sequin_record;
         BEGIN
           made := sequin_create({TARGET}, '{{\"n\": 1.10}}');
           INSERT INTO kept VALUES (made.upstream_id, made);
           SELECT * INTO made FROM sequin_update({TARGET}, made.upstream_id, '{{\"m\": 2.20}}');
           INSERT INTO kept VALUES (made.upstream_id, made);
         END $$"
    ));
    let rows = world
        .rows("SELECT id = (record).upstream_id, (record).data::text FROM kept ORDER BY (record).updated_idx", &[]);
    assert!(rows.iter().all(|row| row.get(0)));
    let data: Vec<String> = rows.iter().map(|row| row.get(1)).collect();
    assert_eq!(data, ["{\"n\": 1.10}", "{\"m\": 2.20, \"n\": 1.10}"]);
}
