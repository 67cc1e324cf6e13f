//! The outbox: records are sent after commit, and every record reaches a final state.

mod admin;
mod answers;
mod archive;
mod attached;
mod await_write_back;
mod copies;
mod databases;
mod dumps;
mod failed_rounds;
mod failures;
mod hostile;
mod in_flight;
mod injected;
mod keys;
mod kills;
mod launcher;
mod lifecycle;
mod long_keys;
mod long_waits;
mod many_in_flight;
mod merged;
mod moved_row_search;
mod moved_rows;
mod nested;
mod open_verbs;
mod order;
mod poison;
mod random_kills;
mod rate_limits;
mod renames;
mod repack;
mod roles;
mod scans;
mod starvation;
mod status;
mod surroundings;
mod table_triggers;
mod transactions;
mod views;
mod waiting;
mod write_back;
mod write_back_process;
mod write_back_races;

use serde_json::json;

use crate::support::{Session, World};

/// An address book, attached with delivery by the outbox, which is the default.
pub const BOOK: &str = "
    CREATE TABLE people (id bigint PRIMARY KEY, name text, email text, note text, sf_id text);
    SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', '{\"name\": \"Name\", \"email\": \"Email\"}')";

#[test]
fn what_is_enqueued_is_sent_after_commit() {
    let mut world = World::new();
    world.run("BEGIN");
    let ids = world.enqueue("create", &json!([{"data": {"Name": "Paul"}}, {"data": {"Name": "Chani"}}]));
    assert_eq!(ids.len(), 2);
    assert_eq!(world.sent(), 0);
    world.run("COMMIT");
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery($1, 10000)", &[&ids]));
    assert_eq!(world.contact_count(), 2);
    let rows =
        world.rows("SELECT id, outcome, upstream_id, record->>'upstream_id' FROM sequin.delivered ORDER BY id", &[]);
    for (row, id) in rows.iter().zip(&ids) {
        assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (*id, "applied"));
        assert_eq!(row.get::<_, &str>(2), row.get::<_, &str>(3));
    }
    assert_eq!(rows.len(), 2);
}
