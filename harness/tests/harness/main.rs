//! The harness itself: servers start, obey and leave nothing behind; listeners and certificates are what they say.

mod home;
mod leftovers;
mod proxy;
mod raw;
mod sandbox;
mod server;
