//! Rows as JSON, by Postgres' own `jsonb_build_object` and `jsonb_build_array`.
//!
//! Both find the types of their arguments in the expression that calls them. Here that is an expression of constants
//! without values, made once for each statement; a row then costs one call, and neither a plan nor an executor.

use std::ptr;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::{self, Datum, FunctionCallInfo, Oid};

use super::{Json, to_datum};
use crate::pg::memory_context::ChildContext;
use crate::pg::relation::Column;
use crate::pg::text::to_text_datum;
use crate::pg::transition::RowValues;
use contract::merge;

/// A function takes at most 100 arguments (FUNC_MAX_ARGS), two for each field.
const FIELDS_A_CALL: usize = 50;

/// A JSON object of some columns of a row, each under a name of its own.
pub struct ObjectOf<'a> {
    calls: Vec<RowFunction<'a>>,
}

/// A JSON array of some columns of a row.
pub struct ArrayOf<'a>(RowFunction<'a>);

impl<'a> ObjectOf<'a> {
    /// An object of `fields`. It lives as long as the current memory context.
    pub fn new(fields: &[(&str, &'a Column)]) -> ObjectOf<'a> {
        let calls = fields.chunks(FIELDS_A_CALL).map(|fields| {
            let arguments = fields.iter().flat_map(|(name, column)| {
                [Argument::Fixed(pg_sys::TEXTOID, to_text_datum(name)), Argument::Column(column)]
            });
            RowFunction::new(pg_sys::F_JSONB_BUILD_OBJECT_ANY, arguments.collect())
        });
        ObjectOf { calls: calls.collect() }
    }

    /// The object of a row, a jsonb.
    pub fn datum(&self, row: &RowValues<'_>) -> Datum {
        match &self.calls[..] {
            [call] => call.of(row),
            _ => to_datum(&self.text(row)),
        }
    }

    /// The same as JSON text.
    pub fn text(&self, row: &RowValues<'_>) -> String {
        merge::later_wins(self.calls.iter().map(|call| call.text(row)).collect())
    }
}

impl<'a> ArrayOf<'a> {
    /// An array of at most as many columns as a primary key has. It lives as long as the current memory context.
    pub fn new(columns: &[&'a Column]) -> ArrayOf<'a> {
        let arguments = columns.iter().map(|column| Argument::Column(column));
        ArrayOf(RowFunction::new(pg_sys::F_JSONB_BUILD_ARRAY_ANY, arguments.collect()))
    }

    /// The array of a row as JSON text.
    pub fn text(&self, row: &RowValues<'_>) -> String {
        self.0.text(row)
    }
}

enum Argument<'a> {
    /// The same in each call: its type and value.
    Fixed(Oid, Datum),
    Column(&'a Column),
}

/// A function that is called for one row after another.
struct RowFunction<'a> {
    frame: FunctionCallInfo,
    /// The arguments that come from a row, by their places.
    columns: Vec<(usize, &'a Column)>,
    /// Where the function runs. It leaves more behind than its result, for each row.
    memory: ChildContext,
}

impl<'a> RowFunction<'a> {
    fn new(function: u32, arguments: Vec<Argument<'a>>) -> RowFunction<'a> {
        // SAFETY: all of it is made in the current memory context, as long as which the value lasts. The frame has room for
        // `nargs` arguments behind its fixed part; those of columns are set before each call.
        unsafe {
            let mut types = ptr::null_mut();
            for argument in &arguments {
                let (of_type, modifier, collation) = match argument {
                    Argument::Fixed(of_type, _) => (*of_type, -1, Oid::INVALID),
                    Argument::Column(column) => column.declared_type,
                };
                types = pg_sys::lappend(types, pg_sys::makeNullConst(of_type, modifier, collation).cast());
            }
            let none = Oid::INVALID;
            let form = pg_sys::CoercionForm::COERCE_EXPLICIT_CALL;
            let expression =
                pg_sys::makeFuncExpr(Oid::from(function), pg_sys::JSONBOID, types, none, none, form).cast();
            let info = pg_sys::palloc0(size_of::<pg_sys::FmgrInfo>()).cast::<pg_sys::FmgrInfo>();
            pg_sys::fmgr_info_cxt(Oid::from(function), info, pg_sys::CurrentMemoryContext);
            (*info).fn_expr = expression;
            let size =
                size_of::<pg_sys::FunctionCallInfoBaseData>() + arguments.len() * size_of::<pg_sys::NullableDatum>();
            let frame = pg_sys::palloc0(size).cast::<pg_sys::FunctionCallInfoBaseData>();
            (*frame).flinfo = info;
            (*frame).nargs = arguments.len() as i16;
            let mut columns = Vec::with_capacity(arguments.len());
            for (place, argument) in arguments.into_iter().enumerate() {
                match argument {
                    Argument::Fixed(_, value) => set_argument(frame, place, Some(value)),
                    Argument::Column(column) => columns.push((place, column)),
                }
            }
            RowFunction { frame, columns, memory: ChildContext::new() }
        }
    }

    /// A jsonb in the current memory context.
    fn of(&self, row: &RowValues<'_>) -> Datum {
        // SAFETY: `made` is a jsonb, so a varlena.
        self.called_for(row, |made| unsafe { Datum::from(pg_sys::pg_detoast_datum_copy(made.cast_mut_ptr())) })
    }

    fn text(&self, row: &RowValues<'_>) -> String {
        self.called_for(row, |made| Json { stored: made.cast_mut_ptr() }.to_text())
    }

    /// Calls the function for a row, and `f` with the result, which is freed after that.
    fn called_for<T>(&self, row: &RowValues<'_>, f: impl FnOnce(Datum) -> T) -> T {
        // SAFETY: the arguments are of the types in the frame's expression: constants, and the columns of the row. Neither
        // of the two functions gives NULL. The closure of the guard owns nothing, so a jump may end it.
        let made = self.memory.run(|| unsafe {
            for (place, column) in &self.columns {
                set_argument(self.frame, *place, row.value(column));
            }
            let frame = self.frame;
            (*frame).isnull = false;
            let function = (*(*frame).flinfo).fn_addr.expect("fmgr_info finds the function");
            pg_guard_ffi_boundary(|| function(frame))
        });
        let result = f(made);
        self.memory.reset();
        result
    }
}

/// # Safety
/// A frame that has such an argument.
unsafe fn set_argument(frame: FunctionCallInfo, place: usize, value: Option<Datum>) {
    // SAFETY: as the caller promises.
    unsafe {
        let argument = (*frame).args.as_mut_ptr().add(place);
        (*argument).isnull = value.is_none();
        (*argument).value = value.unwrap_or(Datum::null());
    }
}

const _: () = assert!(2 * FIELDS_A_CALL <= pg_sys::FUNC_MAX_ARGS as usize);
const _: () = assert!(pg_sys::INDEX_MAX_KEYS <= pg_sys::FUNC_MAX_ARGS);
