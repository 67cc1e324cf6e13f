//! Statements of ours that are prepared once in a session, with their parameters and rows as Rust values.

use std::ffi::{CString, c_char, c_int};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::pg_sys::{self, Datum, Oid};

use super::param::{Arguments, Params};
use super::spi::{Connection, QueryRows};
use super::text::to_text_datum;

/// A parameter.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Oid(u32),
    Text(Option<&'a str>),
    Texts(&'a [Option<&'a str>]),
    Int8s(&'a [i64]),
}

impl Value<'_> {
    pub(super) fn type_oid(&self) -> Oid {
        match self {
            Value::Oid(_) => pg_sys::OIDOID,
            Value::Text(_) => pg_sys::TEXTOID,
            Value::Texts(_) => pg_sys::TEXTARRAYOID,
            Value::Int8s(_) => pg_sys::INT8ARRAYOID,
        }
    }

    pub(super) fn arguments(values: &[Value<'_>]) -> Arguments {
        values.iter().map(Value::datum).collect()
    }

    /// None is NULL.
    pub fn datum(&self) -> Option<Datum> {
        let array = |elements: Vec<Option<Datum>>, of, length, by_value, alignment: u8| {
            Some(array(&elements, of, length, by_value, alignment))
        };
        let (int, double) = (pg_sys::TYPALIGN_INT, pg_sys::TYPALIGN_DOUBLE);
        match *self {
            Value::Oid(value) => Some(Datum::from(value)),
            Value::Text(value) => value.map(to_text_datum),
            Value::Texts(values) => {
                array(values.iter().map(|text| text.map(to_text_datum)).collect(), pg_sys::TEXTOID, -1, false, int)
            }
            Value::Int8s(values) => {
                array(values.iter().map(|n| Some(Datum::from(*n))).collect(), pg_sys::INT8OID, 8, true, double)
            }
        }
    }
}

fn array(elements: &[Option<Datum>], of: Oid, length: c_int, by_value: bool, alignment: u8) -> Datum {
    let mut values: Vec<Datum> = elements.iter().map(|element| element.unwrap_or(Datum::null())).collect();
    let mut nulls: Vec<bool> = elements.iter().map(Option::is_none).collect();
    let (mut dimension, mut lower) = ([elements.len() as c_int], [1 as c_int]);
    let dimensions = c_int::from(!elements.is_empty());
    // SAFETY: as many elements of that type as said.
    unsafe {
        Datum::from(pg_sys::construct_md_array(
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
            dimensions,
            dimension.as_mut_ptr(),
            lower.as_mut_ptr(),
            of,
            length,
            by_value,
            alignment as c_char,
        ))
    }
}

/// A statement in ASCII, with the Rust types of its parameters. It is planned when it first runs in a session, and planned
/// anew by Postgres when what it names changes.
pub struct Statement<P = Untyped> {
    sql: &'static str,
    plan: AtomicPtr<pg_sys::_SPI_plan>,
    params: PhantomData<fn(P)>,
}

/// The parameters of a statement that declares none of their types.
pub struct Untyped;

impl<P> Statement<P> {
    pub const fn new(sql: &'static str) -> Statement<P> {
        Statement { sql, plan: AtomicPtr::new(ptr::null_mut()), params: PhantomData }
    }

    /// # Safety
    /// The arguments are of the types that the statement was first planned with.
    unsafe fn execute<'conn>(&self, types: &[Oid], mut arguments: Arguments) -> QueryRows<'conn> {
        let (datums, nulls) = (arguments.datums.as_mut_ptr(), arguments.nulls.as_ptr());
        // SAFETY: one argument for each type that the plan was prepared with, as the caller promises. The rows are read
        // right after the statement.
        unsafe {
            let result = pg_sys::SPI_execute_plan(self.plan(types), datums, nulls, false, 0);
            if result < 0 {
                pgrx::error!("SPI could not execute a statement (error {result})");
            }
            QueryRows::of_last()
        }
    }

    fn plan(&self, types: &[Oid]) -> pg_sys::SPIPlanPtr {
        let kept = self.plan.load(Ordering::Relaxed);
        if !kept.is_null() {
            return kept;
        }
        let mut types = types.to_vec();
        let sql = CString::new(self.sql).expect("our statements hold no NUL");
        // SAFETY: raises if the statement cannot be parsed; a kept plan lives as long as the session.
        unsafe {
            let plan = pg_sys::SPI_prepare(sql.as_ptr(), types.len() as c_int, types.as_mut_ptr());
            if plan.is_null() {
                pgrx::error!("SPI could not prepare a statement");
            }
            pg_sys::SPI_keepplan(plan);
            self.plan.store(plan, Ordering::Relaxed);
            plan
        }
    }
}

impl<P: Params> Statement<P> {
    /// Runs it and gives its rows.
    pub fn run<'conn>(&self, _: &'conn Connection, values: P::Values<'_>) -> QueryRows<'conn> {
        // SAFETY: the types of `P` and datums of these types.
        unsafe { self.execute(P::TYPES, P::arguments(values)) }
    }
}

impl Statement<()> {
    /// Runs it for no rows. The triggers that are to fire after it are left to the statement that it is run within,
    /// which fires them after its own. There must be such a statement: within a trigger there is.
    pub fn leave_triggers_to_caller(&self, _: &Connection) {
        let (values, nulls, none) = (ptr::null_mut(), ptr::null(), ptr::null_mut());
        // SAFETY: the plan was prepared without parameters.
        unsafe {
            let result = pg_sys::SPI_execute_snapshot(self.plan(&[]), values, nulls, none, none, false, false, 0);
            if result < 0 {
                pgrx::error!("SPI could not execute a statement (error {result})");
            }
        }
    }
}

impl Statement<Untyped> {
    /// Runs it and gives its rows.
    pub fn run<'conn>(&self, _: &'conn Connection, values: &[Value<'_>]) -> QueryRows<'conn> {
        let types: Vec<Oid> = values.iter().map(Value::type_oid).collect();
        // SAFETY: datums of these types, the same each time for this statement.
        unsafe { self.execute(&types, Value::arguments(values)) }
    }
}
