//! The gateway before other people's products, which were not made for it: they judge what it says.
//!
//! A separate binary, behind a feature: it needs products that `make test` does not. `make test-judges` installs them
//! and runs the tests. There is a module for each product, so that `--skip okta::` leaves one out.

mod kinto;
mod localstripe;
mod okta;
mod pocketbase;
mod psql;
mod schemathesis;
mod stripe_mock;
mod stripe_sdk;
mod support;
