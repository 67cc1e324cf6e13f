//! A person's verbs for a record or a server's queue, and waiting for a delivery.

use serde_json::{Value, json};

use super::BOOK;
use crate::support::{Session, World, request};

const REFUSED: &str = "Error: Salesforce validation error: `Invalid email`";

impl World {
    pub fn verb(&mut self, verb: &str, id: i64) {
        self.run(&format!("SELECT sequin_{verb}({id})"));
    }

    pub fn enqueue_data(&mut self, data: &Value) -> i64 {
        self.enqueue("create", &json!({ "data": data }))[0]
    }

    /// A create that was applied, and whose reply never came.
    pub fn unknown_create(&mut self, data: &Value) -> i64 {
        self.sandbox.fault(json!({"cut_after": 0}));
        let id = self.enqueue_data(data);
        self.settled();
        assert_eq!(self.state(id), "unknown");
        self.sandbox.clear_log();
        id
    }
}

#[test]
fn a_rejected_record_is_sent_again_by_retry() {
    let mut world = World::new();
    let id = world.enqueue_data(&json!({"Email": "nobody"}));
    world.settled();
    let row = &world.rows("SELECT id, state, attempts, outcome, error FROM sequin.dead_letters", &[])[0];
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1), row.get::<_, i32>(2)), (id, "rejected", 1));
    assert_eq!((row.get::<_, &str>(3), row.get::<_, &str>(4)), ("rejected", REFUSED));
    world.verb("retry", id);
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters WHERE attempts = 2)");
    assert_eq!(world.sent(), 2);
    // The API has changed its mind.
    world
        .sandbox
        .fault(json!({"status": 200, "body": "{\"records\":[{\"id\":\"1\",\"upstream_id\":\"9\",\"data\":{}}]}"}));
    world.verb("retry", id);
    world.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox)");
    assert_eq!(world.fates(), [(id, "applied".to_owned())]);
}

#[test]
fn an_unknown_create_is_sent_again_only_by_retry_and_as_it_was() {
    let mut world = World::new();
    let key = "ordering_key => 'k'";
    world.sandbox.fault(json!({"cut_after": 0}));
    let create =
        format!("SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{{\"data\":{{\"n\":1}}}}', {key})");
    let id: i64 = world.one(&create);
    world.settled();
    // Its key waits for a person, the others do not.
    let behind: i64 = world.one(&create.replace("\"n\":1", "\"n\":2"));
    world.enqueue_data(&json!({"n": 3}));
    world.until("SELECT count(*) = 1 FROM sequin.delivered");
    assert_eq!((world.state(id), world.state(behind)), ("unknown".to_owned(), "pending".to_owned()));
    world.requests();
    world.verb("retry", id);
    world.settled();
    let create = |n: i32| request("create", json!([{"data": {"n": n}}]));
    assert_eq!(world.requests(), [create(1), create(2)]);
    assert_eq!(world.endings(), ["applied"; 3]);
    assert_eq!(
        world.contact_count(),
        4,
        "the unknown one was applied, as this test knows, and retry made a second one"
    );
}

#[test]
fn a_record_that_waits_for_its_next_attempt_is_sent_at_once_by_retry() {
    let mut world = World::new();
    let contact = world.contacts_made(1).remove(0);
    world.sandbox.fault(json!({"times": null, "status": 500}));
    let id = world.enqueue_update(&contact, &json!({"n": 7}));
    world.until("SELECT EXISTS (SELECT FROM sequin.outbox WHERE attempts >= 1)");
    // The next attempt is minutes away, so it cannot be the effect below.
    world.run("SELECT sequin_pause('sequin')");
    world.until("SELECT state = 'pending' FROM sequin.outbox");
    world.run(&format!("UPDATE sequin.deferred SET next_attempt_at = now() + interval '4 minutes' WHERE id = {id}"));
    // sequin_resume would end the wait.
    world.run("DELETE FROM sequin.pauses");
    assert!(world.one::<bool>("SELECT next_attempt_at > now() + interval '1 minute' FROM sequin.outbox"));
    world.sandbox.clear_faults();
    world.sandbox.clear_log();
    world.verb("retry", id);
    world.settled();
    assert_eq!(world.sent(), 1);
    assert_eq!(world.fates(), [(id, "applied".to_owned())]);
}

#[test]
fn discard_takes_a_record_out_and_lets_the_next_one_go() {
    let mut world = World::new();
    world.sandbox.fault(json!({"cut_after": 0}));
    let sql = |n: i32| {
        format!(
            "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{{\"data\":{{\"n\":{n}}}}}', ordering_key => 'k')"
        )
    };
    let (first, second): (i64, i64) = (world.one(&sql(1)), world.one(&sql(2)));
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters)");
    world.requests();
    world.verb("discard", first);
    world.settled();
    assert_eq!(world.requests(), [request("create", json!([{"data": {"n": 2}}]))]);
    assert_eq!(world.fates(), [(first, "discarded".to_owned()), (second, "applied".to_owned())]);
    // One that was never tried.
    world.run("SELECT sequin_pause('sequin')");
    let third = world.enqueue_data(&json!({"n": 3}));
    world.verb("discard", third);
    world.run("SELECT sequin_resume('sequin')");
    world.enqueue_data(&json!({"n": 4}));
    world.settled();
    assert_eq!(world.requests(), [request("create", json!([{"data": {"n": 4}}]))]);
    assert_eq!(world.fates()[2], (third, "discarded".to_owned()));
}

#[test]
fn resolve_gives_an_unknown_create_its_id_and_its_row_too() {
    let mut world = World::new();
    world.run(BOOK);
    world.sandbox.fault(json!({"cut_after": 0}));
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters)");
    world.run("UPDATE people SET name = 'Usul'");
    let id: i64 = world.one("SELECT id FROM sequin.dead_letters");
    let upstream = world.sandbox.records("salesforce:contact")[0]["upstream_id"].as_str().unwrap().to_owned();
    world.requests();
    world.run(&format!("SELECT sequin_resolve({id}, '{upstream}')"));
    world.settled();
    assert_eq!(world.requests(), [request("update", json!([{"upstream_id": upstream, "data": {"Name": "Usul"}}]))]);
    assert_eq!(world.endings(), ["resolved", "applied"]);
    assert_eq!(world.one::<String>("SELECT upstream_id FROM sequin.delivered WHERE outcome = 'resolved'"), upstream);
    world.until("SELECT sf_id IS NOT NULL FROM people");
    assert_eq!(world.one::<String>("SELECT sf_id FROM people"), upstream);
}

/// The refusal may be of the second record, because there is a first one: the create stays unknown.
#[test]
fn an_unknown_create_that_is_refused_when_sent_again_is_still_unknown() {
    let mut world = World::new();
    world.run(BOOK);
    world.sandbox.fault(json!({"cut_after": 0}));
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters)");
    let id: i64 = world.one("SELECT id FROM sequin.dead_letters");
    for attempts in [2, 3] {
        world.sandbox.fault(json!({"status": 400, "body": "{\"summary\":\"duplicate\"}"}));
        world.verb("retry", id);
        world.until(&format!("SELECT EXISTS (SELECT FROM sequin.dead_letters WHERE attempts = {attempts})"));
        assert_eq!(world.state(id), "unknown");
    }
    assert!(world.one::<String>("SELECT error FROM sequin.dead_letters").contains("duplicate"));
    world.requests();
    // Neither makes a second record, nor forgets the first one.
    world.run("UPDATE people SET name = 'Usul'");
    world.run("DELETE FROM people");
    let other = world.enqueue_data(&json!({"n": 1}));
    world.until(&format!("SELECT EXISTS (SELECT FROM sequin.delivered WHERE id = {other})"));
    assert_eq!(world.requests(), [request("create", json!([{"data": {"n": 1}}]))]);
    let upstream = world.upstream().remove(0);
    world.run(&format!("SELECT sequin_resolve({id}, '{upstream}')"));
    world.settled();
    assert_eq!(world.requests(), [request("delete", json!([upstream]))]);
    assert_eq!(world.endings(), ["resolved", "applied", "applied", "applied"]);
}

#[test]
fn only_an_unknown_create_is_resolved() {
    let mut world = World::new();
    let id = world.enqueue_data(&json!({"Email": "nobody"}));
    world.settled();
    let error = world.error(&format!("SELECT sequin_resolve({id}, 'x')"));
    assert_eq!((error.code().code(), world.state(id)), ("55000", "rejected".to_owned()), "{error:?}");
    let id = world.unknown_create(&json!({"n": 1}));
    for blank in ["''", "'  '"] {
        assert_eq!(world.error(&format!("SELECT sequin_resolve({id}, {blank})")).code().code(), "22023");
    }
    assert_eq!(world.state(id), "unknown");
}

#[test]
fn wrong_arguments_are_refused() {
    let mut world = World::new();
    let done = world.enqueue_data(&json!({"n": 1}));
    world.settled();
    let cases = [
        ("sequin_retry(NULL)", "22004"),
        ("sequin_discard(NULL)", "22004"),
        ("sequin_resolve(NULL, 'x')", "22004"),
        ("sequin_resolve(1, NULL)", "22004"),
        ("sequin_pause(NULL)", "22004"),
        ("sequin_resume(NULL)", "22004"),
        ("sequin_await_delivery(NULL)", "22004"),
        ("sequin_retry(-1)", "42704"),
        ("sequin_discard(9223372036854775807)", "42704"),
        ("sequin_resolve(0, 'x')", "42704"),
    ];
    for (call, state) in cases {
        let error = world.error(&format!("SELECT {call}"));
        assert_eq!(error.code().code(), state, "{call}: {error:?}");
    }
    // Delivered records are out of reach.
    for verb in ["retry", "discard"] {
        assert_eq!(world.error(&format!("SELECT sequin_{verb}({done})")).code().code(), "42704");
    }
    for verb in ["retry(1)", "discard(1)", "resolve(1, 'x')", "pause('sequin')", "resume('sequin')"] {
        let error = world.error(&format!("BEGIN READ ONLY; SELECT sequin_{verb}"));
        assert_eq!(error.code().code(), "25006", "{verb}");
        world.run("ROLLBACK");
    }
    assert_eq!(world.fates(), [(done, "applied".to_owned())]);
}

#[test]
fn a_record_that_is_being_sent_cannot_be_touched() {
    let mut world = World::new();
    world.hold_next();
    let id = world.enqueue_data(&json!({"n": 1}));
    world.arrived(1);
    for verb in [format!("retry({id})"), format!("discard({id})"), format!("resolve({id}, 'x')")] {
        let error = world.error(&format!("SELECT sequin_{verb}"));
        assert_eq!(error.code().code(), "55006", "{verb}: {error:?}");
    }
    world.release();
    world.settled();
    assert_eq!(world.fates(), [(id, "applied".to_owned())]);
}

#[test]
fn a_verb_that_is_rolled_back_did_nothing() {
    let mut world = World::new();
    let id = world.unknown_create(&json!({"n": 1}));
    for verb in [format!("retry({id})"), format!("discard({id})"), format!("resolve({id}, 'x')")] {
        world.run(&format!("BEGIN; SELECT sequin_{verb}; ROLLBACK"));
    }
    world.enqueue_data(&json!({"n": 2}));
    world.settled();
    assert_eq!(world.state(id), "unknown");
    assert_eq!(world.requests(), [request("create", json!([{"data": {"n": 2}}]))]);
}

#[test]
fn a_paused_server_takes_records_and_sends_none() {
    let mut world = World::new();
    world.database.create_server_named("other", world.sandbox.url(), world.sandbox.token());
    world.run("SELECT sequin_pause('sequin')");
    let id = world.enqueue("create", &json!({"data": {"n": 1}}))[0];
    let sql =
        "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{\"n\":2}}', server => 'other')";
    world.run(sql);
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered WHERE server = 'other')");
    assert_eq!(world.requests(), [request("create", json!([{"data": {"n": 2}}]))]);
    let row = &world
        .rows("SELECT backlog, paused, last_error, worker_alive FROM sequin.status WHERE server = 'sequin'", &[])[0];
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1), row.get::<_, bool>(3)), (1, true, true));
    assert_eq!(row.get::<_, &str>(2), "paused by postgres");
    // A pause by a person outlives a change of the server.
    world.run("ALTER SERVER sequin OPTIONS (ADD max_batch '7')");
    world.run(sql);
    world.until("SELECT count(*) = 2 FROM sequin.delivered");
    assert_eq!(world.state(id), "pending");
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    assert!(!world.one::<bool>("SELECT bool_or(paused) FROM sequin.status"));
}

/// Written by hand, or by another node that shares the table: the outbox did not see it.
#[test]
fn retry_takes_the_upstream_id_that_the_row_has_by_now() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.run(
        "CREATE TABLE people (part int, day date, name text, email text, sf_id text, PRIMARY KEY (part, day));
         INSERT INTO people VALUES (1, '2024-02-29', 'Paul');
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', '{\"name\": \"Name\"}');
         UPDATE people SET name = 'Usul'",
    );
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters WHERE outcome = 'not_sent')");
    let record: i64 = world.one("SELECT id FROM sequin.dead_letters");
    // The row has none yet: nothing changes.
    world.verb("retry", record);
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters WHERE attempts = 2)");
    assert_eq!(world.state(record), "rejected");
    world.run(&format!("SET sequin.capture = off; UPDATE people SET sf_id = '{id}'; RESET sequin.capture"));
    world.verb("retry", record);
    world.settled();
    assert_eq!(world.requests(), [request("update", json!([{"upstream_id": id, "data": {"Name": "Usul"}}]))]);
    assert_eq!(world.fates(), [(record, "applied".to_owned())]);
}

/// The table's owner is asked, and no role that may retry needs a right to the table.
#[test]
fn retry_finds_the_upstream_id_with_the_rights_of_the_tables_owner_alone() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.run(BOOK);
    let role = world.enqueuer();
    world.run("SET sequin.capture = off; INSERT INTO people VALUES (1, 'Paul'); RESET sequin.capture");
    world.run(&format!("GRANT UPDATE, SELECT ON people TO {role}"));
    world.run_as(&role, "UPDATE people SET name = 'Usul' WHERE id = 1");
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters WHERE outcome = 'not_sent')");
    let record: i64 = world.one("SELECT id FROM sequin.dead_letters");
    world.run(&format!(
        "SET sequin.capture = off; UPDATE people SET sf_id = '{id}'; RESET sequin.capture; REVOKE ALL ON people FROM {role}"
    ));
    world.run_as(&role, &format!("SELECT sequin_retry({record})"));
    world.settled();
    assert_eq!(world.fates(), [(record, "applied".to_owned())]);
    world.drop_enqueuer(&role);
}
