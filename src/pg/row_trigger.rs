//! The call of a trigger before the UPDATE of a row: the column of upstream ids, and the primary key of a partition's row.
//!
//! A row trigger is called for each row. So the columns are found once for a statement, and the table is described only for
//! a row whose key was written anew.

use std::borrow::Cow;
use std::ffi::{c_char, c_int};

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum as LiveDatum;
use pgrx::pg_sys::{self, NodeTag};

use super::function_call::FunctionCall;
use super::image::datum_image_eq;
use super::jsonb::values::ArrayOf;
use super::output::{DependsOn, printed_alike};
use super::relation::Table;
use super::text;
use super::transition::CopiedRow;
use super::tuple_descriptor::attribute;

/// A trigger that fires before the update of a row.
pub struct RowUpdate {
    pub(super) data: *mut pg_sys::TriggerData,
    pub(super) key: *const KeyColumns,
    /// The number of the column that the trigger's argument names; None if there is no such column of text.
    column: Option<i16>,
}

/// The row that such a trigger returns, for Postgres to store. After a statement Postgres reads no row.
pub struct StoredRow(pg_sys::HeapTuple);

impl StoredRow {
    pub const NONE: StoredRow = StoredRow(std::ptr::null_mut());
}

pgrx::impl_sql_translatable!(StoredRow, "trigger");

// SAFETY: the SQL type is trigger: a pointer to a row of the table, or null after a statement. It is never SQL's NULL.
unsafe impl BoxRet for StoredRow {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> LiveDatum<'fcx> {
        // SAFETY: a datum of that type.
        unsafe { fcinfo.return_raw_datum(pg_sys::Datum::from(self.0)) }
    }
}

/// The columns, found once for all rows of a statement. It is freed with the statement, so it has no drop.
struct FoundColumns {
    column: Option<i16>,
    key: KeyColumns,
}

impl RowUpdate {
    /// None if the function was not called as a trigger before the update of a row, with one argument.
    pub fn of(call: FunctionCall) -> Option<RowUpdate> {
        let call = call.info();
        const EVENT: u32 = pg_sys::TRIGGER_EVENT_UPDATE | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_BEFORE;
        // SAFETY: `call` is the call that Postgres is making; its context is null, or a node whose tag
        // says what it is. Data, trigger and relation last as long as the call; the trigger has `tgnargs` arguments.
        // `fn_extra` is for this function alone, which writes the struct there at its first call in a statement. It lasts
        // as long as `fn_mcxt`, and so as `flinfo`.
        unsafe {
            let context = (*call).context;
            if context.is_null() || (*context).type_ != NodeTag::T_TriggerData {
                return None;
            }
            let data = context.cast::<pg_sys::TriggerData>();
            let mask = pg_sys::TRIGGER_EVENT_OPMASK | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_TIMINGMASK;
            let trigger = &*(*data).tg_trigger;
            if (*data).tg_event & mask != EVENT || trigger.tgnargs != 1 {
                return None;
            }
            // They are kept for the other rows of the statement.
            let info = (*call).flinfo;
            if (*info).fn_extra.is_null() {
                let relation = (*data).tg_relation;
                let column = text_column((*relation).rd_att, *trigger.tgargs);
                let found = pg_sys::MemoryContextAlloc((*info).fn_mcxt, size_of::<FoundColumns>());
                let found = found.cast::<FoundColumns>();
                found.write(FoundColumns { column, key: KeyColumns::of(relation) });
                (*info).fn_extra = found.cast();
            }
            let found = &*(*info).fn_extra.cast::<FoundColumns>();
            Some(RowUpdate { data, column: found.column, key: &raw const found.key })
        }
    }

    /// The oid of the table that the row is in.
    pub fn relation(&self) -> u32 {
        // SAFETY: the relation is open as long as the call that this value is made for.
        unsafe { (*(*self.data).tg_relation).rd_id.to_u32() }
    }

    /// The column's text in the row as it was.
    pub fn old_text(&self) -> Option<Cow<'_, str>> {
        // SAFETY: the old row, which lasts as long as the call. `column` was found to be a text.
        unsafe { self.text((*self.data).tg_trigtuple) }
    }

    /// The column's text in the row as it is to be.
    pub fn new_text(&self) -> Option<Cow<'_, str>> {
        // SAFETY: the new row, which lasts as long as the call.
        unsafe { self.text((*self.data).tg_newtuple) }
    }

    /// # Safety
    /// A row of the table, in which the column is a text.
    unsafe fn text(&self, row: pg_sys::HeapTuple) -> Option<Cow<'_, str>> {
        // SAFETY: as the caller promises.
        unsafe { self.datum(row).map(|datum| text::from_text_datum(datum)) }
    }

    /// # Safety
    /// A row of the table.
    unsafe fn datum(&self, row: pg_sys::HeapTuple) -> Option<pg_sys::Datum> {
        let (column, mut is_null) = (self.column?, false);
        // SAFETY: as the caller promises. The relation, whose descriptor has this column, is open as long as the call.
        unsafe {
            let descriptor = (*(*self.data).tg_relation).rd_att;
            let datum = pg_sys::heap_getattr(row, column.into(), descriptor, &mut is_null);
            (!is_null).then_some(datum)
        }
    }

    /// The row as the statement wants it.
    pub fn as_written(&self) -> StoredRow {
        // SAFETY: the new row, which lasts as long as the call.
        StoredRow(unsafe { (*self.data).tg_newtuple })
    }

    /// The same with the old value of the column.
    pub fn with_old_value(&self) -> StoredRow {
        let Some(column) = self.column else { return self.as_written() };
        // SAFETY: the copy has one value replaced by another of the same column. It is made in the context of the call,
        // which Postgres keeps until it has stored the row.
        unsafe {
            let descriptor = (*(*self.data).tg_relation).rd_att;
            let old = self.datum((*self.data).tg_trigtuple);
            let (mut column, mut is_null) = (i32::from(column), old.is_none());
            let mut value = old.unwrap_or(pg_sys::Datum::null());
            let new = (*self.data).tg_newtuple;
            StoredRow(pg_sys::heap_modify_tuple_by_cols(
                new,
                descriptor,
                1,
                &raw mut column,
                &raw mut value,
                &raw mut is_null,
            ))
        }
    }
}

/// The number of the column `name`, if it is of type text or varchar, or of a domain over one of them. It was when the
/// table was attached, but columns change.
///
/// # Safety
/// The descriptor of a table, and a NUL-terminated name.
unsafe fn text_column(descriptor: pg_sys::TupleDesc, name: *const c_char) -> Option<i16> {
    // SAFETY: as the caller promises.
    unsafe {
        let number = pg_sys::SPI_fnumber(descriptor, name);
        if number <= 0 {
            return None;
        }
        let base_type = pg_sys::getBaseType(pg_sys::SPI_gettypeid(descriptor, number));
        (base_type == pg_sys::TEXTOID || base_type == pg_sys::VARCHAROID).then_some(number as i16)
    }
}

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
        // SAFETY: rows and relation last as long as the call, `key` as long as the statement. It has numbers of columns of
        // the relation, in whose type two values are compared that are not NULL.
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
        // SAFETY: the relation is open as long as the call, and both rows are of it.
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
