//! The server's side of the Mutation API, for each server of this repository: the sandbox and the gateway.
//!
//! The extension shares no code with it, so that an error in one is visible in the other. Nothing here opens a port:
//! a server reads requests with the HTTP library of its choice, and sends the [`reply::Reply`] that it gets.
//!
//! The map:
//! - `request`      the body of `POST /v1/mutations/run`, read and checked
//! - `reply`        status, headers and body, and the two forms of errors
//! - `bearer`       the token of a request, and the tokens that a server knows
//! - `content_type` whether a request says that it carries JSON
//! - `pull_api`     requests and replies of the endpoints of pull consumers
//! - `record`       one version of a record, as replies and the stream show it
//! - `json`         objects whose values stay text, and the PATCH of one
//! - `memory`       a provider in memory, with `ids` like the real ones and the one rule of `email`
//! - `stream`       the record stream in memory
//! - `consumers`    the readers of that stream, for which a mutation can wait

#![forbid(unsafe_code)]

pub mod bearer;
pub mod consumers;
pub mod content_type;
pub mod email;
pub mod ids;
pub mod json;
pub mod memory;
pub mod pull_api;
pub mod record;
pub mod reply;
pub mod request;
pub mod stream;

/// The path of the one endpoint for mutations.
pub const MUTATIONS: &str = "/v1/mutations/run";
