//! Appending rows to an outbox table as COPY does it: many with one visit to a page and one record in the log.
//!
//! An INSERT would carry values that are at hand through arrays and a plan, at several times the cost, in the middle of the
//! application's own statement. Appending passes over whatever the executor would do beside it: triggers, rules, defaults
//! and computed columns. So it is for a table that has none of them. pg_repack, trigger-based replication and audits add
//! triggers while sessions write: the table is looked at under the lock that the write takes, which holds them off.

use std::ffi::{CStr, c_int};
use std::ptr;

use pgrx::pg_sys::{self, Datum, Oid};

use super::random;
use super::tuple_descriptor::attribute;

/// Rows that are written at once. Each takes a slot of some hundred bytes until the end.
const ROWS_AT_ONCE: usize = 500;

/// A table that is being appended to. No rights of the current role are checked; row security hides no row from the owner,
/// as whom the queue is written.
pub struct RowInserter<const COLUMNS: usize> {
    /// The places of the columns in the table.
    places: [usize; COLUMNS],
    relation: pg_sys::Relation,
    state: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    filled: usize,
}

impl<const COLUMNS: usize> RowInserter<COLUMNS> {
    /// Opens the table to append rows of these columns, each a name and a type. None: only the executor may write it, or
    /// it has other columns. An error between here and [`finish`](Self::finish) leaves everything to the (sub)transaction.
    pub fn open(table: Oid, columns: &[(&CStr, Oid); COLUMNS]) -> Option<Self> {
        // SAFETY: raises if there is no such table. It is a heap, which `write` relies on. The result relation is zeroed, as
        // makeNode does it, and filled in. All of it lives in the current memory context, or belongs to the (sub)transaction
        // that an error ends.
        unsafe {
            let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as c_int);
            let Some(places) = places(relation, columns) else {
                pg_sys::table_close(relation, pg_sys::NoLock as c_int);
                return None;
            };
            let state = pg_sys::CreateExecutorState();
            let result = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            (*result).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            // No range table: an error of a constraint then shows the row to who may read all of it.
            pg_sys::InitResultRelInfo(result, relation, 0, ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(result, false);
            Some(RowInserter { places, relation, state, result, slots: Vec::new(), filled: 0 })
        }
    }

    /// Appends a row, given as a value of its type for each column; None is NULL. The values must last until
    /// [`finish`](Self::finish).
    pub fn append(&mut self, row: [Option<Datum>; COLUMNS]) {
        if self.filled == ROWS_AT_ONCE {
            self.write();
        }
        // SAFETY: the table is open until `finish` takes this value. A slot has a place for each attribute of the table's
        // descriptor, and `places` were looked up in it. The values are of the columns' types, as the caller says (see the
        // fifth fact in the module's head).
        unsafe {
            if self.filled == self.slots.len() {
                self.slots.push(pg_sys::table_slot_create(self.relation, ptr::null_mut()));
            }
            let slot = self.slots[self.filled];
            pg_sys::ExecClearTuple(slot);
            let natts = (*(*slot).tts_tupleDescriptor).natts as usize;
            std::slice::from_raw_parts_mut((*slot).tts_isnull, natts).fill(true);
            for (place, value) in self.places.into_iter().zip(row) {
                *(*slot).tts_isnull.add(place) = value.is_none();
                *(*slot).tts_values.add(place) = value.unwrap_or(Datum::null());
            }
            pg_sys::ExecStoreVirtualTuple(slot);
        }
        self.filled += 1;
    }

    fn write(&mut self) {
        // SAFETY: table, indexes and state are open until `finish` takes this value, and the first `filled` slots hold rows
        // of the table. The memory of index expressions is freed after each row.
        unsafe {
            let command = pg_sys::GetCurrentCommandId(true);
            let slots = self.slots.as_mut_ptr();
            if !(*(*self.relation).rd_att).constr.is_null() {
                for &slot in &self.slots[..self.filled] {
                    pg_sys::ExecConstraints(self.result, slot, self.state);
                    self.free_row_memory();
                }
            }
            pg_sys::heap_multi_insert(self.relation, slots, self.filled as c_int, command, 0, ptr::null_mut());
            for &slot in &self.slots[..self.filled] {
                #[cfg(feature = "pg15")]
                pg_sys::ExecInsertIndexTuples(
                    self.result,
                    slot,
                    self.state,
                    false,
                    false,
                    ptr::null_mut(),
                    ptr::null_mut(),
                );
                #[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
                pg_sys::ExecInsertIndexTuples(
                    self.result,
                    slot,
                    self.state,
                    false,
                    false,
                    ptr::null_mut(),
                    ptr::null_mut(),
                    false,
                );
                #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
                pg_sys::ExecInsertIndexTuples(self.result, self.state, 0, slot, ptr::null_mut(), ptr::null_mut());
                self.free_row_memory();
            }
        }
        self.filled = 0;
    }

    /// Frees the memory of the expressions of indexes and constraints.
    ///
    /// # Safety
    /// The executor's state is not freed yet.
    unsafe fn free_row_memory(&self) {
        // SAFETY: as the caller promises. The context is made when an expression first needs it.
        unsafe {
            let context = (*self.state).es_per_tuple_exprcontext;
            if !context.is_null() {
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            }
        }
    }

    /// Writes the last rows and closes the table. Its lock is kept to the end of the transaction.
    pub fn finish(mut self) {
        if self.filled > 0 {
            self.write();
        }
        // SAFETY: all of it was opened by `open` and `append`, and is closed once, because this takes the value.
        unsafe {
            for slot in self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::ExecCloseIndices(self.result);
            pg_sys::FreeExecutorState(self.state);
            pg_sys::table_close(self.relation, pg_sys::NoLock as c_int);
            // So that the next statement of this transaction sees the rows.
            pg_sys::CommandCounterIncrement();
        }
    }
}

/// The places of these columns in a table that has them, no others, and nothing that only the executor takes care of.
///
/// # Safety
/// An open table, which is locked for writing: so none of it changes before the end of the transaction.
unsafe fn places<const COLUMNS: usize>(
    table: pg_sys::Relation,
    columns: &[(&CStr, Oid); COLUMNS],
) -> Option<[usize; COLUMNS]> {
    // SAFETY: as the caller promises. The descriptor and the form last as long as the relation is open, each attribute
    // below `natts` is there, and its name ends with a NUL.
    unsafe {
        let form = &*(*table).rd_rel;
        let is_plain = form.relkind as u8 == pg_sys::RELKIND_RELATION
            && form.relam == pg_sys::HEAP_TABLE_AM_OID
            && !form.relispartition
            && (*table).trigdesc.is_null()
            && (*table).rd_rules.is_null();
        if !is_plain {
            return None;
        }
        let descriptor = (*table).rd_att;
        let attributes = (0..(*descriptor).natts as usize).map(|place| (place, &*attribute(descriptor, place)));
        let attributes: Vec<_> = attributes.filter(|(_, attribute)| !attribute.attisdropped).collect();
        if attributes.len() != COLUMNS {
            return None;
        }
        let mut places = [0; COLUMNS];
        for (column, (name, of_type)) in columns.iter().enumerate() {
            let is_it = |attribute: &pg_sys::FormData_pg_attribute| {
                CStr::from_ptr(attribute.attname.data.as_ptr()) == *name
                    && attribute.atttypid == *of_type
                    && attribute.atttypmod == -1
                    && !attribute.atthasdef
                    && attribute.attidentity == 0
                    && attribute.attgenerated == 0
            };
            // Mostly it is where it was when the table was made.
            let mut candidates = attributes.iter().skip(column).chain(&attributes);
            places[column] = candidates.find(|(_, attribute)| is_it(attribute))?.0;
        }
        Some(places)
    }
}

/// The next number of a sequence. The current role needs the right to use it.
pub fn next_value(sequence: Oid) -> i64 {
    // pgrx's own binding is a Rust function, which Postgres cannot be given to call.
    unsafe extern "C-unwind" {
        fn nextval_oid(call: pg_sys::FunctionCallInfo) -> Datum;
    }
    // SAFETY: nextval takes an oid, raises unless it is a sequence that the role may use, and never gives NULL.
    unsafe {
        let value = pg_sys::DirectFunctionCall1Coll(Some(nextval_oid), Oid::INVALID, Datum::from(sequence));
        value.value() as i64
    }
}

/// As many random UUIDs (version 4), as datums that last as long as the current memory context.
pub fn random_uuids(count: usize) -> Vec<Datum> {
    const BYTES: usize = 16;
    // SAFETY: palloc0 gives zeroed memory of this size, or raises. Each UUID is one of its `count` parts.
    unsafe {
        let start = pg_sys::palloc0(count * BYTES).cast::<u8>();
        random::fill(std::slice::from_raw_parts_mut(start, count * BYTES));
        (0..count)
            .map(|i| {
                let uuid = start.add(i * BYTES);
                // The version and the variant of RFC 9562.
                *uuid.add(6) = *uuid.add(6) & 0x0f | 0x40;
                *uuid.add(8) = *uuid.add(8) & 0x3f | 0x80;
                Datum::from(uuid)
            })
            .collect()
    }
}
