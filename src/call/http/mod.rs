//! One HTTP exchange on a kept connection, which Postgres can interrupt at any moment.
//!
//! ureq implements the protocol. The socket, the waits and the lookup are in [`transport`], [`connector`] and
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

pub use client::{Client, Endpoint, Header};
