//! The SQL functions: read the arguments, call, map the error.

mod attach;
mod call;
mod capture;
mod mutate;
mod one_record;
mod outbox;
mod rename;
mod support;
mod validate;

/// Tells cargo-pgrx, which checks the install script against the code, of the schema that the script makes.
#[pgrx::pg_schema]
mod sequin {}
