//! Reading records as changes to plan.
//!
//! A record may be damaged, or too large to be read. In a database of another encoding than UTF-8 it may hold text that
//! has no place in UTF-8. None is enqueued so; but if one is there, it must not keep the others from being read.

use std::collections::HashSet;
use std::rc::Rc;

use crate::pg::spi::QueryRows;
use crate::pg::text;
use crate::pg::transaction::Failure;
use contract::kind::Kind;

use crate::outbox::guard::{guarded, is_careful};
use contract::batching::ordering_key::OrderingKey;
use contract::batching::plan::{BatchKey, Change};

/// The data that is read of one query, about: it is all in memory at once, and some records are large.
const WIDEST_BYTES: usize = 32 << 20;

/// Reads rows, and keeps what many of them have in common once.
pub struct Reader<'a> {
    /// The records that others are sending. They are left out: to read them takes as long as to read one's own.
    in_flight: &'a HashSet<i64>,
    batch_keys: HashSet<Rc<BatchKey>>,
    last: Option<Rc<BatchKey>>,
    /// The records that could not be read, and why.
    pub unreadable: Vec<(i64, Failure)>,
}

/// What was read of a query's rows, from the first of them on.
pub struct Read {
    pub changes: Vec<Change>,
    /// How many rows that was.
    pub rows: usize,
}

impl<'a> Reader<'a> {
    pub fn without(in_flight: &'a HashSet<i64>) -> Reader<'a> {
        Reader { in_flight, batch_keys: HashSet::new(), last: None, unreadable: Vec::new() }
    }

    /// Reads rows up to a limit of bytes, which is not kept while all that was read is refused: such changes are sent
    /// only with others, and so alone they would be read again and again.
    ///
    /// The columns are id, kind, role, sync_id, collection_id, await_consumers, timeout_ms, relation, ordering_key,
    /// upstream_id, data, key, and of parked records attempts, resend_verbatim and state.
    pub fn read(&mut self, rows: &QueryRows, are_deferred: bool) -> Read {
        let mut read = Read { changes: Vec::with_capacity(rows.len()), rows: 0 };
        if text::database_is_utf8() && !is_careful() {
            self.read_on(rows, are_deferred, &mut read);
            return read;
        }
        // All at once first: a subtransaction for each row would cost as much as the rows.
        if guarded(|| self.read_on(rows, are_deferred, &mut read)).is_err() {
            let mut bytes = bytes(&read.changes);
            while read.rows < rows.len() && !is_enough(&read.changes, bytes) {
                let is_in_flight = self.is_in_flight(rows, read.rows);
                match guarded(|| (!is_in_flight).then(|| self.change(rows, read.rows, are_deferred))) {
                    Ok(None) => {}
                    Ok(Some(change)) => {
                        bytes += size(&change);
                        read.changes.push(change);
                    }
                    // That of a rejected one is known.
                    Err(_) if are_deferred && is_rejected(rows, read.rows) => {}
                    Err(failure) => self.unreadable.extend(rows.int8(read.rows, 1).map(|id| (id, failure))),
                }
                read.rows += 1;
            }
        }
        read
    }

    /// If this raises, what was read before stays in `read`.
    fn read_on(&mut self, rows: &QueryRows, are_deferred: bool, read: &mut Read) {
        let mut bytes = 0;
        while read.rows < rows.len() && !is_enough(&read.changes, bytes) {
            if !self.is_in_flight(rows, read.rows) {
                let change = self.change(rows, read.rows, are_deferred);
                bytes += size(&change);
                read.changes.push(change);
            }
            read.rows += 1;
        }
    }

    fn is_in_flight(&self, rows: &QueryRows, row: usize) -> bool {
        !self.in_flight.is_empty() && rows.int8(row, 1).is_some_and(|id| self.in_flight.contains(&id))
    }

    fn change(&mut self, rows: &QueryRows, row: usize, is_deferred: bool) -> Change {
        let batch_key = self.batch_key(rows, row);
        let kind = rows.str(row, 2).and_then(|kind| kind.parse().ok()).unwrap_or(Kind::Update);
        let ordering_key = rows.str(row, 9);
        let key = |text: &str| OrderingKey::new(&batch_key.collection_id, rows.oid_number(row, 8), text);
        let ordering_key = ordering_key.as_deref().map(key);
        Change {
            id: rows.int8(row, 1).unwrap_or_default(),
            idempotency_key: rows.text(row, 12).unwrap_or_default(),
            batch_key,
            kind,
            ordering_key,
            upstream_id: rows.text(row, 10),
            // That of a delete is not sent.
            data: rows.jsonb(row, 11).filter(|_| kind != Kind::Delete).map(|_| rows.json(row, 11)),
            attempts: if is_deferred { rows.int4(row, 13).unwrap_or_default() as u32 } else { 0 },
            resend_verbatim: is_deferred && rows.boolean(row, 14),
            is_refused: is_deferred && is_rejected(rows, row),
        }
    }

    fn batch_key(&mut self, rows: &QueryRows, row: usize) -> Rc<BatchKey> {
        let role = rows.oid_number(row, 3).unwrap_or_default();
        let text = |column| rows.str(row, column).unwrap_or_default();
        let (sync_id, collection_id) = (text(4), text(5));
        let await_consumers = rows.texts(row, 6).map(|ids| ids.into_iter().flatten().collect());
        let timeout_ms = rows.int4(row, 7);
        let is_it = |batch_key: &BatchKey| {
            batch_key.role == role
                && batch_key.sync_id == sync_id
                && batch_key.collection_id == collection_id
                && batch_key.await_consumers == await_consumers
                && batch_key.timeout_ms == timeout_ms
        };
        // Mostly it is that of the row before.
        if let Some(last) = self.last.as_ref().filter(|last| is_it(last)) {
            return Rc::clone(last);
        }
        let (sync_id, collection_id) = (sync_id.into_owned(), collection_id.into_owned());
        let batch_key = Rc::new(BatchKey { role, sync_id, collection_id, await_consumers, timeout_ms });
        let batch_key = self.batch_keys.get(&batch_key).cloned().unwrap_or(batch_key);
        self.batch_keys.insert(Rc::clone(&batch_key));
        self.last = Some(Rc::clone(&batch_key));
        batch_key
    }
}

fn is_rejected(rows: &QueryRows, row: usize) -> bool {
    rows.str(row, 15).as_deref() == Some("rejected")
}

/// Whether no more is to be read after `changes`, whose data are so many bytes.
fn is_enough(changes: &[Change], bytes: usize) -> bool {
    bytes > WIDEST_BYTES && changes.iter().any(|change| !change.is_refused)
}

fn size(change: &Change) -> usize {
    change.data.as_ref().map_or(0, String::len)
}

fn bytes(changes: &[Change]) -> usize {
    changes.iter().map(size).sum()
}
