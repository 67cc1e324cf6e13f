//! What the tests with several products share.

pub mod http;
pub mod product;
pub mod replies;
