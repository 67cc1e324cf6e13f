//! The Mutation API's contract, and every rule of the extension that is a function of values.
//!
//! Nothing here touches Postgres, a socket, a clock or a thread, and nothing is `unsafe`. So every rule is tested as a
//! table, in seconds and without a server.
//!
//! A mutation passes three steps:
//! 1. [`request`] checks the arguments and writes the body, before anything is sent;
//! 2. the extension sends the body and notes an [`outcome::Observation`];
//! 3. [`outcome::judge`] says what the observation means: the reply's records, or an [`outcome::Outcome`] to raise.
//!
//! Around it: [`options`] and [`secret`] read what a server and its user mapping say; [`attachment`], [`capture_sql`],
//! [`net_change`], [`field_digests`] and [`unqualified_writes`] serve tables that write through; [`batching`] decides
//! what the outbox sends together, and when it sends it again.
//!
//! Two rules hold throughout. Data passes byte for byte: no number is parsed, no depth is too deep. And once a mutation
//! was applied, no fault of its reply may read as "failed".

#![forbid(unsafe_code)]

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
pub mod text;
pub mod unqualified_writes;
