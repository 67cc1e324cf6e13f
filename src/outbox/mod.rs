//! The outbox: a worker sends enqueued records after their transaction has committed.
//!
//! - [`enqueue`] writes records into `sequin.queue`, as part of the transaction;
//! - [`worker`] is the process that delivers;
//! - `claim` takes records for a worker and commits that before they are sent;
//! - `send` makes a request, with no transaction open, and gives each record its disposition;
//! - `settle` writes dispositions down: settled records move to the history, others are deferred;
//! - [`write_back`] brings upstream ids into the rows of attached tables;
//! - `server_state` knows which servers are paused or in backoff;
//! - [`admin`] has the verbs for a record or a server, [`await_delivery`] waits until records are settled;
//! - [`sent_with`] finds the record that a record was merged into;
//! - [`status`] counts the open records of each server;
//! - [`server_rename`] follows ALTER SERVER ... RENAME;
//! - `store` has all SQL, and `guard` limits an error to its record.
//!
//! What goes into a request, and when a record or server is tried again, is decided in the crate `contract`, in `batching`.

pub mod admin;
pub mod await_delivery;
mod claim;
mod claims_lock;
mod disposition;
pub mod enqueue;
mod guard;
mod send;
pub mod sent_with;
pub mod server_rename;
mod server_state;
mod settle;
pub mod status;
mod store;
pub mod worker;
pub mod write_back;
