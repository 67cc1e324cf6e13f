//! Captures a statement with `delivery => 'outbox'`: writes its changes into the queue.
//!
//! The ordering key of a change is the primary key of its row. A row may have no upstream id yet: its create is ahead of
//! the change in the queue, and brings the id when it is delivered.

use std::cell::OnceCell;

use pgrx::pg_sys::Datum;

use crate::call::read_only;
use crate::call::server::{self, Server};
use crate::ereport::Error;
use crate::outbox::enqueue::{self, RecordColumns, Route};
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

/// How many rows are read, and then queued, at once.
pub const BATCH_ROWS: usize = 1_000;

/// The records of one attached table.
pub struct OutboxCapture<'a> {
    pub attachment: &'a Attachment,
    /// The table within which the primary key identifies a row.
    pub key_scope: u32,
    pub operation: TriggerEvent,
    /// Found when there is a record to queue: a statement without changes needs no right to use the server.
    pub server: OnceCell<Server>,
}

struct QueuedChange {
    key: String,
    upstream_id: Option<String>,
    /// A jsonb object. For a delete, the digests of the row's fields: if the row is inserted again in the same
    /// transaction, they tell which fields differ. None without an upstream id.
    data: Option<Datum>,
}

impl OutboxCapture<'_> {
    /// Queues the changes of the statement that `fired` fires for.
    pub fn queue_statement(&self, fired: &Fired, columns: &Columns<'_>) -> Result<(), Error> {
        let mut rows = WrittenRows::of(fired, self.operation, columns, KeyInAnotherForm::Refused);
        let mut data = DataPrinter::new(columns);
        let (all, key) = (data.all(), rows.key_printer());
        let depends_on = data.depends_on().max(rows.key_depends_on());
        let arrived =
            |id: &Option<String>| id.iter().for_each(|id| reinserted_rows::note_arrival(fired.relation(), id));
        loop {
            let scratch = ScratchContext::enter();
            let batch = rows.gather(BATCH_ROWS, depends_on, |rows| {
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
            let is_last = batch.len() < BATCH_ROWS;
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

    /// Queues changes of one kind, each a primary key, an upstream id and a JSON object of fields.
    pub fn queue(&self, kind: Kind, changes: &[(&str, Option<&str>, String)]) -> Result<(), Error> {
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

    fn append(&self, kind: Kind, records: &[QueuedChange]) -> Result<(), Error> {
        let server = self.server()?;
        if !text::database_is_utf8() {
            // Text that cannot be converted to UTF-8 can never be sent: this raises the error of the conversion now.
            records.iter().filter_map(|record| record.data).for_each(|data| drop(jsonb::text_of(data)));
        }
        let arguments = self.attachment.arguments();
        let route = Route {
            server: &server.name,
            kind,
            sync_id: &self.attachment.sync_id,
            collection_id: &self.attachment.collection_id,
            await_consumers: arguments.await_consumers.as_deref().filter(|consumers| !consumers.is_empty()),
            timeout_ms: self.attachment.timeout_ms,
            relation: Some(self.key_scope),
        };
        if kind == Kind::Delete && records.iter().any(|record| record.upstream_id.is_some()) {
            reinserted_rows::note_departure();
        }
        let columns = RecordColumns {
            ordering_keys: records.iter().map(|record| Some(record.key.as_str())).collect(),
            upstream_ids: records.iter().map(|record| record.upstream_id.as_deref()).collect(),
            data: records.iter().map(|record| record.data).collect(),
        };
        enqueue::append(&route, &columns);
        Ok(())
    }

    fn server(&self) -> Result<&Server, Error> {
        if let Some(server) = self.server.get() {
            return Ok(server);
        }
        if session::is_read_only() {
            return Err(read_only(self.operation.keyword()).into());
        }
        let server = match self.attachment.server.as_deref() {
            // The lock on the table keeps the trigger's argument as it is, and the server's name in it.
            Some(name) => server::find(Some(name))?,
            None => server::find_and_lock(None)?,
        };
        Ok(self.server.get_or_init(|| server))
    }
}
