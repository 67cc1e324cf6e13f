//! Values that a database cannot store or read, and tables that damage the data for their write-back. Each affects only
//! itself.

use sequin_harness::{Encoding, literal};
use serde_json::json;

use super::BOOK;
use super::attached::book;
use crate::support::{Session, World, request};

/// The replies of many requests are written down together.
#[test]
fn a_reply_that_cannot_be_stored_costs_its_neighbours_nothing() {
    let mut world = World::in_encoding(Encoding::Latin1);
    let ids = world.contacts_made(3);
    let record = |id: &str, data: &str| format!("{{\"id\":\"1\",\"upstream_id\":\"{id}\",\"data\":{data}}}");
    let records =
        [record(&ids[0], "{\"a\":\"é\"}"), record(&ids[1], "{\"a\":\"€\"}"), record(&ids[2], "{\"a\":\"c\"}")];
    world.sandbox.fault(json!({"status": 200, "body": format!("{{\"records\":[{}]}}", records.join(","))}));
    let update = |id: &String| json!({"upstream_id": id, "data": {"n": 0}});
    world.enqueue("update", &ids.iter().map(update).collect());
    world.settled();
    assert_eq!(world.endings(), ["applied", "applied_reply_lost", "applied"]);
    let kept = world.rows("SELECT record->'data'->>'a' FROM sequin.delivered ORDER BY id", &[]);
    let kept: Vec<Option<&str>> = kept.iter().map(|row| row.get(0)).collect();
    assert_eq!(kept, [Some("é"), None, Some("c")]);
}

/// All later changes of the row need the id.
#[test]
fn an_upstream_id_is_kept_when_the_rest_of_its_reply_cannot_be() {
    let mut world = World::in_encoding(Encoding::Latin1);
    world.run(BOOK);
    let reply = "{\"records\":[{\"id\":\"1\",\"upstream_id\":\"é\",\"data\":{\"a\":\"€\"}}]}";
    world.sandbox.fault(json!({"status": 200, "body": reply}));
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.written_back();
    assert_eq!(world.endings(), ["applied_reply_lost"]);
    assert_eq!(world.sf_id().as_deref(), Some("é"));
}

#[test]
fn a_message_that_cannot_be_stored_does_not_end_the_worker() {
    let mut world = World::in_encoding(Encoding::Latin1);
    world.run(BOOK);
    world.run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'défense absolue'; END $$;
         CREATE TRIGGER fail BEFORE UPDATE OF sf_id ON people FOR EACH ROW EXECUTE FUNCTION fail();
         INSERT INTO people VALUES (1, 'Paul')",
    );
    world.until("SELECT EXISTS (SELECT FROM sequin.pending_upstream_ids WHERE error LIKE '%absolue%')");
}

/// The values of an attachment, in their order.
const ARRAY: &str = r#"["s", "salesforce:contact", "sf_id", null, "outbox"]"#;

/// Triggers made by hand, beside the table and on it. Queries of the attachments skip them.
#[test]
fn triggers_with_arguments_that_are_no_attachment_hold_nothing_up() {
    let mut world = book();
    let attachment: String = world.one(
        "SELECT convert_from(substr(tgargs, 1, octet_length(tgargs) - 1), 'UTF8') FROM pg_trigger
         WHERE tgname = 'sequin_insert'",
    );
    let with_nul = attachment.replace("contact", r"contact\u0000");
    let wrong_type = attachment.replace(r#""salesforce:contact""#, "[]");
    let nonsense = |world: &mut World, table: &str, n: usize, argument: &str| {
        world.run(&format!(
            "CREATE TRIGGER nonsense_{n} AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION
               sequin.capture({})",
            literal(argument)
        ));
    };
    world.run("CREATE TABLE beside (id int PRIMARY KEY)");
    (0..30).for_each(|n| nonsense(&mut world, "beside", n, " nonsense"));
    world.run("ANALYZE pg_trigger");
    world.hold_next();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.arrived(1);
    let arguments = [" nonsense", "", "{}", "null", "[1]", r#"{"sync_id": "s"}"#, ARRAY, &with_nul, &wrong_type];
    for (n, argument) in arguments.into_iter().enumerate() {
        nonsense(&mut world, "people", n, argument);
    }
    let workers: Vec<i32> = world.one("SELECT sequin.workers()");
    world.release();
    world.written_back();
    assert_eq!(world.one::<i64>("SELECT count(sf_id) FROM people"), 1);
    // One that has nothing to do may have come or gone.
    assert!(world.one_of::<bool>("SELECT sequin.workers() && $1", &[&workers]));
    let shown = world.rows("SELECT relation::text, collection_id FROM sequin.attachments", &[]);
    let shown: Vec<(String, String)> = shown.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(shown, [("people".into(), "salesforce:contact".into())]);
}

/// Arguments that cannot be converted, to UTF-8 or to jsonb, are skipped as well, and the others are shown.
#[test]
fn arguments_of_another_encoding_keep_nobody_from_reading_the_attachments() {
    for encoding in [Encoding::Latin1, Encoding::SqlAscii] {
        let mut world = World::in_encoding(encoding);
        let attachment = |column: &str| {
            format!(
                r#"{{"sync_id": "s", "collection_id": "salesforce:contact", "upstream_id_column": "{column}",
                    "delivery": "outbox"}}"#
            )
        };
        let columns = [r"\u20ac", r"\u00e9 é", r"\u0000", "a\\", "é", "plain"];
        for (n, column) in columns.iter().enumerate() {
            world.run(&format!(
                "CREATE TABLE t{n} (id int PRIMARY KEY);
                 CREATE TRIGGER t AFTER INSERT ON t{n} FOR EACH STATEMENT EXECUTE FUNCTION sequin.capture({})",
                literal(&attachment(column))
            ));
        }
        if matches!(encoding, Encoding::SqlAscii) {
            world.run(
                r"CREATE TABLE bytes (id int PRIMARY KEY);
                 DO $$ BEGIN
                   EXECUTE format('CREATE TRIGGER t AFTER INSERT ON bytes FOR EACH STATEMENT EXECUTE FUNCTION
                     sequin.capture(%L)', convert_from('\xff', 'SQL_ASCII'));
                 END $$",
            );
        }
        let shown =
            world.rows("SELECT relation::text, upstream_id_column::text FROM sequin.attachments ORDER BY 1", &[]);
        let shown: Vec<(String, String)> = shown.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(shown, [("t4".into(), "é".into()), ("t5".into(), "plain".into())], "{encoding:?}");
    }
}

/// All of them are part of one unknown create.
#[test]
fn a_create_with_thousands_of_changes_can_become_unknown() {
    let mut world = World::with_options("max_batch '10000'");
    world.run(BOOK);
    world.run("SELECT sequin_pause('sequin')");
    world.sandbox.fault(json!({"cut_after": 0}));
    world.run(
        "INSERT INTO people VALUES (1, 'Paul');
         DO $$ BEGIN FOR n IN 1..5000 LOOP UPDATE people SET name = 'Usul ' || n; END LOOP; END $$;
         UPDATE people SET email = 'u@a.org';
         SELECT sequin_resume('sequin')",
    );
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters)");
    let data: String = world.one("SELECT data::text FROM sequin.dead_letters");
    assert_eq!(data, r#"{"Name": "Usul 5000", "Email": "u@a.org"}"#);
    assert_eq!(world.one::<i32>("SELECT cardinality(merged_ids) FROM sequin.dead_letters"), 5001);
    // A person who sends it again sends all of it.
    world.requests();
    world.run("SELECT sequin_retry(id) FROM sequin.dead_letters");
    world.written_back();
    assert_eq!(world.requests(), [request("create", json!([{"data": {"Name": "Usul 5000", "Email": "u@a.org"}}]))]);
    assert_eq!(world.one::<i32>("SELECT cardinality(merged_ids) FROM sequin.delivered"), 5001);
}

/// A person must see the data that it was sent with.
#[test]
fn a_create_of_a_worker_that_died_has_the_changes_that_were_sent_with_it() {
    let mut world = book();
    world.run(
        "SELECT sequin_pause('sequin'); INSERT INTO people VALUES (1, 'Paul'), (2, 'Chani');
         UPDATE people SET name = 'Usul' WHERE id = 1; UPDATE people SET email = 'u@a.org' WHERE id = 1;
         INSERT INTO sequin.claims SELECT nextval('sequin.outbox_id'), 1, 'sequin', 'create', array_agg(id ORDER BY id),
           array_agg(CASE ordering_key WHEN '[1]' THEN (SELECT min(id) FROM sequin.queue) ELSE id END ORDER BY id), '{}',
           now() FROM sequin.queue;
         SELECT sequin_resume('sequin')",
    );
    world.until("SELECT count(*) = 2 FROM sequin.dead_letters");
    let data = world.rows("SELECT data::text, state FROM sequin.dead_letters ORDER BY id", &[]);
    let data: Vec<(&str, &str)> = data.iter().map(|row| (row.get(0), row.get(1))).collect();
    let paul = r#"{"Name": "Usul", "Email": "u@a.org"}"#;
    assert_eq!(data, [(paul, "unknown"), (r#"{"Name": "Chani", "Email": null}"#, "unknown")]);
    assert_eq!(world.endings(), ["unknown"; 4]);
    assert_eq!(world.sent(), 0);
}

/// It ends the process that visits it. The next one knows, and leaves it alone.
#[test]
fn a_table_that_ends_its_worker_is_not_the_first_thing_that_the_next_one_visits() {
    let mut world = book();
    world.run(
        "CREATE SEQUENCE tries; CREATE TABLE t (id int PRIMARY KEY, name text, sf_id text);
         CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN PERFORM nextval('public.tries');
             LOOP BEGIN PERFORM pg_sleep(1); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
         CREATE TRIGGER trap BEFORE UPDATE OF sf_id ON t FOR EACH ROW EXECUTE FUNCTION trap();
         SELECT sequin_attach('t', 'sync', 'salesforce:contact', 'sf_id');
         INSERT INTO t VALUES (1, 'x')",
    );
    world.until("SELECT is_called FROM tries");
    assert_eq!(world.one::<i32>("SELECT attempts FROM sequin.pending_upstream_ids"), 1);
    world.until(
        "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'sequin write-back'
                   AND datname = current_database() AND state = 'active')",
    );
    // Five minutes: the length of a table's backoff is not under test.
    world.run("UPDATE sequin.pending_upstream_ids SET next_attempt_at = now() + interval '5 minutes'");
    world.run("INSERT INTO t VALUES (2, 'y'); INSERT INTO people VALUES (1, 'Paul')");
    world.until("SELECT sf_id IS NOT NULL FROM people");
    world.settled();
    assert_eq!(world.one::<i64>("SELECT last_value FROM tries"), 1);
    // Once it is repaired and its rest is over, the ids come.
    world.run("DROP TRIGGER trap ON t; UPDATE sequin.pending_upstream_ids SET next_attempt_at = now()");
    world.written_back();
    assert_eq!(world.one::<i64>("SELECT count(sf_id) FROM t"), 2);
}
