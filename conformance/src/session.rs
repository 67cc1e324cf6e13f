//! The run: the server, the texts of requests, and the records to clean up.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::json;

use crate::args::{self, Options};
use crate::client::Client;
use crate::exchange::{Exchange, Failure, MUTATIONS, Sent};
use crate::reply::{Object, Record};

pub struct Session {
    pub options: Options,
    client: Client,
    /// Makes the texts of this run differ from those of other runs.
    run: String,
    last: AtomicU64,
    /// The records that exist, as far as replies say.
    alive: Mutex<BTreeSet<String>>,
}

/// A record that this run has created.
pub struct Known {
    pub id: String,
    /// The text in the place of `{n}`.
    pub marker: String,
    /// The data that was sent.
    pub sent: Object,
}

impl Session {
    pub fn new(options: Options) -> Session {
        let client = Client::new(&options);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = format!("r{:x}", now.as_micros());
        Session { options, client, run, last: AtomicU64::new(0), alive: Mutex::default() }
    }

    /// Sends a request over the connections of this run.
    pub fn send(&self, sent: Sent) -> Exchange {
        self.send_by(&self.client, sent)
    }

    /// Sends a request, and notes the records that its reply names, whatever was expected of it.
    pub fn send_by(&self, client: &Client, sent: Sent) -> Exchange {
        #[derive(Deserialize)]
        struct Applied {
            records: Vec<Record>,
        }
        let exchange = client.send(sent);
        if exchange.sent.path == MUTATIONS
            && let Ok(Applied { records }) = serde_json::from_slice(exchange.body())
        {
            let is_delete = exchange.sent.body.as_ref().is_some_and(|body| body.starts_with(br#"{"kind":"delete""#));
            for record in &records {
                self.note_state(record, is_delete);
            }
        }
        exchange
    }

    /// Notes a record of the stream, if this run has made it.
    pub fn note(&self, record: &Record) {
        if record.contains(&self.run) {
            self.note_state(record, false);
        }
    }

    fn note_state(&self, record: &Record, is_delete: bool) {
        let mut alive = self.alive();
        match record.upstream_id() {
            Some(id) if is_delete || record.deleted() == Some(true) => drop(alive.remove(&id)),
            Some(id) => drop(alive.insert(id)),
            None => {}
        }
    }

    /// A text that no other record has.
    pub fn marker(&self) -> String {
        format!("{}x{}z", self.run, self.last.fetch_add(1, Relaxed))
    }

    /// Data of a new record.
    pub fn data(&self, marker: &str) -> String {
        filled(&self.options.data, marker)
    }

    /// Data of an update.
    pub fn change(&self, marker: &str) -> String {
        filled(&self.options.change, marker)
    }

    /// `"sync_id":...,"collection_id":...`
    pub fn target(&self) -> String {
        let (sync, collection) = (json!(self.options.sync), json!(self.options.collection));
        format!(r#""sync_id":{sync},"collection_id":{collection}"#)
    }

    pub fn create(&self, data: &[String]) -> String {
        let records: Vec<_> = data.iter().map(|data| format!(r#"{{"data":{data}}}"#)).collect();
        format!(r#"{{"kind":"create",{},"records":[{}]}}"#, self.target(), records.join(","))
    }

    /// Of ids, and the data of each.
    pub fn update(&self, changes: &[(&str, String)]) -> String {
        let record = |(id, data): &(&str, String)| format!(r#"{{"upstream_id":{},"data":{data}}}"#, json!(id));
        let records: Vec<_> = changes.iter().map(record).collect();
        format!(r#"{{"kind":"update",{},"records":[{}]}}"#, self.target(), records.join(","))
    }

    pub fn delete(&self, ids: &[&str]) -> String {
        format!(r#"{{"kind":"delete",{},"upstream_ids":{}}}"#, self.target(), json!(ids))
    }

    /// Creates a record.
    pub fn new_record(&self) -> Result<Known, Failure> {
        let marker = self.marker();
        let data = self.data(&marker);
        let exchange = self.send(Sent::mutation(self.create(std::slice::from_ref(&data))));
        let (exchange, record) = exchange.expect_record()?;
        match record.upstream_id() {
            Some(id) => Ok(Known { id, marker, sent: object(&data) }),
            None => Err(exchange.fails("a record with its upstream_id")),
        }
    }

    /// Looks at a record through an update that writes the value it has. None: the reply shows no data.
    pub fn look_at(&self, known: &Known) -> Result<(Exchange, Option<Object>), Failure> {
        let (exchange, record) = self.send(Sent::mutation(self.look(known))).expect_record()?;
        Ok((exchange, record.data()))
    }

    /// An update of a record that changes nothing.
    pub fn look(&self, known: &Known) -> String {
        let steady = args::steady_field(&self.options.data, &self.options.change);
        let data = steady.map_or_else(
            || "{}".to_owned(),
            |(name, value)| format!("{{{}:{}}}", json!(name), filled(value.get(), &known.marker)),
        );
        self.update(&[(&known.id, data)])
    }

    /// Whether a value of this record holds the text of another record or change.
    pub fn is_changed(&self, known: &Known, value: &str) -> bool {
        value.replace(&known.marker, "").contains(&self.run)
    }

    /// Deletes the records that are left. Returns those that could not be deleted.
    pub fn clean_up(&self) -> Vec<String> {
        let left: Vec<String> = self.alive().iter().cloned().collect();
        left.into_iter().filter(|id| self.send(Sent::mutation(self.delete(&[id]))).status() != 200).collect()
    }

    fn alive(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A template with the text of one record.
pub fn filled(template: &str, marker: &str) -> String {
    template.replace("{n}", marker)
}

/// The fields of a text that is known to be an object.
pub fn object(text: &str) -> Object {
    serde_json::from_str(text).unwrap_or_default()
}
