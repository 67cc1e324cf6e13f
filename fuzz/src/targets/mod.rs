//! The targets, one in each file. A file's head explains the input bytes and lists the promises.

pub mod attachment;
pub mod gateway_config;
pub mod gateway_form;
pub mod gateway_rest;
pub mod gateway_stripe;
pub mod gateway_text;
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
    ("gateway_config", gateway_config::run),
    ("gateway_form", gateway_form::run),
    ("gateway_rest", gateway_rest::run),
    ("gateway_stripe", gateway_stripe::run),
    ("gateway_text", gateway_text::run),
    ("mapping", mapping::run),
    ("merge", merge::run),
    ("options", options::run),
    ("outcome", outcome::run),
    ("plan", plan::run),
    ("reply", reply::run),
    ("request", request::run),
    ("retry_after", retry_after::run),
];
