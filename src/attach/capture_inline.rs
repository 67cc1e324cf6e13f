//! Captures a statement with `delivery => 'inline'`: sends its changes in requests of at most `max_batch` records. Creates
//! are sent one by one, unless the server's replies are in order.
//!
//! The statement waits, and fails if the API refuses; its rows are then as before. What earlier requests of the statement
//! have applied stays applied, including those of other triggers. The error says how many records that were.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::convert::Infallible;

use crate::call::error_context::{MutationContext, StatementContext, printable_name, request_text};
use crate::call::server::{self, Server};
use crate::call::{after_applied, facts, read_only, send_mutation};
use crate::ereport::Error;
use crate::pg::memory_context::ScratchContext;
use crate::pg::output::{DependsOn, printed_alike, read_alike};
use crate::pg::relation::Table;
use crate::pg::spi::{self, Connection};
use crate::pg::trigger::Fired;
use crate::pg::{security_context, session};
use contract::attachment::{Attachment, TriggerEvent};
use contract::capture_sql::{PrimaryKeyColumn, WriteBackTable};
use contract::kind::Kind;
use contract::merge;
use contract::reply::{Record, ReplyRecords, UnusableReply};
use contract::reply::{matching, pairing};
use contract::request::Request;

use super::columns::Columns;
use super::error::no_upstream_id;
use super::write_back_guard::{Afterwards, WriteBackGuard};
use super::write_ids::key_object;
use super::written_rows::{DataPrinter, KeyInAnotherForm, WrittenRows};

/// The requests for one attached table.
pub struct InlineCapture<'a> {
    pub attachment: &'a Attachment,
    pub table: &'a Table,
    pub operation: TriggerEvent,
    pub statement: &'a StatementContext,
    /// Found when there is something to send: a statement without changes needs no right to use the server.
    pub server: OnceCell<Server>,
}

/// Upstream ids of created records, with the place of each row.
struct CreatedIds<'a> {
    upstream_ids: Vec<String>,
    rows: Rows<'a>,
}

/// How the rows of created records are found.
enum Rows<'a> {
    /// By their positions in the transition table of a statement.
    ByPosition(&'a Fired, Vec<i64>),
    /// By their primary keys, each a JSON object.
    ByKey(Vec<String>),
}

impl InlineCapture<'_> {
    /// Sends the changes of the statement that `fired` fires for.
    pub fn send_statement(&self, fired: &Fired, columns: &Columns<'_>) -> Result<(), Error> {
        let mut rows = WrittenRows::of(fired, self.operation, columns, KeyInAnotherForm::Accepted);
        match self.operation {
            TriggerEvent::Insert => self.insert(fired, columns, &mut rows)?,
            TriggerEvent::Update => self.update(columns, &mut rows)?,
            TriggerEvent::Delete => self.delete(&mut rows)?,
        }
        rows.close();
        Ok(())
    }

    /// Creates a record for each row that has no upstream id.
    fn insert(&self, fired: &Fired, columns: &Columns<'_>, rows: &mut WrittenRows<'_>) -> Result<(), Error> {
        if !rows.any(|rows| rows.id(&rows.row()).is_none())? {
            return Ok(());
        }
        let max = self.server()?.options().creates_per_request() as usize;
        let mut printer = DataPrinter::new(columns);
        let (all, depends_on) = (printer.all(), printer.depends_on());
        let (mut upstream_ids, mut positions, mut position) = (Vec::new(), Vec::new(), 0);
        loop {
            let scratch = ScratchContext::enter();
            let batch = rows.gather(max, depends_on, |rows| {
                position += 1;
                let is_new = rows.id(&rows.row()).is_none();
                let data = is_new.then(|| printer.text(&rows.row(), &all));
                scratch.reset();
                positions.extend(is_new.then_some(position));
                data
            })?;
            scratch.leave();
            if batch.is_empty() {
                break;
            }
            upstream_ids.extend(self.create(&batch)?);
        }
        self.write_ids(columns, &CreatedIds { upstream_ids, rows: Rows::ByPosition(fired, positions) })
    }

    /// Creates records, and writes their upstream ids into the rows with these primary keys, each a JSON array.
    pub fn create_rows(&self, columns: &Columns<'_>, rows: &[(String, String)]) -> Result<(), Error> {
        let max = self.server()?.options().creates_per_request() as usize;
        let mut upstream_ids = Vec::with_capacity(rows.len());
        for batch in rows.chunks(max) {
            let data: Vec<String> = batch.iter().map(|(_, data)| data.clone()).collect();
            upstream_ids.extend(self.create(&data)?);
        }
        let names: Vec<&str> = columns.key.iter().map(|column| column.name.as_str()).collect();
        let keys = rows.iter().map(|(key, _)| key_object(&names, key)).collect();
        self.write_ids(columns, &CreatedIds { upstream_ids, rows: Rows::ByKey(keys) })
    }

    /// Creates a record for each of `data` in one request, and returns their upstream ids.
    fn create(&self, data: &[String]) -> Result<Vec<String>, Error> {
        let records = data.iter().map(|data| format!("{{\"data\":{data}}}"));
        self.send(Kind::Create, records, |records| upstream_ids(data, records))
    }

    /// Writes the upstream ids of created records into their rows. A failure is reported as a lost reply: the records
    /// exist, but their rows get no ids.
    fn write_ids(&self, columns: &Columns<'_>, created: &CreatedIds<'_>) -> Result<(), Error> {
        let count = created.upstream_ids.len();
        let facts = facts(Kind::Create, count, &self.attachment.collection_id, self.server()?);
        self.statement.set_own_records(count);
        let context = MutationContext::enter_within(self.statement, &request_text(&facts));
        after_applied(&context, &facts, || {
            let _guard = WriteBackGuard::begin(self.table.oid, Afterwards::Waiting);
            let write = || created.write(columns);
            // A role that may only insert: with the rights of the owner, as Postgres checks foreign keys.
            let written =
                if self.table.may_be_updated() { write() } else { security_context::as_table_owner(self.table, write) };
            match count - written.min(count) {
                0 => Ok(()),
                lost => Err(format!("{lost} of {count} upstream ids were not kept in their rows")),
            }
        })?;
        context.leave();
        self.statement.set_own_records(0);
        Ok(())
    }

    /// Updates the records of the rows that have changed.
    fn update(&self, columns: &Columns<'_>, rows: &mut WrittenRows<'_>) -> Result<(), Error> {
        let mut has_changes = false;
        // All rows are checked before the first request.
        while rows.advance()? {
            if rows.changed().is_empty() {
                continue;
            }
            has_changes = true;
            if rows.id(&rows.row()).is_none() {
                let key = printed_alike(rows.key_depends_on(), || rows.key_printer().text(&rows.row()));
                return Err(no_upstream_id(self.table, &key));
            }
        }
        rows.rewind();
        if !has_changes {
            return Ok(());
        }
        let max = self.max_batch()?;
        let mut printer = DataPrinter::new(columns);
        let depends_on = printer.depends_on();
        loop {
            let scratch = ScratchContext::enter();
            let batch = rows.gather(max, depends_on, |rows| {
                let id = rows.id(&rows.row()).filter(|_| !rows.changed().is_empty());
                let change = id.map(|id| (id, printer.text(&rows.row(), rows.changed())));
                scratch.reset();
                change
            })?;
            scratch.leave();
            if batch.is_empty() {
                return Ok(());
            }
            self.update_records(batch)?;
        }
    }

    /// Sends changes, each an upstream id and a JSON object of fields.
    pub fn update_records(&self, changes: Vec<(String, String)>) -> Result<(), Error> {
        for batch in merge::by_id(changes).chunks(self.max_batch()?) {
            let records =
                batch.iter().map(|(id, data)| format!("{{\"upstream_id\":{},\"data\":{data}}}", json_string(id)));
            let ids: Vec<&str> = batch.iter().map(|(id, _)| id.as_str()).collect();
            self.send(Kind::Update, records, |records| require_all(&ids, &records))?;
        }
        Ok(())
    }

    fn delete(&self, rows: &mut WrittenRows<'_>) -> Result<(), Error> {
        if !rows.any(|rows| rows.id(&rows.row()).is_some())? {
            return Ok(());
        }
        let max = self.max_batch()?;
        loop {
            let batch = rows.gather(max, DependsOn::Nothing, |rows| rows.id(&rows.row()))?;
            if batch.is_empty() {
                return Ok(());
            }
            self.delete_records(&batch)?;
        }
    }

    /// Deletes the records with these upstream ids.
    pub fn delete_records(&self, ids: &[String]) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        for batch in ids.chunks(self.max_batch()?) {
            let records = batch.iter().map(|id| json_string(id));
            let ids: Vec<&str> = batch.iter().map(String::as_str).collect();
            self.send(Kind::Delete, records, |records| require_all(&ids, &records))?;
        }
        Ok(())
    }

    fn max_batch(&self) -> Result<usize, Error> {
        Ok(self.server()?.options().max_batch as usize)
    }

    fn server(&self) -> Result<&Server, Error> {
        if let Some(server) = self.server.get() {
            return Ok(server);
        }
        if session::is_read_only() {
            return Err(read_only(self.operation.keyword()).into());
        }
        let server = server::find(self.attachment.server.as_deref())?;
        Ok(self.server.get_or_init(|| server))
    }

    /// Sends one batch of records, each a JSON text, and returns what `read` makes of the records of the reply.
    fn send<T>(
        &self,
        kind: Kind,
        records: impl Iterator<Item = String>,
        read: impl FnOnce(ReplyRecords<'_>) -> Result<T, UnusableReply>,
    ) -> Result<T, Error> {
        let scratch = ScratchContext::enter();
        let text = format!("{kind} in {}", printable_name(&self.attachment.collection_id));
        let context = MutationContext::enter_within(self.statement, &text);
        let arguments = self.attachment.arguments();
        let mut draft = Request::draft(Some(kind.as_str()), &arguments)?;
        draft.write_records(records);
        let request = draft.finish()?;
        let sent = send_mutation(&context, self.server()?, request)?;
        let records = sent.records(&context)?;
        let result = sent.store(&context, || read(records))?;
        context.leave();
        self.statement.set_own_records(0);
        scratch.leave();
        Ok(result)
    }
}

impl CreatedIds<'_> {
    /// Writes the ids, and returns the number of rows that kept their own.
    fn write(&self, columns: &Columns<'_>) -> usize {
        let table = write_back_table(columns);
        let ids: Vec<&str> = self.upstream_ids.iter().map(String::as_str).collect();
        let run = |connection: &Connection| {
            Ok::<_, Infallible>(match &self.rows {
                Rows::ByPosition(fired, positions) => {
                    fired.show_transition_tables();
                    let query = table.write_by_position();
                    connection.query::<(&[&str], &[i64])>(&query, (&ids, positions)).len()
                }
                Rows::ByKey(keys) => {
                    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                    let query = table.write_by_key();
                    read_alike(|| connection.query::<(&[&str], &[&str])>(&query, (&ids, &keys)).len())
                }
            })
        };
        spi::connected(run).unwrap_or_else(|never| match never {})
    }
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a string can be written")
}

/// The table for the statements that write upstream ids.
fn write_back_table(columns: &Columns<'_>) -> WriteBackTable {
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

/// Fails if the reply lacks a record of an update or delete.
fn require_all(sent: &[&str], records: &ReplyRecords<'_>) -> Result<(), UnusableReply> {
    let whole = records.raw_records();
    let mut replied: Vec<Option<&str>> = whole.iter().map(|record| record.upstream_id.as_deref()).collect();
    // Unreadable records have no id.
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
    // The reply to one create is its own, whatever its values.
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
