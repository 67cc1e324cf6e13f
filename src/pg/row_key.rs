//! The primary key of a partition's row, before and after an UPDATE.
//!
//! A row trigger is called for each row. So the numbers of the key's columns are found once for a statement, and the table
//! is described only for a row whose key was written anew.

use std::ffi::c_int;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::{self, Datum};

use super::jsonb::values::ArrayOf;
use super::output::{DependsOn, printed_alike};
use super::relation::Table;
use super::result_set::attribute;
use super::transition::CopiedRow;
use super::trigger::RowUpdate;

/// The numbers of the columns of a partition's primary key. Of another table there are none.
pub(super) struct KeyColumns {
    count: usize,
    numbers: [i16; pg_sys::INDEX_MAX_KEYS as usize],
}

impl KeyColumns {
    /// # Safety
    /// An open relation.
    pub(super) unsafe fn of(relation: pg_sys::Relation) -> KeyColumns {
        let mut found = KeyColumns { count: 0, numbers: [0; pg_sys::INDEX_MAX_KEYS as usize] };
        // SAFETY: as the caller promises.
        unsafe {
            if !(*(*relation).rd_rel).relispartition {
                return found;
            }
            let key = super::relation::key_columns(relation);
            let mut member = -1;
            loop {
                member = pg_sys::bms_next_member(key, member);
                if member < 0 || found.count == found.numbers.len() {
                    return found;
                }
                // The set counts from the lowest number of a system column.
                found.numbers[found.count] = (member + pg_sys::FirstLowInvalidHeapAttributeNumber) as i16;
                found.count += 1;
            }
        }
    }
}

impl RowUpdate {
    /// Whether the row is a partition's, and the UPDATE writes another image of its primary key.
    pub fn writes_key(&self) -> bool {
        // SAFETY: the rows and the relation last as long as the call, the columns as long as the statement.
        unsafe {
            let (columns, descriptor) = (&*self.key, (*(*self.data).tg_relation).rd_att);
            let (old, new) = ((*self.data).tg_trigtuple, (*self.data).tg_newtuple);
            let mut numbers = columns.numbers[..columns.count].iter();
            numbers.any(|number| {
                let attribute = &*attribute(descriptor, *number as usize - 1);
                let (mut is_null, mut was_null) = (false, false);
                let one = pg_sys::heap_getattr(new, (*number).into(), descriptor, &mut is_null);
                let other = pg_sys::heap_getattr(old, (*number).into(), descriptor, &mut was_null);
                is_null != was_null
                    || !is_null && !datum_image_eq(one, other, attribute.attbyval, c_int::from(attribute.attlen))
            })
        }
    }

    /// The primary key that the row gets, a JSON array, if it is not equal to the one that it has.
    pub fn changed_key(&self) -> Option<String> {
        // SAFETY: the relation is open, and both rows are the relation's.
        let (table, old, new) = unsafe {
            let relation = (*self.data).tg_relation;
            let copied = |row| CopiedRow::of_tuple(row, (*relation).rd_att);
            (Table::describe(relation), copied((*self.data).tg_trigtuple), copied((*self.data).tg_newtuple))
        };
        let key = table.key();
        let is_changed = key.iter().any(|column| !new.row().is_equal_in(&old.row(), column));
        is_changed.then(|| {
            let depends_on = DependsOn::of(key.iter().copied());
            printed_alike(depends_on, || ArrayOf::new(&key).text(&new.row()))
        })
    }
}

/// Postgres' own comparison, which fetches what is stored elsewhere.
///
/// # Safety
/// Two values of a type with this typbyval and typlen.
pub(super) unsafe fn datum_image_eq(one: Datum, two: Datum, by_value: bool, length: c_int) -> bool {
    // Not in pgrx's bindings.
    unsafe extern "C-unwind" {
        fn datum_image_eq(one: Datum, two: Datum, by_value: bool, length: c_int) -> bool;
    }
    // SAFETY: as the caller promises; within the guard nothing has a drop.
    unsafe { pg_guard_ffi_boundary(|| datum_image_eq(one, two, by_value, length)) }
}
