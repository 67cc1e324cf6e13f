//! Many requests of one database in flight at once. The sandbox holds them back, and its log is the judge.

mod answers;
mod ends;
mod order;
mod process;
mod servers;
mod window;

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::network::eventually;
use crate::support::{Session, World};

impl World {
    /// One record in each request, and this many requests at once.
    fn with_window(requests: usize) -> World {
        World::with_options(&format!("max_batch '1', max_in_flight '{requests}'"))
    }

    /// The same on a server of its own, with these lines in postgresql.conf.
    fn with_own_server_and_window(conf: &str, requests: usize) -> World {
        let mut world = World::with_own_server(conf);
        world.run(&format!("ALTER SERVER sequin OPTIONS (max_batch '1', max_in_flight '{requests}')"));
        world
    }

    /// The mutations of contacts that arrive from now on are carried out, and answered when the rules are cleared.
    fn hold_contacts(&self) {
        self.sandbox.fault(json!({"times": null, "hold": true, "match": {"collection_id": "salesforce:contact"}}));
    }

    /// Enqueues creates of contacts whose `n` counts from 0.
    fn enqueue_creates(&mut self, count: usize) -> Vec<i64> {
        let records: Vec<Value> = (0..count).map(|n| json!({"data": {"n": n}})).collect();
        self.enqueue("create", &json!(records))
    }

    /// Enqueues an update of each contact, in one call.
    fn update_each(&mut self, contacts: &[String], data: impl Fn(usize) -> Value) -> Vec<i64> {
        let record = |(i, id)| json!({"upstream_id": id, "data": data(i)});
        let records: Vec<Value> = contacts.iter().enumerate().map(record).collect();
        self.enqueue("update", &json!(records))
    }

    /// How many mutations of contacts wait for their answers.
    fn unanswered(&self) -> usize {
        let log = self.sandbox.log();
        log.mutations().iter().filter(|r| r.complete && r.status.is_none() && r.body.contains(":contact")).count()
    }

    /// Waits until this many mutations of contacts wait for their answers, and checks that the next round of the worker
    /// adds none.
    fn full(&mut self, requests: usize) {
        eventually(&format!("{requests} requests are in flight"), || self.unanswered() >= requests);
        self.another_round();
        assert_eq!(self.unanswered(), requests);
    }

    /// Has the worker deliver a record through a server of its own.
    fn another_round(&mut self) {
        if !self.one::<bool>("SELECT EXISTS (SELECT FROM pg_foreign_server WHERE srvname = 'another')") {
            self.database.create_server_named("another", self.sandbox.url(), self.sandbox.token());
        }
        let id: i64 = self
            .one("SELECT sequin_enqueue('create', 'sync', 'salesforce:lead', '{\"data\": {}}', server => 'another')");
        self.until(&format!("SELECT EXISTS (SELECT FROM sequin.delivered WHERE id = {id})"));
    }

    /// How many records are in this state, through the server `sequin`.
    fn in_state(&mut self, state: &str) -> i64 {
        self.one(&format!("SELECT count(*) FROM sequin.outbox WHERE server = 'sequin' AND state = '{state}'"))
    }

    /// How often each outcome or state occurs among these records.
    fn tally(&mut self, ids: &[i64]) -> HashMap<String, usize> {
        let mut tally = HashMap::new();
        for (_, fate) in self.fates().into_iter().filter(|(id, _)| ids.contains(id)) {
            *tally.entry(fate).or_insert(0) += 1;
        }
        tally
    }

    /// How often each contact's create has arrived, by its `n`.
    fn creates_by_number(&self) -> HashMap<i64, usize> {
        let mut times = HashMap::new();
        for mutation in self.mutations() {
            if mutation["kind"] == "create" && mutation["collection_id"] == "salesforce:contact" {
                for record in mutation["records"].as_array().into_iter().flatten() {
                    *times.entry(record["data"]["n"].as_i64().unwrap_or(-1)).or_insert(0) += 1;
                }
            }
        }
        times
    }

    /// Checks that these creates were all sent, and none of them twice.
    #[track_caller]
    fn assert_created_once(&self, count: usize) {
        let times = self.creates_by_number();
        let missing: Vec<usize> = (0..count).filter(|n| !times.contains_key(&(*n as i64))).collect();
        let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        assert!(missing.is_empty() && repeated.is_empty(), "not sent: {missing:?}, sent again: {repeated:?}");
        assert_eq!(times.len(), count);
    }
}

/// The outcomes of so many records, as [`World::tally`] has them.
fn outcomes(counts: &[(&str, usize)]) -> HashMap<String, usize> {
    counts.iter().map(|(outcome, count)| ((*outcome).to_owned(), *count)).collect()
}
