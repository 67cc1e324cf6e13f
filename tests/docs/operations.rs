//! docs/operations.md: its statements run, on a server of the kind that it recommends, and do what it says.

use std::fs;
use std::process::Stdio;

use postgres::Client;
use serde_json::json;

use crate::docs::{Block, path, psql, read, rust_files, statements};
use crate::support::server::{APP, PRELOADED};
use crate::support::{Session, World};

const DOCUMENT: &str = "docs/operations.md";

/// A server that has preloaded the library, with an attached table.
fn place() -> World {
    let mut place = World::with_own_server(&format!("{PRELOADED}\nmax_prepared_transactions = 2"));
    place.run(
        "CREATE TABLE people (id bigint PRIMARY KEY, \"Email\" text, contact_id text);
         SELECT sequin_attach('people', 'my-sync-id', 'salesforce:contact', 'contact_id')",
    );
    place
}

/// Makes a record rejected, another unknown, and a change wait behind that.
fn make_trouble(place: &mut World) {
    place.run("INSERT INTO people VALUES (1, 'nobody')");
    place.until("SELECT count(*) = 1 FROM sequin.dead_letters WHERE state = 'rejected'");
    place.sandbox.fault(json!({"match": {"kind": "create"}, "apply": true, "status": 504}));
    place.run("INSERT INTO people VALUES (2, 'chani@tabr.org')");
    place.until("SELECT count(*) = 1 FROM sequin.dead_letters WHERE state = 'unknown'");
    place.run("UPDATE people SET \"Email\" = 'chani@arrakis.org' WHERE id = 2");
    place.until("SELECT count(*) = 1 FROM sequin.outbox WHERE state = 'pending' AND next_attempt_at IS NULL");
}

/// psql's output for the statements of the document's block at `line`.
fn show(place: &World, sql: &str, line: usize) -> String {
    let (output, ok) = psql(place.server.psql_command(APP), sql);
    assert!(ok, "{DOCUMENT}, line {line}: {output}");
    output
}

/// The block that has `words` in it.
fn block(words: &str) -> Block {
    let found: Vec<Block> =
        statements(&read(DOCUMENT)).into_iter().map(|(block, _)| block).filter(|b| b.text.contains(words)).collect();
    assert_eq!(found.len(), 1, "{words:?}: {found:?}");
    found[0].clone()
}

/// The fixed parts of the messages that the guide quotes.
const QUOTED: &[&str] = &[
    "this database is a copy",
    "the record could not be ",
    "the record was applied",
    "paused by",
    "the response with status",
    " with invalid headers",
    "is not a reply of the API",
    "it does not hold this record",
    " does not exist any more",
    " of the outbox could not be ",
    "the worker of the outbox could not ",
    "no background worker could be started for the outbox",
    "has ended by an error",
    "could not connect",
];

#[test]
fn the_extension_has_the_messages_that_it_quotes() {
    let document = read(DOCUMENT);
    let source: String = ["src", "contract/src"]
        .iter()
        .flat_map(|room| rust_files(&path(room)))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    for message in QUOTED {
        assert!(document.contains(message), "{DOCUMENT} does not quote {message:?}");
        assert!(source.contains(message), "no message has {message:?}");
    }
}

#[test]
fn its_statements_run() {
    let mut place = place();
    make_trouble(&mut place);
    let statements = statements(&read(DOCUMENT));
    assert!(statements.len() >= 18, "{}", statements.len());
    for (block, _) in statements {
        // One of them discards the records that are not being sent.
        place.until(
            "SELECT NOT EXISTS (SELECT FROM sequin.outbox o JOIN sequin.status s USING (server) WHERE o.state = 'sending' \
             OR o.state = 'pending' AND o.next_attempt_at <= now() AND NOT s.paused)",
        );
        show(&place, &block.text, block.line);
    }
    let settings = show(&place, "SHOW sequin.retention; SHOW sequin.worker_idle_timeout", 0);
    assert!(settings.contains(" 1h\n") && settings.contains(" 10min\n"), "{settings}");
}

#[test]
fn what_it_watches_shows_what_is_wrong() {
    let mut place = place();
    let look = |place: &World, words: &str| {
        let block = block(words);
        show(place, &block.text, block.line)
    };
    let processes = "backend_type IN ('sequin worker', 'sequin launcher')";
    place.until("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'sequin launcher')");
    assert!(look(&place, processes).contains("| sequin launcher |"), "the launcher is there before anything is queued");
    assert!(look(&place, "p.oldest_pending > interval").contains("(0 rows)"), "all is well");

    make_trouble(&mut place);
    place.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'sequin worker' AND state = 'idle'");
    assert!(look(&place, processes).contains("| waiting for records to deliver"));
    assert!(look(&place, "worker_alive, last_error FROM sequin.status;").contains(" sequin |       3 | "));
    let alarm = look(&place, "p.oldest_pending > interval");
    assert!(alarm.contains(" sequin | f      |       1 |        1 | t "), "{alarm}");
    let letters = look(&place, "FROM sequin.dead_letters\nORDER BY id");
    assert!(letters.contains("`Invalid email`") && letters.contains("| unknown  |"), "{letters}");
}

#[test]
fn what_it_asks_of_a_person_brings_the_records_to_their_end() {
    let mut place = place();
    make_trouble(&mut place);
    // The data was wrong.
    place.run("UPDATE people SET \"Email\" = 'feyd@giedi.prime' WHERE id = 1");
    place.until("SELECT contact_id IS NOT NULL FROM people WHERE id = 1");

    // The create was applied. The record that waited behind it is an update of it now.
    let records = place.sandbox.records("salesforce:contact");
    let chani = records.iter().find(|record| record["data"]["Email"] == "chani@tabr.org").unwrap();
    let upstream_id = chani["upstream_id"].as_str().unwrap();
    let id: i64 = place.one("SELECT id FROM sequin.dead_letters");
    let resolve = block("SELECT sequin_resolve(");
    let sql = resolve.text.replace("4711", &id.to_string()).replace("0031U00000Qn2ZVQAZ", upstream_id);
    show(&place, &sql, resolve.line);
    place.until("SELECT count(*) = 0 FROM sequin.outbox");
    place.until(&format!("SELECT contact_id IS NOT DISTINCT FROM '{upstream_id}' FROM people WHERE id = 2"));
    let records = place.sandbox.records("salesforce:contact");
    let emails: Vec<&str> = records.iter().filter_map(|record| record["data"]["Email"].as_str()).collect();
    assert_eq!(emails, ["chani@arrakis.org", "feyd@giedi.prime"], "each once, with what was written last");

    // A create that was not made, sent again.
    place.sandbox.fault(json!({"match": {"kind": "create"}, "apply": false, "status": 504}));
    place.run("INSERT INTO people VALUES (3, 'stilgar@tabr.org')");
    place.until("SELECT count(*) = 1 FROM sequin.dead_letters");
    let id: i64 = place.one("SELECT id FROM sequin.dead_letters");
    let retry = block("SELECT sequin_retry(id) FROM sequin.dead_letters WHERE id = 4711");
    show(&place, &retry.text.replace("4711", &id.to_string()), retry.line);
    place.until("SELECT contact_id IS NOT NULL FROM people WHERE id = 3");
    assert_eq!(place.sandbox.records("salesforce:contact").len(), 3);

    // A worker that is ended has a successor.
    let before: i32 = place.one("SELECT (sequin.workers())[1]");
    let end = block("SELECT pg_terminate_backend(");
    show(&place, &end.text, end.line);
    place.until(&format!("SELECT COALESCE((sequin.workers())[1] <> {before}, false)"));
}

#[test]
fn a_restored_dump_has_the_open_work_and_is_paused() {
    let mut place = place();
    make_trouble(&mut place);
    place.run("INSERT INTO people VALUES (9, 'gurney@caladan.org')");
    place.until("SELECT count(*) = 1 FROM sequin.delivered");
    let dump = place.server.config().bindir.join("pg_dump");
    let dump = std::process::Command::new(dump).arg(place.database.dsn()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    place.run("CREATE DATABASE copy");
    let mut restore = place.server.psql_command("copy");
    restore.stdout(Stdio::null());
    let (output, ok) = psql(restore, &String::from_utf8(dump.stdout).unwrap());
    assert!(ok, "{output}");

    let sent = place.sandbox.log().requests.len();
    let mut original = std::mem::replace(&mut place.client, place.server.connect("copy"));
    let count = |client: &mut Client, of: &str| -> i64 { client.one(&format!("SELECT count(*) FROM {of}")) };
    assert_eq!(count(&mut place.client, "sequin.delivered"), 0);
    // The first thing that starts a worker here.
    place.run("SELECT sequin_retry(id) FROM sequin.dead_letters WHERE state = 'rejected'");
    place.until("SELECT paused AND last_error LIKE 'this database is a copy:%' AND backlog = 3 FROM sequin.status");
    let discard = block("count(sequin_discard(id))");
    place.run(&discard.text);
    assert_eq!(count(&mut place.client, "sequin.outbox"), 0);
    assert_eq!(place.sandbox.log().requests.len(), sent, "the copy has sent nothing");
    assert_eq!(count(&mut original, "sequin.outbox"), 3, "the original has its work");
}

#[test]
fn its_sizes_are_those_of_a_record() {
    const RECORDS: i64 = 2_000;
    let mut place = place();
    let bytes = |place: &mut World, table: &str| {
        let sql = format!("SELECT pg_total_relation_size('{table}') / {RECORDS}");
        place.one::<i64>(&sql)
    };
    let enqueue = format!(
        "ALTER SERVER sequin OPTIONS (ADD atomic_batches 'true'); SELECT sequin_pause('sequin');
         SELECT count(*) FROM sequin_enqueue('create', 'my-sync-id', 'salesforce:contact',
           (SELECT jsonb_agg(jsonb_build_object('data', jsonb_build_object('n', n, 'text', repeat('x', 340))))
            FROM generate_series(1, {RECORDS}) n))"
    );
    place.run(&enqueue);
    let waiting = bytes(&mut place, "sequin.queue");
    assert!((500..660).contains(&waiting), "{waiting} bytes for a record that waits");
    place.run("SELECT sequin_resume('sequin')");
    place.until("SELECT count(*) = 0 FROM sequin.outbox");
    let delivered = bytes(&mut place, "sequin.history");
    assert!((1_200..1_650).contains(&delivered), "{delivered} bytes for one that is delivered");
}
