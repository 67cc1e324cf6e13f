//! The extension beside the programs that real installations have around it: a pooler, dumps, a standby, subscribers,
//! other extensions, pg_repack, other languages' drivers, another major.
//!
//! A separate binary, behind a feature: it needs programs that `make test` does not. `make test-neighbours` installs
//! them and runs the tests.

mod beside;
mod bouncer;
mod drivers;
mod dumps;
mod elsewhere;
mod failover;
mod gate;
mod pooled_roles;
mod pooling;
mod programs;
mod repack;
mod subscribers;
mod upgrade;

#[allow(dead_code, unused_imports)] // The other tests use the rest of it.
#[path = "../support/mod.rs"]
mod support;
