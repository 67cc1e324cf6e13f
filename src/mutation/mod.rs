//! The Mutation API's contract as pure functions: what may be sent, what a reply says, and what is known afterwards.
//!
//! Nothing here touches Postgres, a socket, a clock or a thread, and nothing is `unsafe`: what comes in are texts and
//! observations, what goes out are values. So every rule can be tested as a table, in seconds and without a server.
//!
//! The way of a mutation:
//! 1. [`request`] checks the arguments and writes the body, before anything is sent;
//! 2. something outside sends it and notes an [`outcome::Observation`];
//! 3. [`outcome::outcome`] says what that means: the reply's records, or an [`outcome::Outcome`] to raise.
//!
//! Two rules hold throughout. Data passes byte for byte: no number is ever parsed, no depth is too deep. And once a
//! mutation was applied, nothing that is wrong with its reply may read as "failed".

mod api_error;
mod calendar;
pub(crate) mod json;
pub mod kind;
pub mod merge;
pub mod outcome;
pub mod pairing;
pub mod presence;
pub mod reply;
pub mod request;
pub mod retry_after;
mod same;
pub(crate) mod text;
