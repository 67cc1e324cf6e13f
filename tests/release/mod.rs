//! Releases and packages: what is in them, and that they agree.

pub mod make_install;
mod package;
pub mod version;
