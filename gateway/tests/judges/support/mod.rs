//! What the tests with several products share.

pub mod gateway;
pub mod http;
pub mod marker;
pub mod model;
pub mod product;
pub mod proxy;
pub mod replies;
