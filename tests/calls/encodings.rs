//! Databases in another encoding than UTF-8. Convertible text is converted. Other text is refused before it is sent; in
//! a reply it is reported as applied. No character turns into others.

use sequin_harness::Encoding;
use serde_json::{Value, json};

use crate::calls::outcomes::assert_reported;
use crate::support::{Session, TARGET, World, detail, hint_of};

fn lost() -> Value {
    detail("applied_reply_lost", "all", Some(200), Value::Null, None)
}

/// The reply to the next mutation, which is applied.
fn will_reply(world: &World, record: &str) {
    world.sandbox.fault(json!({"status": 200, "body": format!("{{\"records\":[{record}]}}")}));
}

fn create(world: &mut World, data: &str) -> String {
    world.one_of(&format!("SELECT data::text FROM sequin_create({TARGET}, $1::text::jsonb)"), &[&data])
}

#[test]
fn latin1_is_converted_both_ways() {
    let mut world = World::in_encoding(Encoding::Latin1);
    let data = r#"{"Größe": "naïve café £ ÿ \u0001 \" \\"}"#;
    assert_eq!(create(&mut world, data), data);
    let arrived: Value = serde_json::from_str(&world.body()).unwrap();
    assert_eq!(arrived["records"][0]["data"], serde_json::from_str::<Value>(data).unwrap());

    // The text of each argument and column, and both spellings of a character in the reply.
    will_reply(&world, r#"{"id":"é","sync_id":"\u00e9","upstream_id":"ÿ","data":{"é":"\u00e9é"},"extra é":"\u00ff"}"#);
    let call = "sequin_update('größe', 'salesforce:contact', 'ÿ', '{}')";
    let row =
        world.rows(&format!("SELECT id, sync_id, upstream_id, data::text, extra::text FROM {call}"), &[]).remove(0);
    let columns: Vec<String> = (0..5).map(|column| row.get(column)).collect();
    assert_eq!(columns, ["é", "é", "ÿ", "{\"é\": \"éé\"}", "{\"extra é\": \"ÿ\"}"]);
    let arrived: Value = serde_json::from_str(&world.body()).unwrap();
    assert_eq!((&arrived["sync_id"], &arrived["records"][0]["upstream_id"]), (&json!("größe"), &json!("ÿ")));
    let length: i32 = {
        will_reply(&world, r#"{"id":"é"}"#);
        world.one(&format!("SELECT octet_length(id) FROM sequin_create({TARGET}, '{{}}')"))
    };
    assert_eq!(length, 1, "one byte in this database");
}

#[test]
fn a_reply_that_latin1_cannot_hold_is_reported_as_applied() {
    let mut world = World::in_encoding(Encoding::Latin1);
    let records = [
        "{\"data\":{\"a\":\"漢\"}}",
        "{\"data\":{\"a\":\"\\u6f22\"}}",
        "{\"data\":{\"🪐\":1}}",
        "{\"data\":{\"a\":\"\\ud83e\\ude90\"}}",
        "{\"id\":\"漢\"}",
        "{\"upstream_id\":\"\\u20ac\"}",
        "{\"more\":\"€\"}",
    ];
    for (applied, record) in records.into_iter().enumerate() {
        will_reply(&world, record);
        let error = world.error(&format!("SELECT sequin_create({TARGET}, '{{}}')"));
        assert_reported(&error, "create", 1, "HV00M", &lost());
        will_reply(&world, &format!("{{}},{record}"));
        let error = world.error(&format!("SELECT * FROM sequin_mutate('create', {TARGET}, '{{\"data\":{{}}}}')"));
        assert_reported(&error, "create", 1, "HV00M", &lost());
        assert_eq!(world.contact_count(), 2 * (applied + 1), "{record}");
    }
}

/// The API's text reaches the client readable, and never as an error about the text itself.
#[test]
fn an_error_text_that_latin1_cannot_hold_does_not_hide_the_outcome() {
    for encoding in [Encoding::Latin1, Encoding::SqlAscii] {
        let mut world = World::in_encoding(encoding);
        for text in ["Ungültig: é", "無効 🪐"] {
            let body = json!({"error": text, "docs": {text: [text]}}).to_string();
            world.sandbox.fault(json!({"status": 400, "body": body}));
            let error = world.error(&format!("SELECT sequin_create({TARGET}, '{{}}')"));
            let message: String = serde_json::from_str(&format!("\"{}\"", error.message())).unwrap();
            assert_eq!(message, text, "{encoding:?}: the text itself or its JSON escapes");
            assert_reported(
                &error,
                "create",
                1,
                "HV024",
                &detail("rejected", "none", Some(400), json!({text: [text]}), None),
            );
        }
    }
}

#[test]
fn names_in_latin1_are_reported_as_they_are_written() {
    let mut world = World::in_encoding(Encoding::Latin1);
    world.database.create_server_named("größe", world.sandbox.url(), world.sandbox.token());
    world.sandbox.fault(json!({"status": 400, "body": ""}));
    let error = world.error("SELECT sequin_create('s', 'salesforce:café', '{}', server => 'größe')");
    let context = "create of 1 record in salesforce:café through server \"größe\": nothing was applied";
    assert_eq!(error.where_(), Some(context));
    world.sandbox.fault(json!({"status": 504, "body": ""}));
    let error = world.error("SELECT sequin_create('s', 'salesforce:café', '{}', server => 'größe')");
    assert!(
        ["salesforce:café", "salesforce:caf\\u00e9"].iter().any(|name| hint_of(&error).contains(name)),
        "{error:?}"
    );
}

/// A name that is cut for the CONTEXT ends with a character that LATIN1 does not have.
#[test]
fn a_long_name_in_latin1_keeps_the_outcome() {
    let mut world = World::in_encoding(Encoding::Latin1);
    world.sandbox.fault(json!({"status": 400, "body": ""}));
    let error = world.error(&format!("SELECT sequin_create('s', 'salesforce:{}', '{{}}')", "x".repeat(80)));
    assert_eq!(error.code().code(), "HV024");
    let context = error.where_().unwrap_or_default();
    assert!(context.contains("xxx\\u2026 through server"), "{context}");
}

/// SQL_ASCII bytes have no known meaning: UTF-8 passes as it is, and any other text is refused before it is sent.
#[test]
fn sql_ascii_passes_utf8_and_refuses_other_bytes() {
    let mut world = World::in_encoding(Encoding::SqlAscii);
    let data = "{\"Größe\": \"café 漢字 🪐\"}";
    assert_eq!(create(&mut world, data), data);
    let arrived: Value = serde_json::from_str(&world.body()).unwrap();
    assert_eq!(arrived["records"][0]["data"], serde_json::from_str::<Value>(data).unwrap());

    world.sandbox.clear_log();
    let bytes = "convert_from('\\xe9', 'SQL_ASCII')";
    let calls = [
        format!("sequin_create({TARGET}, jsonb_build_object('a', {bytes}))"),
        format!("sequin_create({bytes}, 'salesforce:contact', '{{}}')"),
        format!("sequin_create('s', 'salesforce:' || {bytes}, '{{}}')"),
        format!("sequin_update({TARGET}, {bytes}, '{{}}')"),
        format!("sequin_delete({TARGET}, {bytes})"),
        format!("sequin_create({TARGET}, '{{}}', await_consumers => ARRAY[{bytes}])"),
        format!("sequin_mutate('create', {TARGET}, jsonb_build_object('data', jsonb_build_object({bytes}, 1)))"),
    ];
    for call in calls {
        let error = world.error(&format!("SELECT {call}"));
        assert_eq!(error.code().code(), "22021", "{call}: {error:?}");
        assert_eq!(world.sent(), 0, "{call}");
    }
}

/// Whatever the reply holds, the outcome is the rows or "applied".
#[test]
fn a_reply_in_sql_ascii_is_read_or_reported_as_applied() {
    let mut world = World::in_encoding(Encoding::SqlAscii);
    for (record, column, shown) in [
        ("{\"data\":{\"a\":\"é漢🪐\"}}", "data", "{\"a\": \"é漢🪐\"}"),
        ("{\"id\":\"é漢🪐\"}", "id", "é漢🪐"),
        ("{\"id\":\"\\u00e9\\ud83e\\ude90\"}", "id", "é🪐"),
        ("{\"data\":{\"a\":\"\\u0041\\n\"}}", "data", "{\"a\": \"A\\n\"}"),
    ] {
        will_reply(&world, record);
        let read: String = world.one(&format!("SELECT {column}::text FROM sequin_create({TARGET}, '{{}}')"));
        assert_eq!(read, shown, "{record}");
    }
    // Postgres takes no such escape in this encoding.
    for record in ["{\"data\":{\"a\":\"\\u00e9\"}}", "{\"more\":\"\\ud83e\\ude90\"}"] {
        will_reply(&world, record);
        let sql = format!("SELECT data::text, extra::text FROM sequin_create({TARGET}, '{{}}')");
        match world.client.query(&sql, &[]) {
            Ok(rows) => {
                let shown = |column| rows[0].get::<_, Option<String>>(column).unwrap_or_default();
                assert!(shown(0).contains('é') || shown(1).contains('🪐'), "{record}: {rows:?}");
            }
            Err(error) => assert_reported(error.as_db_error().unwrap(), "create", 1, "HV00M", &lost()),
        }
    }
}

/// A client with another encoding than the database must still learn the outcome of the mutation.
#[test]
fn an_error_text_that_the_client_cannot_show_does_not_hide_the_outcome() {
    let world = World::new();
    for (status, state, outcome) in [(400, "HV024", "rejected"), (504, "HV00K", "unknown")] {
        for (text, docs) in [("無効 🪐", json!([])), ("x", json!(["無効 🪐"]))] {
            let body = json!({"error": text, "docs": docs}).to_string();
            world.sandbox.fault(json!({"status": status, "body": body}));
            let mut psql = world.database.server().psql_command(world.database.name());
            psql.args(["-v", "VERBOSITY=verbose", "-c", "SET client_encoding = 'LATIN1'"]);
            psql.args(["-c", &format!("SELECT sequin_create({TARGET}, '{{}}')")]);
            let output = psql.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.starts_with(&format!("ERROR:  {state}: ")), "{said}");
            assert!(said.contains(&format!("{{\"outcome\": \"{outcome}\"")), "{said}");
        }
    }
}
