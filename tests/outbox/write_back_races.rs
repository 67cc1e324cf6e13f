//! Write-back and delivery at the same time, with delays injected into the statements of both.

use std::collections::BTreeMap;
use std::thread;

use super::attached::book;
use crate::support::{Session, World};

/// Sleeps for a random time within each statement of this kind, with the locks that the transaction has by then.
fn delay(world: &mut World, table: &str, when: &str) {
    let name = format!("delay_{}", when.to_lowercase().replace(' ', "_"));
    world.run(&format!(
        "CREATE TRIGGER {name} {when} ON sequin.{table} FOR EACH ROW EXECUTE FUNCTION public.delay();
         ALTER TABLE sequin.{table} ENABLE ALWAYS TRIGGER {name}"
    ));
}

/// Rows are inserted, changed, deleted and inserted again, while their creates are on their way.
fn change_rows(mut session: postgres::Client, first: i64) {
    for n in first..first + 25 {
        session.run(&format!("INSERT INTO people VALUES ({n}, 'a {n}')"));
        for name in ["b", "c"] {
            session.run(&format!(
                "SELECT pg_sleep(random() * 0.01); UPDATE people SET name = '{name} {n}' WHERE id = {n}"
            ));
        }
        if n % 3 == 0 {
            session.run(&format!("SELECT pg_sleep(random() * 0.02); DELETE FROM people WHERE id = {n}"));
        }
        if n % 6 == 0 {
            session.run(&format!(
                "INSERT INTO people VALUES ({n}, 'd {n}'); SELECT pg_sleep(random() * 0.02);
                 UPDATE people SET name = 'e {n}' WHERE id = {n}"
            ));
        }
    }
}

/// What the provider has of each upstream id, without deleted records.
fn upstream(world: &World) -> BTreeMap<String, String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    world.contacts().iter().map(|contact| (text(&contact["upstream_id"]), text(&contact["data"]["Name"]))).collect()
}

fn run(delays: &[(&str, &str)]) {
    let mut world = book();
    world.run(
        "CREATE FUNCTION public.delay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           PERFORM pg_catalog.pg_sleep(pg_catalog.random() * 0.02);
           IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$",
    );
    for (table, when) in delays {
        delay(&mut world, table, when);
    }
    thread::scope(|scope| {
        for first in [0, 100, 200] {
            let session = world.database.connect();
            scope.spawn(move || change_rows(session, first));
        }
    });
    world.written_back();
    let rows = world.rows("SELECT sf_id, name FROM people ORDER BY id", &[]);
    let rows: BTreeMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows.len() as i64, world.one::<i64>("SELECT count(*) FROM people"));
    assert_eq!(rows, upstream(&world), "{delays:?}");
    let odd = world.column("SELECT o::text FROM sequin.outbox o");
    assert!(odd.is_empty(), "{odd:?}");
    let endings: Vec<String> = world.endings();
    assert!(endings.iter().all(|ending| !["not_sent", "rejected", "unknown"].contains(&&ending[..])), "{endings:?}");
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(world.one::<i64>(deadlocks), 0);
}

#[test]
fn changes_get_their_ids_while_both_are_quick() {
    run(&[]);
}

#[test]
fn changes_get_their_ids_while_the_write_back_is_slow() {
    run(&[("pending_upstream_ids", "BEFORE DELETE"), ("queue", "BEFORE UPDATE"), ("deferred", "BEFORE UPDATE")]);
}

#[test]
fn changes_get_their_ids_while_settlements_are_slow() {
    run(&[("history", "BEFORE INSERT"), ("pending_upstream_ids", "AFTER INSERT"), ("queue", "BEFORE DELETE")]);
}

#[test]
fn changes_get_their_ids_while_claims_are_slow() {
    run(&[("claims", "BEFORE INSERT"), ("claims", "BEFORE DELETE"), ("deferred", "BEFORE INSERT")]);
}
