//! A fake of Stripe under random mutations: it knows keys, so a create may be repeated.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::{StripeMock, TOKEN};
use crate::support::gateway::Section;
use crate::support::model::{self, Data, Judge};

#[test]
fn the_state_is_that_of_a_model() {
    model::holds(&StripeMock::start());
}

/// A sync with the provider `stripe` at this address.
pub fn section(name: &'static str, address: &str) -> Section {
    let keys = "auth = { kind = \"bearer\", token_file = \"stripe.key\" }";
    let text = format!("provider = \"stripe\"\nbase_url = \"{address}\"\n{keys}\n");
    Section::new(name, &text, vec![("stripe.key", TOKEN.to_owned())])
}

/// Fields of a customer that both fakes of Stripe keep.
pub fn fields(rng: &mut SmallRng) -> Data {
    let number: u32 = rng.random_range(0..1000);
    Data::from_iter([("email".to_owned(), format!("ü+{number}&=%@judges.example").into())])
}

impl Judge for StripeMock {
    fn address(&self) -> (&'static str, &'static str) {
        ("stripe", "stripe:customers")
    }

    fn product(&self) -> String {
        self.url()
    }

    fn section(&self, address: &str) -> Section {
        section("stripe", address)
    }

    fn repeats_creates(&self) -> bool {
        true
    }

    fn knows_keys(&self) -> bool {
        true
    }

    fn deletes(&self) -> bool {
        false
    }

    fn unknown_id(&self) -> &'static str {
        "cus_nothing"
    }

    fn mark_field(&self) -> &'static str {
        "description"
    }

    fn fields(&self, rng: &mut SmallRng) -> Data {
        fields(rng)
    }

    fn refused(&self) -> Data {
        Data::from_iter([("source".to_owned(), "tok_chargeDeclined".into())])
    }

    fn records(&self) -> BTreeMap<String, Data> {
        model::pages(|after| self.ask("GET", &format!("/v1/customers?limit=100{after}"), None))
    }
}
