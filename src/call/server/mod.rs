//! The foreign server and its user mapping: where requests go, with which token, and which role may send them.

mod cache;
mod error;
mod token_file;

pub use cache::{Server, authorization, find, find_and_lock, fingerprint, options};
pub use error::ServerError;
