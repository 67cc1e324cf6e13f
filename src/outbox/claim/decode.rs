//! Decoding records into changes to plan.
//!
//! A record may be damaged, or too large to be read. In a database of another encoding than UTF-8 it may hold text that
//! cannot be converted. Enqueuing refuses such text; but a damaged record must not block the others.

use std::collections::HashSet;
use std::rc::Rc;

use contract::batching::ordering_key::OrderingKey;
use contract::batching::plan::{BatchKey, Change};
use contract::kind::Kind;

use crate::outbox::guard::{guarded, is_careful};
use crate::outbox::store::row::State;
use crate::outbox::store::scan::Record;
use crate::pg::spi::QueryRows;
use crate::pg::text;
use crate::pg::transaction::Failure;

/// About how much data is read of one query: it is all in memory at once, and some records are large.
const MAX_BYTES: usize = 32 << 20;

/// Decodes rows, and shares equal batch keys.
pub struct Decoder<'a> {
    /// The records in flight. They are skipped: decoding takes time.
    in_flight: &'a HashSet<i64>,
    batch_keys: HashSet<Rc<BatchKey>>,
    last: Option<Rc<BatchKey>>,
    /// The records that could not be decoded, and why.
    pub undecodable: Vec<(i64, Failure)>,
}

/// The changes of a query's rows, from the first row on.
pub struct Decoded {
    pub changes: Vec<Change>,
    /// The number of these rows.
    pub rows: usize,
}

impl<'a> Decoder<'a> {
    pub fn new(in_flight: &'a HashSet<i64>) -> Decoder<'a> {
        Decoder { in_flight, batch_keys: HashSet::new(), last: None, undecodable: Vec::new() }
    }

    /// Decodes rows, each a [`Record`], up to a limit of bytes. The limit is ignored while all changes are refused: refused
    /// changes are sent only with others, and alone they would be read again and again.
    pub fn decode(&mut self, rows: &QueryRows<'_>) -> Decoded {
        let mut decoded = Decoded { changes: Vec::with_capacity(rows.len()), rows: 0 };
        if text::database_is_utf8() && !is_careful() {
            self.decode_on(rows, &mut decoded);
            return decoded;
        }
        // All rows at once first: a subtransaction for each row would cost as much as the rows.
        if guarded(|| self.decode_on(rows, &mut decoded)).is_err() {
            let mut bytes = decoded.changes.iter().map(size).sum();
            while decoded.rows < rows.len() && !is_enough(&decoded.changes, bytes) {
                let row = decoded.rows;
                match guarded(|| (!self.is_in_flight(rows, row)).then(|| self.change(rows, row))) {
                    Ok(None) => {}
                    Ok(Some(change)) => {
                        bytes += size(&change);
                        decoded.changes.push(change);
                    }
                    // The error of a rejected record is known.
                    Err(_) if is_rejected(rows, row) => {}
                    Err(failure) => self.undecodable.push((id(rows, row), failure)),
                }
                decoded.rows += 1;
            }
        }
        decoded
    }

    /// If this raises, the changes before stay in `decoded`.
    fn decode_on(&mut self, rows: &QueryRows<'_>, decoded: &mut Decoded) {
        let mut bytes = 0;
        while decoded.rows < rows.len() && !is_enough(&decoded.changes, bytes) {
            if !self.is_in_flight(rows, decoded.rows) {
                let change = self.change(rows, decoded.rows);
                bytes += size(&change);
                decoded.changes.push(change);
            }
            decoded.rows += 1;
        }
    }

    fn is_in_flight(&self, rows: &QueryRows<'_>, row: usize) -> bool {
        !self.in_flight.is_empty() && self.in_flight.contains(&id(rows, row))
    }

    fn change(&mut self, rows: &QueryRows<'_>, row: usize) -> Change {
        let record: Record<'_> = rows.get(row);
        let relation = record.relation.map(|relation| relation.to_u32());
        let ordering_key =
            record.ordering_key.as_deref().map(|text| OrderingKey::new(&record.collection_id, relation, text));
        Change {
            id: record.id,
            ordering_key,
            batch_key: self.batch_key(&record),
            kind: record.kind,
            idempotency_key: record.idempotency_key.unwrap_or_default(),
            upstream_id: record.upstream_id,
            // A delete's data are digests, which are not sent.
            data: record.data.filter(|_| record.kind != Kind::Delete).map(|data| data.to_text()),
            attempts: record.attempts,
            resend_verbatim: record.resend_verbatim,
            is_refused: record.state == State::Rejected,
        }
    }

    fn batch_key(&mut self, record: &Record<'_>) -> Rc<BatchKey> {
        let role = record.role.to_u32();
        let is_of = |key: &BatchKey| {
            key.role == role
                && key.sync_id == record.sync_id
                && key.collection_id == record.collection_id
                && key.await_consumers == record.await_consumers
                && key.timeout_ms == record.timeout_ms
        };
        // Most records share it with the record before.
        if let Some(last) = self.last.as_ref().filter(|last| is_of(last)) {
            return Rc::clone(last);
        }
        let key = Rc::new(BatchKey {
            role,
            sync_id: record.sync_id.clone().into_owned(),
            collection_id: record.collection_id.clone().into_owned(),
            await_consumers: record.await_consumers.clone(),
            timeout_ms: record.timeout_ms,
        });
        let key = self.batch_keys.get(&key).cloned().unwrap_or(key);
        self.batch_keys.insert(Rc::clone(&key));
        self.last = Some(Rc::clone(&key));
        key
    }
}

fn id(rows: &QueryRows<'_>, row: usize) -> i64 {
    rows.int8(row, 1).expect("the id of a record is in its primary key")
}

fn is_rejected(rows: &QueryRows<'_>, row: usize) -> bool {
    rows.str(row, 15).as_deref() == Some(State::Rejected.as_str())
}

/// Whether decoding stops after `changes` with this many bytes of data.
fn is_enough(changes: &[Change], bytes: usize) -> bool {
    bytes > MAX_BYTES && changes.iter().any(|change| !change.is_refused)
}

fn size(change: &Change) -> usize {
    change.data.as_ref().map_or(0, String::len)
}
