//! From a request to its reply, over real sockets: each behaviour of a provider, and the reply to the client.

mod faults;
mod keys;
mod outcomes;
mod pacing;
mod records;
mod repeats;
