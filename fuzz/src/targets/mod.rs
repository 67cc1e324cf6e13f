//! The targets, one in each file. A file's head explains the input bytes and lists the promises.

pub mod attachment;
pub mod mapping;
pub mod merge;
pub mod options;
pub mod outcome;
pub mod plan;
pub mod reply;
pub mod request;
pub mod retry_after;

/// A target: its name, which its seeds share, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const ALL: &[Target] = &[
    ("attachment", attachment::run),
    ("mapping", mapping::run),
    ("merge", merge::run),
    ("options", options::run),
    ("outcome", outcome::run),
    ("plan", plan::run),
    ("reply", reply::run),
    ("request", request::run),
    ("retry_after", retry_after::run),
];
