//! The gateway as its clients see it.

mod api;
mod engine;
mod kit;
