//! The call of a trigger function, as Postgres makes it.

use std::ffi::CStr;

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum as LiveDatum;
use pgrx::pg_sys::{self, FunctionCallInfo, NodeTag};

use super::relation::Table;
use super::text;

/// What a statement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Insert,
    Update,
    Delete,
    Truncate,
}

/// A trigger that fires for a statement.
pub struct Fired {
    data: *mut pg_sys::TriggerData,
}

/// The result of a trigger for a statement, which Postgres does not look at.
pub struct NoRow;

pgrx::impl_sql_translatable!(NoRow, "trigger");

// SAFETY: a trigger function returns a null pointer that is not SQL's NULL.
unsafe impl BoxRet for NoRow {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> LiveDatum<'fcx> {
        // SAFETY: as above.
        unsafe { fcinfo.return_raw_datum(pg_sys::Datum::null()) }
    }
}

impl Fired {
    /// None if the function was not called as a trigger for a statement.
    pub fn of(call: FunctionCallInfo) -> Option<Fired> {
        // SAFETY: `call` is the call that Postgres is making; its context, if any, is a node that says what it is.
        unsafe {
            let context = (*call).context;
            if context.is_null() || (*context).type_ != NodeTag::T_TriggerData {
                return None;
            }
            let fired = Fired { data: context.cast() };
            (fired.bits() & pg_sys::TRIGGER_EVENT_ROW == 0).then_some(fired)
        }
    }

    fn bits(&self) -> u32 {
        // SAFETY: Postgres keeps the data for as long as the call.
        unsafe { (*self.data).tg_event }
    }

    pub fn event(&self) -> Event {
        match self.bits() & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => Event::Insert,
            pg_sys::TRIGGER_EVENT_UPDATE => Event::Update,
            pg_sys::TRIGGER_EVENT_DELETE => Event::Delete,
            _ => Event::Truncate,
        }
    }

    /// The table that the trigger is on.
    pub fn table(&self) -> Table {
        // SAFETY: the relation is open while its trigger runs.
        unsafe { Table::describe((*self.data).tg_relation) }
    }

    /// The arguments in the trigger's definition.
    pub fn arguments(&self) -> Vec<String> {
        // SAFETY: as many NUL-terminated strings as the trigger says.
        unsafe {
            let trigger = &*(*self.data).tg_trigger;
            (0..trigger.tgnargs as usize)
                .map(|i| text::from_server(CStr::from_ptr(*trigger.tgargs.add(i)).to_bytes()).into_owned())
                .collect()
        }
    }

    /// Whether the statement has made rows, or new versions of rows, that this trigger is given.
    pub fn has_new_rows(&self) -> bool {
        // SAFETY: the transition table, if the trigger has one, lives for as long as the call.
        unsafe {
            let rows = (*self.data).tg_newtable;
            !rows.is_null() && pg_sys::tuplestore_tuple_count(rows) > 0
        }
    }

    /// Makes the transition tables visible to the queries of the SPI connection that is open now.
    pub fn show_transition_tables(&self) {
        // SAFETY: the data outlives the connection, which is opened and closed within the trigger's call.
        let result = unsafe { pg_sys::SPI_register_trigger_data(self.data) };
        if result < 0 {
            pgrx::error!("could not register the transition tables (SPI error {result})");
        }
    }
}
