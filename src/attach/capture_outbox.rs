//! What the triggers do with `delivery => 'outbox'`: they write what the statement has changed into the queue.
//!
//! A change is in order with the others of its row, by the primary key. So a row without an upstream id is no mistake
//! here: its create may be in the queue before it, and brings the id when it is delivered.

use std::cell::OnceCell;

use pgrx::pg_sys::Datum;
use pgrx::pg_sys::panic::ErrorReport;

use crate::call::read_only;
use crate::call::server::{self, Server};
use crate::ereport;
use crate::outbox::enqueue::{self, Columns as QueueColumns, Route};
use crate::pg::jsonb;
use crate::pg::memory_context::ScratchContext;
use crate::pg::trigger::Fired;
use crate::pg::{session, text};
use contract::kind::Kind;

use super::columns::Columns;
use super::reinserted_rows;
use super::written_rows::{DataPrinter, KeyInAnotherForm, WrittenRows};
use contract::attachment::{Attachment, TriggerEvent};
use contract::field_digests;

/// Rows that are read and written at once.
pub const ROWS: usize = 1_000;

/// The records of one attached table.
pub struct OutboxCapture<'a> {
    pub attachment: &'a Attachment,
    /// The oid of the table whose rows the keys tell apart.
    pub identity: u32,
    pub operation: TriggerEvent,
    /// Found when there is a record: a statement that changes nothing upstream needs no right to.
    pub server: OnceCell<Server>,
}

/// A change of one row.
struct QueuedChange {
    key: String,
    upstream_id: Option<String>,
    /// A jsonb object. Of a delete, the digests of the fields that the row had: a row that comes back in the same
    /// transaction is no new one, and then they say what has changed. None: there is no record to compare.
    data: Option<Datum>,
}

impl OutboxCapture<'_> {
    /// Queues the rows of the statement that `fired` fires for.
    pub fn queue_statement(&self, fired: &Fired, columns: &Columns<'_>) -> Result<(), ErrorReport> {
        let mut rows = WrittenRows::of(fired, self.operation, columns, KeyInAnotherForm::Refused);
        let mut data = DataPrinter::new(columns);
        let (all, key) = (data.all(), rows.key_printer());
        let depends_on = data.depends_on().max(rows.key_depends_on());
        let arrived =
            |id: &Option<String>| id.iter().for_each(|id| reinserted_rows::note_arrival(fired.relation(), id));
        loop {
            let scratch = ScratchContext::enter();
            let batch = rows.gather(ROWS, depends_on, |rows| {
                let row = rows.row();
                let id = rows.id(&row);
                let (upstream_id, data) = match self.operation {
                    TriggerEvent::Insert => {
                        arrived(&id);
                        (None, Some(id.is_none().then(|| data.datum(&row, &all))?))
                    }
                    TriggerEvent::Update => {
                        if id.is_some() && id != rows.id(&rows.old_row()) {
                            arrived(&id);
                        }
                        let is_changed = !rows.changed().is_empty();
                        (id, Some(is_changed.then(|| data.datum(&row, rows.changed()))?))
                    }
                    TriggerEvent::Delete => {
                        let scratch = ScratchContext::enter();
                        let digests = id.is_some().then(|| field_digests::digest_fields(&data.text(&row, &all)));
                        scratch.leave();
                        (id, digests.map(|digests| jsonb::to_datum(&digests)))
                    }
                };
                Some(QueuedChange { key: key.text(&row), upstream_id, data })
            })?;
            let is_last = batch.len() < ROWS;
            if !batch.is_empty() {
                self.append(self.kind(), &batch)?;
            }
            scratch.leave();
            if is_last {
                break;
            }
        }
        rows.close();
        Ok(())
    }

    fn kind(&self) -> Kind {
        match self.operation {
            TriggerEvent::Insert => Kind::Create,
            TriggerEvent::Update => Kind::Update,
            TriggerEvent::Delete => Kind::Delete,
        }
    }

    /// Queues changes of one kind, each a key, an upstream id and a JSON object of fields.
    pub fn queue(&self, kind: Kind, changes: &[(&str, Option<&str>, String)]) -> Result<(), ErrorReport> {
        let scratch = ScratchContext::enter();
        let records = changes.iter().map(|(key, upstream_id, data)| QueuedChange {
            key: (*key).to_owned(),
            upstream_id: upstream_id.map(str::to_owned),
            data: match kind {
                Kind::Delete => upstream_id.map(|_| jsonb::to_datum(&field_digests::digest_fields(data))),
                Kind::Create | Kind::Update => Some(jsonb::to_datum(data)),
            },
        });
        self.append(kind, &records.collect::<Vec<_>>())?;
        scratch.leave();
        Ok(())
    }

    fn append(&self, kind: Kind, records: &[QueuedChange]) -> Result<(), ErrorReport> {
        let server = self.server()?;
        if !text::database_is_utf8() {
            // What has no place in UTF-8 can never be sent: an error of this statement, as it is of a call that waits.
            records.iter().filter_map(|record| record.data).for_each(|data| drop(jsonb::text_of(data)));
        }
        self.attachment.with_arguments(|arguments| {
            let route = Route {
                server: &server.name,
                kind,
                sync_id: &self.attachment.sync_id,
                collection_id: &self.attachment.collection_id,
                await_consumers: arguments.await_consumers.filter(|consumers| !consumers.is_empty()),
                timeout_ms: self.attachment.timeout_ms,
                relation: Some(self.identity),
            };
            if kind == Kind::Delete && records.iter().any(|record| record.upstream_id.is_some()) {
                reinserted_rows::note_departure();
            }
            let columns = QueueColumns {
                ordering_keys: records.iter().map(|record| Some(record.key.as_str())).collect(),
                upstream_ids: records.iter().map(|record| record.upstream_id.as_deref()).collect(),
                data: records.iter().map(|record| record.data).collect(),
            };
            enqueue::append(&route, &columns);
        });
        Ok(())
    }

    fn server(&self) -> Result<&Server, ErrorReport> {
        if let Some(server) = self.server.get() {
            return Ok(server);
        }
        if session::is_read_only() {
            return Err(ereport::error(&read_only(self.operation.keyword())));
        }
        let found = match self.attachment.server.as_deref() {
            // The lock of the table keeps the trigger's argument, and the server's name in it, as they are.
            Some(name) => server::find(Some(name)),
            None => server::find_and_keep(None),
        };
        let server = found.map_err(|unusable| ereport::error(&unusable.into()))?;
        Ok(self.server.get_or_init(|| server))
    }
}
