//! What the tests with several products share.

pub mod gateway;
pub mod http;
pub mod marker;
pub mod model;
pub mod product;
pub mod proxy;
pub mod replies;

/// The number in a variable of the environment. None: it is unset or empty.
pub fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|e| panic!("{name}={value}: {e}")))
}
