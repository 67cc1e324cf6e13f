//! The call of a trigger function, as Postgres makes it.

use std::ffi::{CStr, c_char};

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum as LiveDatum;
use pgrx::pg_sys::{self, FunctionCallInfo, NodeTag};

use super::function_call::FunctionCall;
use super::relation::{Column, Table};
use super::transition::TransitionRows;
use super::{elog, text};

/// The kind of a statement.
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

// SAFETY: the SQL type is trigger: a pointer to a row, which Postgres does not read after a statement's trigger. It raises
// for SQL's NULL.
unsafe impl BoxRet for NoRow {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> LiveDatum<'fcx> {
        // SAFETY: a datum of that type.
        unsafe { fcinfo.return_raw_datum(pg_sys::Datum::null()) }
    }
}

impl Fired {
    /// None if the function was not called as a trigger for a statement.
    pub fn of(call: FunctionCall) -> Option<Fired> {
        let call = call.info();
        // SAFETY: `call` is the call that Postgres is making; its context is null, or a node whose tag
        // says what it is.
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
        // SAFETY: the data lasts as long as the call that this value is made for.
        unsafe { (*self.data).tg_event }
    }

    /// Whether it fires before the statement.
    pub fn is_before(&self) -> bool {
        self.bits() & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_BEFORE
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
        // SAFETY: the relation, a table or view, is open as long as the call.
        unsafe { Table::describe((*self.data).tg_relation) }
    }

    /// The oid of that table.
    pub fn relation(&self) -> u32 {
        // SAFETY: the relation is open as long as the call.
        unsafe { (*(*self.data).tg_relation).rd_id.to_u32() }
    }

    /// The rows as the statement has left them, as far as `columns` of the table. An INSERT and an UPDATE have them.
    pub fn new_rows<'a>(&self, columns: impl IntoIterator<Item = &'a Column>) -> TransitionRows {
        // SAFETY: the call's transition table of new rows, or null.
        unsafe { self.rows((*self.data).tg_newtable, columns) }
    }

    /// The rows as the statement has found them. An UPDATE and a DELETE have them.
    pub fn old_rows<'a>(&self, columns: impl IntoIterator<Item = &'a Column>) -> TransitionRows {
        // SAFETY: the call's transition table of old rows, or null.
        unsafe { self.rows((*self.data).tg_oldtable, columns) }
    }

    /// # Safety
    /// One of the call's transition tables, or null if the trigger has none.
    unsafe fn rows<'a>(
        &self,
        store: *mut pg_sys::Tuplestorestate,
        columns: impl IntoIterator<Item = &'a Column>,
    ) -> TransitionRows {
        if store.is_null() {
            elog::internal_error(
                "the trigger has no transition table; make such triggers with sequin_attach".to_owned(),
            );
        }
        let width = columns.into_iter().map(|column| column.place + 1).max().unwrap_or_default();
        // SAFETY: as the caller promises, a transition table, which has the descriptor of the relation. The columns are of
        // this table, so the descriptor has `width` attributes.
        unsafe { TransitionRows::open(store, (*(*self.data).tg_relation).rd_att, width) }
    }

    /// Whether the table has an enabled trigger that calls `function` after a statement with this event.
    pub fn fires_after(&self, event: Event, function: &CStr) -> bool {
        self.triggers().iter().any(|trigger| trigger.is_after_statement(event) && trigger.calls(function))
    }

    /// Whether another trigger of the table, which does not call `function`, fires after this one for the same statement.
    pub fn is_followed(&self, function: &CStr) -> bool {
        // SAFETY: the data and its trigger last as long as the call.
        let own = unsafe { (*(*self.data).tg_trigger).tgoid };
        // Postgres fires triggers, and keeps them here, in the order of their names.
        self.triggers()
            .iter()
            .skip_while(|trigger| trigger.oid != own)
            .any(|trigger| trigger.is_after_statement(self.event()) && !trigger.calls(function))
    }

    /// The enabled triggers of the table.
    fn triggers(&self) -> Vec<TableTrigger> {
        // SAFETY: the relation is open as long as the call.
        unsafe { TableTrigger::enabled_of((*self.data).tg_relation) }
    }

    /// The arguments in the trigger's definition.
    pub fn arguments(&self) -> Vec<String> {
        // SAFETY: the trigger lasts as long as the call, and has `tgnargs` NUL-terminated strings.
        unsafe {
            let trigger = &*(*self.data).tg_trigger;
            (0..trigger.tgnargs as usize)
                .map(|i| text::from_server(CStr::from_ptr(*trigger.tgargs.add(i)).to_bytes()).into_owned())
                .collect()
        }
    }

    /// Whether the statement has made rows, or new versions of rows, that this trigger is given.
    pub fn has_new_rows(&self) -> bool {
        // SAFETY: the transition table, if the trigger has one, lasts as long as the call.
        unsafe {
            let rows = (*self.data).tg_newtable;
            !rows.is_null() && pg_sys::tuplestore_tuple_count(rows) > 0
        }
    }

    /// Makes the transition tables visible to the queries of the SPI connection that is open now.
    pub fn show_transition_tables(&self) {
        // SAFETY: the data lasts as long as the call, within which the connection is opened and closed.
        let result = unsafe { pg_sys::SPI_register_trigger_data(self.data) };
        if result < 0 {
            elog::internal_error(format!("could not register the transition tables (SPI error {result})"));
        }
    }
}

/// How many triggers are running, one within another: 1 in a trigger of a statement that no trigger has made.
pub fn depth() -> i32 {
    // pgrx's own binding is a Rust function, which Postgres cannot be given to call.
    unsafe extern "C-unwind" {
        fn pg_trigger_depth(call: FunctionCallInfo) -> pg_sys::Datum;
    }
    // SAFETY: the function reads no argument, and gives an integer.
    unsafe {
        let none = pg_sys::Datum::null();
        pg_sys::DirectFunctionCall1Coll(Some(pg_trigger_depth), pg_sys::Oid::INVALID, none).value() as i32
    }
}

/// A trigger of a table, copied. Any look-up in the catalogs can bring the news of a concurrent change of the table, as
/// ANALYZE makes one. The relation cache then builds the table's entry anew, and frees the list of its triggers.
struct TableTrigger {
    oid: pg_sys::Oid,
    function: pg_sys::Oid,
    /// As pg_trigger.tgtype.
    kind: u32,
}

impl TableTrigger {
    /// # Safety
    /// An open relation.
    unsafe fn enabled_of(relation: pg_sys::Relation) -> Vec<TableTrigger> {
        // SAFETY: as the caller promises. The list has `numtriggers` elements, and stays while no catalog is read: up to
        // the copy below.
        let all = unsafe {
            let Some(triggers) = (*relation).trigdesc.as_ref() else { return Vec::new() };
            std::slice::from_raw_parts(triggers.triggers, triggers.numtriggers as usize)
        };
        all.iter()
            .filter(|trigger| is_enabled(trigger))
            .map(|trigger| TableTrigger { oid: trigger.tgoid, function: trigger.tgfoid, kind: trigger.tgtype as u32 })
            .collect()
    }

    fn is_after_statement(&self, event: Event) -> bool {
        let bit = match event {
            Event::Insert => pg_sys::TRIGGER_TYPE_INSERT,
            Event::Update => pg_sys::TRIGGER_TYPE_UPDATE,
            Event::Delete => pg_sys::TRIGGER_TYPE_DELETE,
            Event::Truncate => pg_sys::TRIGGER_TYPE_TRUNCATE,
        };
        let of_another_kind = pg_sys::TRIGGER_TYPE_ROW | pg_sys::TRIGGER_TYPE_BEFORE | pg_sys::TRIGGER_TYPE_INSTEAD;
        self.kind & of_another_kind == 0 && self.kind & bit != 0
    }

    /// Whether it calls this function of the schema `sequin`.
    fn calls(&self, function: &CStr) -> bool {
        // SAFETY: look-ups by oid, in a transaction. A name is NUL-terminated, or null if the object is gone.
        unsafe {
            let is = |name: *const c_char, wanted: &CStr| !name.is_null() && CStr::from_ptr(name) == wanted;
            is(pg_sys::get_func_name(self.function), function)
                && is(pg_sys::get_namespace_name(pg_sys::get_func_namespace(self.function)), c"sequin")
        }
    }
}

fn is_enabled(trigger: &pg_sys::Trigger) -> bool {
    // SAFETY: copies a variable of the backend.
    let role = unsafe { pg_sys::SessionReplicationRole };
    let is_replica = role == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as std::ffi::c_int;
    match trigger.tgenabled as u8 {
        pg_sys::TRIGGER_FIRES_ALWAYS => true,
        pg_sys::TRIGGER_FIRES_ON_ORIGIN => !is_replica,
        pg_sys::TRIGGER_FIRES_ON_REPLICA => is_replica,
        _ => false,
    }
}
