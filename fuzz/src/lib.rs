//! Fuzz targets for the pure part of the extension: what may be sent, what a reply says, what is known afterwards, and
//! what the options of a server may be.
//!
//! The extension is a cdylib, which nothing can link, so its files are compiled here once more, as they stand. Each
//! target is a plain function of bytes that panics if a promise is broken, and each promise is judged by other means
//! than the code under test uses ([`oracle`], [`calendar`]). libFuzzer feeds them (`make fuzz`), and a test replays the
//! inputs that it has kept.

#[path = "../../src/mutation/mod.rs"]
pub mod mutation;
#[path = "../../src/outbox/mod.rs"]
pub mod outbox;
#[path = "../../src/server/mod.rs"]
pub mod server;
#[path = "../../src/tables/mod.rs"]
pub mod tables;

pub mod calendar;
pub mod input;
pub mod oracle;
pub mod targets;
