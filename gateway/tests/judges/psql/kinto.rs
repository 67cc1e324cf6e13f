//! From psql to Kinto.

use std::collections::BTreeSet;

use serde_json::json;

use super::{attached, database, psql, psql_error, settled};
use crate::kinto::Kinto;
use crate::support::gateway::Gateway;
use crate::support::model::Judge;
use crate::support::proxy::{Choice, FaultProxy, Rate};
use crate::support::variable;

const RECORDS: &str = "/buckets/app/collections/contacts/records";

/// A gateway before this Kinto.
fn before(kinto: &Kinto) -> Gateway {
    Gateway::start(&[kinto.section(&kinto.product())])
}

#[test]
fn records_are_created_updated_and_deleted() {
    let kinto = Kinto::start();
    let gateway = before(&kinto);
    let database = database(&gateway);
    let record = |id: &str| {
        let mut data = kinto.ask("GET", &format!("{RECORDS}/{id}"), None).at("/data");
        data.as_object_mut().expect("an object").retain(|name, _| name != "id" && name != "last_modified");
        data
    };

    let create = r#"SELECT upstream_id FROM sequin_create('kinto', 'contacts', '{"name": "Paul", "n": 1.50}')"#;
    let id = psql(&database, create);
    assert_eq!(record(&id), json!({"name": "Paul", "n": 1.5}));

    let update = format!(
        r#"SELECT upstream_id, data->>'name', data->>'title', deleted
           FROM sequin_update('kinto', 'contacts', '{id}', '{{"title": "Muad''Dib"}}')"#
    );
    assert_eq!(psql(&database, &update), format!("{id}|Paul|Muad'Dib|f"));
    assert_eq!(record(&id), json!({"name": "Paul", "n": 1.5, "title": "Muad'Dib"}));

    let delete = format!("SELECT upstream_id, deleted FROM sequin_delete('kinto', 'contacts', '{id}')");
    assert_eq!(psql(&database, &delete), format!("{id}|t"));
    assert_eq!(kinto.ask("GET", RECORDS, None).at("/data"), json!([]));

    let update = format!(r#"SELECT FROM sequin_update('kinto', 'contacts', '{id}', '{{"title": "Duke"}}')"#);
    let error = psql_error(&database, &update);
    assert!(error.contains("HV024") && error.contains("validation error: `"), "{error}");
    let error = psql_error(&database, "SELECT FROM sequin_create('kinto', 'contacts', '{\"id\": \"x\"}')");
    assert!(error.contains("HV024") && error.contains("nothing was applied"), "{error}");
    let two = r#"SELECT FROM sequin_mutate('create', 'kinto', 'contacts', '[{"data": {}}, {"data": {}}]')"#;
    let error = psql_error(&database, two);
    assert!(error.contains("HV024") && error.contains(r#""max_records":1"#), "{error}");
    let error = psql_error(&database, "SELECT FROM sequin_create('elsewhere', 'contacts', '{}')");
    assert!(error.contains("HV024") && error.contains("unknown sync"), "{error}");
    assert_eq!(kinto.ask("GET", RECORDS, None).at("/data"), json!([]));
}

#[test]
fn an_attached_table_is_followed() {
    let kinto = Kinto::start();
    attached::product_follows(&kinto, &before(&kinto));
}

/// Every row ends at Kinto once, or as a dead letter that says that its create is unknown. Nothing else is made.
#[test]
fn an_attached_table_is_followed_where_requests_are_lost() {
    let kinto = Kinto::start();
    let seed = variable("SEQUIN_JUDGES_SEED").unwrap_or_else(rand::random);
    eprintln!("SEQUIN_JUDGES_SEED={seed}");
    let proxy = FaultProxy::before(kinto.product(), Choice::new(seed, Rate::Percent(35)));
    let section = kinto.section(&proxy.url()).with("timeout = \"6s\"\nrequest_timeout = \"4s\"");
    let gateway = Gateway::start(&[section]);
    let database = database(&gateway);
    database.execute(
        "CREATE TABLE people (id bigint PRIMARY KEY, name text, upstream text);
         SELECT sequin_attach('people', 'kinto', 'contacts', 'upstream', '{\"name\": \"name\"}')",
    );
    psql(&database, "INSERT INTO people SELECT n, 'Fremen ' || n FROM generate_series(1, 20) n");
    psql(&database, "UPDATE people SET name = 'Fedaykin ' || id WHERE id % 3 = 0");
    settled(&database);

    let named = |sql| psql(&database, sql).lines().map(str::to_owned).collect::<BTreeSet<String>>();
    let rows = named("SELECT upstream || ' ' || name FROM people WHERE upstream IS NOT NULL");
    let lost = named("SELECT id || ' ' || outcome FROM sequin.dead_letters WHERE kind = 'create'");
    let records = kinto.records();
    let upstream: BTreeSet<String> =
        records.iter().map(|(id, data)| format!("{id} {}", data["name"].as_str().expect("a name"))).collect();
    let missing: Vec<_> = rows.difference(&upstream).collect();
    assert!(missing.is_empty(), "{missing:?}\n{}", gateway.log());
    assert!(lost.iter().all(|letter| letter.ends_with(" unknown")), "{lost:?}");
    assert_eq!(rows.len() + lost.len(), 20, "{rows:?} {lost:?}");
    let more = upstream.len() - rows.len();
    assert!(more <= lost.len(), "{more} records have no row, and {lost:?} are unknown");
}
