//! Deleting rows of an outbox table by their ids, without the executor.
//!
//! A DELETE over a list of ids descends the index for each of them, is planned anew for each list, and copies each row
//! twice on its way out: that is more than the deletion itself. Here one walk along the index finds ids that stand close
//! together. It fires no trigger, checks no row security and no foreign key: the outbox's tables have none.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::ptr;
use std::slice;

use pgrx::pg_sys::{self, Datum, Oid};

use super::bulk_insert::places;
use super::text::to_text_datum;
use super::tuple_descriptor::attribute;

/// How far two ids of one walk may be apart. The walk steps over all rows between them, dead or alive, and that must not
/// cost more than a new descent: under an old snapshot every row that was ever deleted is still there.
const MAX_GAP: i64 = 16;

const ALTERED: &str = "a table of the outbox was altered";

/// Deletes the rows of a table whose first two columns are its primary key, a text and a bigint. Hands these columns of
/// each row to `each`, in the order of `ids`, which rise. The values last as long as the current memory context. Gives the
/// ids that were not found, or that another session was changing.
pub fn delete_by_ids<const COLUMNS: usize>(
    table: Oid,
    first: &str,
    ids: &[i64],
    columns: &[&CStr; COLUMNS],
    mut each: impl FnMut(i64, [Option<Datum>; COLUMNS]),
) -> Vec<i64> {
    let mut left = Vec::new();
    // SAFETY: table_open raises if there is no such table, index_open if it has no primary key. The form that the rest
    // relies on is checked first: a heap that has `columns`, and the key's columns and types. Table, index, scan, slot
    // and snapshot are closed, or belong to the (sub)transaction that an error ends. `slot_getsomeattrs_int` fills the two
    // values that are read. A row is copied out of its page into the current memory context before `each` sees it.
    unsafe {
        let table = pg_sys::table_open(table, pg_sys::RowExclusiveLock as c_int);
        let descriptor = (*table).rd_att;
        let natts = (*descriptor).natts as usize;
        let places = places(descriptor, columns);
        assert_eq!((*(*table).rd_rel).relam, pg_sys::HEAP_TABLE_AM_OID, "{ALTERED}");
        let index = pg_sys::index_open(primary_key(table), pg_sys::RowExclusiveLock as c_int);
        let form = (*index).rd_index;
        let key_columns = (&raw const (*form).indkey.values).cast::<i16>();
        let key_columns = slice::from_raw_parts(key_columns, (*form).indnkeyatts as usize);
        assert_eq!(key_columns, [1, 2], "{ALTERED}");
        let key_types = [0, 1].map(|column| (*attribute(descriptor, column)).atttypid);
        assert_eq!(key_types, [pg_sys::TEXTOID, pg_sys::INT8OID], "{ALTERED}");
        let slot = pg_sys::table_slot_create(table, ptr::null_mut());
        // As for any statement: what was committed before it.
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let command = pg_sys::GetCurrentCommandId(true);
        let scan = begin_scan(table, index);
        let mut keys = [key(1, pg_sys::BTEqualStrategyNumber, pg_sys::F_TEXTEQ, to_text_datum(first)); 3];
        let (mut values, mut nulls) = (vec![Datum::null(); natts], vec![true; natts]);
        for ids in ids.chunk_by(|one, next| next - one <= MAX_GAP) {
            keys[1] = key(2, pg_sys::BTGreaterEqualStrategyNumber, pg_sys::F_INT8GE, Datum::from(ids[0]));
            keys[2] = key(2, pg_sys::BTLessEqualStrategyNumber, pg_sys::F_INT8LE, Datum::from(ids[ids.len() - 1]));
            pg_sys::index_rescan(scan, keys.as_mut_ptr(), keys.len() as c_int, ptr::null_mut(), 0);
            let mut wanted = ids.iter().copied().peekable();
            while pg_sys::index_getnext_slot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot) {
                pg_sys::slot_getsomeattrs_int(slot, 2);
                let id = (*(*slot).tts_values.add(1)).value() as i64;
                while let Some(missing) = wanted.next_if(|wanted| *wanted < id) {
                    left.push(missing);
                }
                if wanted.next_if_eq(&id).is_none() {
                    continue;
                }
                let row = pg_sys::ExecCopySlotHeapTuple(slot);
                pg_sys::heap_deform_tuple(row, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
                if delete(table, &raw mut (*row).t_self, command) == pg_sys::TM_Result::TM_Ok {
                    each(id, places.map(|place| (!nulls[place]).then_some(values[place])));
                } else {
                    left.push(id);
                }
            }
            left.extend(wanted);
        }
        pg_sys::index_endscan(scan);
        pg_sys::PopActiveSnapshot();
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::index_close(index, pg_sys::NoLock as c_int);
        pg_sys::table_close(table, pg_sys::NoLock as c_int);
        // So that the next statement of this transaction does not see the rows.
        pg_sys::CommandCounterIncrement();
    }
    left
}

/// # Safety
/// An open table, and a place in it that the active snapshot sees a row at.
unsafe fn delete(
    table: pg_sys::Relation,
    tid: pg_sys::ItemPointer,
    command: pg_sys::CommandId,
) -> pg_sys::TM_Result::Type {
    let mut failure = MaybeUninit::uninit();
    let (none, failure) = (ptr::null_mut(), failure.as_mut_ptr());
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
        return pg_sys::heap_delete(table, tid, command, none, true, failure, false);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
        return pg_sys::heap_delete(table, tid, command, 0, none, true, failure);
    }
}

/// # Safety
/// An open table.
unsafe fn primary_key(table: pg_sys::Relation) -> Oid {
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        return pg_sys::RelationGetPrimaryKeyIndex(table);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        return pg_sys::RelationGetPrimaryKeyIndex(table, false);
    }
}

/// # Safety
/// A table and its index, both open, and an active snapshot, which lasts as long as the scan.
unsafe fn begin_scan(table: pg_sys::Relation, index: pg_sys::Relation) -> pg_sys::IndexScanDesc {
    // SAFETY: as the caller promises.
    unsafe {
        let snapshot = pg_sys::GetActiveSnapshot();
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        return pg_sys::index_beginscan(table, index, snapshot, 3, 0);
        #[cfg(feature = "pg18")]
        return pg_sys::index_beginscan(table, index, snapshot, ptr::null_mut(), 3, 0);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
        return pg_sys::index_beginscan(table, index, snapshot, ptr::null_mut(), 3, 0, 0);
    }
}

/// A condition on a column of the index: `function` is the comparison, with this strategy, of the column's type with the
/// type of `value`.
fn key(column: i16, strategy: u32, function: u32, value: Datum) -> pg_sys::ScanKeyData {
    let collation = if column == 1 { pg_sys::C_COLLATION_OID } else { Oid::INVALID };
    let mut key = MaybeUninit::uninit();
    // SAFETY: fills the whole key in; it raises if there is no such function.
    unsafe {
        pg_sys::ScanKeyEntryInitialize(
            key.as_mut_ptr(),
            0,
            column,
            strategy as u16,
            Oid::INVALID,
            collation,
            Oid::from(function),
            value,
        );
        key.assume_init()
    }
}
