//! What the outbox sends together, in which order, and when it sends it again.
//!
//! [`plan`] makes requests of the queued changes, [`ordering_key`] names what keeps them in order, [`backoff`] spaces
//! the attempts, and [`halves`] keeps one faulty record from costing the others.

pub mod backoff;
pub mod halves;
pub mod ordering_key;
pub mod plan;
