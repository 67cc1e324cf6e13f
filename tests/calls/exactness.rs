//! Every jsonb passes digit for digit and key for key, both ways. Postgres is the judge: the request in the sandbox and
//! the returned record must print as the same jsonb.

use serde_json::json;

use crate::support::{Session, TARGET, World};

/// Sends each text as the data of one record, all in one request, and compares both ways.
pub fn all_pass(world: &mut World, data: &[String]) {
    world.run("CREATE TEMP TABLE IF NOT EXISTS passed (n int, sent text, received text)");
    world.run("TRUNCATE passed");
    let rows = world.rows(
        "INSERT INTO passed
         SELECT came.ordinality, went.text::jsonb::text, came.data::text
         FROM unnest($1::text[]) WITH ORDINALITY AS went(text, n)
         JOIN ROWS FROM (sequin_mutate('create', 'sync', 'salesforce:contact',
             (SELECT jsonb_agg(jsonb_build_object('data', text::jsonb) ORDER BY n)
              FROM unnest($1::text[]) WITH ORDINALITY AS all_of(text, n)))) WITH ORDINALITY AS came ON came.ordinality = went.n
         RETURNING n, sent = received, sent, received",
        &[&data],
    );
    assert_eq!(rows.len(), data.len());
    for row in rows {
        assert!(row.get::<_, bool>(1), "came back: {:?}", (row.get::<_, String>(2), row.get::<_, String>(3)));
    }
    let body = world.body();
    let arrived = world.rows(
        "SELECT sent, (element->'data')::text
         FROM jsonb_array_elements($1::text::jsonb->'records') WITH ORDINALITY AS arrived(element, n) JOIN passed USING (n)",
        &[&body],
    );
    assert_eq!(arrived.len(), data.len());
    for row in arrived {
        assert_eq!(row.get::<_, String>(0), row.get::<_, String>(1), "what arrived");
    }
}

fn in_objects(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| format!("{{\"v\": {value}, \"w\": [{value}, {value}]}}")).collect()
}

#[test]
fn numbers_keep_every_digit() {
    let long = format!("{}.{}", "9".repeat(5_000), "1".repeat(5_000));
    let values = [
        "0",
        "-0",
        "-0.0",
        "0.0",
        "0.00",
        "1.10",
        "-1.10",
        "1e2",
        "1E+2",
        "1.0e-2",
        "100",
        "1e20",
        "0.1",
        "1e-7",
        "12345678901234567890.123",
        "9007199254740993",
        "-9223372036854775809",
        "18446744073709551616",
        "1e400",
        "-1e400",
        "1e-400",
        "1.7976931348623157e309",
        "5e-324",
        "0.30000000000000004",
        "1e16000",
        "1e-16000",
        "123456789012345678901234567890123456789012345678901234567890.12345678901234567890",
        &long,
    ];
    all_pass(&mut World::new(), &in_objects(&values));
}

#[test]
fn texts_keep_every_character() {
    let mut values: Vec<String> = [
        r#""""#,
        r#""\"""#,
        r#""\\""#,
        r#""\\\"\\""#,
        r#""\/""#,
        r#""a\nb\r\tc\b\f""#,
        r#""\u0001\u001f\u007f\u0080\u009f""#,
        r#""'; DROP TABLE passed; --""#,
        r#""$$ $1 %s {} \\u0041""#,
        r#""\ud83e\ude90""#,
        r#""🪐👩‍🚀é é ñ ß""#,
        r#""\u2028\u2029\u200b\ufeff\u202e""#,
        r#""\uffff \ufffd \udbff\udfff""#,
        r#""العربية עברית 漢字 한국어""#,
        r#""null""#,
        r#""1e400""#,
        r#""]}""#,
        r#""records""#,
    ]
    .map(str::to_owned)
    .into();
    // Each escape at each distance from the beginning: scanners take eight or sixteen bytes at a time.
    for length in 0..40 {
        for odd in ["\\\"", "\\\\", "\\n", "é", "\\u0007"] {
            values.push(format!("\"{}{odd}{}\"", "x".repeat(length), "y".repeat(40 - length)));
        }
    }
    for length in [0, 1, 62, 63, 64, 126, 127, 128, 129, 255, 256, 4_095, 65_535, 65_536, 1_000_000] {
        values.push(format!("\"{}\"", "z".repeat(length)));
    }
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    all_pass(&mut World::new(), &in_objects(&values));
}

#[test]
fn keys_stay_what_they_are() {
    let many: Vec<String> = (0..1_000).map(|n| format!("\"key {n}\": {n}.50")).collect();
    let data = [
        r#"{}"#.to_owned(),
        r#"{"": 1, " ": 2, "  ": 3}"#.into(),
        r#"{"a": 1, "A": 2, "á": 3, "á": 4, "ａ": 5}"#.into(),
        r#"{"data": {"data": {}}, "records": [], "upstream_id": 7, "kind": "delete", "sync_id": null}"#.into(),
        r#"{"\"": 1, "\\": 2, "\n": 3, "\u0001": 4, "\\u0061": 5, "\ud83e\ude90": 6, "'": 7, ":": 8, ",": 9}"#.into(),
        r#"{"1": 1, "01": 2, "1.0": 3, "true": true, "null": null, "[]": [], "{}": {}}"#.into(),
        r#"{"twice": 1, "twice": 2, "b": {"x": 1, "\u0078": 2}}"#.into(),
        format!("{{{}}}", many.join(",")),
        format!("{{\"{}\": 1}}", "k".repeat(10_000)),
    ];
    all_pass(&mut World::new(), &data);
}

/// jsonb packs its elements, pads some of them, and writes every 32nd place in another way.
#[test]
fn containers_of_every_size_and_mixture_pass() {
    let mut data = Vec::new();
    for size in (0..70).chain([127, 128, 129, 1_000]) {
        let mixed = |n: usize| match n % 7 {
            0 => format!("{n}.{n:03}"),
            1 => format!("\"{}\"", "s".repeat(n % 11)),
            2 => "null".into(),
            3 => "[]".into(),
            4 => "{}".into(),
            5 => (n > 6).to_string(),
            _ => format!("[{n}, {{\"n\": {n}}}]"),
        };
        let elements: Vec<String> = (0..size).map(mixed).collect();
        let fields: Vec<String> = (0..size).map(|n| format!("\"{}{n}\": {}", "k".repeat(n % 5), mixed(n))).collect();
        data.push(format!("{{\"array\": [{}], \"object\": {{{}}}}}", elements.join(","), fields.join(",")));
    }
    all_pass(&mut World::new(), &data);
}

/// However JSON spells them, values are those that Postgres itself would read from the reply.
#[test]
fn a_reply_is_read_as_postgres_reads_json() {
    let mut world = World::new();
    let values = [
        "1.10",
        "1E5",
        "1.0e+2",
        "-0",
        "-0.0",
        "1e131071",
        "1e-16383",
        "0.1e1",
        "123456789012345678901234567890.10",
        r#""\u00e9\u00E9\u000a\/\b""#,
        r#""\ud83d\ude80""#,
        "\"\u{7f}\u{80}\u{2028}\"",
        "[ 1 ,\n2\t,\r3 ]",
        "[[[]]]",
        r#"{"b":1,"a":2,"b":3}"#,
        r#"{"\u0061":1,"a":2}"#,
        r#"{ "" : { } }"#,
        r#""]},{""#,
        r#""\\""#,
        r#""\\\"""#,
        "null",
        "true",
        "\"\"",
    ];
    for value in values {
        let body = format!(" {{ \"records\" : [ {{ \"data\" : {{\"v\":{value}}} , \"more\":{value} }} ] }} ");
        world.sandbox.fault(json!({"body": body}));
        let read = world.rows(
            "SELECT (data->'v')::text, (extra->'more')::text, ($2::text::jsonb)::text
             FROM sequin_mutate('create', 'sync', 'salesforce:contact', $1::text::jsonb)",
            &[&r#"{"data":{}}"#, &value],
        );
        let expected: String = read[0].get(2);
        assert_eq!((read[0].get::<_, String>(0), read[0].get::<_, String>(1)), (expected.clone(), expected), "{value}");
    }
}

#[test]
fn deep_nesting_passes() {
    let mut world = World::new();
    // The stack that Postgres itself needs to read such texts.
    world.run("SET max_stack_depth = '6MB'");
    for depth in [100, 127, 128, 129, 1_000, 10_000] {
        let arrays = format!("{{\"v\": {}1.10{}}}", "[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1.10{}", "{\"k\": ".repeat(depth), "}".repeat(depth));
        all_pass(&mut world, &[arrays, objects]);
    }
}

/// Deeper than Postgres can read with this setting: it is sent and reported as applied, or refused before.
#[test]
fn nesting_that_postgres_refuses_does_no_harm() {
    let mut world = World::new();
    world.run(
        "SET max_stack_depth = '6MB';
         CREATE TABLE deep AS SELECT ('{\"v\":' || repeat('[', 10000) || repeat(']', 10000) || '}')::jsonb AS data;
         SET max_stack_depth = '1MB'",
    );
    match world.client.query(&format!("SELECT sequin_create({TARGET}, data) FROM deep"), &[]) {
        Ok(_) => assert_eq!(world.sent(), 1),
        Err(error) => {
            let code = error.as_db_error().unwrap_or_else(|| panic!("{error}")).code().code().to_owned();
            let sent = world.sent();
            assert!([("54001", 0), ("HV00M", 1)].contains(&(&code, sent)), "{error:?} after {sent}");
        }
    }
    world.run(&format!("SELECT sequin_create({TARGET}, '{{}}')"));
}
