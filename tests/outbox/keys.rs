//! A row has one key, whatever the settings of the sessions that write it.

use serde_json::{Value, json};

use crate::support::{Session, World, request};

/// Column types whose text depends on a setting: a value, and two settings that print it in two ways.
const TYPES: [(&str, &str, [&str; 2]); 10] = [
    ("timestamptz", "'2026-05-01 12:00:00.5+00'", ["timezone = 'Europe/Berlin'", "timezone = 'Asia/Tokyo'"]),
    ("tstzrange", "'[2026-05-01 12:00+00,)'", ["timezone = 'Europe/Berlin'", "datestyle = 'German'"]),
    ("date", "'2026-05-01'", ["datestyle = 'SQL, DMY'", "datestyle = 'Postgres'"]),
    ("daterange", "'[2026-05-01,2026-06-01)'", ["datestyle = 'SQL, DMY'", "datestyle = 'ISO'"]),
    ("interval", "'-1 day +02:00'", ["intervalstyle = 'iso_8601'", "intervalstyle = 'sql_standard'"]),
    ("bytea", r"'\x5c00ff'", ["bytea_output = 'escape'", "bytea_output = 'hex'"]),
    ("float8", "0.1::float8 + 0.2", ["extra_float_digits = 0", "extra_float_digits = -3"]),
    ("money", "1234.5", ["lc_monetary = 'C'", "lc_monetary = 'C.UTF-8'"]),
    ("timestamptz[]", "'{2026-05-01 12:00+00}'", ["timezone = 'America/Lima'", "datestyle = 'SQL'"]),
    ("regclass", "'kept.thing'", ["search_path = kept, public", "search_path = public"]),
];

#[test]
fn sessions_with_different_settings_write_one_row() {
    let mut world = World::new();
    world.run("CREATE SCHEMA kept; CREATE TABLE kept.thing ()");
    for (kind, value, [one, other]) in TYPES {
        world.run(&format!(
            "DROP TABLE IF EXISTS event; CREATE TABLE event (at {kind}, id int, name text, sf_id text, PRIMARY KEY (id, at));
             SELECT sequin_attach('event', 'sync', 'salesforce:event', 'sf_id');
             SELECT sequin_pause('sequin')"
        ));
        world.run(&format!("SET {one}; INSERT INTO event VALUES ({value}, 1, 'Paul'); RESET ALL"));
        world.run(&format!("SET {other}; UPDATE public.event SET name = 'Usul' WHERE id = 1; RESET ALL"));
        let keys = "SELECT count(DISTINCT ordering_key) FROM sequin.outbox";
        assert_eq!(world.one::<i64>(keys), 1, "{kind}");
        world.run("SELECT sequin_resume('sequin')");
        world.written_back();
        // The update has become a part of the create that it waited for, and the row was found by its key.
        assert_eq!(world.requests(), [request("create", json!([{"data": {"name": "Usul"}}]))], "{kind}");
        assert!(world.one::<Option<String>>("SELECT sf_id FROM event").is_some(), "{kind}");
    }
}

#[test]
fn what_is_sent_is_the_same_from_every_session() {
    let mut world = World::new();
    world.run("CREATE SCHEMA kept; CREATE TABLE kept.thing ()");
    for (kind, value, [one, other]) in TYPES {
        for delivery in ["inline", "outbox"] {
            world.run(&format!(
                "DROP TABLE IF EXISTS event; CREATE TABLE event (id int PRIMARY KEY, at {kind}, sf_id text);
                 SELECT sequin_attach('event', 'sync', 'salesforce:event', 'sf_id', delivery => '{delivery}')"
            ));
            for (id, setting) in [(1, one), (2, other)] {
                world.run(&format!("SET {setting}; INSERT INTO public.event VALUES ({id}, {value}); RESET ALL"));
                // The same value is no change, in whichever session it is written.
                world.run(&format!("SET {other}; UPDATE public.event SET at = {value} WHERE id = {id}; RESET ALL"));
            }
            world.settled();
            let sent: Vec<Value> =
                world.requests().into_iter().map(|(_, records)| records[0]["data"]["at"].clone()).collect();
            assert_eq!((sent.len(), &sent[0]), (2, &sent[1]), "{kind} {delivery}");
        }
    }
}

#[test]
fn a_key_in_another_form_would_be_another_key() {
    let mut world = World::new();
    world.run(
        "CREATE EXTENSION citext; CREATE TABLE t (id citext PRIMARY KEY, name text, sf_id text);
         SELECT sequin_attach('t', 'sync', 'salesforce:contact', 'sf_id');
         INSERT INTO t VALUES ('Paul', 'x')",
    );
    world.written_back();
    let error = world.error("UPDATE t SET id = 'PAUL'");
    assert_eq!(
        (error.code().code(), error.message()),
        ("55000", "the UPDATE writes the primary key of a row of public.t in another form, [\"PAUL\"]")
    );
    assert!(error.hint().unwrap().contains("delivery => 'inline'"), "{error:?}");
    let error = world.error("UPDATE t SET id = 'Leto'");
    assert!(error.message().contains("changes the primary key of a row of public.t to [\"Leto\"]"), "{error:?}");
}

#[test]
fn a_setting_that_a_function_makes_stays() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE event (id int PRIMARY KEY, at timestamptz, sf_id text);
         SELECT sequin_attach('event', 'sync', 'salesforce:event', 'sf_id');
         SET timezone = 'Europe/Berlin'; INSERT INTO event VALUES (1, '2026-05-01 12:00+00')",
    );
    assert_eq!(world.one::<String>("SELECT current_setting('timezone')"), "Europe/Berlin");
    assert_eq!(world.one::<String>("SELECT at::text FROM event"), "2026-05-01 14:00:00+02");
    world.settled();
    assert_eq!(world.requests()[0].1[0]["data"]["at"], json!("2026-05-01T12:00:00+00:00"));
}
