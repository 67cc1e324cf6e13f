//! PocketBase under random mutations: where the gateway chooses the id of a new record, so that a create may be repeated,
//! and where PocketBase does, so that it must not be.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::PocketBase;
use crate::support::gateway::Section;
use crate::support::model::{self, Data, Judge};

#[test]
fn the_state_is_that_of_a_model() {
    model::holds(&Described { chooses_ids: false, pocketbase: PocketBase::start() });
}

#[test]
fn the_state_is_that_of_a_model_where_it_chooses_the_ids() {
    model::holds(&Described { chooses_ids: true, pocketbase: PocketBase::start() });
}

/// PocketBase with one of two descriptions.
struct Described {
    chooses_ids: bool,
    pocketbase: PocketBase,
}

/// The shortest description.
const SHORT: &str = r#"
auth = { kind = "bearer", token_file = "pocketbase.token" }
[sync.pocketbase.collection.contacts]
create = { method = "POST", path = "/collections/contacts/records", body = "{data}" }
update = { method = "PATCH", path = "/collections/contacts/records/{upstream_id}", body = "{data}" }
delete = { method = "DELETE", path = "/collections/contacts/records/{upstream_id}", gone = [404] }
reply = { upstream_id = "/id", data = "" }
error = ["/data/*", "/message"]
"#;

impl Judge for Described {
    fn address(&self) -> (&'static str, &'static str) {
        ("pocketbase", "contacts")
    }

    fn product(&self) -> String {
        self.pocketbase.product.url()
    }

    fn section(&self, address: &str) -> Section {
        let secrets = vec![("pocketbase.token", self.pocketbase.token.clone())];
        if !self.chooses_ids {
            return Section::example("pocketbase", address, secrets);
        }
        Section::new("pocketbase", &format!("provider = \"rest\"\nbase_url = \"{address}/api\"\n{SHORT}"), secrets)
    }

    fn repeats_creates(&self) -> bool {
        !self.chooses_ids
    }

    fn unknown_id(&self) -> &'static str {
        "xxxxxxxxxxxxxxx"
    }

    fn mark_field(&self) -> &'static str {
        "marker"
    }

    fn fields(&self, rng: &mut SmallRng) -> Data {
        let number: u32 = rng.random_range(0..1000);
        Data::from_iter([
            ("email".to_owned(), format!("{number}@judges.example").into()),
            ("name".to_owned(), format!("ü\u{1F600}\"\\/ {number}").into()),
            ("n".to_owned(), number.into()),
        ])
    }

    fn refused(&self) -> Data {
        Data::from_iter([("email".to_owned(), "no address".into())])
    }

    fn records(&self) -> BTreeMap<String, Data> {
        let mut records = BTreeMap::new();
        for page in 1.. {
            let path = format!("/collections/contacts/records?perPage=500&skipTotal=true&page={page}");
            let page = model::by_id(&self.pocketbase.ask("GET", &path, None).at("/items"));
            if page.is_empty() {
                break;
            }
            records.extend(page);
        }
        records
    }
}
