//! Records as rows of the composite type `sequin_record`.
//!
//! Each fault of the call itself (a place that takes no set, a type that was altered) is refused when
//! the target is made, before the request is sent. What is left to fail when the rows are written is a value that
//! Postgres cannot store, and by then the mutation was applied: see [`caught_storing`].

use std::ptr;

use pgrx::PgSqlErrorCode as Code;
use pgrx::PgTryBuilder;
use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum as LiveDatum;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, Datum, FunctionCallInfo, Oid, TupleDesc};

use contract::reply::{Record, Timestamp};

use super::function_call::FunctionCall;
use super::memory_context::ScratchContext;
use super::text::to_text_datum;
use super::tuple_descriptor::attribute;
use super::{elog, jsonb};

/// The columns of `sequin_record` by type, in their order.
const COLUMN_TYPES: [Oid; 11] = [
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::INT8OID,
    pg_sys::BOOLOID,
    pg_sys::JSONBOID,
    pg_sys::JSONBOID,
];

/// The columns of one record, in the same order; None is NULL.
fn columns(record: &Record<'_>) -> [Option<Datum>; COLUMN_TYPES.len()] {
    let timestamp = |time: Option<Timestamp>| time.map(|Timestamp(microseconds)| Datum::from(microseconds));
    [
        record.id.as_deref().map(to_text_datum),
        record.sync_id.as_deref().map(to_text_datum),
        record.collection_id.as_deref().map(to_text_datum),
        record.upstream_id.as_deref().map(to_text_datum),
        timestamp(record.upstream_created_at),
        timestamp(record.upstream_updated_at),
        timestamp(record.inserted_at),
        record.updated_idx.map(Datum::from),
        record.deleted.map(Datum::from),
        record.data.map(jsonb::to_datum),
        record.extra.as_deref().map(jsonb::to_datum),
    ]
}

/// The values and NULL flags of a row. Attributes that were added to the type stay NULL.
struct RowBuffer {
    values: Vec<Datum>,
    nulls: Vec<bool>,
}

impl RowBuffer {
    fn new(descriptor: TupleDesc) -> Self {
        // SAFETY: each caller passes the descriptor of its target, which lasts as long as the call.
        let attributes = unsafe { (*descriptor).natts } as usize;
        RowBuffer { values: vec![Datum::null(); attributes], nulls: vec![true; attributes] }
    }

    fn fill(&mut self, record: &Record<'_>) {
        for (i, column) in columns(record).into_iter().enumerate() {
            self.nulls[i] = column.is_none();
            self.values[i] = column.unwrap_or(Datum::null());
        }
    }
}

/// The type does not begin with the columns of the install script: a datum of another type would be read as garbage.
#[derive(Debug, thiserror::Error)]
#[error("the type sequin_record has been altered")]
pub struct AlteredType;

fn check_columns(descriptor: TupleDesc) -> Result<(), AlteredType> {
    // SAFETY: both callers pass a descriptor that Postgres has just given them. An attribute is read only below `natts`.
    let fits = unsafe {
        (*descriptor).natts as usize >= COLUMN_TYPES.len()
            && COLUMN_TYPES.iter().enumerate().all(|(i, expected)| (*attribute(descriptor, i)).atttypid == *expected)
    };
    if fits { Ok(()) } else { Err(AlteredType) }
}

/// What a set-returning function returns when its rows are in a tuplestore: nothing more.
pub struct RecordSet(());

pgrx::impl_sql_translatable!(RecordSet, "SETOF sequin_record");

// SAFETY: in materialize mode Postgres reads the tuplestore and not the returned datum.
unsafe impl BoxRet for RecordSet {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> LiveDatum<'fcx> {
        fcinfo.return_null()
    }
}

/// A tuplestore for the rows of a set-returning function.
pub struct SetTarget {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: TupleDesc,
}

impl SetTarget {
    /// Prepares the call's result. Raises if the call has no place for a set.
    pub fn new(call: FunctionCall) -> Result<Self, AlteredType> {
        let call = call.info();
        // SAFETY: `call` is the call that Postgres is making. InitMaterializedSRF raises unless its
        // `resultinfo` is a ReturnSetInfo for a set, and fills in both fields. They last as long as the call.
        unsafe {
            pg_sys::InitMaterializedSRF(call, 0);
            let result = (*call).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            let target = SetTarget { store: (*result).setResult, descriptor: (*result).setDesc };
            check_columns(target.descriptor)?;
            Ok(target)
        }
    }

    /// Writes all records; the first unreadable one ends it.
    pub fn fill<'a, E>(self, records: impl Iterator<Item = Result<Record<'a>, E>>) -> Result<RecordSet, E> {
        let mut row = RowBuffer::new(self.descriptor);
        // What a row needs on its way is freed with the row, not with the statement.
        let scratch = ScratchContext::enter();
        let mut written = Ok(RecordSet(()));
        for record in records {
            pgrx::check_for_interrupts!();
            match record {
                Ok(record) => row.fill(&record),
                Err(error) => {
                    written = Err(error);
                    break;
                }
            }
            // SAFETY: values and flags have one element for each attribute, and the values are of the types that
            // `check_columns` has compared. The store copies the row.
            unsafe {
                pg_sys::tuplestore_putvalues(
                    self.store,
                    self.descriptor,
                    row.values.as_mut_ptr(),
                    row.nulls.as_mut_ptr(),
                );
            }
            scratch.reset();
        }
        scratch.leave();
        written
    }
}

/// One `sequin_record`, as a function returns it.
pub struct OneRecord(Datum);

pgrx::impl_sql_translatable!(OneRecord, "sequin_record");

// SAFETY: the SQL type is sequin_record, a composite type, by whose descriptor `fill` has formed the datum.
unsafe impl BoxRet for OneRecord {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> LiveDatum<'fcx> {
        // SAFETY: a datum of that type.
        unsafe { fcinfo.return_raw_datum(self.0) }
    }
}

/// The place for the one record of a composite-returning function.
pub struct OneTarget {
    descriptor: TupleDesc,
}

impl OneTarget {
    /// Prepares the call's result. The descriptor is looked up once for each place that calls, as Postgres' own
    /// functions do: a plan that outlives a change of the type is planned anew.
    pub fn new(call: FunctionCall) -> Result<Self, AlteredType> {
        let call = call.info();
        // SAFETY: `call` is the call that Postgres is making, and has its `flinfo`. `fn_extra` is for
        // this function alone, which stores the descriptor there at the first call. It is made in `fn_mcxt`, which lasts
        // as long as `flinfo`.
        unsafe {
            let place = &mut *(*call).flinfo;
            if place.fn_extra.is_null() {
                let caller = pg_sys::MemoryContextSwitchTo(place.fn_mcxt);
                let descriptor = look_up_result_type(call);
                pg_sys::MemoryContextSwitchTo(caller);
                place.fn_extra = descriptor?.cast();
            }
            Ok(OneTarget { descriptor: place.fn_extra.cast() })
        }
    }

    /// Forms the row.
    pub fn fill(self, record: &Record<'_>) -> OneRecord {
        let mut row = RowBuffer::new(self.descriptor);
        row.fill(record);
        // SAFETY: values and flags have one element for each attribute, and the values are of the types that
        // `check_columns` has compared.
        unsafe {
            let tuple = pg_sys::heap_form_tuple(self.descriptor, row.values.as_mut_ptr(), row.nulls.as_mut_ptr());
            OneRecord(pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data))
        }
    }
}

/// The descriptor of the composite type that `call` returns, palloc'd.
fn look_up_result_type(call: FunctionCallInfo) -> Result<TupleDesc, AlteredType> {
    let mut descriptor = ptr::null_mut();
    // SAFETY: `call` is the call that Postgres is making. The descriptor is null, or made in the current memory context.
    let class = unsafe { pg_sys::get_call_result_type(call, ptr::null_mut(), &mut descriptor) };
    if class != pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE {
        elog::internal_error("the function does not return sequin_record".to_owned());
    }
    check_columns(descriptor)?;
    Ok(descriptor)
}

/// Runs `store`, and gives an error that Postgres raises in it as its message: the caller must report it as another
/// one, since the mutation was applied. It may not go on without an error of its own: the memory context, the role and the
/// settings stay those of the place that raised. A cancel stays what it is.
///
/// PgTryBuilder flushes Postgres' stack of errors after a handler that returns, and keeps the error there for a rethrow.
pub fn caught_storing<T, E: From<String>>(store: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    PgTryBuilder::new(std::panic::AssertUnwindSafe(store))
        .catch_others(|caught| match caught {
            CaughtError::PostgresError(ref report)
            | CaughtError::ErrorReport(ref report)
            | CaughtError::RustPanic { ereport: ref report, .. }
                if !is_interrupt(report.sql_error_code()) =>
            {
                Err(report.message().to_owned().into())
            }
            other => other.rethrow(),
        })
        .execute()
}

/// Whether an error was asked for from outside the statement.
fn is_interrupt(code: Code) -> bool {
    matches!(code, Code::ERRCODE_QUERY_CANCELED | Code::ERRCODE_ADMIN_SHUTDOWN | Code::ERRCODE_CRASH_SHUTDOWN)
}
