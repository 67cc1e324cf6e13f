//! An ERROR in each place where a worker handles a record: it affects that record, and neither the others nor the
//! worker.
//!
//! A superuser's trigger raises for one record, or an index over an expression.

use std::time::Duration;

use serde_json::json;

use super::attached::book;
use crate::support::network::eventually;
use crate::support::{Session, World};

const ROW: &str = "BEFORE INSERT OR UPDATE OR DELETE";

impl World {
    /// Raises in `table` at `event` if `condition` holds of the row.
    pub fn raise_in(&mut self, table: &str, event: &str, condition: &str) {
        self.run(&format!(
            "CREATE FUNCTION raise_in_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
               DECLARE r sequin.{table} := COALESCE(NEW, OLD); BEGIN
               IF {condition} THEN RAISE 'injected into {table}'; END IF; RETURN COALESCE(NEW, OLD); END $$;
             CREATE TRIGGER raise_in_{table} {event} ON sequin.{table} FOR EACH ROW
               EXECUTE FUNCTION raise_in_{table}()"
        ));
    }

    /// Raises when a row of `table` is written for which `condition`, an expression over its columns, holds.
    fn raise_in_index(&mut self, table: &str, condition: &str) {
        self.run(&format!(
            "CREATE FUNCTION raise_if_{table}(it boolean) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
               IF it THEN RAISE 'injected into {table}'; END IF; RETURN false; END $$;
             CREATE INDEX raise_in_{table} ON sequin.{table} (public.raise_if_{table}(({condition})))"
        ));
    }

    /// The one worker that there has been since.
    fn worker_pid(&mut self) -> i32 {
        self.until("SELECT cardinality(sequin.workers()) > 0");
        self.one(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'sequin worker' AND datname = current_database()
                  ORDER BY backend_start LIMIT 1",
        )
    }

    /// Delivers something, with the worker that there was.
    fn others_go_on(&mut self, pid: i32) {
        let id = self.enqueue_data(&json!({"others": "go on"}));
        self.until(&format!("SELECT EXISTS (SELECT FROM sequin.delivered WHERE id = {id} AND outcome = 'applied')"));
        assert!(
            self.one::<bool>(&format!(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid} AND backend_type = 'sequin worker')"
            )),
            "the worker has ended"
        );
    }

    /// The states and errors of open records.
    fn open_errors(&mut self) -> Vec<(String, String)> {
        let sql = "SELECT state, COALESCE(error, '') FROM sequin.outbox ORDER BY id";
        self.rows(sql, &[]).iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Whatever their state: none of them is being sent by a worker.
    fn discard_all(&mut self) {
        self.run("SELECT sequin_discard(id) FROM sequin.outbox");
        assert_eq!(self.open_errors(), []);
    }
}

/// A worker that is there, and records of one collection for it.
fn started() -> (World, i32, Vec<String>) {
    let mut world = World::new();
    let ids = world.contacts_made(4);
    world.enqueue_data(&json!({"n": 0}));
    world.settled();
    let pid = world.worker_pid();
    (world, pid, ids)
}

pub fn updates(world: &mut World, ids: &[String]) -> Vec<i64> {
    let update = |(n, id): (usize, &String)| json!({"upstream_id": id, "data": {"n": n, "bad": n == 2}});
    world.enqueue("update", &ids.iter().enumerate().map(update).collect())
}

#[test]
fn a_record_whose_claim_raises_is_rejected_alone() {
    let (mut world, pid, ids) = started();
    world.raise_in(
        "claims",
        "BEFORE INSERT",
        "EXISTS (SELECT FROM sequin.queue q WHERE q.id = ANY (r.ids) AND q.data->'bad' = 'true')",
    );
    let queued = updates(&mut world, &ids);
    world.settled();
    let errors = world.open_errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].0 == "rejected" && errors[0].1.contains("injected into claims"), "{errors:?}");
    assert_eq!(world.one::<i64>("SELECT id FROM sequin.dead_letters"), queued[2]);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.delivered"), 4);
    world.others_go_on(pid);
    world.discard_all();
}

/// Its session allowed a deeper stack than the worker has.
#[test]
fn a_record_that_cannot_be_read_is_rejected_alone() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE docs (id int PRIMARY KEY, doc jsonb, sf_id text);
         SELECT sequin_attach('docs', 'sync', 'salesforce:contact', 'sf_id');
         INSERT INTO docs VALUES (1, '1')",
    );
    world.settled();
    let pid = world.worker_pid();
    world.run("SET max_stack_depth = '7MB'");
    world.run(
        "INSERT INTO docs SELECT n, CASE n WHEN 3 THEN (repeat('[', 20000) || repeat(']', 20000))::jsonb ELSE '1' END
         FROM generate_series(2, 4) n",
    );
    world.run("RESET max_stack_depth");
    world.settled();
    assert_eq!(world.endings(), ["applied", "applied", "rejected", "applied"]);
    let error: String = world.one("SELECT error FROM sequin.dead_letters");
    assert!(error.contains("stack depth"), "{error}");
    world.others_go_on(pid);
    world.run("SELECT sequin_discard(id) FROM sequin.dead_letters");
    assert_eq!(world.one::<String>("SELECT outcome FROM sequin.delivered WHERE outcome = 'discarded'"), "discarded");
}

/// It cannot even be rejected.
#[test]
fn a_record_that_cannot_be_deferred_stops_nothing_and_can_be_discarded() {
    let (mut world, pid, ids) = started();
    world.raise_in("deferred", "BEFORE INSERT", "r.data->'bad' = 'true'");
    world.sandbox.fault(json!({"match": {"kind": "update"}, "status": 503}));
    updates(&mut world, &ids);
    world.until("SELECT count(*) = 4 FROM sequin.delivered");
    world.others_go_on(pid);
    assert_eq!(world.open_errors().len(), 1);
    world.discard_all();
    world.others_go_on(pid);
}

#[test]
fn a_create_that_cannot_be_deferred_is_not_sent_again() {
    let (mut world, pid, _) = started();
    world.raise_in("deferred", "BEFORE INSERT", "r.data->'bad' = 'true'");
    world.requests();
    world.sandbox.fault(json!({"cut_after": 0}));
    world.enqueue_data(&json!({"bad": true}));
    world.arrived(1);
    world.others_go_on(pid);
    let sent = world.requests().iter().filter(|(_, records)| records[0]["data"]["bad"] == true).count();
    assert_eq!(sent, 1);
    assert_eq!(world.open_errors().len(), 1);
    world.discard_all();
    world.others_go_on(pid);
}

/// Deferred records are updated when they wait for an attempt, when they are freed, and when they get their upstream
/// id.
#[test]
fn a_deferred_record_that_cannot_be_changed_stops_nothing() {
    let (mut world, pid, ids) = started();
    world.raise_in("deferred", "BEFORE UPDATE", "r.data->'bad' = 'true'");
    world.sandbox.fault(json!({"match": {"kind": "update"}, "status": 503}));
    updates(&mut world, &ids);
    world.until("SELECT count(*) = 4 FROM sequin.delivered");
    world.others_go_on(pid);
    assert_eq!(world.open_errors().len(), 1);
    world.run("SELECT sequin_pause('sequin')");
    world.run("SELECT sequin_resume('sequin')");
    world.others_go_on(pid);
    world.discard_all();
}

#[test]
fn a_deferred_record_that_cannot_be_deleted_stops_nothing_and_can_be_discarded() {
    let (mut world, pid, ids) = started();
    world.raise_in("deferred", "BEFORE DELETE", "r.data->'bad' = 'true'");
    world.sandbox.fault(json!({"match": {"kind": "update"}, "status": 503}));
    let queued = updates(&mut world, &ids);
    world.until("SELECT count(*) = 4 FROM sequin.delivered");
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters)");
    let errors = world.open_errors();
    assert!(errors[0].1.contains("was applied") && errors[0].1.contains("injected into deferred"), "{errors:?}");
    assert_eq!(world.one::<i64>("SELECT id FROM sequin.dead_letters"), queued[2]);
    world.others_go_on(pid);
    world.discard_all();
}

/// An applied record is kept, without the parts that the history refuses.
#[test]
fn a_record_that_the_history_does_not_take_is_kept_in_part() {
    let (mut world, pid, ids) = started();
    world.raise_in_index("history", "data->'bad' = 'true'");
    let queued = updates(&mut world, &ids);
    world.settled();
    assert_eq!(world.open_errors(), []);
    let kept = world.rows("SELECT id FROM sequin.delivered WHERE data IS NULL AND outcome LIKE 'applied%'", &[]);
    assert_eq!(kept.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), [queued[2]]);
    world.others_go_on(pid);
}

#[test]
fn a_create_that_the_history_does_not_take_at_all_is_unknown_with_its_id_and_is_not_sent_again() {
    let (mut world, pid, _) = started();
    let id: i64 = world.one("SELECT last_value + 1 FROM sequin.outbox_id");
    world.raise_in_index("history", &format!("id = {id}"));
    world.requests();
    assert_eq!(world.enqueue_data(&json!({"n": 1})), id);
    world.settled();
    let errors = world.open_errors();
    assert!(errors[0].0 == "unknown" && errors[0].1.contains("was applied as"), "{errors:?}");
    world.others_go_on(pid);
    assert_eq!(world.sent(), 2);
    world.discard_all();
    assert_eq!(world.one::<i64>(&format!("SELECT count(*) FROM sequin.delivered WHERE id = {id}")), 0);
}

/// Records that need no request move to the history as well.
#[test]
fn a_change_that_ends_without_a_request_and_cannot_be_kept_stops_nothing() {
    let mut world = book();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.written_back();
    let pid = world.worker_pid();
    world.raise_in_index("history", "ordering_key = '[2]'");
    world.run("BEGIN; INSERT INTO people VALUES (2, 'a'); DELETE FROM people WHERE id = 2; COMMIT");
    world.run("BEGIN; INSERT INTO people VALUES (3, 'b'); DELETE FROM people WHERE id = 3; COMMIT");
    world.settled();
    world.others_go_on(pid);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.delivered WHERE outcome = 'cancelled_out'"), 4);
}

#[test]
fn an_upstream_id_that_cannot_be_noted_keeps_no_other_from_its_row() {
    let mut world = book();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.written_back();
    let pid = world.worker_pid();
    world.raise_in("pending_upstream_ids", "BEFORE INSERT", "r.ordering_key = '[2]'");
    world.run("INSERT INTO people VALUES (2, 'Chani'), (3, 'Stilgar')");
    world.until("SELECT sf_id IS NOT NULL FROM people WHERE id = 3");
    world.others_go_on(pid);
}

#[test]
fn an_upstream_id_that_cannot_be_forgotten_keeps_no_other_from_its_row() {
    let mut world = book();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.written_back();
    let pid = world.worker_pid();
    world.raise_in("pending_upstream_ids", ROW, "TG_OP <> 'INSERT' AND r.ordering_key = '[2]'");
    world.run("INSERT INTO people VALUES (2, 'Chani'), (3, 'Stilgar')");
    world.until("SELECT sf_id IS NOT NULL FROM people WHERE id = 3");
    world.others_go_on(pid);
    world.run("INSERT INTO people VALUES (4, 'Liet')");
    world.until("SELECT sf_id IS NOT NULL FROM people WHERE id = 4");
}

#[test]
fn a_claim_that_cannot_be_ended_keeps_no_other_result_from_being_written_down() {
    let (mut world, pid, ids) = started();
    world.raise_in(
        "claims",
        "BEFORE DELETE",
        "EXISTS (SELECT FROM sequin.queue q WHERE q.id = ANY (r.ids) AND q.data->'bad' = 'true')",
    );
    updates(&mut world, &ids);
    world.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox)");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.delivered WHERE outcome = 'applied'"), 5);
    world.others_go_on(pid);
}

/// Its worker was killed.
#[test]
fn a_dead_claim_with_a_record_that_cannot_be_freed_frees_the_others() {
    let (mut world, pid, ids) = started();
    world.raise_in("deferred", "BEFORE INSERT", "r.data->'bad' = 'true'");
    world.run("SELECT sequin_pause('sequin')");
    updates(&mut world, &ids);
    world.run(
        "INSERT INTO sequin.claims SELECT nextval('sequin.outbox_id'), 1, 'sequin', 'update', array_agg(id ORDER BY id),
           '{}', '{}', now() FROM sequin.queue;
         SELECT sequin_resume('sequin')",
    );
    world.until("SELECT count(*) = 4 FROM sequin.delivered");
    world.others_go_on(pid);
    world.discard_all();
    world.others_go_on(pid);
}

/// A record behind it goes on as if it had been kept.
#[test]
fn what_waits_behind_a_record_that_is_kept_in_part_goes_on() {
    let (mut world, pid, _) = started();
    world.raise_in_index("history", "data->'bad' = 'true'");
    world.sandbox.fault(json!({"cut_after": 0, "apply": true}));
    let create = |bad: bool| {
        format!(
            "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact',
               '{{\"data\": {{\"bad\": {bad}}}}}', ordering_key => 'k')"
        )
    };
    world.run(&create(true));
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters WHERE state = 'unknown')");
    world.run(&create(false));
    world.until("SELECT count(*) = 2 FROM sequin.deferred");
    world.run("SELECT sequin_retry(id) FROM sequin.dead_letters");
    world.settled();
    assert_eq!(world.open_errors(), []);
    world.others_go_on(pid);
}

#[test]
fn a_server_whose_trouble_cannot_be_noted_is_not_asked_without_end() {
    let (mut world, pid, ids) = started();
    world.raise_in("server_backoff", "BEFORE INSERT OR UPDATE", "true");
    world.requests();
    let limit = json!({"times": null, "match": {"kind": "update"}, "status": 429, "headers": {"retry-after": "1"}});
    world.sandbox.fault(limit);
    updates(&mut world, &ids);
    world.arrived(3);
    let log = world.sandbox.log();
    let times: Vec<_> = log.mutations().iter().map(|request| request.at_us).collect();
    assert!(times[2] - times[1] >= 400_000, "{times:?}");
    world.run("DROP TRIGGER raise_in_server_backoff ON sequin.server_backoff");
    world.sandbox.clear_faults();
    world.settled();
    world.others_go_on(pid);
}

/// A full disk, for instance: the results of requests are kept until they can be stored.
#[test]
fn an_error_of_the_surroundings_rejects_nothing_and_ends_no_worker() {
    let (mut world, pid, ids) = started();
    world.run(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('public.tries');
           RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER raise BEFORE INSERT ON sequin.deferred FOR EACH ROW EXECUTE FUNCTION raise()",
    );
    world.sandbox.fault(json!({"match": {"kind": "update"}, "status": 503}));
    updates(&mut world, &ids);
    world.until("SELECT last_value >= 3 FROM tries");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.dead_letters"), 0);
    world.run("DROP TRIGGER raise ON sequin.deferred");
    world.settled();
    assert_eq!(world.endings(), vec!["applied"; 5]);
    world.others_go_on(pid);
}

/// It does not learn the id of its row, and takes it when a person lets it be tried again.
#[test]
fn a_change_that_cannot_get_its_upstream_id_keeps_no_id_from_its_row() {
    let mut world = book();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.written_back();
    let pid = world.worker_pid();
    world.requests();
    world.hold_next();
    world.run("INSERT INTO people VALUES (2, 'Chani')");
    world.arrived(1);
    world.run("SELECT sequin_pause('sequin'); UPDATE people SET name = 'Sihaya' WHERE id = 2");
    world.raise_in("queue", "BEFORE UPDATE", "r.upstream_id IS NOT NULL");
    world.release();
    world.until("SELECT sf_id IS NOT NULL FROM people WHERE id = 2");
    world.run("SELECT sequin_resume('sequin')");
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters WHERE outcome = 'not_sent')");
    world.others_go_on(pid);
    world.run("SELECT sequin_retry(id) FROM sequin.dead_letters");
    world.settled();
    assert_eq!(world.open_errors(), []);
}

/// A server of its own, for the setting is one of the server.
#[test]
fn the_history_is_pruned_around_a_row_that_cannot_be_deleted() {
    let mut cluster = World::with_own_server("sequin.retention = '1s'");
    cluster.run(
        "CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF OLD.data->'bad' = 'true' THEN RAISE 'injected into history'; END IF; RETURN OLD; END $$;
         CREATE TRIGGER raise BEFORE DELETE ON sequin.history FOR EACH ROW EXECUTE FUNCTION raise()",
    );
    let records: Vec<_> = (0..9).map(|n| json!({"data": {"n": n, "bad": n == 0}})).collect();
    cluster.enqueue("create", &json!(records));
    eventually("the history is emptied", || {
        // It looks after the history when it is awake anyway.
        cluster.run("SELECT sequin_resume('sequin')");
        std::thread::sleep(Duration::from_millis(100));
        cluster.one::<bool>("SELECT count(*) = 1 FROM sequin.delivered")
    });
    assert!(cluster.one::<bool>("SELECT data->'bad' = 'true' FROM sequin.delivered"));
}
