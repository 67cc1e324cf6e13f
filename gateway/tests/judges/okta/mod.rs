//! The fake of Okta in `emulate`: an OAuth server by others, for the client credentials grant.

mod replies;
mod resource;
mod tokens;

use crate::support::product::{Product, directory, node_script};

pub const CLIENT: &str = "gateway";
pub const SECRET: &str = "a-secret";

/// A running fake that knows one client.
pub struct Okta {
    product: Product,
}

impl Okta {
    pub fn start() -> Okta {
        Okta { product: Product::start("okta", &node_script("okta.mjs"), directory()) }
    }

    pub fn url(&self) -> String {
        self.product.url()
    }
}
