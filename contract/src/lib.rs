//! The rules of the extension that need neither Postgres nor a socket.
//!
//! No code here reads a clock, opens a socket, starts a thread or is `unsafe`: every rule is a function from values to
//! values. Such rules are tested as tables, in seconds and without a database server.
//!
//! A mutation passes three steps:
//! 1. [`request`] checks the arguments and writes the request body, before the extension sends anything.
//! 2. The extension sends the body and reports an [`outcome::Observation`].
//! 3. [`outcome::judge`] turns the observation into the reply's records, or into an [`outcome::Outcome`] to raise.
//!
//! [`options`] and [`secret`] read the options of servers and user mappings. [`attachment`], [`capture_sql`],
//! [`net_change`], [`field_digests`] and [`unqualified_writes`] serve attached tables. [`batching`] decides which queued
//! changes the outbox sends together, and when it retries. [`statistics`] counts requests, in the only state that is kept here.
//!
//! Two promises hold throughout:
//! - Data passes byte for byte. Numbers are never parsed, and nesting depth has no limit.
//! - After a mutation was applied, no fault in its reply is reported as a failed mutation. A caller who believed that it
//!   had failed would repeat it, and a repeated create makes a second record.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod api_error;
pub mod attachment;
pub mod batching;
mod calendar;
pub mod capture_sql;
pub mod field_digests;
pub mod json;
pub mod kind;
pub mod merge;
pub mod net_change;
pub mod options;
pub mod outcome;
pub mod reply;
pub mod request;
pub mod retry_after;
pub mod secret;
pub mod statistics;
pub mod text;
pub mod unqualified_writes;
