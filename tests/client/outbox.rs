//! The outbox: what is enqueued is sent after commit, and every record ends somewhere.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::World;

impl World {
    /// Enqueues and waits until it is settled.
    pub fn enqueue(&mut self, kind: &str, records: &Value) -> Vec<i64> {
        self.rows(
            "SELECT * FROM sequin_enqueue($1, 'sync', 'salesforce:contact', $2::text::jsonb)",
            &[&kind, &records.to_string()],
        )
        .iter()
        .map(|row| row.get(0))
        .collect()
    }

    /// Waits until `sql`, a query of one boolean, is true.
    pub fn until(&mut self, sql: &str) {
        let begun = Instant::now();
        while !self.one::<bool>(sql) {
            assert!(begun.elapsed() < Duration::from_secs(20), "not within 20 s: {sql}\n{:?}", self.open_work());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until no record is pending or sending.
    pub fn settled(&mut self) {
        self.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state IN ('pending', 'sending'))");
    }

    /// What is open, for a message.
    pub fn open_work(&mut self) -> Vec<String> {
        self.rows("SELECT o::text FROM sequin.outbox o ORDER BY id LIMIT 20", &[]).iter().map(|r| r.get(0)).collect()
    }
}

#[test]
fn what_is_enqueued_is_sent_after_commit() {
    let mut world = World::new();
    world.run("BEGIN");
    let ids = world.enqueue("create", &json!([{"data": {"Name": "Paul"}}, {"data": {"Name": "Chani"}}]));
    assert_eq!(ids.len(), 2);
    assert_eq!(world.sent(), 0);
    world.run("COMMIT");
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery($1, 10000)", &[&ids]));
    assert_eq!(world.contacts(), 2);
    let rows =
        world.rows("SELECT id, outcome, upstream_id, record->>'upstream_id' FROM sequin.delivered ORDER BY id", &[]);
    for (row, id) in rows.iter().zip(&ids) {
        assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (*id, "applied"));
        assert_eq!(row.get::<_, &str>(2), row.get::<_, &str>(3));
    }
    assert_eq!(rows.len(), 2);
}
