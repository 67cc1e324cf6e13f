//! localstripe: a fake of Stripe by others, with deletes. It knows no keys, and its errors have no code.

mod model;
mod replies;

use crate::support::http::{Answer, must};
use crate::support::product::{Product, directory, launcher, python_program};

pub const TOKEN: &str = "sk_test_judges";

/// A running fake without customers.
pub struct LocalStripe {
    product: Product,
}

impl LocalStripe {
    pub fn start() -> LocalStripe {
        let mut command = python_program("python");
        command.arg(launcher("run-localstripe.py"));
        LocalStripe { product: Product::start("localstripe", &command, directory()) }
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
