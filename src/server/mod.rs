//! The foreign server and the user mapping: where requests go, with what token, and who may send them.

pub mod options;
pub mod secret;

#[cfg(feature = "postgres")]
mod directory;
#[cfg(feature = "postgres")]
mod token_file;
#[cfg(feature = "postgres")]
mod unusable;
#[cfg(feature = "postgres")]
pub use directory::{Server, authorization, find, find_and_keep, options, setup};
#[cfg(feature = "postgres")]
pub use unusable::Unusable;
