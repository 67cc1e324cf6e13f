//! Mistakes that a worker's scan must not make: stop with work left, be stopped by one record, or loop for ever.

use std::time::{Duration, Instant};

use sequin_harness::Encoding;
use serde_json::json;

use super::BOOK;
use crate::support::{Session, World};

const ONE: &str = "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{\"n\":1}}')";

impl World {
    /// A role of this database's own, which may enqueue.
    pub fn enqueuer(&mut self) -> String {
        let name = format!("enqueuer_{}", self.database.name());
        self.run(&format!(
            "CREATE ROLE {name}; GRANT USAGE ON FOREIGN SERVER sequin TO {name};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {name}"
        ));
        name
    }

    pub fn drop_enqueuer(&mut self, name: &str) {
        self.run(&format!("DROP OWNED BY {name} CASCADE; DROP ROLE {name}"));
    }

    pub fn run_as(&mut self, role: &str, sql: &str) {
        self.run(&format!("SET ROLE {role}; {sql}; RESET ROLE"));
    }

    /// Transactions of this database so far. A worker reports its own after each.
    pub fn transactions(&mut self) -> i64 {
        self.one("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    }

    /// Enqueues an update with this ordering key.
    fn enqueue_in_order(&mut self, upstream_id: &str, key: &str, n: i32) -> i64 {
        let record = json!({"upstream_id": upstream_id, "data": {"n": n}}).to_string();
        self.one_of(
            "SELECT sequin_enqueue('update', 'sync', 'salesforce:contact', $1::text::jsonb, ordering_key => $2)",
            &[&record, &key],
        )
    }
}

#[test]
fn what_ends_without_a_request_does_not_keep_what_is_behind_it() {
    let mut world = World::new();
    // Rows that were there before the table was attached have no upstream id.
    world.run(&BOOK.replace("SELECT", "INSERT INTO people SELECT n FROM generate_series(1, 10000) n; SELECT"));
    world.run(&format!("SELECT sequin_pause('sequin'); DELETE FROM people; {ONE}; SELECT sequin_resume('sequin')"));
    world.settled();
    assert_eq!(world.sent(), 1);
    let nothing: i64 = world.one("SELECT count(*) FROM sequin.delivered WHERE outcome = 'nothing_to_send'");
    assert_eq!(nothing, 10_000);
}

// In these two tests a worker must have slept, and on a shared server each CREATE DATABASE wakes it.
impl World {
    /// Runs statements that enqueue, and waits until a worker has scanned and found nothing to do. From then on it
    /// scans again only after a wake-up, or by its fallback poll.
    fn run_and_be_seen(&mut self, sql: &str) {
        let since: String = self.one("SELECT clock_timestamp()::text");
        self.run(sql);
        self.until(&format!(
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() \
             AND backend_type = 'sequin worker' AND state = 'idle' AND state_change > '{since}'"
        ));
    }
}

#[test]
fn a_role_that_is_refused_does_not_keep_the_others() {
    let mut cluster = World::with_own_server("");
    cluster.run(
        "CREATE ROLE app; GRANT USAGE ON FOREIGN SERVER sequin TO app;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app",
    );
    cluster.run_and_be_seen(ONE);
    cluster.settled();
    cluster.run("SELECT sequin_pause('sequin')");
    cluster.run_and_be_seen(&format!("SET ROLE app; {ONE}; RESET ROLE; {ONE}"));
    cluster.run("REVOKE USAGE ON FOREIGN SERVER sequin FROM app; SELECT sequin_resume('sequin')");
    // Only one create is planned at a time, and here that is the one of the role.
    delivered_soon(&mut cluster, 2);
    assert_eq!(cluster.one::<String>("SELECT state FROM sequin.outbox"), "pending");
}

#[test]
fn a_server_that_was_gone_is_found_again() {
    let mut cluster = World::with_own_server("");
    cluster.run_and_be_seen(ONE);
    cluster.settled();
    cluster.run_and_be_seen(&format!("SELECT sequin_pause('sequin'); {ONE}; DROP SERVER sequin CASCADE"));
    cluster.run("SELECT sequin_resume('sequin')");
    cluster.until("SELECT EXISTS (SELECT FROM sequin.pauses)");
    cluster.create_server();
    delivered_soon(&mut cluster, 2);
}

/// By itself a worker looks again after thirty seconds.
fn delivered_soon(cluster: &mut World, records: i64) {
    let begun = Instant::now();
    cluster.until(&format!("SELECT count(*) = {records} FROM sequin.delivered"));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn a_worker_does_not_turn_in_circles_while_another_one_retries_a_record() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.sandbox.fault(json!({"match": {"kind": "update"}, "status": 503}));
    world.sandbox.fault(json!({"match": {"kind": "update"}, "hold": true}));
    world.enqueue_update(&id, &json!({"n": 2}));
    world.arrived(2);
    // For this one a second worker is called, which then has nothing to do: a server in trouble gets one request at a time.
    world.database.create_server_named("other", world.sandbox.url(), world.sandbox.token());
    world.run(&ONE.replace("')", "', server => 'other')"));
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered)");
    // This session's own would come in between otherwise.
    world.run("SELECT pg_stat_force_next_flush()");
    let before = world.transactions();
    std::thread::sleep(Duration::from_secs(1));
    let looks = world.transactions() - before;
    world.release();
    assert!(looks < 100, "{looks} looks in a second");
    world.settled();
    assert_eq!(world.endings(), ["applied", "applied"]);
}

#[test]
fn what_cannot_be_converted_is_refused_when_it_is_enqueued() {
    let mut world = World::in_encoding(Encoding::SqlAscii);
    world.run(BOOK);
    for statement in [
        "INSERT INTO people (id, name) VALUES (1, chr(233))",
        "INSERT INTO people (id, name, sf_id) VALUES (2, 'Paul', '7'); UPDATE people SET email = chr(233)",
    ] {
        assert_eq!(world.error(statement).code().code(), "22021", "{statement}");
    }
    world.run("INSERT INTO people (id, name) VALUES (3, 'Chani')");
    world.settled();
    assert_eq!(world.endings(), ["applied"]);
    assert_eq!(world.contact(), json!({"Name": "Chani", "Email": null}));
}

#[test]
fn a_record_that_cannot_be_converted_is_rejected_alone() {
    let mut world = World::in_encoding(Encoding::SqlAscii);
    world.run(BOOK);
    world
        .run("SELECT sequin_pause('sequin'); INSERT INTO people (id, name) SELECT n, 'n' FROM generate_series(1, 3) n");
    // Enqueuing refuses it, but a restored dump, or a superuser's UPDATE of the queue, may bring it.
    world.run(
        "UPDATE sequin.queue SET data = jsonb_build_object('Name', chr(233)) WHERE ordering_key = '[2]';
         SELECT sequin_resume('sequin')",
    );
    world.settled();
    assert_eq!(world.endings(), ["applied", "rejected", "applied"]);
    let (id, error): (i64, String) = {
        let row = &world.rows("SELECT id, error FROM sequin.dead_letters", &[])[0];
        (row.get(0), row.get(1))
    };
    assert!(error.contains("0xe9"), "{error}");
    // Nor does it stop anything later, when it is read with a change of its row, or is tried again.
    world.run("UPDATE people SET name = 'm' WHERE id = 2");
    world.run("INSERT INTO people (id, name) VALUES (4, 'n')");
    world.settled();
    world.run(&format!("SELECT sequin_retry({id})"));
    world.run("INSERT INTO people (id, name) VALUES (5, 'n')");
    world.settled();
    assert_eq!(world.endings(), ["applied", "rejected", "applied", "rejected", "applied", "applied"]);
}

#[test]
fn what_waits_behind_an_unknown_create_is_not_read() {
    let mut world = World::in_encoding(Encoding::SqlAscii);
    world.run(BOOK);
    world.sandbox.fault(json!({"match": {"kind": "create"}, "status": 504}));
    world.run("INSERT INTO people (id, name) VALUES (1, 'n')");
    world.settled();
    world.run("UPDATE people SET name = 'o'");
    world.until("SELECT count(*) = 2 FROM sequin.deferred");
    // Who reads this data rejects it.
    world.run("UPDATE sequin.deferred SET data = jsonb_build_object('Name', chr(233)) WHERE kind = 'update'");
    world.run("UPDATE people SET name = 'p'");
    world.until("SELECT count(*) = 3 FROM sequin.deferred");
    assert_eq!(world.endings(), ["unknown", "pending", "pending"]);
}

#[test]
fn many_changes_that_waited_for_one_record_go_in_parts() {
    const MANY: i64 = 7_000;
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.sandbox.fault(json!({"match": {"kind": "create"}, "status": 504}));
    let create = "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{}}', ordering_key => 'k')";
    let create: i64 = world.one(create);
    world.settled();
    world.run(&format!(
        "SELECT sequin_enqueue('update', 'sync', 'salesforce:contact',
           jsonb_build_object('upstream_id', '{id}', 'data', jsonb_build_object('n', n)), ordering_key => 'k')
         FROM generate_series(1, {MANY}) n"
    ));
    world.until(&format!("SELECT count(*) = {} FROM sequin.deferred", MANY + 1));
    world.requests();
    world.run(&format!("SELECT sequin_resolve({create}, '{id}')"));
    world.settled();
    let sent: Vec<_> = world.requests().iter().map(|(_, records)| records[0]["data"]["n"].clone()).collect();
    assert_eq!(sent, [json!(6_000), json!(MANY)], "the last one of each part");
    let applied = "SELECT sum(1 + COALESCE(cardinality(merged_ids), 0))::int8 FROM sequin.delivered \
                   WHERE outcome = 'applied'";
    assert_eq!(world.one::<i64>(applied), MANY);
}

#[test]
fn changes_do_not_wait_for_one_of_a_paused_role() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    let role = world.enqueuer();
    world.run(&format!("CREATE USER MAPPING FOR {role} SERVER sequin OPTIONS (token 'wrong')"));
    world.run_as(&role, ONE);
    world.until("SELECT EXISTS (SELECT FROM sequin.pauses WHERE role <> 0)");
    world.run("BEGIN");
    let ours = world.enqueue_in_order(&id, "k", 2);
    world.run(&format!("SET LOCAL ROLE {role}"));
    let theirs = world.enqueue_in_order(&id, "k", 3);
    world.run("RESET ROLE");
    let later = world.enqueue_in_order(&id, "k", 4);
    world.run("COMMIT");
    let is_delivered = |id: i64| format!("SELECT sequin_sent_with({id}) IN (SELECT id FROM sequin.delivered)");
    world.until(&is_delivered(ours));
    world.until(&is_delivered(later));
    assert_eq!(world.contact()["n"], 4);
    assert!(!world.one::<bool>(&is_delivered(theirs)));
    world.run(&format!("ALTER USER MAPPING FOR {role} SERVER sequin OPTIONS (SET token '{}')", world.sandbox.token()));
    world.settled();
    // Order across roles gives way: the change of the paused role comes last.
    assert!(world.one::<bool>(&is_delivered(theirs)));
    let records: Vec<_> = world.sandbox.records("salesforce:contact");
    assert!(records.iter().any(|record| record["data"]["n"] == 3), "{records:?}");
    world.run(&format!("DROP USER MAPPING FOR {role} SERVER sequin"));
    world.drop_enqueuer(&role);
}

#[test]
fn a_record_whose_kind_cannot_be_read_is_no_update() {
    let mut world = World::new();
    let contacts = world.contacts_made(2);
    world.run(
        "ALTER TABLE sequin.queue DROP CONSTRAINT queue_kind_check;
         ALTER TABLE sequin.deferred DROP CONSTRAINT deferred_kind_check;
         SELECT sequin_pause('sequin')",
    );
    let damaged = world.enqueue_update(&contacts[0], &json!({"n": 1}));
    world.run(&format!("UPDATE sequin.queue SET kind = 'upsert' WHERE id = {damaged}"));
    world.enqueue_update(&contacts[1], &json!({"n": 2}));
    world.run("SELECT sequin_resume('sequin')");
    world.until("SELECT count(*) = 1 FROM sequin.delivered");
    let error = "%could not be read: column 2 of a row holds \"upsert\", which is no kind%";
    world.until(&format!("SELECT EXISTS (SELECT FROM sequin.outbox WHERE id = {damaged} AND error LIKE '{error}')"));
    assert_eq!(world.requests().len(), 1);
}
