//! Prepared statements: each is planned once in a session, takes Rust values and gives rows.

use std::ffi::{CString, c_int};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::pg_sys::{self, Oid};

use super::param::{Arguments, Params};
use super::spi::{Connection, QueryRows};

/// A statement in ASCII, with the Rust types of its parameters. It is planned when it first runs in a session, and planned
/// anew by Postgres when what it names changes.
pub struct Statement<P> {
    sql: &'static str,
    plan: AtomicPtr<pg_sys::_SPI_plan>,
    params: PhantomData<fn(P)>,
}

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
