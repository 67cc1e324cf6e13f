//! Fuzz targets for the crate `contract`: what may be sent, what a reply says, what is known afterwards, and what the
//! options of a server may be.
//!
//! Each target is a plain function of bytes that panics if a promise is broken, and each promise is judged by other means
//! than the code under test uses ([`oracle`], [`calendar`]). libFuzzer feeds them (`make fuzz`), and a test replays the
//! inputs that it has kept.

pub mod calendar;
pub mod input;
pub mod oracle;
pub mod targets;
