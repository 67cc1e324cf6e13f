//! From a request to its reply, over real sockets: each row of what a provider can do, and what the client is told.

mod faults;
mod keys;
mod outcomes;
mod pacing;
mod records;
mod repeats;
