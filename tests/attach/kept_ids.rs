//! An UPDATE that writes NULL or blank text over an upstream id does not erase it.

use serde_json::json;

use super::{book, sent};
use crate::support::{Session, World};

/// A person with a record upstream, and its id.
fn one_person() -> (World, String) {
    let mut world = book();
    world.run("INSERT INTO people (name, email) VALUES ('Paul', 'p@a.org')");
    sent(&world);
    let id = world.one("SELECT sf_id FROM people");
    (world, id)
}

#[test]
fn a_save_of_the_whole_row_keeps_the_id() {
    for blank in ["NULL", "''", "' '", "E'\\t\\n'", "U&'\\00a0\\2003'"] {
        let (mut world, id) = one_person();
        for statement in [
            format!("UPDATE people SET name = name || '!', email = email, note = NULL, sf_id = {blank}"),
            format!(
                "INSERT INTO people (id, name, sf_id) OVERRIDING SYSTEM VALUE VALUES (1, 'Leto', {blank})
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name || '!', sf_id = excluded.sf_id"
            ),
            format!(
                "MERGE INTO people p USING (VALUES (1, 'Alia')) v(id, name) ON v.id = p.id
                 WHEN MATCHED THEN UPDATE SET name = v.name || '!', sf_id = {blank}"
            ),
        ] {
            world.run(&statement);
            assert_eq!(world.one::<String>("SELECT sf_id FROM people"), id, "{statement}");
            let [(kind, records)] = &sent(&world)[..] else { panic!("{statement}: not one request") };
            assert_eq!((kind.as_str(), &records[0]["upstream_id"]), ("update", &json!(id)), "{statement}");
        }
        world.run("DELETE FROM people");
        assert_eq!(sent(&world), [("delete".to_owned(), json!([id]))]);
    }
}

#[test]
fn the_statement_itself_returns_the_id() {
    let (mut world, id) = one_person();
    assert_eq!(world.one::<String>("UPDATE people SET sf_id = NULL RETURNING sf_id"), id);
}

#[test]
fn the_ids_of_all_rows_of_a_statement() {
    let mut world = book();
    world.run("INSERT INTO people (name) SELECT 'n' || n FROM generate_series(1, 300) n");
    sent(&world);
    world.run("UPDATE people SET sf_id = CASE id % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'own-' || id END");
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM people"), 300);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM people WHERE sf_id LIKE 'own-%'"), 100);
    assert_eq!(sent(&world), []);
}

#[test]
fn with_capture_off_it_is_erased() {
    let (mut world, _) = one_person();
    world.run("SET sequin.capture = off; UPDATE people SET sf_id = NULL; SET sequin.capture = on");
    assert_eq!(world.one::<Option<String>>("SELECT sf_id FROM people"), None);
}

#[test]
fn partitions_keep_theirs() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE orders (id int, year int, name text, sf_id text, PRIMARY KEY (id, year)) PARTITION BY LIST (year);
         CREATE TABLE orders_25 PARTITION OF orders FOR VALUES IN (2025);
         SELECT sequin_attach('orders', 's', 'salesforce:order', 'sf_id', delivery => 'inline');
         CREATE TABLE orders_26 PARTITION OF orders FOR VALUES IN (2026);
         INSERT INTO orders VALUES (1, 2025, 'a'), (2, 2026, 'b');
         UPDATE orders SET name = name || '!', sf_id = NULL; UPDATE orders_25 SET sf_id = ''",
    );
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM orders WHERE sf_id <> ''"), 2);
    // Two tables that are attached by themselves become one tree.
    world.run(
        "CREATE TABLE orders_27 (LIKE orders INCLUDING ALL) PARTITION BY LIST (id);
         SELECT sequin_attach('orders_27', 's', 'salesforce:order', 'sf_id', delivery => 'inline');
         ALTER TABLE orders ATTACH PARTITION orders_27 FOR VALUES IN (2027)",
    );
}

#[test]
fn a_column_that_is_no_text_any_more_is_named() {
    let (mut world, _) = one_person();
    world.run(
        "SET sequin.capture = off; UPDATE people SET sf_id = NULL; ALTER TABLE people ALTER sf_id TYPE int USING 1",
    );
    world.run("SET sequin.capture = on");
    let error = world.error("UPDATE people SET sf_id = NULL, name = 'x'");
    assert_eq!(
        (error.code().code(), error.message()),
        ("22023", "column \"sf_id\" of public.people cannot hold upstream ids: it is not text")
    );
}
