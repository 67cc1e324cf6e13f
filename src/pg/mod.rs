//! Bindings of Postgres' C interface, and the only home of `unsafe` in the crate.
//!
//! Code outside this module needs no `unsafe`. The `SAFETY` comments here rest on five facts:
//!
//! - **One thread.** All of it runs on the main thread of a process of Postgres, except for [`socket`], which calls no
//!   function of Postgres. pgrx checks that at each call into Postgres, and panics on another thread. A variable of the
//!   backend is one that only the main thread writes.
//! - **A transaction.** SQL functions, triggers and callbacks before a commit run in one. A background worker begins its
//!   own, by [`transaction`]. A function that may be called outside of one says so.
//! - **Errors are panics.** pgrx calls each C function behind a guard, which catches the jump of an error of Postgres and
//!   panics instead. So Rust frames unwind; nothing here drops them by a jump. Where Postgres calls this library, the
//!   panic becomes Postgres' error again. A C function that pgrx does not bind is called within such a guard, or cannot
//!   raise an error.
//! - **Errors end the (sub)transaction.** Postgres then gives back what was opened in it: relations, scans, snapshots,
//!   locks, portals. So no type here has a drop that calls Postgres, except for [`wait::SocketWait`], and a function that
//!   opens and closes something may skip the closing when it raises. pgrx's types that have such a drop (`PgProc`, `Array`)
//!   free memory or a reference in it, which raises nothing.
//! - **A datum is of its column's type and lasts as long as its memory context.** Rust tracks neither. Code outside this
//!   module takes datums from here only, and passes them on for columns of the same type, before it
//!   [resets](memory_context) the context that they were made in. `grep Datum src` shows all of these places.
//!
//! A request waits below a foreign library, which a panic would damage; see [`interrupt`].

pub mod bgworker;
pub mod bulk_insert;
pub mod catalog;
pub mod column;
pub mod cursor;
pub mod elog;
pub mod error_context;
pub mod event_trigger;
pub mod external_fd;
pub mod function_call;
pub mod guc;
mod image;
pub mod interrupt;
pub mod jsonb;
pub mod latch;
pub mod lock;
pub mod memory_context;
pub mod output;
pub mod param;
pub mod planner;
pub mod random;
pub mod relation;
pub mod result_set;
pub mod row_trigger;
pub mod security_context;
pub mod session;
pub mod shared_memory;
pub mod socket;
pub mod spi;
pub mod statement;
pub mod temporary_objects;
pub mod text;
pub mod thread;
pub mod transaction;
pub mod transaction_state;
pub mod transition;
pub mod trigger;
mod tuple_descriptor;
pub mod wait;
pub mod wait_event;
pub mod xact_callbacks;

/// Makes a type that reads a datum an argument of SQL functions.
macro_rules! argument_from_datum {
    ($rust:ty, $sql:literal) => {
        pgrx::impl_sql_translatable!($rust, arg_only = $sql);

        // SAFETY: the argument's SQL type is `$sql`, which `FromDatum` of this type reads.
        unsafe impl<'fcx> pgrx::callconv::ArgAbi<'fcx> for $rust {
            unsafe fn unbox_arg_unchecked(arg: pgrx::callconv::Arg<'_, 'fcx>) -> Self {
                // SAFETY: pgrx passes an argument of that SQL type. A NULL is read as None.
                let value = unsafe { arg.unbox_arg_using_from_datum() };
                value.expect("the argument is not NULL")
            }
        }
    };
}
pub(crate) use argument_from_datum;

/// Keeps pgrx from appending a backtrace to the DETAIL of an error when the server's environment asks Rust for one. Here
/// a DETAIL is JSON, and the first look-up of symbols takes a tenth of a second, in the middle of a cancel.
pub fn keep_backtraces_out_of_messages() {
    // SAFETY: _PG_init calls this before the library has started a thread. Postgres itself has none, and forbids other
    // libraries to have any.
    unsafe { std::env::set_var("RUST_BACKTRACE", "0") };
}
