//! Outbox helpers for tests.

use std::time::{Duration, Instant};

use postgres::Client;
use sequin_harness::process;
use serde_json::{Value, json};

use super::session::Session;
use super::waiting::eventually;
use super::world::World;

impl World {
    /// Enqueues in a statement of its own, and gives the ids.
    pub fn enqueue(&mut self, kind: &str, records: &Value) -> Vec<i64> {
        enqueue_in(&mut self.client, kind, records)
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

    /// Waits until no record is pending or sending.
    pub fn settled(&mut self) {
        self.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state IN ('pending', 'sending'))");
    }

    /// Waits until this many mutations have arrived since the log was emptied, answered or not.
    pub fn arrived(&self, mutations: usize) {
        eventually(&format!("{mutations} mutations arrive"), || {
            let log = self.sandbox.log();
            log.mutations().iter().filter(|request| request.complete).count() >= mutations
        });
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

    /// Kind and records of the mutations that have arrived since the last look.
    pub fn requests(&self) -> Vec<(String, Value)> {
        let parse = |body: String| -> (String, Value) {
            let body: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
            let records = if body["kind"] == "delete" { &body["upstream_ids"] } else { &body["records"] };
            (body["kind"].as_str().unwrap_or_default().to_owned(), records.clone())
        };
        self.bodies().into_iter().map(parse).collect()
    }

    /// The records by id, each merged one too: the outcome of delivered ones, the state of the others.
    pub fn fates(&mut self) -> Vec<(i64, String)> {
        let sql = "SELECT unnest(id || merged_ids), outcome FROM sequin.delivered
                   UNION ALL SELECT unnest(id || merged_ids), state FROM sequin.outbox ORDER BY 1";
        self.rows(sql, &[]).iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// The same without the ids.
    pub fn endings(&mut self) -> Vec<String> {
        self.fates().into_iter().map(|(_, fate)| fate).collect()
    }

    /// A create of one contact.
    pub fn enqueue_create(&mut self, name: &str) -> i64 {
        self.enqueue("create", &json!([{"data": {"Name": name}}]))[0]
    }

    /// An update of one contact that sets `n`.
    pub fn enqueue_number(&mut self, upstream_id: &str, number: i64) -> i64 {
        self.enqueue("update", &json!([{"upstream_id": upstream_id, "data": {"n": number}}]))[0]
    }

    /// Makes a contact upstream, at once.
    pub fn create(&mut self, name: &str) -> String {
        self.one(&format!(
            "SELECT (sequin_create('sync', 'salesforce:contact', '{{\"Name\": \"{name}\"}}')).upstream_id"
        ))
    }

    /// A record's outcome if it is delivered, else its state.
    pub fn state(&mut self, id: i64) -> String {
        let sql = "SELECT outcome FROM sequin.delivered WHERE id = sequin_sent_with($1) \
                   UNION ALL SELECT state FROM sequin.outbox WHERE id = sequin_sent_with($1)";
        let rows = self.rows(sql, &[&id]);
        assert_eq!(rows.len(), 1, "record {id} is in {} places", rows.len());
        rows[0].get(0)
    }

    /// The workers of the session's database.
    pub fn workers(&mut self) -> Vec<i32> {
        self.one("SELECT sequin.workers()")
    }

    /// Waits for the one worker of the session's database.
    pub fn worker(&mut self) -> i32 {
        let mut worker = None;
        eventually("a worker is there", || {
            worker = self.workers().first().copied();
            worker.is_some()
        });
        worker.expect("it is there")
    }

    /// Waits until the sandbox has a mutation that it has not answered.
    pub fn in_the_air(&self) {
        let is_there = || self.sandbox.log().mutations().iter().any(|request| request.status.is_none());
        eventually("a request is in the air", is_there);
    }

    /// Kills a worker, which makes Postgres start all its processes anew, and connects again.
    pub fn kill_worker(&mut self) {
        let patience = Duration::from_secs(2);
        let mut killed = None;
        // One of several that come at once may leave by itself before it is killed: then there is another one.
        eventually("the old session ends", || {
            let Ok(row) = self.client.query_one("SELECT (sequin.workers())[1]", &[]) else { return true };
            if killed.is_none_or(|at: Instant| at.elapsed() > patience)
                && let Some(worker) = row.get(0)
            {
                process::kill_all(&[worker]);
                killed = Some(Instant::now());
            }
            false
        });
        self.connect_again();
    }

    /// The sandbox's mutations: kind and records of each.
    pub fn mutations(&self) -> Vec<Value> {
        self.sandbox.log().mutations().iter().map(|request| request.json()).collect()
    }
}

/// A request as [`World::requests`] has it.
pub fn request(kind: &str, records: Value) -> (String, Value) {
    (kind.to_owned(), records)
}

/// Enqueues records of contacts in any session.
pub fn enqueue_in(client: &mut Client, kind: &str, records: &Value) -> Vec<i64> {
    let sql = "SELECT * FROM sequin_enqueue($1, 'sync', 'salesforce:contact', $2::text::jsonb)";
    let rows = client.query(sql, &[&kind, &records.to_string()]);
    rows.unwrap_or_else(|error| panic!("{kind}: {error:?}")).iter().map(|row| row.get(0)).collect()
}
