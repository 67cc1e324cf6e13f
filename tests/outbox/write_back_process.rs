//! The process that writes upstream ids into rows: slow triggers hold up neither deliveries nor other tables, and nothing
//! is lost when it ends.

use serde_json::json;

use super::attached::book;
use crate::support::{Session, World};

/// The write-back process of this database.
const PROCESS: &str =
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'sequin write-back' AND datname = current_database()";

impl World {
    fn write_back_process(&mut self) -> Option<i32> {
        self.rows(PROCESS, &[]).first().map(|row| row.get(0))
    }

    /// A role with a table `slow`, whose trigger runs `body` when a row gets its upstream id.
    fn slow_table(&mut self, body: &str) -> String {
        let role = self.enqueuer();
        self.run(&format!(
            "CREATE SEQUENCE tries; GRANT USAGE ON SEQUENCE tries TO {role};
             CREATE TABLE slow (id bigint PRIMARY KEY, name text, sf_id text);
             CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN PERFORM nextval('public.tries'); {body}; RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE UPDATE OF sf_id ON slow FOR EACH ROW EXECUTE FUNCTION slow();
             SELECT sequin_attach('slow', 'sync', 'salesforce:contact', 'sf_id', '{{\"name\": \"Name\"}}');
             ALTER TABLE slow OWNER TO {role}"
        ));
        role
    }
}

/// Each row of the slow table would cost the others its time.
#[test]
fn a_trigger_that_sleeps_delays_neither_records_nor_write_backs_of_another_role() {
    let mut world = book();
    let role = world.slow_table("PERFORM pg_sleep(30)");
    for n in 1..=20 {
        world.run_as(&role, &format!("INSERT INTO slow VALUES ({n}, 'slow')"));
        world.run(&format!("INSERT INTO people VALUES ({n}, 'quick')"));
        world.enqueue("create", &json!({"data": {"n": n}}));
    }
    world.settled();
    world.until("SELECT count(*) = 20 FROM people WHERE sf_id IS NOT NULL");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM slow WHERE sf_id IS NOT NULL"), 0);
    // The reason is shown, and the table is tried again.
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered WHERE write_back_error LIKE '%took longer than%')");
    let tries: i64 = world.one("SELECT last_value FROM tries");
    world.until(&format!("SELECT last_value > {tries} FROM tries"));
    world.run("DROP TRIGGER slow ON slow");
    world.written_back();
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM slow"), 20);
    world.drop_enqueuer(&role);
}

/// Requests are claimed, sent and settled during one visit of the slow table.
#[test]
fn records_are_delivered_while_a_trigger_runs() {
    let mut world = book();
    let role = world.slow_table("PERFORM pg_sleep(30)");
    world.run_as(&role, "INSERT INTO slow VALUES (1, 'slow')");
    let mut in_one_visit = 0;
    crate::support::network::eventually("three records are delivered during one visit", || {
        let visit =
            "SELECT last_value FROM tries WHERE EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                       AND backend_type = 'sequin write-back' AND wait_event = 'PgSleep')";
        let before: Vec<i64> = world.rows(visit, &[]).iter().map(|row| row.get(0)).collect();
        let ids = world.enqueue("create", &json!({"data": {"n": 1}}));
        assert_eq!(world.one_of::<Option<bool>>("SELECT sequin_await_delivery($1, 60000)", &[&ids]), Some(true));
        let after: Vec<i64> = world.rows(visit, &[]).iter().map(|row| row.get(0)).collect();
        in_one_visit += usize::from(!before.is_empty() && before == after);
        in_one_visit == 3
    });
    world.run("DROP TRIGGER slow ON slow");
    world.written_back();
    world.drop_enqueuer(&role);
}

#[test]
fn the_process_ends_without_work_and_starts_with_the_next_create() {
    let mut world = book();
    for n in 1..=2 {
        world.run(&format!("INSERT INTO people VALUES ({n}, 'x')"));
        world.written_back();
        world.until(&format!("SELECT NOT EXISTS ({PROCESS})"));
    }
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM people"), 2);
}

#[test]
fn a_process_that_is_terminated_loses_nothing() {
    let mut world = book();
    let role = world.slow_table("PERFORM pg_sleep(0.05)");
    let mut ended = 0;
    for n in 1..=40 {
        world.run_as(&role, &format!("INSERT INTO slow VALUES ({n}, 'slow')"));
        world.run(&format!("INSERT INTO people VALUES ({n}, 'x')"));
        if n % 8 == 0 {
            let process = "SELECT coalesce(bool_or(pg_terminate_backend(pid)), false) FROM (";
            world.until(&format!("{process}{PROCESS}) p"));
            ended += 1;
        }
    }
    assert_eq!(ended, 5);
    world.written_back();
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM people"), 40);
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM slow"), 40);
    world.drop_enqueuer(&role);
}

/// The launcher and the delivery worker have the two background workers.
#[test]
fn without_a_free_background_worker_the_delivery_worker_writes_with_a_part_of_its_time() {
    let mut world = World::with_own_server("max_worker_processes = 2\nmax_logical_replication_workers = 0");
    world.run(super::BOOK);
    let role = world.slow_table("PERFORM pg_sleep(30)");
    world.run_as(&role, "INSERT INTO slow VALUES (1, 'slow')");
    world.until("SELECT is_called FROM tries");
    world.run("INSERT INTO people SELECT n, 'x' FROM generate_series(1, 60) n");
    world.until("SELECT count(*) = 60 FROM people WHERE sf_id IS NOT NULL");
    let ids = world.enqueue("create", &json!({"data": {"n": 1}}));
    assert_eq!(world.one_of::<Option<bool>>("SELECT sequin_await_delivery($1, 60000)", &[&ids]), Some(true));
    assert_eq!(world.write_back_process(), None);
    assert!(world.server.log().contains("no background worker is free for the write-backs"));
    world.run("DROP TRIGGER slow ON slow");
    world.written_back();
    assert_eq!(world.one::<i64>("SELECT count(sf_id) FROM slow"), 1);
}

#[test]
fn a_database_with_an_idle_process_can_be_copied_and_dropped() {
    let mut world = World::with_own_server("");
    for n in 0..2 {
        let name = format!("with_rows_{n}");
        world.run(&format!("CREATE DATABASE {name}"));
        let mut other = World::at(&world.server, &name, sequin_harness::Sandbox::start());
        other.run("CREATE EXTENSION sequin_mutations");
        other.create_server();
        other.run(super::BOOK);
        other.run("INSERT INTO people VALUES (1, 'x')");
        other.written_back();
        assert!(other.write_back_process().is_some());
        drop(other);
        // Each waits five seconds for other sessions, and fails then.
        if n == 0 {
            world.run(&format!("CREATE DATABASE copy TEMPLATE {name}"));
            world.run("DROP DATABASE copy");
        } else {
            world.run(&format!("DROP DATABASE {name}"));
        }
    }
}

#[test]
fn dropping_the_extension_ends_the_process() {
    let mut world = book();
    world.run("INSERT INTO people VALUES (1, 'x')");
    world.written_back();
    let process = world.write_back_process();
    assert!(process.is_some());
    world.run("DROP EXTENSION sequin_mutations CASCADE");
    world.until(&format!("SELECT NOT EXISTS ({PROCESS})"));
}
