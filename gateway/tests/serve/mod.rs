//! The sockets, with a router of the tests: slow clients, limits, TLS, the end.

mod drain;
mod raw;
mod server;
mod slow_clients;
mod tls;
