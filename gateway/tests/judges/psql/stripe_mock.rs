//! From psql to a fake of Stripe that knows keys.

use serde_json::{Value, json};

use super::{database, psql, psql_error};
use crate::stripe_mock::StripeMock;
use crate::support::gateway::Gateway;
use crate::support::model::Judge;

#[test]
fn customers_are_created_and_updated() {
    let mock = StripeMock::start();
    let gateway = Gateway::start(&[mock.section(&mock.url())]);
    let database = database(&gateway);

    let create = r#"SELECT upstream_id, data->>'email' FROM sequin_create('stripe', 'stripe:customers',
        '{"email": "paul@arrakis.example", "metadata": {"house": "Atreides & sons = 2"}, "preferred_locales": ["fr", "en"]}')"#;
    let created = psql(&database, create);
    let (id, email) = created.split_once('|').expect("two columns");
    assert_eq!(email, "paul@arrakis.example");
    let customer = mock.ask("GET", &format!("/v1/customers/{id}"), None).json();
    assert_eq!(customer["metadata"], json!({"house": "Atreides & sons = 2"}));
    assert_eq!(customer["preferred_locales"], json!(["fr", "en"]));

    let update = format!(
        r#"SELECT data->>'name' FROM sequin_update('stripe', 'stripe:customers', '{id}', '{{"name": "Muad''Dib"}}')"#
    );
    assert_eq!(psql(&database, &update), "Muad'Dib");

    let update = r#"SELECT FROM sequin_update('stripe', 'stripe:customers', 'cus_nothing', '{"name": "x"}')"#;
    let error = psql_error(&database, update);
    assert!(error.contains("HV024") && error.contains("Error: Stripe validation error: `No such customer"), "{error}");
    // This fake has no deletes, and says so. The customer is still there, and the statement must not say otherwise.
    let delete = format!("SELECT FROM sequin_delete('stripe', 'stripe:customers', '{id}')");
    let error = psql_error(&database, &delete);
    assert!(error.contains("HV024") && error.contains("No matching path"), "{error}");
    let customers: Value = mock.ask("GET", "/v1/customers", None).at("/data");
    assert_eq!(customers.as_array().map(Vec::len), Some(1));
}
