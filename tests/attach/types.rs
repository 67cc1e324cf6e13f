//! Every type is sent as `to_jsonb` prints it. A column is changed if this value differs.

use serde_json::Value;

use super::sent;
use crate::support::{Session, World};

const TYPES: &str = "
    CREATE TYPE mood AS ENUM ('glad', 'sad ''\"\\');
    CREATE DOMAIN positive AS numeric CHECK (value > 0);
    CREATE DOMAIN tags AS text[];
    CREATE TYPE pair AS (a int, b text);
    CREATE TYPE odd AS (a int, j json);
    CREATE DOMAIN pairs AS pair CHECK ((value).a > 0)";

fn attached_with(world: &mut World, column_type: &str) {
    world.run(&format!(
        "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, v {column_type}, sf_id text);
         SELECT sequin_attach('t', 's', 'salesforce:contact', 'sf_id', delivery => 'inline')"
    ));
}

/// The value of `v` in the only request, as it was written.
fn written(world: &World) -> String {
    let body = world.body();
    let start = body.find("\"v\":").unwrap_or_else(|| panic!("{body}")) + 4;
    body[start..].trim_end_matches(['}', ']']).to_owned()
}

#[test]
fn values_are_sent_as_to_jsonb_gives_them() {
    let cases = [
        ("numeric", "1.10"),
        ("numeric(10,3)", "1.1"),
        ("numeric", "'NaN'"),
        ("numeric", "'-Infinity'"),
        ("numeric", "repeat('9', 400)::numeric + 0.00001"),
        ("numeric", "1e-300"),
        ("bigint", "9223372036854775807"),
        ("float8", "0.1::float8 + 0.2"),
        ("float8", "'Infinity'"),
        ("float4", "1e-40"),
        ("money", "1234.5"),
        ("timestamptz", "'2024-02-29 23:59:59.999999+05:30'"),
        ("timestamptz", "'infinity'"),
        ("timestamp", "'0044-03-15 BC'"),
        ("date", "'2024-02-29'"),
        ("time", "'12:34:56.7'"),
        ("interval", "'1 year -2 days'"),
        ("boolean", "true"),
        ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
        ("bytea", r"'\x00ff5c'"),
        ("text", r#"E'a\\b"\n\t\u0001 é 雪 😀'"#),
        ("char(5)", "'ab'"),
        ("\"char\"", "'x'"),
        ("varchar(5)", "'ab '"),
        ("int[]", "'{1,NULL,3}'"),
        ("text[][]", r#"'{{"a",NULL},{"c\"","d"}}'"#),
        ("numeric[]", "'{1.10,NaN}'"),
        ("int[]", "'[5:6]={1,2}'"),
        ("int4range", "'[1,5]'"),
        ("tstzrange", "'(,2024-01-01)'"),
        ("int4multirange", "'{[1,3),[5,7)}'"),
        ("mood", "'sad ''\"\\'"),
        ("mood[]", "'{glad}'"),
        ("positive", "1.50"),
        ("tags", "'{a,b}'"),
        ("pair", "ROW(1, 'x')"),
        ("pair", "ROW(NULL, NULL)"),
        ("pairs", "ROW(1, NULL)"),
        ("pair[]", "ARRAY[ROW(1, 'x')::pair]"),
        ("odd", "ROW(1, '{\"b\":1.10,  \"a\":2}')"),
        ("json", "'{\"b\":1.10,\"a\":[1, 2 ],\"b\":2}'"),
        ("json", "'null'"),
        ("jsonb", "'{\"b\":1.10,\"a\":null}'"),
        ("jsonb", "'\"text\"'"),
        ("json[]", "ARRAY['{}'::json]"),
        ("xml", "'<a b=\"c\">&amp;</a>'"),
        ("point", "'(1,2)'"),
        ("polygon", "'((0,0),(1,1))'"),
        ("inet", "'10.0.0.1/8'"),
        ("bit varying", "B'101'"),
        ("tsvector", "'a b'"),
        ("regclass", "'pg_class'"),
        ("oid", "4294967295"),
    ];
    let mut world = World::new();
    world.run(TYPES);
    let mut wrong = Vec::new();
    for (column_type, value) in cases {
        attached_with(&mut world, column_type);

        if let Err(error) = world.client.batch_execute(&format!("INSERT INTO t VALUES (1, {value})")) {
            wrong.push(format!("{column_type} {value}: {error:?}"));
            continue;
        }
        let judge: String = world.one("SELECT to_jsonb(v)::text FROM t");
        let (seen, same) = compare(&mut world, &judge);
        if !same {
            wrong.push(format!("{column_type} {value}: {seen} for {judge}"));
        }
        // From NULL to it, to itself, to NULL.
        world.run("UPDATE t SET v = NULL");
        let gone = world.bodies().len();
        let back = world.client.batch_execute(&format!("UPDATE t SET v = {value}"));
        let (came, same) = (back.is_ok(), compare(&mut world, &judge).1);
        world.run(&format!("UPDATE t SET v = {value}"));
        let again = world.bodies().len();
        if (gone, came, same, again) != (1, true, true, 0) {
            wrong
                .push(format!("{column_type} {value}: to NULL {gone} requests, back {same}, itself {again}: {back:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The sent value, and whether it is Postgres' own text except for blanks.
fn compare(world: &mut World, judge: &str) -> (String, bool) {
    let bodies = world.bodies();
    let [body] = &bodies[..] else { return (format!("{bodies:?}"), false) };
    let data: String = world.one_of("SELECT (($1::text::jsonb) #> '{records,0,data,v}')::text", &[&body]);
    let same = data == judge;
    (data, same)
}

#[test]
fn a_number_keeps_its_zeros() {
    let mut world = World::new();
    attached_with(&mut world, "numeric");
    world.run("INSERT INTO t VALUES (1, 1.10)");
    assert_eq!(written(&world), "1.10");
    world.run("UPDATE t SET v = 20.00");
    assert_eq!(written(&world), "20.00");
}

#[test]
fn a_change_is_another_text_even_if_the_type_takes_both_for_equal() {
    // Type, before, after; the judge is the text of both, whatever the type's equality or its collation say.
    let cases = [
        ("numeric", "1.10", "1.1"),
        ("numeric", "'NaN'", "'NaN'"),
        ("numeric", "'NaN'", "1"),
        ("float8", "0", "'-0'"),
        ("text", "'a'", "'A'"),
        ("text", "''", "NULL"),
        ("text", "'a'", "'a '"),
        ("char(5)", "'a'", "'a '"),
        ("text COLLATE blind", "'a'", "'A'"),
        ("timestamptz", "'2024-01-01 00:00+00'", "'2024-01-01 01:00+01'"),
        ("interval", "'24:00'", "'1 day'"),
        ("jsonb", "'{\"a\": 1.0, \"b\":2}'", "'{\"b\":2, \"a\":1}'"),
        ("jsonb", "NULL", "'null'"),
        ("json", "'{\"a\":1}'", "'{\"a\": 1}'"),
        ("json", "'{\"a\":1}'", "'{\"a\":1}'"),
        ("json", "'1'", "NULL"),
        ("xml", "'<a/>'", "'<a/>'"),
        ("xml", "'<a/>'", "'<b/>'"),
        ("point", "'(1,2)'", "'(1,2)'"),
        ("point", "'(1,2)'", "'(1,3)'"),
        ("box", "'(0,0),(2,1)'", "'(0,0),(1,2)'"),
        ("json[]", "ARRAY['1'::json]", "ARRAY['1 '::json]"),
        ("odd", "ROW(1,'1')", "ROW(1,'2')"),
        ("odd", "ROW(1,'1')", "ROW(1,'1')"),
        ("pair", "ROW(1,'x')", "ROW(1,NULL)"),
        ("pair", "ROW(1,'x')", "ROW(1,'x')"),
        ("pair", "NULL", "ROW(NULL,NULL)"),
        ("pair", "ROW(NULL,NULL)", "NULL"),
        ("pair", "ROW(NULL,NULL)", "ROW(NULL,NULL)"),
        ("pair", "ROW(1,NULL)", "ROW(NULL,NULL)"),
        ("mood", "'glad'", "'glad'"),
        ("tags", "'{a}'", "'{a,NULL}'"),
        ("int[]", "'{1,2}'", "'[5:6]={1,2}'"),
        ("int4range", "'[1,2]'", "'[1,3)'"),
        ("positive", "1.50", "1.5"),
        ("xid", "'1'", "'2'"),
        ("aclitem", "'=r/postgres'", "'=r/postgres'"),
    ];
    let mut world = World::new();
    world.run(TYPES);
    world.run("CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)");
    let superuser: String = world.one("SELECT current_user::text");
    let mut wrong = Vec::new();
    for (column_type, before, after) in cases {
        let after = after.replace("postgres", &superuser);
        attached_with(&mut world, column_type);
        world.run(&format!("INSERT INTO t VALUES (1, {})", before.replace("postgres", &superuser)));
        world.bodies();
        let plain = column_type.split(' ').next().unwrap();
        let is_change: bool = world.one(&format!(
            "SELECT v::text COLLATE \"C\" IS DISTINCT FROM ({after})::{plain}::text COLLATE \"C\" FROM t"
        ));
        match world.client.batch_execute(&format!("UPDATE t SET v = {after}")) {
            Ok(()) => {
                let sent = world.bodies().len();
                if sent != usize::from(is_change) {
                    wrong
                        .push(format!("{column_type} {before} -> {after}: {sent} requests, another text: {is_change}"));
                }
            }
            Err(error) => wrong.push(format!("{column_type} {before} -> {after}: {error:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nulls_are_json_nulls() {
    let mut world = World::new();
    for column_type in ["int", "text", "json", "jsonb", "point", "int[]"] {
        attached_with(&mut world, column_type);
        world.run("INSERT INTO t VALUES (1, NULL)");
        assert_eq!(sent(&world)[0].1[0]["data"]["v"], Value::Null);
        world.run("UPDATE t SET v = NULL");
        assert_eq!(world.bodies().len(), 0, "{column_type}");
    }
}
