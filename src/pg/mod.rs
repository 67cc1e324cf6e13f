//! Everything that touches Postgres' C interface, and the only home of `unsafe` in the crate.
//!
//! What leaves this module is safe to call from ordinary Rust on the backend's main thread: an error that Postgres
//! raises inside arrives as a panic that pgrx turns back into that error at the SQL function's boundary, and the
//! waits, which run below a foreign library, hand interrupts back as a value instead (see [`interrupt`]).

pub mod bgworker;
pub mod bulk_delete;
pub mod bulk_insert;
pub mod catalog;
pub mod column;
pub mod context;
pub mod cursor;
pub mod elog;
pub mod event_trigger;
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
mod tally;
pub mod temporary_objects;
pub mod text;
pub mod thread;
pub mod transaction;
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

        // SAFETY: the SQL type is the one that `from_datum` reads.
        unsafe impl<'fcx> pgrx::callconv::ArgAbi<'fcx> for $rust {
            unsafe fn unbox_arg_unchecked(arg: pgrx::callconv::Arg<'_, 'fcx>) -> Self {
                // SAFETY: as the caller promises, a datum of that type that is not NULL.
                let value = unsafe { arg.unbox_arg_using_from_datum() };
                value.expect("the argument is not NULL")
            }
        }
    };
}
pub(crate) use argument_from_datum;

/// pgrx appends a backtrace to the DETAIL of an error when the server's environment asks Rust for one; ours is JSON, and
/// the first look-up of symbols takes a tenth of a second, in the middle of a cancel.
pub fn keep_backtraces_out_of_messages() {
    // SAFETY: called while the library is loaded, in a process that is single-threaded by Postgres' own rule; another
    // library that has started a thread, and reads the environment in it at this moment, breaks that rule first.
    unsafe { std::env::set_var("RUST_BACKTRACE", "0") };
}
