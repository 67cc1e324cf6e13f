//! The transition tables of a statement trigger: its rows as the statement found them and as it left them.
//!
//! They are read directly. A query would be planned for each statement, with an expression for each column, and would
//! need a join to bring old and new rows together. Postgres fills both tables in step (AfterTriggerSaveEvent in
//! trigger.c), so the row that is read from one belongs to the row that is read from the other.

use std::borrow::Cow;
use std::ffi::c_int;
use std::slice;

use pgrx::pg_sys::{self, Datum};

use super::image::is_same_image;
use super::relation::Column;
use super::spi::QueryRows;
use super::text;

/// A transition table that is being read, from its first row on.
pub struct TransitionRows {
    store: *mut pg_sys::Tuplestorestate,
    pointer: c_int,
    slot: *mut pg_sys::TupleTableSlot,
    /// How many columns are read of each row.
    columns: usize,
}

/// A row. It lasts until the next one is reached.
pub struct RowValues<'a> {
    values: &'a [Datum],
    nulls: &'a [bool],
}

impl TransitionRows {
    /// # Safety
    /// A transition table that lasts longer than this value, of a relation with this descriptor. `columns` is at most
    /// the descriptor's number of attributes.
    pub(super) unsafe fn open(
        store: *mut pg_sys::Tuplestorestate,
        descriptor: pg_sys::TupleDesc,
        columns: usize,
    ) -> TransitionRows {
        // SAFETY: as the caller promises. A read pointer of its own leaves those of queries alone. The slot takes the rows
        // of a tuplestore, which are minimal tuples.
        unsafe {
            let pointer = pg_sys::tuplestore_alloc_read_pointer(store, pg_sys::EXEC_FLAG_REWIND as c_int);
            let slot = pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsMinimalTuple);
            let mut rows = TransitionRows { store, pointer, slot, columns };
            rows.rewind();
            rows
        }
    }

    /// Goes back to before the first row.
    pub fn rewind(&mut self) {
        // SAFETY: the store lasts longer than this value, as `open` was promised, and keeps its read pointers.
        unsafe {
            pg_sys::tuplestore_select_read_pointer(self.store, self.pointer);
            pg_sys::tuplestore_rescan(self.store);
        }
    }

    /// Goes to the next row. False if there is none. A pending cancel ends the statement here: a row may need nothing else
    /// that looks for one.
    pub fn advance(&mut self) -> bool {
        pgrx::check_for_interrupts!();
        // SAFETY: as in `rewind`. A row that comes from a file is made in the current memory context: that of the slot. An
        // error inside leaves the variable to those who catch it. The descriptor has `columns` attributes.
        unsafe {
            let caller = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = (*self.slot).tts_mcxt;
            pg_sys::tuplestore_select_read_pointer(self.store, self.pointer);
            let is_there = pg_sys::tuplestore_gettupleslot(self.store, true, false, self.slot);
            if is_there {
                pg_sys::slot_getsomeattrs_int(self.slot, self.columns as c_int);
            }
            pg_sys::CurrentMemoryContext = caller;
            is_there
        }
    }

    /// The row that [`advance`](Self::advance) has reached.
    pub fn row(&self) -> RowValues<'_> {
        // SAFETY: the slot keeps the row until it is filled again, which takes `&mut self`. Its arrays have a place for
        // each attribute of the table; the first `columns` are filled.
        unsafe {
            RowValues {
                values: slice::from_raw_parts((*self.slot).tts_values, self.columns),
                nulls: slice::from_raw_parts((*self.slot).tts_isnull, self.columns),
            }
        }
    }

    /// Ends the reading. An error leaves the slot to the (sub)transaction.
    pub fn close(self) {
        // SAFETY: the slot was made by `open`, and is dropped once, because this takes the value.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
    }
}

/// A row that a query has given, with the columns of a table at their places.
pub struct CopiedRow {
    values: Vec<Datum>,
    nulls: Vec<bool>,
}

impl CopiedRow {
    /// A row of a query that selects `columns`, in this order. It lasts as long as the query's rows.
    pub fn of(batch: &QueryRows, row: usize, columns: &[&Column]) -> CopiedRow {
        let width = columns.iter().map(|column| column.place + 1).max().unwrap_or_default();
        let mut copied = CopiedRow { values: vec![Datum::null(); width], nulls: vec![true; width] };
        for (column, value) in columns.iter().zip(batch.values(row)) {
            copied.nulls[column.place] = value.is_none();
            copied.values[column.place] = value.unwrap_or(Datum::null());
        }
        copied
    }

    /// A row of a table. It lasts as long as the tuple.
    ///
    /// # Safety
    /// A tuple of a table with this descriptor.
    pub(super) unsafe fn of_tuple(tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) -> CopiedRow {
        // SAFETY: as the caller promises. Both arrays have a place for each of the descriptor's attributes.
        unsafe {
            let width = (*descriptor).natts as usize;
            let mut copied = CopiedRow { values: vec![Datum::null(); width], nulls: vec![true; width] };
            pg_sys::heap_deform_tuple(tuple, descriptor, copied.values.as_mut_ptr(), copied.nulls.as_mut_ptr());
            copied
        }
    }

    pub fn row(&self) -> RowValues<'_> {
        RowValues { values: &self.values, nulls: &self.nulls }
    }
}

impl RowValues<'_> {
    /// The value of a column; None is NULL.
    pub fn value(&self, column: &Column) -> Option<Datum> {
        (!self.nulls[column.place]).then_some(self.values[column.place])
    }

    /// The value of a column of type text or varchar, or of a domain over one of them.
    pub fn text(&self, column: &Column) -> Option<Cow<'_, str>> {
        // SAFETY: a value of that column, which lasts as long as the row.
        self.value(column).map(|value| unsafe { text::from_text_datum(value) })
    }

    /// Whether `other` has another value in this column: another image, even where the type's equality takes the two for
    /// one (`1.0` and `1.00`, texts of a collation that folds case).
    pub fn differs_in(&self, other: &RowValues<'_>, column: &Column) -> bool {
        match (self.value(column), other.value(column)) {
            (None, None) => false,
            // SAFETY: two values of the column, and its type's length and passing.
            (Some(one), Some(two)) => unsafe { !is_same_image(one, two, column.by_value, column.length) },
            _ => true,
        }
    }

    /// Whether the equality of the column's type takes the values of both rows for one.
    pub fn is_equal_in(&self, other: &RowValues<'_>, column: &Column) -> bool {
        match (self.value(column), other.value(column)) {
            (None, None) => true,
            // SAFETY: two values of the column, and the equality of its type. The type cache's entry lasts as long as the
            // session.
            (Some(one), Some(two)) => unsafe {
                let flag = pg_sys::TYPECACHE_EQ_OPR_FINFO as c_int;
                let entry = pg_sys::lookup_type_cache(column.base_type, flag);
                let function = &raw mut (*entry).eq_opr_finfo;
                if (*function).fn_oid == pg_sys::Oid::INVALID {
                    return is_same_image(one, two, column.by_value, column.length);
                }
                let (_, _, collation) = column.declared_type;
                pg_sys::FunctionCall2Coll(function, collation, one, two).value() != 0
            },
            _ => false,
        }
    }
}
