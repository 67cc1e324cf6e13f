//! Decides which queued changes the outbox sends together, in which order, and when it retries.
//!
//! [`plan`] makes requests of queued changes. [`ordering_key`] identifies the changes that must stay in order. [`backoff`]
//! spaces retries. [`window`] limits the requests to a server, by what [`server_state`] they show, and [`awaiting`] limits
//! their wait for consumers. [`halves`] isolates a failing item, so that it does not fail the others.
//! [`visits`] divides the time of write-backs among tables.

pub mod awaiting;
pub mod backoff;
pub mod halves;
pub mod ordering_key;
pub mod plan;
pub mod server_state;
pub mod visits;
pub mod window;
