//! Another fake of Stripe under random mutations, deletes among them. It knows no keys, and makes a second customer for
//! a repeated create: so the proxy loses no reply, only requests.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;

use super::LocalStripe;
use crate::stripe_mock::model as stripe;
use crate::support::gateway::Section;
use crate::support::model::{self, Data, Judge};

#[test]
fn the_state_is_that_of_a_model() {
    model::holds(&LocalStripe::start());
}

impl Judge for LocalStripe {
    fn address(&self) -> (&'static str, &'static str) {
        ("localstripe", "stripe:customers")
    }

    fn product(&self) -> String {
        self.url()
    }

    fn section(&self, address: &str) -> Section {
        stripe::section("localstripe", address)
    }

    fn repeats_creates(&self) -> bool {
        true
    }

    fn knows_keys(&self) -> bool {
        true
    }

    fn loses_replies(&self) -> bool {
        false
    }

    /// Of a second delete it says what it says of a wrong address.
    fn deletes_again(&self) -> bool {
        false
    }

    fn unknown_id(&self) -> &'static str {
        "cus_nothing"
    }

    fn mark_field(&self) -> &'static str {
        "description"
    }

    fn fields(&self, rng: &mut SmallRng) -> Data {
        stripe::fields(rng)
    }

    fn refused(&self) -> Data {
        Data::from_iter([("nothing".to_owned(), "1".into())])
    }

    fn records(&self) -> BTreeMap<String, Data> {
        model::pages(|after| self.ask("GET", &format!("/v1/customers?limit=100{after}"), None))
    }
}
