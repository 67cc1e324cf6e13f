//! The file: what it may hold, and what `check` says about everything else.

mod any_text;
mod example;
mod faults;
mod folder;
mod secrets;
mod values;

pub use folder::Folder;

/// The smallest file. Tests append to it.
pub const SMALLEST: &str = "[token.app]\nfile = \"app.token\"\nsyncs = [\"dev\"]\n[sync.dev]\nprovider = \"memory\"\n";
