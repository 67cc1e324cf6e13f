//! The SQL functions: read the arguments, call, map the error.

mod exchange;
mod mutate;
mod one_record;
mod support;
mod validate;
