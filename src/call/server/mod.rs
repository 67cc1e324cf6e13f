//! The foreign server and the user mapping: where requests go, with what token, and who may send them.

mod cache;
mod error;
mod token_file;
pub use cache::{Server, authorization, find, find_and_keep, fingerprint, options};
pub use error::ServerError;
