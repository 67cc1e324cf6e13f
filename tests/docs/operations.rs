//! docs/operations.md: its statements run, on a server of the kind that it recommends, and do what it says.

use std::process::Stdio;
use std::time::{Duration, Instant};

use postgres::Client;
use sequin_harness::{Sandbox, Server};
use serde_json::json;

use crate::docs::{Block, psql, read, statements};
use crate::support::network::PATIENCE;

const DOCUMENT: &str = "docs/operations.md";

/// A server that has preloaded the library, with open work of every kind.
struct Place {
    client: Client,
    server: Server,
    sandbox: Sandbox,
}

impl Place {
    fn new() -> Place {
        let sandbox = Sandbox::start();
        let conf = "shared_preload_libraries = 'sequin_mutations'\nmax_prepared_transactions = 2";
        let server = Server::builder().conf(conf).start().unwrap();
        let mut client = server.connect("postgres");
        let setup = format!(
            "CREATE EXTENSION sequin_mutations;
             CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url '{}', ordered_replies 'true');
             CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token '{}');
             CREATE TABLE people (id bigint PRIMARY KEY, \"Email\" text, contact_id text);
             SELECT sequin_attach('people', 'my-sync-id', 'salesforce:contact', 'contact_id')",
            sandbox.url(),
            sandbox.token()
        );
        client.batch_execute(&setup).unwrap();
        Place { client, server, sandbox }
    }

    fn until(&mut self, sql: &str) {
        let begun = Instant::now();
        while !self.client.query_one(sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e:?}")).get::<_, bool>(0) {
            let open = self.client.query("SELECT o::text FROM sequin.outbox o LIMIT 5", &[]).unwrap();
            let open: Vec<String> = open.iter().map(|row| row.get(0)).collect();
            assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {sql}\n{open:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes a record rejected, another unknown, and a change wait behind that.
    fn trouble(&mut self) {
        self.client.batch_execute("INSERT INTO people VALUES (1, 'nobody')").unwrap();
        self.until("SELECT count(*) = 1 FROM sequin.dead_letters WHERE state = 'rejected'");
        self.sandbox.fault(json!({"match": {"kind": "create"}, "apply": true, "status": 504}));
        self.client.batch_execute("INSERT INTO people VALUES (2, 'chani@tabr.org')").unwrap();
        self.until("SELECT count(*) = 1 FROM sequin.dead_letters WHERE state = 'unknown'");
        self.client.batch_execute("UPDATE people SET \"Email\" = 'chani@arrakis.org' WHERE id = 2").unwrap();
        self.until("SELECT count(*) = 1 FROM sequin.outbox WHERE state = 'pending' AND next_attempt_at IS NULL");
    }

    fn run(&self, sql: &str, line: usize) -> String {
        let (output, ok) = psql(self.server.psql_command("postgres"), sql);
        assert!(ok, "{DOCUMENT}, line {line}: {output}");
        output
    }
}

/// The block that has `words` in it.
fn block(words: &str) -> Block {
    let found: Vec<Block> =
        statements(&read(DOCUMENT)).into_iter().map(|(block, _)| block).filter(|b| b.text.contains(words)).collect();
    assert_eq!(found.len(), 1, "{words:?}: {found:?}");
    found[0].clone()
}

#[test]
fn its_statements_run() {
    let mut place = Place::new();
    place.trouble();
    let statements = statements(&read(DOCUMENT));
    assert!(statements.len() >= 18, "{}", statements.len());
    for (block, _) in statements {
        // One of them discards what is not being sent.
        place.until(
            "SELECT NOT EXISTS (SELECT FROM sequin.outbox o JOIN sequin.status s USING (server) WHERE o.state = 'sending' \
             OR o.state = 'pending' AND o.next_attempt_at <= now() AND NOT s.paused)",
        );
        place.run(&block.text, block.line);
    }
    let settings = place.run("SHOW sequin.retention; SHOW sequin.workers", 0);
    assert!(settings.contains(" 1h\n") && settings.contains(" 4\n"), "{settings}");
}

#[test]
fn what_it_watches_shows_what_is_wrong() {
    let mut place = Place::new();
    let look = |place: &Place, words: &str| {
        let block = block(words);
        place.run(&block.text, block.line)
    };
    let processes = "backend_type IN ('sequin worker', 'sequin launcher')";
    place.until("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'sequin launcher')");
    assert!(look(&place, processes).contains("| sequin launcher |"), "the launcher is there before anything is queued");
    assert!(look(&place, "p.oldest_pending > interval").contains("(0 rows)"), "all is well");

    place.trouble();
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
    let mut place = Place::new();
    place.trouble();
    // The data was wrong.
    place.client.batch_execute("UPDATE people SET \"Email\" = 'feyd@giedi.prime' WHERE id = 1").unwrap();
    place.until("SELECT contact_id IS NOT NULL FROM people WHERE id = 1");

    // The create was made. What waited behind it is an update of that record now.
    let records = place.sandbox.records("salesforce:contact");
    let chani = records.iter().find(|record| record["data"]["Email"] == "chani@tabr.org").unwrap();
    let upstream_id = chani["upstream_id"].as_str().unwrap();
    let id: i64 = place.client.query_one("SELECT id FROM sequin.dead_letters", &[]).unwrap().get(0);
    let resolve = block("SELECT sequin_resolve(");
    let sql = resolve.text.replace("4711", &id.to_string()).replace("0031U00000Qn2ZVQAZ", upstream_id);
    place.run(&sql, resolve.line);
    place.until("SELECT count(*) = 0 FROM sequin.outbox");
    place.until(&format!("SELECT contact_id IS NOT DISTINCT FROM '{upstream_id}' FROM people WHERE id = 2"));
    let records = place.sandbox.records("salesforce:contact");
    let emails: Vec<&str> = records.iter().filter_map(|record| record["data"]["Email"].as_str()).collect();
    assert_eq!(emails, ["chani@arrakis.org", "feyd@giedi.prime"], "each once, with what was written last");

    // A create that was not made, sent again.
    place.sandbox.fault(json!({"match": {"kind": "create"}, "apply": false, "status": 504}));
    place.client.batch_execute("INSERT INTO people VALUES (3, 'stilgar@tabr.org')").unwrap();
    place.until("SELECT count(*) = 1 FROM sequin.dead_letters");
    let id: i64 = place.client.query_one("SELECT id FROM sequin.dead_letters", &[]).unwrap().get(0);
    let retry = block("SELECT sequin_retry(id) FROM sequin.dead_letters WHERE id = 4711");
    place.run(&retry.text.replace("4711", &id.to_string()), retry.line);
    place.until("SELECT contact_id IS NOT NULL FROM people WHERE id = 3");
    assert_eq!(place.sandbox.records("salesforce:contact").len(), 3);

    // A worker that is ended has a successor.
    let before: i32 = place.client.query_one("SELECT (sequin.workers())[1]", &[]).unwrap().get(0);
    let end = block("SELECT pg_terminate_backend(");
    place.run(&end.text, end.line);
    place.until(&format!("SELECT COALESCE((sequin.workers())[1] <> {before}, false)"));
}

#[test]
fn a_restored_dump_has_the_open_work_and_is_paused() {
    let mut place = Place::new();
    place.trouble();
    place.client.batch_execute("INSERT INTO people VALUES (9, 'gurney@caladan.org')").unwrap();
    place.until("SELECT count(*) = 1 FROM sequin.delivered");
    let dump = place.server.config().bindir.join("pg_dump");
    let dump = std::process::Command::new(dump).arg(place.server.dsn("postgres")).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    place.client.batch_execute("CREATE DATABASE copy").unwrap();
    let mut restore = place.server.psql_command("copy");
    restore.stdout(Stdio::null());
    let (output, ok) = psql(restore, &String::from_utf8(dump.stdout).unwrap());
    assert!(ok, "{output}");

    let sent = place.sandbox.log().requests.len();
    let mut copy = place.server.connect("copy");
    std::mem::swap(&mut place.client, &mut copy);
    let count = |client: &mut Client, of: &str| -> i64 {
        client.query_one(&format!("SELECT count(*) FROM {of}"), &[]).unwrap().get(0)
    };
    assert_eq!(count(&mut place.client, "sequin.delivered"), 0);
    // The first thing that starts a worker here.
    place.client.batch_execute("SELECT sequin_retry(id) FROM sequin.dead_letters WHERE state = 'rejected'").unwrap();
    place.until("SELECT paused AND last_error LIKE 'this database is a copy:%' AND backlog = 3 FROM sequin.status");
    let discard = block("count(sequin_discard(id))");
    place.client.batch_execute(&discard.text).unwrap();
    assert_eq!(count(&mut place.client, "sequin.outbox"), 0);
    assert_eq!(place.sandbox.log().requests.len(), sent, "the copy has sent nothing");
    assert_eq!(count(&mut copy, "sequin.outbox"), 3, "the original has its work");
}

#[test]
fn its_sizes_are_those_of_a_record() {
    const RECORDS: i64 = 2_000;
    let mut place = Place::new();
    let bytes = |place: &mut Place, table: &str| {
        let sql = format!("SELECT pg_total_relation_size('{table}') / {RECORDS}");
        place.client.query_one(&sql, &[]).unwrap().get::<_, i64>(0)
    };
    let enqueue = format!(
        "ALTER SERVER sequin OPTIONS (ADD atomic_batches 'true'); SELECT sequin_pause('sequin');
         SELECT count(*) FROM sequin_enqueue('create', 'my-sync-id', 'salesforce:contact',
           (SELECT jsonb_agg(jsonb_build_object('data', jsonb_build_object('n', n, 'text', repeat('x', 340))))
            FROM generate_series(1, {RECORDS}) n))"
    );
    place.client.batch_execute(&enqueue).unwrap();
    let waiting = bytes(&mut place, "sequin.queue");
    assert!((500..660).contains(&waiting), "{waiting} bytes for a record that waits");
    place.client.batch_execute("SELECT sequin_resume('sequin')").unwrap();
    place.until("SELECT count(*) = 0 FROM sequin.outbox");
    let delivered = bytes(&mut place, "sequin.history");
    assert!((1_200..1_650).contains(&delivered), "{delivered} bytes for one that is delivered");
}
