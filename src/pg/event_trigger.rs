//! The call of an event trigger's function, as Postgres makes it, and the change of a trigger's argument.

use std::ffi::{CStr, c_int};

use pgrx::IntoDatum;
use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum as LiveDatum;
use pgrx::pg_sys::{self, Datum, NodeTag, Oid};

use super::function_call::FunctionCall;
use super::text;

/// The result of an event trigger's function, which Postgres does not look at.
pub struct NoResult;

pgrx::impl_sql_translatable!(NoResult, "event_trigger");

// SAFETY: the SQL type is event_trigger, whose values Postgres does not read. It raises for SQL's NULL.
unsafe impl BoxRet for NoResult {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> LiveDatum<'fcx> {
        // SAFETY: a datum of that type.
        unsafe { fcinfo.return_raw_datum(pg_sys::Datum::null()) }
    }
}

/// A command on which an event trigger fires.
pub struct Command {
    data: *mut pg_sys::EventTriggerData,
}

/// Two names of a foreign server: before and after ALTER SERVER ... RENAME.
pub struct Renaming {
    pub before: String,
    pub after: String,
}

impl Command {
    /// None if the function was not called by an event trigger.
    pub fn of(call: FunctionCall) -> Option<Command> {
        let call = call.info();
        // SAFETY: `call` is the call that Postgres is making; its context is null, or a node whose tag
        // says what it is.
        unsafe {
            let context = (*call).context;
            let is_event = !context.is_null() && (*context).type_ == NodeTag::T_EventTriggerData;
            is_event.then(|| Command { data: context.cast() })
        }
    }

    /// The names, if the command renames a foreign server.
    pub fn server_renaming(&self) -> Option<Renaming> {
        // SAFETY: the data and the parse tree last as long as the call that this value is made for. The tag of each node
        // says what it is; the names of this statement are NUL-terminated.
        unsafe {
            let tree = (*self.data).parsetree;
            if tree.is_null() || (*tree).type_ != NodeTag::T_RenameStmt {
                return None;
            }
            let statement = &*tree.cast::<pg_sys::RenameStmt>();
            if statement.renameType != pg_sys::ObjectType::OBJECT_FOREIGN_SERVER
                || statement.object.is_null()
                || (*statement.object).type_ != NodeTag::T_String
            {
                return None;
            }
            let name = |name| text::from_server(CStr::from_ptr(name).to_bytes()).into_owned();
            let before = name((*statement.object.cast::<pg_sys::String>()).sval);
            Some(Renaming { before, after: name(statement.newname) })
        }
    }
}

/// Keeps all writers away from a table until the end of the transaction, as CREATE TRIGGER does.
pub fn lock_to_change_triggers(table: Oid) {
    // SAFETY: in a transaction, which keeps the lock. Any oid can be locked.
    unsafe { pg_sys::LockRelationOid(table, pg_sys::ShareRowExclusiveLock as c_int) }
}

/// Makes `argument` the one argument of a trigger, and leaves everything else of it as it is: CREATE OR REPLACE TRIGGER
/// would enable a trigger that was disabled. The caller has locked the table.
pub fn set_argument(trigger: Oid, argument: &str) {
    let argument = text::to_server_cstring(argument);
    // SAFETY: a scan of a catalog by its index and key, in a transaction. Scan and catalog are closed, or belong to the
    // transaction that an error ends. The rows of pg_trigger begin with the struct. The new tuple is the row with one
    // column replaced by a value of its type, bytea, and keeps the row's place.
    unsafe {
        // In the catalog each argument ends with a zero byte.
        let bytes = CStr::from_ptr(argument).to_bytes_with_nul();
        let mode = pg_sys::RowExclusiveLock as c_int;
        let catalog = pg_sys::table_open(pg_sys::TriggerRelationId, mode);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_trigger_oid as pg_sys::AttrNumber,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            Oid::from(pg_sys::F_OIDEQ),
            Datum::from(trigger),
        );
        let index = Oid::from(pg_sys::TriggerOidIndexId);
        let scan = pg_sys::systable_beginscan(catalog, index, true, std::ptr::null_mut(), 1, &mut key);
        let row = pg_sys::systable_getnext(scan);
        if !row.is_null() {
            let table = (*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_trigger>()).tgrelid;
            let mut column = [pg_sys::Anum_pg_trigger_tgargs as c_int];
            let mut value = [bytes.into_datum().expect("bytes are not NULL")];
            let mut is_null = [false];
            let changed = pg_sys::heap_modify_tuple_by_cols(
                row,
                (*catalog).rd_att,
                1,
                column.as_mut_ptr(),
                value.as_mut_ptr(),
                is_null.as_mut_ptr(),
            );
            pg_sys::CatalogTupleUpdate(catalog, &raw mut (*changed).t_self, changed);
            pg_sys::CacheInvalidateRelcacheByRelid(table);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, mode);
    }
}
