//! Fuzz targets for the crate `contract`, and for the providers of the crate `gateway`.
//!
//! Each target is a function of bytes that panics if a promise of the code under test is broken. It checks the promise with
//! independent code: [`oracle`] reads JSON with serde, and [`calendar`] counts days. libFuzzer runs the targets
//! (`make fuzz`), and a test replays the seeds.

pub mod calendar;
pub mod input;
pub mod oracle;
pub mod targets;
