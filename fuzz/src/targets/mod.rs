//! One file for each target: its head says what its bytes mean and what must hold.

pub mod attachment;
pub mod mapping;
pub mod merge;
pub mod options;
pub mod outcome;
pub mod plan;
pub mod reply;
pub mod request;
pub mod retry_after;

/// A target: its name, which is also that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
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
