//! The gateway as its clients and operators see it.

mod api;
mod auth;
mod client;
mod config;
mod engine;
mod kit;
mod process;
mod serve;
