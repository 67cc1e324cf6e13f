//! Kinto, with everything in memory. A client chooses the id of a record, and `if-none-match: *` refuses to replace one.

mod losses;
mod model;
mod replies;

use std::process::Command;

use crate::support::http::{Answer, basic, must};
use crate::support::product::{Product, directory, launcher, python_program};

/// The account of the tests.
pub const USER: &str = "gateway";
pub const PASSWORD: &str = "not a secret";

/// A running Kinto with an account and an empty collection `contacts`.
pub struct Kinto {
    product: Product,
}

impl Kinto {
    pub fn start() -> Kinto {
        let mut command: Command = python_program("kinto");
        command.arg("start").arg("--ini").arg(launcher("kinto.ini"));
        let kinto = Kinto { product: Product::start("kinto", &command, directory()) };
        kinto.ask("PUT", &format!("/accounts/{USER}"), Some(&format!(r#"{{"data":{{"password":"{PASSWORD}"}}}}"#)));
        kinto.ask("PUT", "/buckets/app", None);
        kinto.ask("PUT", "/buckets/app/collections/contacts", None);
        kinto
    }

    /// The base URL of its API.
    pub fn url(&self) -> String {
        format!("{}/v1", self.product.url())
    }

    /// Asks it directly, for what must work.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let authorization = basic(USER, PASSWORD);
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        must(method, &format!("{}{path}", self.url()), &headers, body)
    }
}
