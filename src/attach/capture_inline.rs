//! What the triggers do with `delivery => 'inline'`: they send what the statement has changed, in requests of at most
//! `max_batch` records, creates one by one unless replies are in order.
//!
//! The statement waits, and fails if the API refuses: then its rows are as before. What earlier requests of the same
//! statement have applied, also those of other triggers, stays applied; the error says how many records that were.

use std::cell::OnceCell;
use std::collections::HashSet;

use pgrx::pg_sys::panic::ErrorReport;

use crate::call::server::{self, Server};
use crate::call::{after_applied, facts, fail, name, note_earlier, read_only, send};
use crate::ereport;
use crate::pg::context::Tally;
use crate::pg::memory_context::ScratchContext;
use crate::pg::output::{DependsOn, printed_alike, read_alike};
use crate::pg::spi;
use crate::pg::statement::Value;
use crate::pg::trigger::Fired;
use crate::pg::{relation, security_context, session};
use contract::kind::Kind;
use contract::merge;
use contract::outcome::Outcome;
use contract::reply::{Record, ReplyRecords, UnusableReply};
use contract::reply::{matching, pairing};
use contract::request::Request;

use super::columns::{Columns, mistake};
use super::write_back_guard::{Afterwards, WriteBackGuard};
use super::written_rows::{DataPrinter, KeyInAnotherForm, WrittenRows};
use contract::attachment::{Attachment, TriggerEvent};
use contract::capture_sql::{PrimaryKeyColumn, WriteBackTable};

/// The requests of one attached table.
pub struct InlineCapture<'a> {
    pub attachment: &'a Attachment,
    pub table: &'a relation::Table,
    /// Found when there is something to send: a statement that changes nothing upstream needs no right to.
    pub server: OnceCell<Server>,
    pub operation: TriggerEvent,
    /// What has been applied by the client's statement.
    pub tally: &'a Tally,
}

impl InlineCapture<'_> {
    /// Sends the rows of the statement that `fired` fires for.
    pub fn send_statement(&self, fired: &Fired, columns: &Columns<'_>) -> Result<(), ErrorReport> {
        let mut rows = WrittenRows::of(fired, self.operation, columns, KeyInAnotherForm::Taken);
        let mut data = DataPrinter::new(columns);
        match self.operation {
            TriggerEvent::Insert => self.insert(fired, columns, &mut rows, &mut data)?,
            TriggerEvent::Update => self.update(&mut rows, &mut data)?,
            TriggerEvent::Delete => self.delete(&mut rows)?,
        }
        rows.close();
        Ok(())
    }

    fn insert(
        &self,
        fired: &Fired,
        columns: &Columns<'_>,
        rows: &mut WrittenRows<'_>,
        data: &mut DataPrinter<'_>,
    ) -> Result<(), ErrorReport> {
        let (all, depends_on) = (data.all(), data.depends_on());
        let (mut ids, mut positions, mut position) = (Vec::new(), Vec::new(), 0);
        self.in_batches(
            |most| {
                let scratch = ScratchContext::enter();
                let batch = rows.gather(most, depends_on, |rows| {
                    position += 1;
                    let is_new = rows.id(&rows.row()).is_none();
                    let data = is_new.then(|| data.text(&rows.row(), &all));
                    scratch.reset();
                    positions.extend(is_new.then_some(position));
                    data
                })?;
                scratch.leave();
                Ok(batch)
            },
            || self.creates_a_request(),
            |batch| {
                ids.extend(self.create(&batch)?);
                Ok(())
            },
        )?;
        if ids.is_empty() {
            return Ok(());
        }
        let query = written(columns).write_by_position();
        let texts: Vec<Option<&str>> = ids.iter().map(|id| Some(id.as_str())).collect();
        self.write_ids(ids.len(), || {
            spi::connected(|connection| {
                fired.show_transition_tables();
                Ok::<_, std::convert::Infallible>(
                    connection.count(&query, &[Value::Texts(&texts), Value::Int8s(&positions)]),
                )
            })
            .unwrap_or_else(|never| match never {})
        })
    }

    /// Creates records, and writes their upstream ids into the rows with these keys, each a JSON array.
    pub fn create_rows(&self, columns: &Columns<'_>, rows: &[(String, String)]) -> Result<(), ErrorReport> {
        let mut ids = Vec::with_capacity(rows.len());
        for batch in rows.chunks(self.creates_a_request()?) {
            let data: Vec<String> = batch.iter().map(|(_, data)| data.clone()).collect();
            ids.extend(self.create(&data)?);
        }
        let query = written(columns).write_by_key();
        let names: Vec<&str> = columns.key.iter().map(|column| column.name.as_str()).collect();
        let keys: Vec<String> = rows.iter().map(|(key, _)| super::write_ids::key_object(&names, key)).collect();
        let keys: Vec<Option<&str>> = keys.iter().map(|key| Some(key.as_str())).collect();
        let texts: Vec<Option<&str>> = ids.iter().map(|id| Some(id.as_str())).collect();
        self.write_ids(ids.len(), || {
            let count = || {
                spi::connected(|connection| {
                    Ok::<_, std::convert::Infallible>(
                        connection.count(&query, &[Value::Texts(&texts), Value::Texts(&keys)]),
                    )
                })
                .unwrap_or_else(|never| match never {})
            };
            read_alike(count)
        })
    }

    /// How many creates share a request.
    fn creates_a_request(&self) -> Result<usize, ErrorReport> {
        Ok(self.server()?.options().creates_per_request() as usize)
    }

    /// Creates a record for each of `data`, at most as many as a request may have, and gives their upstream ids.
    fn create(&self, data: &[String]) -> Result<Vec<String>, ErrorReport> {
        let records = data.iter().map(|data| format!("{{\"data\":{data}}}"));
        let ids = self.send(Kind::Create, records, |records| upstream_ids(data, records))?;
        self.tally.speak_of(0);
        Ok(ids)
    }

    /// Has the upstream ids of `count` created records written by `write`, which says how many rows have kept theirs.
    /// Whatever prevents it is reported as what it is: the records are there, and their ids are lost.
    fn write_ids(&self, count: usize, write: impl Fn() -> usize) -> Result<(), ErrorReport> {
        let facts = facts(Kind::Create, count, &self.attachment.collection_id, self.server()?);
        let write_all = || {
            let _quiet = WriteBackGuard::begin(self.table.oid, Afterwards::Waiting);
            // A role that may only insert: as the owner, as the checks of foreign keys are made.
            let kept = if self.table.may_be_updated() {
                write()
            } else {
                security_context::as_table_owner(self.table, &write)
            };
            match count - kept.min(count) {
                0 => Ok(()),
                lost => Err(format!("{lost} of {count} upstream ids were not kept in their rows")),
            }
        };
        self.tally.speak_of(count);
        after_applied(&facts, self.tally, write_all)?;
        self.tally.speak_of(0);
        Ok(())
    }

    fn update(&self, rows: &mut WrittenRows<'_>, data: &mut DataPrinter<'_>) -> Result<(), ErrorReport> {
        // What is wrong with a row is found before anything is sent.
        while rows.advance()? {
            if !rows.changed().is_empty() && rows.id(&rows.row()).is_none() {
                let key = printed_alike(rows.key_depends_on(), || rows.key_printer().text(&rows.row()));
                return Err(no_upstream_id(self.table, &key));
            }
        }
        rows.rewind();
        let depends_on = data.depends_on();
        self.in_batches(
            |most| {
                let scratch = ScratchContext::enter();
                let batch = rows.gather(most, depends_on, |rows| {
                    let id = rows.id(&rows.row()).filter(|_| !rows.changed().is_empty());
                    let change = id.map(|id| (id, data.text(&rows.row(), rows.changed())));
                    scratch.reset();
                    change
                })?;
                scratch.leave();
                Ok(batch)
            },
            || self.max_batch(),
            |batch| self.update_records(batch),
        )
    }

    /// Sends changes, each an upstream id and an object of fields, to records that exist.
    pub fn update_records(&self, changes: Vec<(String, String)>) -> Result<(), ErrorReport> {
        for batch in merge::by_id(changes).chunks(self.max_batch()?) {
            let records = batch.iter().map(|(id, data)| {
                let id = serde_json::to_string(id).expect("a string can be written");
                format!("{{\"upstream_id\":{id},\"data\":{data}}}")
            });
            let ids: Vec<&str> = batch.iter().map(|(id, _)| id.as_str()).collect();
            self.send(Kind::Update, records, |records| require_all(&ids, &records))?;
            self.tally.speak_of(0);
        }
        Ok(())
    }

    fn delete(&self, rows: &mut WrittenRows<'_>) -> Result<(), ErrorReport> {
        self.in_batches(
            |most| rows.gather(most, DependsOn::Nothing, |rows| rows.id(&rows.row())),
            || self.max_batch(),
            |batch| self.delete_records(&batch),
        )
    }

    /// Gathers batch after batch of what is to be sent, and sends each. How many a batch may have is asked when there is
    /// something to send.
    fn in_batches<T>(
        &self,
        mut gather: impl FnMut(usize) -> Result<Vec<T>, ErrorReport>,
        most: impl FnOnce() -> Result<usize, ErrorReport>,
        mut send: impl FnMut(Vec<T>) -> Result<(), ErrorReport>,
    ) -> Result<(), ErrorReport> {
        let mut batch = gather(1)?;
        if batch.is_empty() {
            return Ok(());
        }
        let most = most()?;
        batch.extend(gather(most - 1)?);
        while !batch.is_empty() {
            send(batch)?;
            batch = gather(most)?;
        }
        Ok(())
    }

    /// Deletes the records with these upstream ids.
    pub fn delete_records(&self, ids: &[String]) -> Result<(), ErrorReport> {
        if ids.is_empty() {
            return Ok(());
        }
        for batch in ids.chunks(self.max_batch()?) {
            let records = batch.iter().map(|id| serde_json::to_string(id).expect("a string can be written"));
            let ids: Vec<&str> = batch.iter().map(String::as_str).collect();
            self.send(Kind::Delete, records, |records| require_all(&ids, &records))?;
            self.tally.speak_of(0);
        }
        Ok(())
    }

    fn max_batch(&self) -> Result<usize, ErrorReport> {
        Ok(self.server()?.options().max_batch as usize)
    }

    fn server(&self) -> Result<&Server, ErrorReport> {
        if let Some(server) = self.server.get() {
            return Ok(server);
        }
        let refusal = |mut outcome: Outcome| {
            note_earlier(&mut outcome, self.tally.before());
            ereport::error(&outcome)
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
        store: impl FnOnce(ReplyRecords<'_>) -> Result<T, UnusableReply>,
    ) -> Result<T, ErrorReport> {
        let scratch = ScratchContext::enter();
        let sent = self.attachment.with_arguments(|arguments| {
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
        })?;
        scratch.leave();
        Ok(sent)
    }
}

/// The refusal of an UPDATE of a row whose record is not known.
pub fn no_upstream_id(table: &relation::Table, key: &str) -> ErrorReport {
    mistake(
        &format!("the row {key} of {} has no upstream id", table.quoted),
        "It is NULL or blank: the row was never created upstream, so its change cannot be sent there. Write the id of its \
         record into the column, or DELETE and INSERT the row.",
    )
}

/// The table as the statements that write upstream ids need it.
fn written(columns: &Columns<'_>) -> WriteBackTable {
    let key = columns.key.iter().map(|column| PrimaryKeyColumn {
        column: column.quoted.clone(),
        equality: column.key_equality(),
        type_name: column.type_name(),
    });
    WriteBackTable {
        name: columns.table.quoted.clone(),
        is_partitioned: columns.table.is_partitioned,
        primary_key: key.collect(),
        upstream_id_column: columns.upstream_id.quoted.clone(),
    }
}

/// Fails if a record of an update or delete is not in its reply.
fn require_all(sent: &[&str], records: &ReplyRecords<'_>) -> Result<(), UnusableReply> {
    let whole = records.raw_records();
    let mut replied: Vec<Option<&str>> = whole.iter().map(|record| record.upstream_id.as_deref()).collect();
    // What cannot be read has no id.
    replied.resize(records.element_count(), None);
    matching::require_all(sent, &replied).map_err(UnusableReply::Missing)
}

/// The upstream ids of the records of a reply, in the order of the data that was sent.
fn upstream_ids(sent: &[String], records: ReplyRecords<'_>) -> Result<Vec<String>, UnusableReply> {
    let length = records.element_count();
    let reason = || format!("it has {length} records for the {} sent", sent.len());
    match length {
        0 => return Err(UnusableReply::Missing("it has no record".to_owned())),
        _ if length < sent.len() => return Err(UnusableReply::Missing(reason())),
        _ if length > sent.len() => return Err(UnusableReply::Unreadable(reason())),
        _ => {}
    }
    let records: Vec<_> = records.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let replied: Vec<Option<&str>> = records.iter().map(|record| record.data).collect();
    let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    // The reply to one create is its own, whatever the values.
    if sent.len() > 1 && pairing::contradicts(&sent, &replied) {
        let reason =
            "its records are in another order than they were sent, which the option \"ordered_replies\" denies";
        return Err(UnusableReply::Unreadable(reason.to_owned()));
    }
    let ids: HashSet<&str> = records.iter().filter_map(|record| record.upstream_id.as_deref()).collect();
    if ids.iter().any(|id| id.trim().is_empty()) {
        return Err(UnusableReply::Unreadable("it has an empty upstream_id".to_owned()));
    }
    if ids.len() < records.len() && records.iter().all(|record| record.upstream_id.is_some()) {
        return Err(UnusableReply::Unreadable("it has the same upstream_id for two records".to_owned()));
    }
    let id = |(i, record): (usize, &Record<'_>)| {
        let reason = || UnusableReply::Unreadable(format!("its records[{i}] has no upstream_id"));
        record.upstream_id.as_deref().map(str::to_owned).ok_or_else(reason)
    };
    records.iter().enumerate().map(id).collect()
}
