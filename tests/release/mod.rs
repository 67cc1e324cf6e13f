//! Releases and packages: what is in them, and that they agree.

mod installcheck;
pub mod make_install;
mod package;
pub mod version;
