//! A Mutation API in front of real providers: `sequin-gateway`.
//!
//! The map:
//! - `config`     the file, its secrets, and `check`
//! - `api`        the contract over HTTP: tokens, requests, replies
//! - `engine`     admit, plan, pace, send, judge, reply: the only caller of providers
//! - `providers`  the facts about each provider, as pure functions
//! - `auth`       credentials: tokens that are fetched, kept and refreshed
//! - `client`     the one HTTP client
//! - `run`        the program: from a configuration to a server, signals, the end
//! - `serve`      sockets, TLS, the times that clients may take
//! - `admin`      `/live`, `/ready`, `/metrics`
//! - `metrics`    the names of what `/metrics` shows
//! - `logs`       lines on standard error
//!
//! Arrows point downward: `api` → `engine` → `auth` → `client`, and all of them → `providers`, `config`.

#![forbid(unsafe_code)]

pub mod admin;
pub mod api;
pub mod auth;
pub mod client;
pub mod config;
pub mod engine;
pub mod logs;
pub mod metrics;
pub mod providers;
pub mod run;
pub mod serve;

pub use engine::{BuildError, Gateway};
