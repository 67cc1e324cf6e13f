//! stripe-stateful-mock: a fake of Stripe by others, which honours `idempotency-key` as Stripe documents it. It has no
//! deletes of customers.

pub mod model;
mod replies;

use crate::support::http::{Answer, must};
use crate::support::product::{Product, directory, node_script};

pub const TOKEN: &str = "sk_test_judges";

/// A running fake without customers.
pub struct StripeMock {
    product: Product,
}

impl StripeMock {
    pub fn start() -> StripeMock {
        let command = node_script("stripe-stateful-mock.cjs");
        StripeMock { product: Product::start("stripe-stateful-mock", &command, directory()) }
    }

    /// Its address, without `/v1`.
    pub fn url(&self) -> String {
        self.product.url()
    }

    /// Asks it directly, for what must work.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let authorization = format!("Bearer {TOKEN}");
        let headers =
            [("authorization", authorization.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        must(method, &format!("{}{path}", self.url()), &headers, body)
    }
}
