//! Appending rows to a table of ours as COPY does it: many with one visit to a page and one record in the log.
//!
//! An INSERT of rows that are at hand as values would carry them through arrays and a plan, at several times the cost,
//! in the middle of the application's own statement. Nothing is checked here that an INSERT would check: the table must
//! have no trigger, no constraint but its keys, no default and no row security, as the outbox's tables do.

use std::ffi::c_int;
use std::ptr;

use pgrx::pg_sys::{self, Datum, Oid};

use super::elog;

/// Rows that are written at once. Each has a slot, which costs some hundred bytes for as long as the call.
const AT_ONCE: usize = 500;

/// A table that is being appended to. Its writer is whoever has the rights: none are checked.
pub struct RowInserter {
    relation: pg_sys::Relation,
    state: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    filled: usize,
}

impl RowInserter {
    /// Opens the table. An error between here and [`finish`](Self::finish) leaves everything to the (sub)transaction.
    pub fn open(table: Oid) -> RowInserter {
        // SAFETY: raises if there is no such table. What is made here lives in the current memory context, or belongs to
        // the current resource owner.
        unsafe {
            let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as c_int);
            let state = pg_sys::CreateExecutorState();
            let result = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            (*result).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(result, relation, 1, ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(result, false);
            RowInserter { relation, state, result, slots: Vec::new(), filled: 0 }
        }
    }

    /// Appends a row, given as the values of all its columns; None is NULL. They must last until it is finished.
    pub fn append<const COLUMNS: usize>(&mut self, row: [Option<Datum>; COLUMNS]) {
        if self.filled == AT_ONCE {
            self.write();
        }
        // SAFETY: a slot has as many places as the table has columns, which is checked.
        unsafe {
            if self.filled == self.slots.len() {
                self.slots.push(pg_sys::table_slot_create(self.relation, ptr::null_mut()));
            }
            let slot = self.slots[self.filled];
            assert_eq!((*(*slot).tts_tupleDescriptor).natts as usize, COLUMNS, "a table of the outbox was altered");
            pg_sys::ExecClearTuple(slot);
            for (column, value) in row.into_iter().enumerate() {
                *(*slot).tts_isnull.add(column) = value.is_none();
                *(*slot).tts_values.add(column) = value.unwrap_or(Datum::null());
            }
            pg_sys::ExecStoreVirtualTuple(slot);
        }
        self.filled += 1;
    }

    fn write(&mut self) {
        // SAFETY: the slots that are counted hold rows. An index may evaluate expressions, whose memory is freed after each row.
        unsafe {
            let command = pg_sys::GetCurrentCommandId(true);
            let slots = self.slots.as_mut_ptr();
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
                let context = (*self.state).es_per_tuple_exprcontext;
                if !context.is_null() {
                    pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
                }
            }
        }
        self.filled = 0;
    }

    /// Writes what is left and closes the table. Its lock is kept to the end of the transaction.
    pub fn finish(mut self) {
        if self.filled > 0 {
            self.write();
        }
        // SAFETY: everything was made by this value, which ends here.
        unsafe {
            for slot in self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::ExecCloseIndices(self.result);
            pg_sys::FreeExecutorState(self.state);
            pg_sys::table_close(self.relation, pg_sys::NoLock as c_int);
            // So that what runs next in this transaction sees the rows.
            pg_sys::CommandCounterIncrement();
        }
    }
}

/// The next number of a sequence. The current role needs the right to use it.
pub fn next_value(sequence: Oid) -> i64 {
    // pgrx's own binding is a Rust function, which Postgres cannot be given to call.
    unsafe extern "C-unwind" {
        fn nextval_oid(call: pg_sys::FunctionCallInfo) -> Datum;
    }
    // SAFETY: nextval takes the oid of a sequence and never gives NULL.
    unsafe {
        let value = pg_sys::DirectFunctionCall1Coll(Some(nextval_oid), Oid::INVALID, Datum::from(sequence));
        value.value() as i64
    }
}

/// As many random UUIDs (version 4), as datums.
pub fn random_uuids(count: usize) -> Vec<Datum> {
    const BYTES: usize = 16;
    // SAFETY: palloc'd memory of that size, which lasts as long as the current context.
    unsafe {
        let start = pg_sys::palloc(count * BYTES).cast::<u8>();
        if !pg_sys::pg_strong_random(start.cast(), count * BYTES) {
            elog::internal_error("could not generate random values".to_owned());
        }
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
