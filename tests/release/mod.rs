//! Releases and packages: their contents, and the agreement between them.

mod installcheck;
pub mod make_install;
mod package;
pub mod version;
