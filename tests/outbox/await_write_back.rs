//! Waiting for creates of attached tables: they are delivered when their upstream ids are in their rows.

use super::attached::book;
use crate::support::{Session, World};

impl World {
    /// Runs statements in a transaction, and gives the ids of the records that they have queued.
    fn queued_by(&mut self, sql: &str) -> Vec<i64> {
        self.run(&format!("BEGIN; {sql}"));
        let ids = self.one("SELECT coalesce(array_agg(id), '{}') FROM sequin.outbox");
        self.run("COMMIT");
        ids
    }

    fn awaited(&mut self, ids: &[i64], ms: i32) -> Option<bool> {
        self.one_of("SELECT sequin_await_delivery($1, $2)", &[&ids, &ms])
    }

    fn rows_without_id(&mut self) -> i64 {
        self.one("SELECT count(*) FROM people WHERE sf_id IS NULL")
    }
}

#[test]
fn every_row_has_its_id_when_its_create_is_delivered() {
    let mut world = book();
    for round in 0..20 {
        let first = round * 60;
        let insert = format!("INSERT INTO people SELECT {first} + n, 'x' FROM generate_series(1, 60) n");
        let ids = world.queued_by(&insert);
        assert_eq!(ids.len(), 60);
        assert_eq!(world.awaited(&ids, 60_000), Some(true));
        assert_eq!(world.rows_without_id(), 0, "round {round}");
    }
}

#[test]
fn a_create_is_open_while_another_session_locks_its_row() {
    let mut world = book();
    let mut other = world.database.connect();
    world.run("SELECT sequin_pause('sequin')");
    let ids = world.queued_by("INSERT INTO people VALUES (1, 'Paul'), (2, 'Chani')");
    other.run("BEGIN; SELECT FROM people WHERE id = 1 FOR UPDATE");
    world.run("SELECT sequin_resume('sequin')");
    world.until("SELECT count(*) = 1 FROM people WHERE sf_id IS NOT NULL");
    world.settled();
    assert_eq!(world.awaited(&ids, 50), None);
    other.run("COMMIT");
    assert_eq!(world.awaited(&ids, 60_000), Some(true));
    assert_eq!(world.rows_without_id(), 0);
}

#[test]
fn a_write_back_that_is_slower_than_the_delivery_is_waited_for() {
    let mut world = book();
    world.run(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE UPDATE OF sf_id ON people FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    for round in 0..3 {
        let first = round * 8;
        let insert = format!("INSERT INTO people SELECT {first} + n, 'x' FROM generate_series(1, 8) n");
        let ids = world.queued_by(&insert);
        assert_eq!(world.awaited(&ids, 60_000), Some(true));
        assert_eq!(world.rows_without_id(), 0, "round {round}");
    }
}

#[test]
fn a_create_is_open_while_its_write_back_fails_and_the_reason_is_shown() {
    let mut world = book();
    world.run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in my table'; END $$;
         CREATE TRIGGER fail BEFORE UPDATE OF sf_id ON people FOR EACH ROW EXECUTE FUNCTION fail()",
    );
    let ids = world.queued_by("INSERT INTO people VALUES (1, 'Paul')");
    world.until("SELECT write_back_error IS NOT NULL FROM sequin.status");
    assert_eq!(world.awaited(&ids, 50), None);
    assert_eq!(world.one::<String>("SELECT write_back_error FROM sequin.delivered"), "not in my table");
    world.run("DROP TRIGGER fail ON people");
    assert_eq!(world.awaited(&ids, 60_000), Some(true));
    assert_eq!(world.rows_without_id(), 0);
}

/// The write-back gives such a row up.
#[test]
fn a_create_whose_row_is_gone_is_delivered() {
    let mut world = book();
    let mut other = world.database.connect();
    world.run("SELECT sequin_pause('sequin')");
    let ids = world.queued_by("INSERT INTO people VALUES (1, 'Paul')");
    other.run("BEGIN; SELECT FROM people FOR UPDATE");
    world.run("SELECT sequin_resume('sequin')");
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered WHERE write_back = 'waiting')");
    assert_eq!(world.awaited(&ids, 0), None);
    other.run("DELETE FROM people; COMMIT");
    assert_eq!(world.awaited(&ids, 60_000), Some(true));
}

/// Another role learns nothing of it.
#[test]
fn an_open_write_back_of_another_role_is_not_waited_for() {
    let mut world = book();
    let mut other = world.database.connect();
    let stranger = world.enqueuer();
    world.run("SELECT sequin_pause('sequin')");
    let ids = world.queued_by("INSERT INTO people VALUES (1, 'Paul')");
    other.run("BEGIN; SELECT FROM people FOR UPDATE");
    world.run("SELECT sequin_resume('sequin')");
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered WHERE write_back = 'waiting')");
    assert_eq!(world.awaited(&ids, 0), None);
    world.run(&format!("SET ROLE {stranger}"));
    assert_eq!(world.awaited(&ids, 0), Some(true));
    world.run("RESET ROLE");
    other.run("COMMIT");
    world.written_back();
    world.drop_enqueuer(&stranger);
}
