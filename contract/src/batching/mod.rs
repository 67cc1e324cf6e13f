//! Decides which queued changes the outbox sends together, in which order, and when it retries.
//!
//! [`plan`] makes requests of queued changes. [`ordering_key`] identifies the changes that must stay in order. [`backoff`]
//! spaces retries. [`halves`] isolates a failing item, so that it does not fail the others. [`visits`] divides the time of
//! write-backs among tables.

pub mod backoff;
pub mod halves;
pub mod ordering_key;
pub mod plan;
pub mod visits;
