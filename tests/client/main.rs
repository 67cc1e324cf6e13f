//! The extension, seen from a client.

mod install;
mod interrupts;
mod network;
mod once;
mod refusals;
mod refused_servers;
mod roles;
mod smoke;
mod star;
mod support;
mod token_files;
