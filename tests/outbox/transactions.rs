//! Records are part of the transaction that enqueues them: they are sent if, and only if, it commits.

use sequin_harness::Sandbox;
use serde_json::json;

use crate::support::network::eventually;
use crate::support::server::own;
use crate::support::{Session, World};

const ENQUEUE: &str = "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{\"n\":1}}')";

/// A create that says which one it is.
fn numbered(n: i32) -> String {
    format!("SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{{\"data\":{{\"n\":{n}}}}}')")
}

/// The numbers of the creates that were sent, when nothing is left to send.
fn numbers_sent(world: &mut World) -> Vec<i64> {
    world.settled();
    let mut numbers: Vec<i64> =
        world.requests().iter().map(|(_, records)| records[0]["data"]["n"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_rollback_sends_nothing() {
    let mut world = World::new();
    world.run("BEGIN");
    world.run(ENQUEUE);
    world.run("ROLLBACK");
    // One that fails at its end has nothing sent either.
    world.run("CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED); BEGIN; INSERT INTO t VALUES (1), (1)");
    world.run(ENQUEUE);
    world.error("COMMIT");
    // The worker has seen everything up to this one, so it would have sent the others.
    world.run(&numbered(2));
    assert_eq!(numbers_sent(&mut world), [2]);
    assert_eq!(world.endings(), ["applied"]);
}

#[test]
fn a_savepoint_s_rollback_takes_back_its_part() {
    let mut world = World::new();
    world.run("BEGIN");
    for sql in [
        &numbered(1),
        "SAVEPOINT a",
        &numbered(2),
        "SAVEPOINT b",
        &numbered(3),
        "ROLLBACK TO SAVEPOINT a",
        &numbered(4),
        "RELEASE SAVEPOINT a",
        "COMMIT",
    ] {
        world.run(sql);
    }
    assert_eq!(numbers_sent(&mut world), [1, 4]);
}

#[test]
fn a_block_with_a_handler_sends_what_it_keeps() {
    let mut world = World::new();
    world.run(
        "DO $$ BEGIN
           PERFORM sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{\"n\":1}}');
           BEGIN
             PERFORM sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{\"n\":2}}');
             RAISE division_by_zero;
           EXCEPTION WHEN division_by_zero THEN
             PERFORM sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{\"n\":3}}');
           END;
           BEGIN
             PERFORM sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":[]}');
           EXCEPTION WHEN invalid_parameter_value THEN NULL;
           END;
         END $$",
    );
    assert_eq!(numbers_sent(&mut world), [1, 3]);
}

#[test]
fn triggers_and_functions_enqueue() {
    let mut world = World::new();
    world.run(
        "CREATE FUNCTION save(n int) RETURNS bigint LANGUAGE sql AS $$
           SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', jsonb_build_object('data', jsonb_build_object('n', n))) $$;
         CREATE FUNCTION save_row() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN PERFORM save(NEW.n); RETURN NULL; END $$;
         CREATE TABLE t (n int);
         CREATE TRIGGER at_once AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION save_row();
         CREATE CONSTRAINT TRIGGER at_commit AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION save_row()",
    );
    world.run("INSERT INTO t VALUES (1), (2)");
    // No other statement of this transaction wakes the worker.
    world.run("BEGIN; UPDATE t SET n = n + 10; COMMIT");
    world.run("SELECT save(n) FROM generate_series(21, 22) n");
    assert_eq!(numbers_sent(&mut world), [1, 2, 11, 12, 21, 22]);
}

#[test]
fn a_chained_transaction_stands_for_itself() {
    let mut world = World::new();
    world.run("BEGIN");
    world.run(&numbered(1));
    world.run("COMMIT AND CHAIN");
    world.run(&numbered(2));
    world.until("SELECT count(*) = 1 FROM sequin.delivered");
    world.run("ROLLBACK AND CHAIN");
    world.run(&numbered(3));
    world.run("COMMIT");
    assert_eq!(numbers_sent(&mut world), [1, 3]);
}

#[test]
fn a_prepared_transaction_is_sent_when_it_is_committed() {
    let server = own("max_prepared_transactions = 2");
    let sandbox = Sandbox::start();
    let database = server.fresh_database();
    database.create_server(sandbox.url(), sandbox.token());
    let mut client = database.connect();
    for (name, n) in [("kept", 1), ("undone", 2)] {
        client.run(&format!("BEGIN; {}; PREPARE TRANSACTION '{name}'", numbered(n)));
    }
    // One that is sent shows that the worker has looked, and that the prepared ones were passed over.
    client.run(&numbered(3));
    let mut wait_for = |delivered: i64| {
        let sql = "SELECT count(*) FROM sequin.delivered";
        eventually(&format!("{delivered} are delivered"), || client.one::<i64>(sql) >= delivered);
    };
    wait_for(1);
    assert_eq!(sandbox.log().requests.len(), 1);
    // Another session ends them, as a transaction manager would.
    let mut manager = database.connect();
    manager.run("ROLLBACK PREPARED 'undone'");
    manager.run("COMMIT PREPARED 'kept'");
    wait_for(2);
    let sent: Vec<_> = sandbox.log().requests.iter().map(|request| request.json()["records"].clone()).collect();
    assert_eq!(sent, [json!([{"data": {"n": 3}}]), json!([{"data": {"n": 1}}])]);
}

/// A transaction manager commits in a session that has queued nothing. With the library loaded its commit wakes the
/// worker; without it the worker polls.
#[test]
fn prepared_transactions_are_sent_whoever_commits_them() {
    let server = own("max_prepared_transactions = 2\nsequin.worker_idle_timeout = 0");
    let sandbox = Sandbox::start();
    let database = server.fresh_database();
    database.create_server(sandbox.url(), sandbox.token());
    let mut client = database.connect();
    let mut manager = database.connect();
    let mut stranger = database.connect();
    manager.run("LOAD 'sequin_mutations'");
    for (who, by) in [("the session itself", 0), ("a session with the library", 1), ("a session without it", 2)] {
        let begun = std::time::Instant::now();
        for round in 0..5 {
            sandbox.clear_log();
            client.run(&format!("BEGIN; {}; PREPARE TRANSACTION 'one'", numbered(round)));
            assert_eq!(sandbox.log().requests.len(), 0);
            match by {
                0 => client.run("COMMIT PREPARED 'one'"),
                1 => manager.run("COMMIT PREPARED 'one'"),
                _ => stranger.run("COMMIT PREPARED 'one'"),
            }
            eventually(who, || sandbox.log().requests.len() == 1);
        }
        eprintln!("five prepared transactions, committed by {who}: {:?}", begun.elapsed());
    }
    // Without a worker, and without a prepared transaction: the launcher is told by the session that prepares.
    eventually("the worker leaves", || client.one::<bool>("SELECT cardinality(sequin.workers()) = 0"));
}

#[test]
fn a_transaction_that_may_not_write_may_not_enqueue() {
    let mut world = World::new();
    world.run("BEGIN READ ONLY");
    let error = world.error(ENQUEUE);
    assert_eq!(error.code().code(), "25006", "{error:?}");
    world.run("ROLLBACK");
    assert_eq!(world.fates(), []);
}

#[test]
fn bad_arguments_are_refused_as_a_call_refuses_them() {
    let mut world = World::new();
    let cases = [
        "NULL, 's', 'c:c', '[]'",
        "'create', NULL, 'c:c', '[{\"data\":{}}]'",
        "'create', 's', NULL, '[{\"data\":{}}]'",
        "'create', 's', 'c:c', NULL",
        "'upsert', 's', 'c:c', '[{\"data\":{}}]'",
        "'create', '', 'c:c', '[{\"data\":{}}]'",
        "'create', 's', ' ', '[{\"data\":{}}]'",
        "'create', 's', 'c:c', '[]'",
        "'create', 's', 'c:c', '[{\"data\":{}}, {\"data\":1}]'",
        "'create', 's', 'c:c', '[{\"data\":{}}, 7]'",
        "'create', 's', 'c:c', '[{\"data\":{}, \"upstream_id\":\"x\"}]'",
        "'update', 's', 'c:c', '[{\"upstream_id\":\"x\",\"data\":{}}, {\"data\":{}}]'",
        "'update', 's', 'c:c', '[{\"upstream_id\":7,\"data\":{}}]'",
        "'delete', 's', 'c:c', '[\"x\", {}]'",
        "'delete', 's', 'c:c', '[\"\"]'",
        "'delete', 's', 'c:c', '[\"x\", \"x\"]'",
        "'update', 's', 'c:c', '[{\"upstream_id\":\"x\",\"data\":{}},{\"upstream_id\":\"x\",\"data\":{}}]'",
        "'create', 's', 'c:c', '[{\"data\":{}}]', ARRAY[NULL]",
        "'create', 's', 'c:c', '[{\"data\":{}}]', '{a}', -1",
        "'create', 's', 'c:c', '[{\"data\":{}}]', server => 'nowhere'",
    ];
    let mut refused = 0;
    for arguments in cases {
        let called = world.client.query(&format!("SELECT sequin_mutate({arguments})"), &[]);
        let (sent, queued) = (world.sent(), format!("SELECT sequin_enqueue({arguments})"));
        let Err(called) = called else { panic!("no error: {arguments}") };
        let called = called.as_db_error().unwrap();
        if sent > 0 {
            // It is the sandbox that refuses it: then it can be enqueued.
            continue;
        }
        let error = world.error(&queued);
        assert_eq!(
            (error.code(), error.message(), error.detail()),
            (called.code(), called.message(), called.detail()),
            "{arguments}"
        );
        refused += 1;
    }
    assert!(refused >= 15, "{refused}");
    for (key, state) in [("''", "22023"), ("' '", "22023")] {
        let error = world.error(&format!(
            "SELECT sequin_enqueue('create', 's', 'c:c', '[{{\"data\":{{}}}}]', ordering_key => {key})"
        ));
        assert_eq!(error.code().code(), state);
        assert!(error.message().contains("ordering_key"), "{error:?}");
    }
    assert_eq!(world.fates(), []);
}

#[test]
fn a_missing_server_is_answered_with_how_to_make_one() {
    let mut world = World::without_server();
    let error = world.error(ENQUEUE);
    assert_eq!(error.code().code(), "42704", "{error:?}");
    assert!(error.hint().unwrap_or_default().contains("CREATE SERVER"), "{error:?}");
}

#[test]
fn ten_thousand_records_in_one_call() {
    let mut world = World::with_options("atomic_batches 'true'");
    let rows = world.rows(
        "SELECT * FROM sequin_enqueue('create', 'sync', 'salesforce:contact',
           (SELECT jsonb_agg(jsonb_build_object('data', jsonb_build_object('n', n)) ORDER BY n)
            FROM generate_series(1, 10000) n))",
        &[],
    );
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(ids.len(), 10_000);
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "the ids are in the order of the records");
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery($1, 60000)", &[&ids]));
    assert_eq!(world.sent(), 50, "batches of max_batch");
    assert_eq!(world.contact_count(), 10_000);
    let wrong =
        "SELECT count(*) FROM sequin.delivered WHERE outcome <> 'applied' OR data->'n' <> record::jsonb->'data'->'n'
        OR upstream_id <> record->>'upstream_id'";
    assert_eq!(world.one::<i64>(wrong), 0);
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT upstream_id) FROM sequin.delivered"), 10_000);
}

#[test]
fn each_database_sends_its_own() {
    let (mut one, mut other) = (World::new(), World::new());
    one.run("BEGIN");
    one.run(&numbered(1));
    other.run(&numbered(2));
    assert_eq!(numbers_sent(&mut other), [2]);
    one.run("COMMIT");
    assert_eq!(numbers_sent(&mut one), [1]);
    // While both have a worker.
    for n in 3..6 {
        one.run(&numbered(n));
        other.run(&numbered(10 * n));
    }
    assert_eq!(numbers_sent(&mut one), [3, 4, 5]);
    assert_eq!(numbers_sent(&mut other), [30, 40, 50]);
}

#[test]
fn values_pass_through_the_queue_digit_for_digit() {
    let mut world = World::new();
    let data = "{\"a\": 1.10, \"b\": 12345678901234567890.123, \"c\": 1e5, \"d\": \"\\u00e9 \\\" \\\\\"}";
    world.rows(
        "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', $1::text::jsonb)",
        &[&format!("{{\"data\": {data}}}")],
    );
    world.settled();
    let body = world.body();
    assert!(body.contains("1.10") && body.contains("12345678901234567890.123"), "{body}");
    assert_eq!(world.contact()["d"], "é \" \\");
}
