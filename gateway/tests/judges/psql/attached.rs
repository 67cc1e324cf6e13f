//! A table that writes through: changes are sent after COMMIT, and the ids that the product chose come back.

use std::collections::BTreeMap;

use super::{database, psql, settled};
use crate::support::gateway::Gateway;
use crate::support::model::Judge;

/// Which of the table's rows the product has, by name: their email.
fn upstream(judge: &dyn Judge) -> BTreeMap<String, String> {
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    judge.records().values().map(|data| (text(&data["name"]), text(&data["email"]))).collect()
}

/// Changes the table in every way, and compares it with the product.
pub fn product_follows(judge: &dyn Judge, gateway: &Gateway) {
    let (sync, collection) = judge.address();
    let database = database(gateway);
    let set_up = format!(
        "CREATE TABLE people (id bigint PRIMARY KEY, name text, email text, upstream text);
         SELECT sequin_attach('people', '{sync}', '{collection}', 'upstream',
                              '{{\"name\": \"name\", \"email\": \"email\"}}')"
    );
    database.execute(&set_up);
    let rows = || -> BTreeMap<String, String> {
        let rows = psql(&database, "SELECT name, email FROM people WHERE upstream IS NOT NULL ORDER BY id");
        rows.lines().filter_map(|row| row.split_once('|')).map(|(n, e)| (n.to_owned(), e.to_owned())).collect()
    };

    psql(&database, "INSERT INTO people SELECT n, 'Fremen ' || n, n || '@tabr.example' FROM generate_series(1, 8) n");
    settled(&database);
    assert_eq!((upstream(judge), upstream(judge).len()), (rows(), 8));

    psql(
        &database,
        "UPDATE people SET name = 'Usul', email = 'usul@tabr.example' WHERE id = 3; DELETE FROM people WHERE id > 5",
    );
    // A row that is created, changed and deleted before the worker has sent any of it.
    psql(
        &database,
        "BEGIN; INSERT INTO people VALUES (9, 'Jamis', 'j@tabr.example'); DELETE FROM people WHERE id = 9; COMMIT",
    );
    psql(&database, "BEGIN; DELETE FROM people; ROLLBACK");
    settled(&database);
    assert_eq!((upstream(judge), upstream(judge).len()), (rows(), 5));
    assert_eq!(psql(&database, "SELECT count(*) FROM sequin.dead_letters"), "0");
}
