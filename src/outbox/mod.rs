//! The outbox: what a transaction enqueues is sent after its commit, by a worker.
//!
//! - [`enqueue`] writes records into `sequin.queue`, as part of the transaction;
//! - `worker` is the process that delivers, `launcher` the one that starts it with the server;
//! - `claim` takes records for a worker, which is written down and committed before anything is sent;
//! - [`plan`] decides, purely, what a request is made of; [`backoff`] when the next one may go;
//! - `send` makes the request, with no transaction open, and says what became of each record;
//! - `settle` writes that down, and `write_back` brings upstream ids into the rows of attached tables;
//! - `verbs` is what a person may do to a record or a server.

pub mod backoff;
pub mod plan;

#[cfg(feature = "postgres")]
mod claim;
#[cfg(feature = "postgres")]
pub mod enqueue;
#[cfg(feature = "postgres")]
mod launcher;
#[cfg(feature = "postgres")]
mod send;
#[cfg(feature = "postgres")]
mod settle;
#[cfg(feature = "postgres")]
pub mod verbs;
#[cfg(feature = "postgres")]
mod worker;
#[cfg(feature = "postgres")]
mod write_back;
