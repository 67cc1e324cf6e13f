//! Tables of the outbox are repacked while records are enqueued and delivered.
//!
//! pg_repack copies a table, replays onto the copy what a row trigger has logged meanwhile, and exchanges the two. This
//! module does the same in SQL, on every major; `tests/neighbours/repack.rs` runs the program itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use postgres::Client;

use super::BOOK;
use crate::support::network::eventually;
use crate::support::{Session, SetAtEnd, World};

/// The tables through which a create passes. The column `id` is unique in each of them.
const TABLES: [&str; 5] = ["queue", "claims", "deferred", "history", "pending_upstream_ids"];

const SESSIONS: i64 = 3;

/// Logs the changes of a table from now on, and copies the table.
fn begin(client: &mut Client, table: &str) {
    client.run(&format!(
        "BEGIN;
         LOCK TABLE sequin.{table};
         CREATE TABLE log (n bigserial, old sequin.{table}, new sequin.{table});
         CREATE FUNCTION log_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO public.log (old, new) VALUES (CASE WHEN TG_OP <> 'INSERT' THEN OLD END,
                                                     CASE WHEN TG_OP <> 'DELETE' THEN NEW END);
           RETURN NULL; END $$;
         CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON sequin.{table}
           FOR EACH ROW EXECUTE FUNCTION log_{table}();
         COMMIT;
         -- What the copy has is not replayed: both statements have one snapshot.
         BEGIN ISOLATION LEVEL SERIALIZABLE;
         DELETE FROM log;
         CREATE TABLE copy AS SELECT * FROM sequin.{table};
         COMMIT;
         CREATE UNIQUE INDEX ON copy (id)"
    ));
}

/// Replays the log onto the copy.
const REPLAY: &str = "
    DO $$ DECLARE change record; BEGIN
      FOR change IN SELECT n, old, new FROM log ORDER BY n LOOP
        IF change.old IS DISTINCT FROM NULL THEN DELETE FROM copy WHERE id = (change.old).id; END IF;
        IF change.new IS DISTINCT FROM NULL THEN INSERT INTO copy SELECT (change.new).*; END IF;
        DELETE FROM log WHERE n = change.n;
      END LOOP; END $$";

/// Puts the copy into the place of the table.
fn exchange(client: &mut Client, table: &str) {
    client.run(&format!(
        "BEGIN;
         LOCK TABLE sequin.{table};
         {REPLAY};
         DROP FUNCTION log_{table} CASCADE;
         TRUNCATE sequin.{table};
         INSERT INTO sequin.{table} TABLE copy;
         DROP TABLE log, copy;
         COMMIT"
    ));
}

#[test]
fn tables_that_are_repacked_under_traffic_lose_nothing_and_repeat_nothing() {
    let mut world = World::with_options("atomic_batches 'true'");
    world.run(BOOK);
    let is_over = AtomicBool::new(false);
    let database = &world.database;
    let rows: i64 = thread::scope(|scope| {
        let sessions = (0..SESSIONS).map(|session| {
            let is_over = &is_over;
            scope.spawn(move || {
                let mut client = database.connect();
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let id = count * SESSIONS + session;
                    client.run(&format!("INSERT INTO people VALUES ({id}, 'Paul')"));
                    client.run(&format!("UPDATE people SET name = 'Usul' WHERE id = {id}"));
                    count += 1;
                }
                count
            })
        });
        let sessions: Vec<_> = sessions.collect();
        let end = SetAtEnd(&is_over);
        let mut client = database.connect();
        for table in TABLES {
            begin(&mut client, table);
            // Some traffic, which the log has, and some more that it gets at the end.
            let count = "SELECT count(*) FROM people";
            let before: i64 = client.one(count);
            eventually("rows come", || client.one::<i64>(count) > before + 20);
            client.run(REPLAY);
            exchange(&mut client, table);
        }
        drop(end);
        sessions.into_iter().map(|session| session.join().unwrap()).sum()
    });
    world.written_back();
    let people = "SELECT count(*), count(DISTINCT sf_id) FROM people WHERE name = 'Usul'";
    let people = world.rows(people, &[]).iter().map(|row| (row.get(0), row.get(1))).collect::<Vec<(i64, i64)>>();
    assert_eq!(people, [(rows, rows)]);
    assert_eq!(world.contact_count() as i64, rows);
    let creates = world.mutations();
    let creates = creates.iter().filter(|body| body["kind"] == "create");
    assert_eq!(creates.map(|body| body["records"].as_array().map_or(0, Vec::len) as i64).sum::<i64>(), rows);
    let usul = world.contacts();
    assert!(usul.iter().all(|contact| contact["data"]["Name"] == "Usul"), "an update was lost");
    assert_eq!(
        world.one::<i64>("SELECT sum(1 + COALESCE(cardinality(merged_ids), 0))::bigint FROM sequin.delivered"),
        2 * rows
    );
}
