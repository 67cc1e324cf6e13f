//! Tests of the harness: servers start, stop and leave nothing behind; listeners and certificates behave as documented.

mod home;
mod leftovers;
mod proxy;
mod raw;
mod sandbox;
mod server;
