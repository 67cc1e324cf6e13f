//! Kinto under random mutations: the key is the record's id, so a create may be repeated.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::json;

use super::{Kinto, PASSWORD};
use crate::support::gateway::Section;
use crate::support::model::{self, Data, Judge};

#[test]
fn the_state_is_that_of_a_model() {
    model::holds(&Kinto::start());
}

impl Judge for Kinto {
    fn address(&self) -> (&'static str, &'static str) {
        ("kinto", "contacts")
    }

    fn product(&self) -> String {
        self.product.url()
    }

    fn section(&self, address: &str) -> Section {
        Section::example("kinto", address, vec![("kinto.password", PASSWORD.to_owned())])
    }

    fn repeats_creates(&self) -> bool {
        true
    }

    fn unknown_id(&self) -> &'static str {
        "00000000-0000-4000-8000-000000000000"
    }

    fn mark_field(&self) -> &'static str {
        "mark"
    }

    fn fields(&self, rng: &mut SmallRng) -> Data {
        let mut data = Data::new();
        data.insert("n".into(), rng.random_range(0..1000).into());
        data.insert(format!("f{}", rng.random_range(0..3)), json!({"list": [1, null, "ü\u{1F600}\"\\/"]}));
        data
    }

    fn refused(&self) -> Data {
        // Not the one in the path.
        Data::from_iter([("id".to_owned(), self.unknown_id().into())])
    }

    fn records(&self) -> BTreeMap<String, Data> {
        model::by_id(&self.ask("GET", "/buckets/app/collections/contacts/records", None).at("/data"))
    }
}
