//! Writing to SaaS systems from inside Postgres, through a Mutation API.
//!
//! The way of a call, from the outside in:
//! - [`sql`]: the SQL functions, ten lines each;
//! - [`attach`]: tables that write through, by triggers;
//! - [`outbox`]: records that a worker delivers after commit;
//! - [`call`]: one request, from its checked records to its outcome;
//! - [`pg`]: Postgres' C interface, the only home of `unsafe`;
//! - the crate `contract`: every rule that needs neither Postgres nor a socket, and the heart: what an observation means.

#![deny(unsafe_code)]

mod attach;
mod call;
mod ereport;
mod outbox;
#[allow(unsafe_code, reason = "the bindings are what it is for")]
mod pg;
mod settings;
mod sql;

use pgrx::pg_guard;

pgrx::pg_module_magic!(name, version);

/// Called by Postgres when a session, or the postmaster, loads the library. A session starts nothing by it, but each of its
/// commits looks for prepared transactions from now on.
#[pg_guard]
#[allow(non_snake_case, reason = "the name is Postgres'")]
extern "C-unwind" fn _PG_init() {
    crate::pg::keep_backtraces_out_of_messages();
    settings::register();
    outbox::worker::wake_at_commit::register();
    if pg::bgworker::is_preloading() {
        let outbox = outbox::worker::registry::memory() + outbox::write_back::memory();
        pg::shared_memory::reserve(outbox + call::stats::memory());
        outbox::worker::lifecycle::register_launcher();
    } else {
        // Before the counters take what is left: without these an outbox cannot deliver.
        outbox::worker::registry::try_prepare();
        outbox::write_back::try_prepare();
    }
}

pg::bgworker::main_function!(sequin_worker_main, worker_main);

/// Runs a worker of the outbox.
fn worker_main(argument: u64) {
    outbox::worker::main(argument, attach::write_ids::open);
}

pg::bgworker::main_function!(sequin_write_back_main, write_back_main);

/// Runs a write-back process of the outbox.
fn write_back_main(argument: u64) {
    outbox::write_back::process::main(argument, attach::write_ids::open);
}
