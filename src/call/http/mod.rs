//! One HTTP exchange on a kept connection: in a session, where Postgres can interrupt it at any moment, or on a thread.
//!
//! ureq implements the protocol. The socket, the waits and the lookup are in [`transport`], [`connector`], [`wait`] and
//! [`resolver`], because ureq's own cannot be interrupted. A request is sent once: neither ureq nor this module repeats
//! it, and redirects are not followed. The result is an observation; `contract::outcome` judges what it means.

mod ca_roots;
mod client;
mod connector;
mod error;
mod progress;
mod resolver;
mod tls_records;
mod transport;
mod wait;

pub use client::{Client, Endpoint, Header};
pub use progress::{Traffic, traffic};
pub use wait::{open_connections, prepare_to_stop_threads, stop_threads};
