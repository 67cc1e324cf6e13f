//! The refusals of `sequin_attach`, with their messages; who may call it.

use super::book;
use crate::support::{Session, World, hint_of};

fn table() -> World {
    let mut world = World::new();
    world.run(
        "CREATE TABLE t (id int PRIMARY KEY, name text, n int, sf_id text, gen text GENERATED ALWAYS AS (name) STORED, key text UNIQUE);
         CREATE TABLE no_key (id int, sf_id text); CREATE TABLE text_key (sf_id text PRIMARY KEY, n int);
         CREATE TABLE only_key (id int PRIMARY KEY, sf_id text);
         CREATE VIEW v AS SELECT * FROM t; CREATE MATERIALIZED VIEW m AS SELECT * FROM t; CREATE SEQUENCE s;
         CREATE FOREIGN DATA WRAPPER other; CREATE SERVER other FOREIGN DATA WRAPPER other;
         CREATE FOREIGN TABLE f (id int, name text, sf_id text) SERVER other",
    );
    world
}

/// A call with its first four arguments, and those behind.
fn call(target: &str, sync: &str, collection: &str, column: &str, more: &str) -> String {
    let delivery = if more.contains("delivery") { "" } else { ", delivery => 'inline'" };
    format!("SELECT sequin_attach({target}, {sync}, {collection}, {column}{more}{delivery})")
}

#[test]
fn what_is_refused() {
    let contact = "'salesforce:contact'";
    let plain = |more: &str| call("'t'", "'s'", contact, "'sf_id'", more);
    let cases = [
        (call("NULL", "'s'", contact, "'sf_id'", ""), "22004", "target must not be NULL"),
        (call("'t'", "NULL", contact, "'sf_id'", ""), "22004", "sync_id must not be NULL"),
        (call("'t'", "'s'", "NULL", "'sf_id'", ""), "22004", "collection_id must not be NULL"),
        (call("'t'", "'s'", contact, "NULL", ""), "22004", "upstream_id_column must not be NULL"),
        (plain(", delivery => NULL"), "22004", "delivery must not be NULL"),
        (plain(", operations => NULL"), "22004", "operations must not be NULL"),
        (plain(", operations => '{insert,NULL}'"), "22004", "operations must not be NULL"),
        (plain(", await_consumers => '{a,NULL}'"), "22004", "await_consumers[2] must not be NULL"),
        (call("'t'", "' '", contact, "'sf_id'", ""), "22023", "sync_id must not be empty"),
        (call("'t'", "'s'", "' '", "'sf_id'", ""), "22023", "collection_id must not be empty"),
        (plain(", timeout_ms => -1"), "22023", "timeout_ms must not be negative, but is -1"),
        (plain(", await_consumers => '{a,\"\"}'"), "22023", "await_consumers[2] must not be empty"),
        (
            plain(", operations => '{insert,truncate}'"),
            "22023",
            "unknown operation \"truncate\": it must be insert, update or delete",
        ),
        (plain(", operations => '{}'"), "22023", "operations must not be empty"),
        (plain(", delivery => 'later'"), "22023", "unknown delivery \"later\": it must be inline or outbox"),
        (
            plain(", '[]'"),
            "22023",
            "fields must be a JSON object from column to field, as in {\"first_name\": \"FirstName\"}",
        ),
        (
            plain(", 'null'"),
            "22023",
            "fields must be a JSON object from column to field, as in {\"first_name\": \"FirstName\"}",
        ),
        (
            plain(", '{\"name\": 1}'"),
            "22023",
            "fields must be a JSON object from column to field, as in {\"first_name\": \"FirstName\"}",
        ),
        (plain(", '{}'"), "22023", "fields must map at least one column"),
        (plain(", '{\"name\": \"\"}'"), "22023", "fields maps the column \"name\" to an empty field"),
        (plain(", '{\"name\": \"N\", \"n\": \"N\"}'"), "22023", "fields maps two columns to the field \"N\""),
        (plain(", '{\"nmae\": \"N\"}'"), "42703", "column \"nmae\" of public.t does not exist"),
        (plain(", '{\"ctid\": \"N\"}'"), "42703", "column \"ctid\" of public.t does not exist"),
        (call("'t'", "'s'", contact, "'SF_ID'", ""), "42703", "column \"SF_ID\" of public.t does not exist"),
        (
            call("'t'", "'s'", contact, "'n'", ""),
            "22023",
            "column \"n\" of public.t cannot hold upstream ids: it is not text",
        ),
        (
            call("'t'", "'s'", contact, "'gen'", ""),
            "22023",
            "column \"gen\" of public.t cannot hold upstream ids: it is generated",
        ),
        (
            call("'text_key'", "'s'", contact, "'sf_id'", ""),
            "22023",
            "column \"sf_id\" of public.text_key cannot hold upstream ids: it is in the primary key",
        ),
        (
            plain(", '{\"sf_id\": \"Id\"}'"),
            "22023",
            "column \"sf_id\" of public.t cannot be in fields: it holds the upstream ids",
        ),
        (call("'no_key'", "'s'", contact, "'sf_id'", ""), "55000", "public.no_key has no primary key"),
        (call("'only_key'", "'s'", contact, "'sf_id'", ""), "55000", "public.only_key has no column to send"),
        (call("'v'", "'s'", contact, "'sf_id'", ""), "42809", "only a table can be attached"),
        (call("'m'", "'s'", contact, "'sf_id'", ""), "42809", "only a table can be attached"),
        (call("'s'", "'s'", contact, "'sf_id'", ""), "42809", "only a table can be attached"),
        (call("'f'", "'s'", contact, "'sf_id'", ""), "42809", "only a table can be attached"),
        (call("'t_pkey'", "'s'", contact, "'sf_id'", ""), "42809", "only a table can be attached"),
        (plain(", server => 'nobody'"), "42704", "server \"nobody\" does not exist"),
        (
            plain(", server => 'other'"),
            "42704",
            "server \"other\" belongs to the foreign-data wrapper \"other\", not to \"sequin_mutations\"",
        ),
        ("SELECT sequin_detach('t')".to_owned(), "42704", "public.t is not attached"),
        ("SELECT sequin_detach(NULL)".to_owned(), "22004", "target must not be NULL"),
    ];
    let mut world = table();
    let mut wrong = Vec::new();
    for (sql, code, message) in cases {
        let Err(error) = world.client.batch_execute(&sql) else {
            wrong.push(format!("no error: {sql}"));
            world.run("DO $$ BEGIN PERFORM sequin_detach(relation) FROM sequin.attachments; END $$");
            continue;
        };
        let error = error.as_db_error().unwrap();
        let seen = (error.code().code(), error.message(), !hint_of(error).is_empty());
        if seen != (code, message, true) {
            wrong.push(format!("{sql}: expected {code} {message}, hint; seen {seen:?}"));
        }
    }
    world.assert_untouched("attaching");
    assert_eq!(world.rows("SELECT FROM sequin.attachments", &[]).len(), 0);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn one_table_has_one_attachment() {
    let mut world = book();
    for collection in ["salesforce:contact", "hubspot:person"] {
        let error = world.error(&call("'people'", "'s'", &format!("'{collection}'"), "'sf_id'", ""));
        assert_eq!((error.code().code(), error.message()), ("42710", "public.people is already attached"));
        assert!(hint_of(&error).contains("sequin_detach"), "{error:?}");
    }
    world.run("SELECT sequin_detach('people')");
    world.run(&call("'people'", "'s'", "'hubspot:person'", "'sf_id'", ", operations => '{delete,insert,insert}'"));
    assert_eq!(world.one::<Vec<String>>("SELECT operations FROM sequin.attachments"), ["delete", "insert"]);
}

#[test]
fn operations_that_were_not_named_send_nothing() {
    for (operation, expected) in [("insert", "create"), ("update", "update"), ("delete", "delete")] {
        let mut world = World::new();
        world.run("CREATE TABLE t (id int PRIMARY KEY, name text, sf_id text)");
        world.run(&call("'t'", "'s'", "'salesforce:contact'", "'sf_id'", ""));
        world.run("INSERT INTO t VALUES (1, 'a'); SELECT sequin_detach('t')");
        world.run(&call(
            "'t'",
            "'s'",
            "'salesforce:contact'",
            "'sf_id'",
            &format!(", operations => '{{{operation}}}'"),
        ));
        world.bodies();
        world.run("INSERT INTO t VALUES (2, 'b'); UPDATE t SET name = 'c' WHERE id = 1; DELETE FROM t WHERE id = 1");
        assert_eq!(super::statements::summary(&world), format!("{expected} 1"));
    }
}

#[test]
fn all_of_an_attachment_is_shown() {
    let mut world = table();
    world.run(&call("'t'", "'s é'", "'salesforce:contact'", "'sf_id'",
        ", '{\"name\": \"N\"}', operations => '{update}', await_consumers => '{b,a}', timeout_ms => 0, server => 'sequin'"));
    let shown: String = world.one("SELECT to_jsonb(a)::text FROM sequin.attachments a");
    let expected: String = world.one(
        "SELECT jsonb_build_object('relation', 't', 'sync_id', 's é', 'collection_id', 'salesforce:contact', 'upstream_id_column',
         'sf_id', 'fields', '{\"name\": \"N\"}'::jsonb, 'delivery', 'inline', 'operations', '{update}'::text[], 'await_consumers',
         '{b,a}'::text[], 'timeout_ms', 0, 'server', 'sequin')::text",
    );
    assert_eq!(shown, expected);
}

#[test]
fn an_owner_who_is_no_superuser_can_attach() {
    let mut world = table();
    let owner = format!("owner_{}", world.database.name());
    world.run(&format!("CREATE ROLE {owner} LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO {owner}"));
    let sql = call("'mine'", "'s'", "'salesforce:contact'", "'sf_id'", "");
    let mut session = world.database.connect_as(&owner);
    session.run("CREATE TABLE mine (id int PRIMARY KEY, name text, sf_id text)");
    // Each of these is needed, in this order, and no other: the schema and the view are open to all.
    let grants = [
        "EXECUTE ON FUNCTION sequin_attach, sequin_detach",
        "USAGE ON FOREIGN SERVER sequin",
        "EXECUTE ON FUNCTION sequin.capture",
        "EXECUTE ON FUNCTION sequin.refuse_truncate",
    ];
    let mut path = Vec::new();
    for grant in grants {
        match session.batch_execute(&sql) {
            Ok(()) => break,
            Err(error) => {
                assert_eq!(error.code().unwrap().code(), "42501", "{error}");
                path.push(format!("{} -> GRANT {grant}", error.as_db_error().unwrap().message()));
            }
        }
        world.run(&format!("GRANT {grant} TO {owner}"));
    }
    if session.rows("SELECT FROM pg_trigger WHERE tgrelid = 'mine'::regclass", &[]).is_empty() {
        session.batch_execute(&sql).unwrap_or_else(|error| panic!("{error:?} after {path:#?}"));
    }
    assert_eq!(path.len(), grants.len(), "{path:#?}");
    session.run("INSERT INTO mine VALUES (1, 'a'); UPDATE mine SET name = 'b'; DELETE FROM mine");
    assert_eq!(world.sent(), 3);
    let error = session.batch_execute(&call("'t'", "'s'", "'salesforce:contact'", "'sf_id'", "")).unwrap_err();
    assert_eq!(error.as_db_error().unwrap().message(), "must be owner of table public.t");
    world.run(&call("'t'", "'s'", "'salesforce:contact'", "'sf_id'", ""));
    let error = session.batch_execute("SELECT sequin_detach('t')").unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");
    session.run("SELECT sequin_detach('mine')");
    drop(session);
    world.run(&format!("DROP OWNED BY {owner}; DROP ROLE {owner}"));
}

#[test]
fn a_trigger_made_by_hand_does_not_break_the_view() {
    for argument in ["", "'x'", "'{}'", "'{\"sync_id\": 1}', 'y'"] {
        let mut world = book();
        world.run(&format!(
            "CREATE TABLE h (id int PRIMARY KEY); CREATE TRIGGER h AFTER INSERT ON h FOR EACH STATEMENT EXECUTE FUNCTION sequin.capture({argument})"
        ));
        let error = world.error("INSERT INTO h VALUES (1)");
        assert_eq!((error.code().code(), error.hint().is_some()), ("22023", true), "{error:?}");
        let rows = world
            .client
            .query("SELECT relation::text FROM sequin.attachments WHERE relation = 'people'::regclass", &[]);
        assert_eq!(rows.unwrap_or_else(|error| panic!("{argument}: {error:?}")).len(), 1, "{argument}");
    }
}

#[test]
fn a_trigger_made_by_hand_without_an_argument_is_not_shown() {
    let mut world = book();
    world.run(
        "CREATE TABLE other (id int PRIMARY KEY);
         CREATE TRIGGER by_hand AFTER INSERT ON other FOR EACH STATEMENT EXECUTE FUNCTION sequin.capture()",
    );
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.attachments"), 1);
    let error = world.error("INSERT INTO other VALUES (1)");
    assert_eq!(error.code().code(), "22023", "{error:?}");
}
