//! What the triggers do: they read what the statement changed and send it, in requests of at most `max_batch` records.
//!
//! The statement waits, and fails if the API refuses: then its rows are as before. What earlier requests of the same
//! statement have applied, also those of other triggers, stays applied; the error says how many records that were.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::exchange::{after_applied, facts, fail, name, note_earlier, read_only, send};
use crate::mutation::kind::Kind;
use crate::mutation::outcome::Outcome;
use crate::mutation::reply::{Lacking, Record, Records};
use crate::mutation::request::Request;
use crate::mutation::{merge, pairing, presence};
use crate::pg::context::Tally;
use crate::pg::spi::{self, Batch, Connection};
use crate::pg::trigger::{Event, Fired};
use crate::pg::{context, relation, report, session};
use crate::server::options::ServerOptions;
use crate::server::{self, Server};

use super::attachment::{Attachment, Delivery, Operation};
use super::columns::{changed_key, mistake, resolve};
use super::queries::Table;
use super::queued;

/// How many updates or deletes one request may have.
const MAX_BATCH: fn(&ServerOptions) -> u32 = |options| options.max_batch;

/// Sends what the statement changed that `fired` fires for.
pub fn capture(fired: &Fired, attachment: &Attachment) -> Result<(), ErrorReport> {
    let operation = match fired.event() {
        Event::Insert => Operation::Insert,
        Event::Update => Operation::Update,
        Event::Delete => Operation::Delete,
        Event::Truncate => return Err(mistake("a TRUNCATE cannot be captured", "Attach the table anew.")),
    };
    let described = fired.table();
    if operation == Operation::Update && WritingBack::is_to(described.oid) {
        return Ok(());
    }
    context::during(&format!("{} on {}", operation.keyword(), described.quoted), |tally| {
        let table = resolve(&described, attachment)?;
        spi::connected(|connection| {
            fired.show_transition_tables();
            if attachment.delivery == Delivery::Outbox {
                return queued::queue(connection, attachment, &described, &table, operation);
            }
            let statement = Statement { attachment, table, server: OnceCell::new(), operation, tally };
            match operation {
                Operation::Insert => statement.create(connection, &described),
                Operation::Update => statement.update(connection),
                Operation::Delete => statement.delete(connection),
            }
        })
    })
}

/// While it lives, the UPDATE that writes upstream ids back is not captured, whatever the table's own triggers make of
/// it. Triggers that write other tables in the meantime are.
pub struct WritingBack {
    before: u32,
}

static WRITING_BACK: AtomicU32 = AtomicU32::new(0);

impl WritingBack {
    pub fn begin(table: pg_sys::Oid) -> Self {
        WritingBack { before: WRITING_BACK.swap(table.to_u32(), Ordering::Relaxed) }
    }

    fn is_to(table: pg_sys::Oid) -> bool {
        WRITING_BACK.load(Ordering::Relaxed) == table.to_u32()
    }
}

impl Drop for WritingBack {
    fn drop(&mut self) {
        WRITING_BACK.store(self.before, Ordering::Relaxed);
    }
}

/// A statement on an attached table.
struct Statement<'a> {
    attachment: &'a Attachment,
    table: Table,
    /// Found when there is something to send: a statement that changes nothing upstream needs no right to.
    server: OnceCell<Server>,
    operation: Operation,
    /// What it has had applied, and other captures of the client's statement before it.
    tally: &'a Tally,
}

impl Statement<'_> {
    fn create(&self, connection: &Connection, described: &relation::Table) -> Result<(), ErrorReport> {
        let mut ids = Vec::new();
        self.in_batches(connection, &self.table.inserted(), ServerOptions::creates_per_request, |batch| {
            let data: Vec<String> = (0..batch.len()).map(|row| batch.json(row, 1)).collect();
            let records = data.iter().map(|data| format!("{{\"data\":{data}}}"));
            let created = self.send(Kind::Create, records, |records| upstream_ids(&data, records))?;
            ids.extend(created);
            Ok(())
        })?;
        if ids.is_empty() { Ok(()) } else { self.write_back(connection, described, &ids) }
    }

    /// Writes the upstream ids of all rows that were created. Whatever prevents it is told as what it is: the records
    /// are there, and their ids are lost.
    fn write_back(
        &self,
        connection: &Connection,
        described: &relation::Table,
        ids: &[String],
    ) -> Result<(), ErrorReport> {
        let facts = facts(Kind::Create, ids.len(), &self.attachment.collection_id, self.server()?);
        let query = self.table.write_back();
        let write = || connection.count_with_texts(&query, ids);
        let write_all = || {
            let _quiet = WritingBack::begin(described.oid);
            // A role that may only insert: as the owner, as the checks of foreign keys are made.
            let kept = if described.may_be_updated() { write() } else { session::acting_as(described.owner, write) };
            match ids.len() - kept {
                0 => Ok(()),
                lost => Err(format!("{lost} of {} upstream ids were not kept in their rows", ids.len())),
            }
        };
        self.tally.speak_of(ids.len());
        after_applied(&facts, self.tally, write_all)
    }

    fn update(&self, connection: &Connection) -> Result<(), ErrorReport> {
        self.in_batches(connection, &self.table.updated(), MAX_BATCH, |batch| {
            let changes: Vec<(String, String)> =
                (0..batch.len()).map(|row| self.change(batch, row)).collect::<Result<_, _>>()?;
            let changes = merge::by_id(changes);
            let records = changes.iter().map(|(id, data)| {
                let id = serde_json::to_string(id).expect("a string can be written");
                format!("{{\"upstream_id\":{id},\"data\":{data}}}")
            });
            let ids: Vec<&str> = changes.iter().map(|(id, _)| id.as_str()).collect();
            self.send(Kind::Update, records, |records| all_there(&ids, &records))
        })
    }

    /// The upstream id and the changed fields of a row of [`Table::updated`].
    fn change(&self, batch: &Batch, row: usize) -> Result<(String, String), ErrorReport> {
        let (key, table) = (batch.json(row, 2), &self.table.quoted);
        if batch.boolean(row, 3) {
            return Err(changed_key(&self.table, &key));
        }
        let Some(id) = batch.text(row, 1) else {
            return Err(mistake(
                &format!("the row {key} of {table} has no upstream id"),
                "It is NULL or blank: the row was never created upstream, so its change cannot be sent there. Write the id \
                 of its record into the column, or DELETE and INSERT the row.",
            ));
        };
        Ok((id, batch.json(row, 4)))
    }

    fn delete(&self, connection: &Connection) -> Result<(), ErrorReport> {
        self.in_batches(connection, &self.table.deleted(), MAX_BATCH, |batch| {
            let ids: Vec<String> = (0..batch.len()).filter_map(|row| batch.text(row, 1)).collect();
            let records = ids.iter().map(|id| serde_json::to_string(id).expect("a string can be written"));
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            self.send(Kind::Delete, records, |records| all_there(&ids, &records))
        })
    }

    /// Reads `query` in batches of what one request may hold.
    fn in_batches(
        &self,
        connection: &Connection,
        query: &str,
        size: fn(&ServerOptions) -> u32,
        mut each: impl FnMut(&Batch) -> Result<(), ErrorReport>,
    ) -> Result<(), ErrorReport> {
        let begin = || self.server().map(|server| size(server.options()));
        connection.in_batches(query, begin, |batch| {
            each(batch)?;
            // It is one of the earlier ones now.
            self.tally.speak_of(0);
            Ok(())
        })
    }

    fn server(&self) -> Result<&Server, ErrorReport> {
        if let Some(server) = self.server.get() {
            return Ok(server);
        }
        let refusal = |mut outcome: Outcome| {
            note_earlier(&mut outcome, self.tally.before());
            report::error(&outcome)
        };
        if session::is_read_only() {
            return Err(refusal(read_only(self.operation.keyword())));
        }
        let found = server::find(self.attachment.server.as_deref());
        let server = found.map_err(|unusable| refusal(unusable.into()))?;
        Ok(self.server.get_or_init(|| server))
    }

    /// Sends one batch of records, each as JSON text.
    fn send<T>(
        &self,
        kind: Kind,
        records: impl Iterator<Item = String>,
        store: impl FnOnce(Records<'_>) -> Result<T, Lacking>,
    ) -> Result<T, ErrorReport> {
        self.attachment.with_arguments(|arguments| {
            let request = Request::draft(Some(kind.as_str()), arguments).and_then(|mut draft| {
                draft.write_records(records);
                draft.finish()
            });
            match request {
                Ok(request) => send(request, self.server()?, Some(self.tally), |records, _| store(records)),
                Err(invalid) => {
                    let mut outcome = Outcome::from(invalid);
                    note_earlier(&mut outcome, self.tally.before());
                    fail(&format!("{kind} in {}", name(&self.attachment.collection_id)), &outcome)
                }
            }
        })
    }
}

/// Fails if a record of an update or delete is not in its reply.
fn all_there(sent: &[&str], records: &Records<'_>) -> Result<(), Lacking> {
    let whole = records.whole();
    let mut replied: Vec<Option<&str>> = whole.iter().map(|record| record.upstream_id.as_deref()).collect();
    // What cannot be read has no id.
    replied.resize(records.length(), None);
    presence::all_there(sent, &replied).map_err(Lacking::Missing)
}

/// The upstream ids of the records of a reply, in the order of the data that was sent.
fn upstream_ids(sent: &[String], records: Records<'_>) -> Result<Vec<String>, Lacking> {
    let length = records.length();
    let reason = || format!("it holds {length} records for the {} that were sent", sent.len());
    match length {
        0 => return Err(Lacking::Missing("it holds no record".to_owned())),
        _ if length < sent.len() => return Err(Lacking::Missing(reason())),
        _ if length > sent.len() => return Err(Lacking::Unreadable(reason())),
        _ => {}
    }
    let records: Vec<_> = records.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let replied: Vec<Option<&str>> = records.iter().map(|record| record.data).collect();
    let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    // The reply to one create is its own, whatever the values.
    if sent.len() > 1 && pairing::contradicts(&sent, &replied) {
        let reason =
            "its records are in another order than they were sent, which the option \"ordered_replies\" denies";
        return Err(Lacking::Unreadable(reason.to_owned()));
    }
    let ids: HashSet<&str> = records.iter().filter_map(|record| record.upstream_id.as_deref()).collect();
    if ids.iter().any(|id| id.trim().is_empty()) {
        return Err(Lacking::Unreadable("it has an empty upstream_id".to_owned()));
    }
    if ids.len() < records.len() && records.iter().all(|record| record.upstream_id.is_some()) {
        return Err(Lacking::Unreadable("it has the same upstream_id for two records".to_owned()));
    }
    let id = |(i, record): (usize, &Record<'_>)| {
        let reason = || Lacking::Unreadable(format!("its records[{i}] has no upstream_id"));
        record.upstream_id.as_deref().map(str::to_owned).ok_or_else(reason)
    };
    records.iter().enumerate().map(id).collect()
}
