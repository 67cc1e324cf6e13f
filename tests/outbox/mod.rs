//! The outbox: what is enqueued is sent after commit, and every record ends somewhere.

mod admin;
mod answers;
mod archive;
mod attached;
mod cluster;
mod copies;
mod databases;
mod dumps;
mod failures;
mod hostile;
mod in_flight;
mod injected;
mod keys;
mod kills;
mod lifecycle;
mod long_keys;
mod moved_rows;
mod nested;
mod order;
mod poison;
mod random_kills;
mod renames;
mod roles;
mod scans;
mod surroundings;
mod transactions;
mod views;
mod waiting;
mod write_back;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::World;
use crate::support::network::PATIENCE;

/// An address book, attached with delivery by the outbox, which is the default.
pub const BOOK: &str = "
    CREATE TABLE people (id bigint PRIMARY KEY, name text, email text, note text, sf_id text);
    SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', '{\"name\": \"Name\", \"email\": \"Email\"}')";

impl World {
    /// Enqueues in a statement of its own, and gives the ids.
    pub fn enqueue(&mut self, kind: &str, records: &Value) -> Vec<i64> {
        self.rows(
            "SELECT * FROM sequin_enqueue($1, 'sync', 'salesforce:contact', $2::text::jsonb)",
            &[&kind, &records.to_string()],
        )
        .iter()
        .map(|row| row.get(0))
        .collect()
    }

    /// Enqueues an update of one record.
    pub fn enqueue_update(&mut self, upstream_id: &str, data: &Value) -> i64 {
        self.enqueue("update", &json!({"upstream_id": upstream_id, "data": data}))[0]
    }

    /// Makes contacts by calls that wait, and gives their upstream ids. The log is empty afterwards.
    pub fn contacts_made(&mut self, count: i32) -> Vec<String> {
        let sql = "SELECT upstream_id FROM sequin_mutate('create', 'sync', 'salesforce:contact',
            (SELECT jsonb_agg(jsonb_build_object('data', jsonb_build_object('n', n))) FROM generate_series(1, $1) n))";
        let ids = self.rows(sql, &[&count]).iter().map(|row| row.get(0)).collect();
        self.sandbox.clear_log();
        ids
    }

    /// Waits until `sql`, a query of one boolean, is true.
    pub fn until(&mut self, sql: &str) {
        let begun = Instant::now();
        while !self.one::<bool>(sql) {
            assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {sql}\n{:?}", self.open_work());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until no record is pending or sending.
    pub fn settled(&mut self) {
        self.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state IN ('pending', 'sending'))");
    }

    /// Waits until this many mutations have arrived since the log was emptied, answered or not.
    pub fn arrived(&self, mutations: usize) {
        let begun = Instant::now();
        loop {
            let log = self.sandbox.log();
            if log.mutations().iter().filter(|request| request.complete).count() >= mutations {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no {mutations} mutations within {PATIENCE:?}: {log:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The next mutation is carried out at once, and answered when it is released.
    pub fn hold_next(&self) {
        self.sandbox.fault(json!({"hold": true}));
    }

    /// Has the API answer the mutation that it holds.
    pub fn release(&mut self) {
        let is_sending = "SELECT EXISTS (SELECT FROM sequin.outbox WHERE state = 'sending')";
        assert!(self.one::<bool>(is_sending), "none is held");
        self.sandbox.clear_faults();
    }

    /// What is open, for a message.
    pub fn open_work(&mut self) -> Vec<String> {
        let sql =
            "(SELECT o::text FROM sequin.outbox o ORDER BY id LIMIT 20) UNION ALL SELECT c::text FROM sequin.pending_upstream_ids c
            UNION ALL SELECT s::text FROM sequin.status s";
        self.rows(sql, &[]).iter().map(|r| r.get(0)).collect()
    }

    /// Kind and records of the mutations that have arrived since the last look.
    pub fn requests(&self) -> Vec<(String, Value)> {
        let parse = |body: String| -> (String, Value) {
            let body: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
            let records = if body["kind"] == "delete" { &body["upstream_ids"] } else { &body["records"] };
            (body["kind"].as_str().unwrap_or_default().to_owned(), records.clone())
        };
        self.bodies().into_iter().map(parse).collect()
    }

    /// What became of the records, by id: the outcome of those that are done, the state of the others.
    pub fn fates(&mut self) -> Vec<(i64, String)> {
        let sql = "SELECT id, outcome FROM sequin.delivered UNION ALL SELECT id, state FROM sequin.outbox ORDER BY 1";
        self.rows(sql, &[]).iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// The same without the ids.
    pub fn endings(&mut self) -> Vec<String> {
        self.fates().into_iter().map(|(_, fate)| fate).collect()
    }

    /// The data of the only contact that the provider has.
    pub fn contact(&self) -> Value {
        let records = self.sandbox.records("salesforce:contact");
        let mut present = records.iter().filter(|record| record["deleted"] == false);
        let (Some(contact), None) = (present.next(), present.next()) else { panic!("not one contact: {records:?}") };
        contact["data"].clone()
    }
}

/// A request as [`World::requests`] has it.
pub fn request(kind: &str, records: Value) -> (String, Value) {
    (kind.to_owned(), records)
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
