//! Writing to SaaS systems from inside Postgres, through a Mutation API.
//!
//! The way of a call, from the outside in:
//! - [`functions`]: the SQL functions, ten lines each;
//! - [`tables`]: tables that write through, by triggers;
//! - [`outbox`]: what is sent after commit, by a worker;
//! - [`server`]: the foreign server and user mapping, that is where to and with what token;
//! - [`exchange`]: from a checked request to its records, or to an error that tells the truth;
//! - [`http`]: one HTTP exchange, which Postgres can interrupt at any moment;
//! - [`pg`]: Postgres' C interface, the only home of `unsafe`;
//! - [`mutation`]: the API's contract as pure functions, and the heart: what an observation means.
//!
//! Without a `pgNN` feature only the pure part is built, which takes seconds and no Postgres.

#[cfg(feature = "postgres")]
mod exchange;
#[cfg(feature = "postgres")]
mod functions;
#[cfg(feature = "postgres")]
mod http;
pub mod mutation;
pub mod outbox;
#[cfg(feature = "postgres")]
mod pg;
pub mod server;
pub mod tables;

#[cfg(feature = "postgres")]
mod load {
    use pgrx::pg_guard;

    pgrx::pg_module_magic!(name, version);

    /// Called by Postgres when a session, or the postmaster, loads the library. A session starts nothing by it.
    #[pg_guard]
    #[allow(non_snake_case, reason = "the name is Postgres'")]
    extern "C-unwind" fn _PG_init() {
        crate::pg::keep_backtraces_out_of_messages();
        crate::pg::settings::register();
        if crate::pg::worker::is_preloading() {
            crate::pg::worker::register_launcher();
        }
    }
}
