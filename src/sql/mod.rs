//! The SQL functions: read the arguments, call, map the error.

mod attach;
mod fdw_validator;
mod follow_rename;
mod mutate;
mod outbox;
mod planner_support;
mod record_verbs;
mod stats;
mod triggers;
mod verb_call;

/// Tells cargo-pgrx, which checks the install script against the code, of the schema that the script makes.
#[pgrx::pg_schema]
mod sequin {}
