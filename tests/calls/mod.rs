//! Calls: a verb's request, its reply as rows, and its errors.

mod awaiting;
mod composite_expansion;
mod conditions;
mod connections;
mod cursors;
mod earlier_requests;
mod encodings;
mod error_bodies;
mod exactness;
mod faults;
mod generated;
mod hostile_replies;
mod joins;
mod leaks;
mod lost_replies;
mod one_request;
pub mod outcomes;
mod refusals;
mod refused_servers;
mod replies;
mod reply_order;
mod requests;
mod smoke;
mod tls;
mod token_files;
mod unknowns;
mod volume;
