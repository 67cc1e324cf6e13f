//! An API that replies in another order than the request, with values in its own spelling, as some providers do.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use sequin_harness::{RawServer, raw};
use serde_json::{Value, json};

use crate::support::network::foreign_server;
use crate::support::{Session, World, detail_of};

/// The API, and how many creates each request had.
struct Reversing {
    raw: RawServer,
    sizes: Arc<Mutex<Vec<usize>>>,
}

impl Reversing {
    fn start() -> Reversing {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let noted = sizes.clone();
        let raw = RawServer::start(move |stream: &mut TcpStream| {
            while let Ok((_, body)) = raw::read_request(stream) {
                let request: Value = serde_json::from_slice(&body).unwrap_or_default();
                let records = request["records"].as_array().cloned().unwrap_or_default();
                noted.lock().unwrap().push(records.len());
                let mut replied: Vec<Value> = records.iter().map(|record| created(&record["data"])).collect();
                replied.reverse();
                let _ = stream.write_all(&raw::reply(200, &json!({ "records": replied }).to_string()));
            }
        });
        Reversing { raw, sizes }
    }

    fn sizes(&self) -> Vec<usize> {
        std::mem::take(&mut self.sizes.lock().unwrap())
    }

    fn world(&self, options: &str) -> World {
        let mut world = World::without_server();
        foreign_server(&world.database, "sequin", &self.raw.url(), options);
        world.run(
            "CREATE TABLE product (id int PRIMARY KEY, price numeric(10,2), email text, made timestamptz, hs_id text);
             SET timezone = 'UTC'",
        );
        world
    }
}

/// The record of a create: its id names the price that was sent, and its values are the API's own.
fn created(data: &Value) -> Value {
    let mut own = data.clone();
    if let Some(email) = data["email"].as_str() {
        own["email"] = json!(email.to_lowercase());
    }
    if let Some(made) = data["made"].as_str() {
        own["made"] = json!(made.replace("+00:00", "Z"));
    }
    // serde_json reads 1.10 as a double and writes 1.1.
    json!({"upstream_id": format!("id of {}", data["price"]), "data": own})
}

const ROWS: &str = "INSERT INTO product (id, price, email, made) VALUES (1, 1.10, 'Anna@x.org', '2024-05-01 10:00+00'),
    (2, 2.20, 'Bert@x.org', '2024-05-02 10:00+00'), (3, 3.30, 'Carl@x.org', '2024-05-03 10:00+00')";

const OWN: [(i32, &str); 3] = [(1, "id of 1.1"), (2, "id of 2.2"), (3, "id of 3.3")];

fn ids(world: &mut World) -> Vec<(i32, Option<String>)> {
    world.rows("SELECT id, hs_id FROM product ORDER BY id", &[]).iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn assert_own(world: &mut World, what: &str) {
    assert_eq!(ids(world), OWN.map(|(id, own)| (id, Some(own.to_owned()))), "{what}");
}

#[test]
fn each_row_gets_its_own_id_inline() {
    let api = Reversing::start();
    for fields in [r#"{"price": "price"}"#, r#"{"price": "price", "email": "email", "made": "made"}"#] {
        let mut world = api.world("");
        world.run(&format!(
            "SELECT sequin_attach('product', 'sync', 'hubspot:product', 'hs_id', '{fields}', delivery => 'inline')"
        ));
        world.run(ROWS);
        assert_eq!(api.sizes(), [1, 1, 1], "{fields}");
        assert_own(&mut world, fields);
    }
}

#[test]
fn each_row_gets_its_own_id_from_the_outbox() {
    let api = Reversing::start();
    for options in [", atomic_batches 'true'", ""] {
        let mut world = api.world(options);
        world.run("SELECT sequin_attach('product', 'sync', 'hubspot:product', 'hs_id')");
        world.run(ROWS);
        world.until("SELECT count(hs_id) = 3 FROM product");
        assert_eq!(api.sizes(), [1, 1, 1], "{options}");
        assert_own(&mut world, options);
    }
}

/// The option says so, and the reply says otherwise: no id is written, and nothing is sent again.
#[test]
fn an_order_that_the_reply_contradicts_is_not_believed() {
    let api = Reversing::start();
    for fields in [r#"{"price": "price"}"#, r#"{"made": "made", "price": "price"}"#] {
        let mut world = api.world(", ordered_replies 'true', atomic_batches 'true'");
        let attach = format!("SELECT sequin_attach('product', 'sync', 'hubspot:product', 'hs_id', '{fields}'");
        world.run(&format!("{attach}, delivery => 'inline')"));
        let error = world.error(ROWS);
        assert_eq!((error.code().code(), &detail_of(&error)["applied"]), ("HV00M", &json!("all")), "{error:?}");
        assert!(error.message().contains("another order"), "{error:?}");
        assert_eq!((ids(&mut world), api.sizes()), (vec![], vec![3]), "{fields}");

        world.run(&format!("SELECT sequin_detach('product'); {attach})"));
        world.run(ROWS);
        world.settled();
        assert_eq!(world.endings(), ["applied_reply_lost"; 3], "{fields}");
        assert_eq!((ids(&mut world), api.sizes()), ([1, 2, 3].map(|id| (id, None)).to_vec(), vec![3]), "{fields}");
    }
}

/// Values that an API rewrites match no sent record: the declared order counts.
#[test]
fn an_order_that_nothing_contradicts_is_believed() {
    let mut world = World::with_options("atomic_batches 'true'");
    let records =
        json!([1, 2, 3].map(|n| json!({"upstream_id": format!("id {n}"), "data": {"n": format!("number {n}")}})));
    for delivery in ["inline", "outbox"] {
        world.sandbox.fault(json!({"status": 200, "body": json!({"records": records}).to_string()}));
        world.run(&format!(
            "CREATE TABLE {delivery} (n int PRIMARY KEY, sf_id text);
             SELECT sequin_attach('{delivery}', 'sync', 'salesforce:contact', 'sf_id', '{{\"n\": \"n\"}}',
                                  delivery => '{delivery}');
             INSERT INTO {delivery} SELECT n FROM generate_series(1, 3) n"
        ));
        world.until(&format!("SELECT bool_and(sf_id = 'id ' || n) IS TRUE FROM {delivery}"));
        assert_eq!(world.sent(), 1, "{delivery}");
    }
}

/// A call is a request, whatever it holds: its rows are those of the reply, in the order of the reply.
#[test]
fn a_verb_is_one_request_and_its_rows_are_in_the_order_of_the_reply() {
    let api = Reversing::start();
    let mut world = api.world("");
    let rows = world.rows(
        "SELECT upstream_id FROM sequin_mutate('create', 'sync', 'hubspot:product',
            '[{\"data\": {\"price\": 1}}, {\"data\": {\"price\": 2}}]')",
        &[],
    );
    let ids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!((ids, api.sizes()), (vec!["id of 2".to_owned(), "id of 1".to_owned()], vec![2]));
}

/// Two records for the one that was sent: which of them is its own is not known.
#[test]
fn two_records_for_one_create_are_not_believed() {
    let mut world = World::new();
    let body = json!({"records": [{"upstream_id": "1", "data": {"n": 1}}, {"upstream_id": "2", "data": {"n": 1}}]});
    for delivery in ["inline", "outbox"] {
        world.sandbox.fault(json!({"status": 200, "body": body.to_string()}));
        world.run(&format!(
            "CREATE TABLE {delivery} (n int PRIMARY KEY, sf_id text);
             SELECT sequin_attach('{delivery}', 'sync', 'salesforce:contact', 'sf_id', '{{\"n\": \"n\"}}', delivery => '{delivery}')"
        ));
        let insert = format!("INSERT INTO {delivery} VALUES (1)");
        if delivery == "inline" {
            let error = world.error(&insert);
            assert_eq!((error.code().code(), &detail_of(&error)["applied"]), ("HV00M", &json!("all")), "{error:?}");
        } else {
            world.run(&insert);
            world.settled();
            assert_eq!(world.endings(), ["applied_reply_lost"]);
            assert_eq!(world.one::<Option<String>>("SELECT sf_id FROM outbox"), None);
        }
    }
}
