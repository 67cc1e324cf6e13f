//! The extension, seen from a client.

mod connections;
mod cursors;
mod demo;
mod documents;
mod examples;
mod install;
mod interrupts;
mod joins;
mod network;
mod once;
mod readme;
mod refusals;
mod refused_servers;
mod roles;
mod smoke;
mod star;
mod support;
mod token_files;
