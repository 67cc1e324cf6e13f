//! Throw-away Postgres servers and sandboxes, for the tests, the benchmarks and the demo.
//!
//! Nothing is installed, nothing listens on a fixed port, nothing is left behind.
//!
//! ```no_run
//! use sequin_harness::{Database, Sandbox};
//!
//! let sandbox = Sandbox::start();
//! let database = Database::fresh(); // of the server that this process shares, with the extension
//! database.create_server(sandbox.url(), sandbox.token());
//! let mut client = database.connect();
//! client.query("SELECT * FROM sequin_create('sync', 'salesforce:contact', '{\"Email\":\"a@b.c\"}')", &[]).unwrap();
//! assert_eq!(sandbox.log().requests.len(), 1);
//! ```
//!
//! - [`Server`] is one Postgres: an [image](image) of the installation that `PG_CONFIG` names, with the extension's
//!   last release build in it (`SEQUIN_SO` names another), a copy of a data directory that initdb made once, a
//!   [guard](guard) that ends it with this process, and a log that a panic [keeps](logs).
//! - [`Database`] is one test's own database of it.
//! - [`Sandbox`] is one process of the local Mutation API, with its controls.
//! - [`Gateway`] is one process of `sequin-gateway run --dev`.
//! - [`RawServer`] is a listener whose connections a test handles; [`tls`] makes certificates for it.
//! - [`Proxy`] stands in front of either, and cuts, stalls or corrupts the bytes.
//!
//! It all lives under `target/pg`, see [`home`]. As root the servers run under another [account].

pub mod account;
mod database;
pub mod delays;
mod gateway;
pub mod guard;
pub mod home;
pub mod image;
mod libraries;
pub mod logs;
pub mod look_ups;
pub mod paths;
pub mod pg_config;
pub mod process;
mod program;
pub mod proxy;
pub mod raw;
mod sandbox;
mod server;
pub mod template;
pub mod tls;

pub use database::{Database, Encoding, identifier, literal};
pub use delays::Delays;
pub use gateway::{Gateway, GatewayBuilder};
pub use pg_config::PgConfig;
pub use proxy::Proxy;
pub use raw::RawServer;
pub use sandbox::{Log, Request, Sandbox, SandboxBuilder, TOKEN, most_at_once};
pub use server::{Builder, SUPERUSER, Server, Stop};
pub use tls::Tls;
