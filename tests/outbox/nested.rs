//! Triggers of the application that write the table they fire for, with delivery by the outbox. Each row gets one
//! record, with its values when the outermost statement ends.

use serde_json::json;

use super::attached::book;
use crate::support::{Session, World, request};

/// Kind and data of the queued records, in the order of delivery.
fn queued(world: &mut World) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', kind, upstream_id, data) FROM sequin.outbox ORDER BY id";
    world.rows(sql, &[]).iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_trigger_that_completes_its_own_row() {
    let mut world = book();
    world.run(
        "CREATE FUNCTION slug() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN UPDATE people SET email = lower(NEW.name) || '@a.org' WHERE id = NEW.id; RETURN NULL; END $$;
         CREATE TRIGGER slug AFTER INSERT OR UPDATE OF name ON people FOR EACH ROW EXECUTE FUNCTION slug();
         SELECT sequin_pause('sequin');
         INSERT INTO people VALUES (1, 'Paul')",
    );
    assert_eq!(queued(&mut world), [r#"create {"Name": "Paul", "Email": "paul@a.org"}"#]);
    world.run("SELECT sequin_resume('sequin')");
    world.written_back();
    assert_eq!(world.contact(), json!({"Name": "Paul", "Email": "paul@a.org"}));
    // An old value that is queued after the new one would be the one that stays.
    let id = world.sf_id().unwrap();
    world.requests();
    world.run("UPDATE people SET name = 'Usul'");
    world.settled();
    let update = json!([{"upstream_id": id, "data": {"Name": "Usul", "Email": "usul@a.org"}}]);
    assert_eq!(world.requests(), [request("update", update)]);
}

#[test]
fn a_trigger_that_corrects_what_the_statement_wrote() {
    let mut world = book();
    world.run("INSERT INTO people VALUES (1, 'draft', 'e', NULL, 'J1')");
    world.run(
        "CREATE FUNCTION accept() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF NEW.name = 'new' THEN UPDATE people SET name = 'accepted' WHERE id = NEW.id; END IF; RETURN NULL; END $$;
         CREATE TRIGGER accept AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION accept();
         UPDATE people SET name = 'new'",
    );
    world.settled();
    assert_eq!(world.requests(), [request("update", json!([{"upstream_id": "J1", "data": {"Name": "accepted"}}]))]);
}

#[test]
fn what_a_trigger_does_to_other_rows_while_the_worker_writes_an_id_is_sent() {
    let mut world = book();
    world.run(
        "INSERT INTO people VALUES (1, 'total', NULL, NULL, 'T1');
         CREATE FUNCTION total() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           UPDATE public.people SET name = 'total ' || (SELECT count(sf_id) FROM public.people) WHERE id = 1 AND NEW.id <> 1;
           RETURN NULL;
         END $$;
         CREATE TRIGGER total AFTER UPDATE OF sf_id ON people FOR EACH ROW EXECUTE FUNCTION total();
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN NEW.email := coalesce(NEW.email, '') || '+'; RETURN NEW; END $$;
         CREATE TRIGGER touch BEFORE UPDATE ON people FOR EACH ROW WHEN (NEW.id <> 1) EXECUTE FUNCTION touch();
         INSERT INTO people VALUES (2, 'Paul')",
    );
    world.written_back();
    world.settled();
    let create = json!([{"data": {"Name": "Paul", "Email": null}}]);
    let update = json!([{"upstream_id": "T1", "data": {"Name": "total 2"}}]);
    // The row's own change by the trigger before it is a part of the write-back, and stays here.
    assert_eq!(world.requests(), [request("create", create), request("update", update)]);
}

#[test]
fn changes_that_a_type_or_a_collation_takes_for_equal_are_sent() {
    let mut world = World::new();
    world.run(
        "CREATE EXTENSION citext;
         CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t (id int PRIMARY KEY, c citext, b text COLLATE blind, i interval, n numeric, f float8, sf_id text);
         SELECT sequin_attach('t', 'sync', 'salesforce:contact', 'sf_id');
         INSERT INTO t VALUES (1, 'a', 'a', '24 hours', 1.0, 0)",
    );
    world.written_back();
    world.requests();
    let id: String = world.one("SELECT sf_id FROM t");
    for (change, sent) in [
        ("c = 'A'", json!({"c": "A"})),
        ("b = 'A'", json!({"b": "A"})),
        ("i = '1 day'", json!({"i": "1 day"})),
        ("n = 1.00", json!({"n": 1.00})),
        ("f = '-0'", json!({"f": 0})),
    ] {
        world.run(&format!("UPDATE t SET {change}"));
        world.settled();
        assert_eq!(world.requests(), [request("update", json!([{"upstream_id": id, "data": sent}]))], "{change}");
        world.run(&format!("UPDATE t SET {change}"));
        world.settled();
        assert_eq!(world.requests(), [], "{change}: {:?}", world.open_work());
    }
}

#[test]
fn a_save_of_the_whole_row_before_the_id_came_keeps_it() {
    let mut world = book();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.written_back();
    let id = world.sf_id().unwrap();
    world.requests();
    world.run("UPDATE people SET name = 'Usul', email = NULL, note = NULL, sf_id = NULL");
    world.run(
        "INSERT INTO people VALUES (1, 'Muad''Dib', NULL, NULL, NULL)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, sf_id = excluded.sf_id",
    );
    world.settled();
    assert_eq!(world.sf_id(), Some(id.clone()));
    assert_eq!(world.contact()["Name"], json!("Muad'Dib"));
    world.requests();
    world.run("DELETE FROM people");
    world.settled();
    assert_eq!(world.requests(), [request("delete", json!([id]))]);
    assert_eq!(world.fates().len(), world.endings().iter().filter(|ending| *ending == "applied").count());
}
