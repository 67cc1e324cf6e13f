//! The foreign server and the user mapping: where requests go, with what token, and who may send them.

mod directory;
mod token_file;
mod unusable;
pub use directory::{Server, authorization, find, find_and_keep, options, setup};
pub use unusable::Unusable;
