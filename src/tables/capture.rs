//! What the triggers do: they read what the statement changed and send it, in requests of at most `max_batch` records.
//!
//! The statement waits, and fails if the API refuses: then its rows are as before. What earlier requests of the same
//! statement have applied stays applied; the error says how many records that were.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;

use crate::exchange::{fail, name, send};
use crate::mutation::kind::Kind;
use crate::mutation::outcome::Outcome;
use crate::mutation::pairing;
use crate::mutation::reply::Records;
use crate::mutation::request::Request;
use crate::pg::spi::{self, Batch, Connection};
use crate::pg::text::for_message;
use crate::pg::trigger::{Event, Fired};
use crate::pg::{context, relation, report, session};
use crate::server::{self, Server};

use super::attachment::{Attachment, Operation};
use super::queries::{Column, Mapped, Table};

/// Sends what the statement changed that `fired` fires for.
pub fn capture(fired: &Fired, attachment: &Attachment) -> Result<(), ErrorReport> {
    let operation = match fired.event() {
        Event::Insert => Operation::Insert,
        Event::Update => Operation::Update,
        Event::Delete => Operation::Delete,
        Event::Truncate => return Err(mistake("a TRUNCATE cannot be captured", "Attach the table anew.")),
    };
    let described = fired.table();
    let table = resolve(&described, attachment)?;
    let server = server::find(attachment.server.as_deref()).map_err(|unusable| report::error(&unusable.into()))?;
    let statement = Statement { attachment, table, server: &server, operation };
    spi::connected(|connection| {
        fired.show_transition_tables();
        match operation {
            Operation::Insert => statement.create(connection, &described),
            Operation::Update => statement.update(connection),
            Operation::Delete => statement.delete(connection),
        }
    })
}

/// The columns that `attachment` names, as they are now.
pub fn resolve(described: &relation::Table, attachment: &Attachment) -> Result<Table, ErrorReport> {
    let column = |wanted: &str| {
        described.column(wanted).ok_or_else(|| {
            ErrorReport::new(
                Code::ERRCODE_UNDEFINED_COLUMN,
                for_message(format!("column \"{wanted}\" of {} does not exist", described.quoted)),
                "sequin_mutations",
            )
            .set_hint("If an attached column was renamed or dropped, detach the table and attach it anew.")
        })
    };
    let upstream_id = column(&attachment.upstream_id_column)?;
    let is_sent = |column: &&relation::Column| !column.is_in_key && column.name != upstream_id.name;
    let mapped = match &attachment.fields {
        Some(fields) => fields
            .iter()
            .map(|(name, field)| Ok(Mapped { column: sql_column(column(name)?), field: field.clone() }))
            .collect::<Result<Vec<_>, ErrorReport>>()?,
        None => described
            .columns
            .iter()
            .filter(is_sent)
            .map(|column| Mapped { column: sql_column(column), field: column.name.clone() })
            .collect(),
    };
    let key: Vec<Column> = described.columns.iter().filter(|column| column.is_in_key).map(sql_column).collect();
    if key.is_empty() {
        return Err(mistake(
            &format!("{} has no primary key", described.quoted),
            "An attached table needs one, to tell its rows apart.",
        ));
    }
    if mapped.is_empty() {
        return Err(mistake(&format!("{} has no column to send", described.quoted), "Name columns in fields."));
    }
    Ok(Table { quoted: described.quoted.clone(), key, upstream_id: upstream_id.quoted.clone(), mapped })
}

fn sql_column(column: &relation::Column) -> Column {
    Column { quoted: column.quoted.clone(), equality: column.equality.clone() }
}

/// An error about the table, and not about what was sent.
fn mistake(message: &str, hint: &str) -> ErrorReport {
    let code = Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    ErrorReport::new(code, for_message(message.to_owned()), "sequin_mutations").set_hint(hint)
}

/// A statement on an attached table.
struct Statement<'a> {
    attachment: &'a Attachment,
    table: Table,
    server: &'a Server,
    operation: Operation,
}

impl Statement<'_> {
    fn create(&self, connection: &Connection, described: &relation::Table) -> Result<(), ErrorReport> {
        let mut ids = Vec::new();
        self.in_batches(connection, &self.table.inserted(), |batch, applied_before| {
            let data: Vec<String> = (0..batch.len()).map(|row| batch.json(row, 1)).collect();
            let records = data.iter().map(|data| format!("{{\"data\":{data}}}"));
            let created = self.send(Kind::Create, records, applied_before, |records| upstream_ids(&data, records))?;
            ids.extend(created);
            Ok(())
        })?;
        if !ids.is_empty() {
            // As the owner: the statement's role may be allowed to insert and not to update.
            let write_back = self.table.write_back();
            session::acting_as(described.owner, || connection.execute_with_texts(&write_back, &ids));
        }
        Ok(())
    }

    fn update(&self, connection: &Connection) -> Result<(), ErrorReport> {
        self.in_batches(connection, &self.table.updated(), |batch, applied_before| {
            let records: Vec<String> =
                (0..batch.len()).map(|row| self.changed_record(batch, row)).collect::<Result<_, _>>()?;
            self.send(Kind::Update, records.into_iter(), applied_before, |_| Ok(()))
        })
    }

    /// The record of a row of [`Table::updated`].
    fn changed_record(&self, batch: &Batch, row: usize) -> Result<String, ErrorReport> {
        let (key, table) = (batch.json(row, 2), &self.table.quoted);
        if batch.boolean(row, 3) {
            return Err(mistake(
                &format!("the UPDATE changes the primary key of a row of {table} to {key}"),
                "Which row it was before cannot be told. DELETE and INSERT it, or detach the table for such a change.",
            ));
        }
        let Some(id) = batch.text(row, 1) else {
            return Err(mistake(
                &format!("the row {key} of {table} has no upstream id"),
                "It was never created upstream, so its change cannot be sent there. Write the id of its record into the \
                 column, or DELETE and INSERT the row.",
            ));
        };
        let id = serde_json::to_string(&id).expect("a string can be written");
        Ok(format!("{{\"upstream_id\":{id},\"data\":{}}}", batch.json(row, 4)))
    }

    fn delete(&self, connection: &Connection) -> Result<(), ErrorReport> {
        self.in_batches(connection, &self.table.deleted(), |batch, applied_before| {
            let ids = (0..batch.len()).filter_map(|row| batch.text(row, 1));
            let records = ids.map(|id| serde_json::to_string(&id).expect("a string can be written"));
            self.send(Kind::Delete, records, applied_before, |_| Ok(()))
        })
    }

    /// Reads `query` in batches of what one request may hold. `each` is given the rows and the number of those before.
    fn in_batches(
        &self,
        connection: &Connection,
        query: &str,
        mut each: impl FnMut(&Batch, usize) -> Result<(), ErrorReport>,
    ) -> Result<(), ErrorReport> {
        let (keyword, table) = (self.operation.keyword(), &self.table.quoted);
        let mut before = 0;
        connection.in_batches(query, self.server.options().max_batch, |batch| {
            let earlier = match before {
                0 => String::new(),
                _ => format!(", of which {before} records were applied by earlier requests"),
            };
            context::during(&format!("{keyword} on {table}{earlier}"), || each(batch, before))?;
            before += batch.len();
            Ok(())
        })
    }

    /// Sends one batch of records, each as JSON text.
    fn send<T>(
        &self,
        kind: Kind,
        records: impl Iterator<Item = String>,
        applied_before: usize,
        store: impl FnOnce(Records<'_>) -> Result<T, String>,
    ) -> Result<T, ErrorReport> {
        self.attachment.with_arguments(|arguments| {
            let request = Request::draft(Some(kind.as_str()), arguments).and_then(|mut draft| {
                let body = draft.records_mut();
                for (i, record) in records.enumerate() {
                    body.push(if i == 0 { b'[' } else { b',' });
                    body.extend_from_slice(record.as_bytes());
                }
                body.push(b']');
                draft.finish()
            });
            match request {
                Ok(request) => send(request, self.server, applied_before, store),
                Err(invalid) => {
                    let mut outcome = Outcome::from(invalid);
                    outcome.applied_before = applied_before;
                    fail(&format!("{kind} in {}", name(&self.attachment.collection_id)), &outcome)
                }
            }
        })
    }
}

/// The upstream ids of the records of a reply, in the order of the data that was sent.
fn upstream_ids(sent: &[String], records: Records<'_>) -> Result<Vec<String>, String> {
    let records: Vec<_> = records.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if records.len() != sent.len() {
        return Err(format!("it holds {} records for the {} that were sent", records.len(), sent.len()));
    }
    let replied: Vec<Option<&str>> = records.iter().map(|record| record.data).collect();
    let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    let pairs = pairing::pair(&sent, &replied).map_err(|ambiguous| ambiguous.to_string())?;
    pairs
        .into_iter()
        .map(|i| {
            records[i].upstream_id.as_deref().map(str::to_owned).ok_or(format!("its records[{i}] has no upstream_id"))
        })
        .collect()
}
