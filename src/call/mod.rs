//! One request, from its checked records to the records of its reply or an outcome.

pub mod applied_counter;
pub mod error_context;
mod http;
mod send;
pub mod server;
pub mod stats;

pub use http::{open_connections, prepare_to_stop_threads, stop_threads};
pub use send::{Answer, Exchange, SentRequest, after_applied, facts, send_mutation};

use contract::outcome::{Outcome, SqlState};

/// The refusal of `command` in a read-only transaction.
pub fn read_only(command: &str) -> Outcome {
    let message = format!("cannot execute {command} in a read-only transaction");
    let hint = "Nothing was sent. A mutation is a write, though not to this database: call it in a read-write \
        transaction, and not on a standby.";
    Outcome::not_sent(SqlState::ReadOnlySqlTransaction, message, hint.into())
}
