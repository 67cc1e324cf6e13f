//! Tables that depend on other tables or on the role: inheritance, foreign keys, row security.

use serde_json::json;

use super::sent;
use super::statements::summary;
use crate::support::{Session, World};

const ATTACH: &str = "delivery => 'inline')";

fn attach(world: &mut World, table: &str, fields: &str) {
    world.run(&format!("SELECT sequin_attach('{table}', 's', 'salesforce:{table}', 'sf_id', {fields}, {ATTACH}"));
}

fn ids(world: &mut World, sql: &str) -> Vec<Option<String>> {
    world.rows(sql, &[]).iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_parent_of_inheritance() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE parent (id int PRIMARY KEY, name text, sf_id text);
         CREATE TABLE child (more text, PRIMARY KEY (id)) INHERITS (parent);
         INSERT INTO child VALUES (1, 'child', '003', 'm')",
    );
    attach(&mut world, "parent", "NULL");
    // The key is unique in each table, and not in both together.
    world.run("INSERT INTO parent VALUES (1, 'parent')");
    assert_eq!(summary(&world), "create 1");
    assert_eq!(
        ids(&mut world, "SELECT sf_id FROM child"),
        [Some("003".to_owned())],
        "a row of the child was written to"
    );
    let upstream = ids(&mut world, "SELECT sf_id FROM ONLY parent").remove(0).unwrap();
    world.run("UPDATE ONLY parent SET name = 'p2'");
    let update = json!([{"upstream_id": upstream, "data": {"name": "p2"}}]);
    assert_eq!(sent(&world), [("update".to_owned(), update)]);
}

#[test]
fn an_update_of_parent_and_child_tells_their_rows_apart() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE parent (id int PRIMARY KEY, name text, sf_id text);
         CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent)",
    );
    attach(&mut world, "parent", "NULL");
    world.run(
        "INSERT INTO parent VALUES (1, 'parent'), (2, 'child');
         INSERT INTO child SELECT 1, name, sf_id FROM parent WHERE id = 2;
         SET sequin.capture = off; DELETE FROM ONLY parent WHERE id = 2; SET sequin.capture = on",
    );
    sent(&world);
    world.run("UPDATE parent SET name = name || '!'");
    let [(kind, records)] = &sent(&world)[..] else { panic!("not one request") };
    let mut names: Vec<&str> =
        records.as_array().unwrap().iter().map(|r| r["data"]["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!((kind.as_str(), names), ("update", vec!["child!", "parent!"]));
}

#[test]
fn cascades_are_sent() {
    for attach_parent in [false, true] {
        let mut world = World::new();
        world.run(
            "CREATE TABLE account (id int PRIMARY KEY, code text UNIQUE, sf_id text);
             CREATE TABLE person (id int PRIMARY KEY, account int REFERENCES account ON DELETE CASCADE,
                                  code text REFERENCES account (code) ON UPDATE CASCADE, sf_id text)",
        );
        attach(&mut world, "person", "NULL");
        if attach_parent {
            attach(&mut world, "account", "NULL");
        }
        world.run("INSERT INTO account VALUES (1, 'a'), (2, 'b'), (3, 'c')");
        world.run("INSERT INTO person VALUES (1, 1, 'a'), (2, 1, 'b'), (3, 2, 'b'), (4, 3, 'c')");
        sent(&world);
        world.run("UPDATE account SET code = code || '!' WHERE id < 3");
        let mut seen: Vec<String> = summary(&world).split(", ").map(str::to_owned).collect();
        seen.sort();
        assert_eq!(seen, if attach_parent { vec!["update 2", "update 3"] } else { vec!["update 3"] });
        world.run("UPDATE person SET code = 'c'");
        sent(&world);
        world.run("DELETE FROM account WHERE id < 3");
        let mut seen: Vec<String> = summary(&world).split(", ").map(str::to_owned).collect();
        seen.sort();
        assert_eq!(seen, if attach_parent { vec!["delete 2", "delete 3"] } else { vec!["delete 3"] });
        assert_eq!(world.one::<i64>("SELECT count(*) FROM person"), 1);
    }
}

#[test]
fn a_row_that_two_cascades_change_is_sent_as_it_ends() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE unit (code text PRIMARY KEY);
         CREATE TABLE rate (id int PRIMARY KEY, a text REFERENCES unit ON UPDATE CASCADE ON DELETE SET NULL,
                            b text REFERENCES unit ON UPDATE CASCADE ON DELETE SET NULL, sf_id text);
         INSERT INTO unit VALUES ('m'), ('s')",
    );
    attach(&mut world, "rate", "NULL");
    world.run("INSERT INTO rate VALUES (1, 'm', 's'), (2, 's', 'm'), (3, 'm', 'm')");
    sent(&world);
    for (sql, expected) in [
        (
            "UPDATE unit SET code = code || '2'",
            json!([{"a": "m2", "b": "s2"}, {"a": "s2", "b": "m2"}, {"a": "m2", "b": "m2"}]),
        ),
        ("DELETE FROM unit", json!([{"a": null, "b": null}, {"a": null, "b": null}, {"a": null, "b": null}])),
    ] {
        world.run(sql);
        let records: Vec<_> = world.sandbox.records("salesforce:rate").iter().map(|r| r["data"].clone()).collect();
        assert_eq!(json!(records), expected, "{sql}");
        // Rows 1 and 2 are changed by one cascade each for a and b; no record may be sent more often than that.
        let records: usize = sent(&world).iter().map(|(_, records)| records.as_array().unwrap().len()).sum();
        assert!(records <= 6, "{sql}: {records} records for three rows, each changed twice");
    }
}

#[test]
fn what_was_sent_stays_when_the_commit_fails() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE t (id int PRIMARY KEY, name text, boss int REFERENCES t DEFERRABLE INITIALLY DEFERRED, sf_id text)",
    );
    attach(&mut world, "t", "NULL");
    let error = world.error("BEGIN; INSERT INTO t VALUES (1, 'a', 7); COMMIT");
    assert_eq!(error.code().code(), "23503");
    assert_eq!(world.rows("SELECT FROM t", &[]).len(), 0);
    assert_eq!(world.sandbox.records("salesforce:t").len(), 1);
    // A constraint that is not deferred is checked first, so nothing is sent.
    sent(&world);
    let error = world.error("INSERT INTO t VALUES (1, 'a', NULL), (1, 'b', NULL)");
    assert_eq!((error.code().code(), sent(&world).len()), ("23505", 0));
}

#[test]
fn row_security_does_not_come_between_a_row_and_its_id() {
    let mut world = World::new();
    let (app, owner) = (format!("app_{}", world.database.name()), format!("owner_{}", world.database.name()));
    world.run(&format!(
        "CREATE ROLE {app} LOGIN; CREATE ROLE {owner};
         CREATE TABLE t (id int PRIMARY KEY, name text, sf_id text); ALTER TABLE t OWNER TO {owner};
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY new ON t FOR INSERT TO {app} WITH CHECK (true);
         GRANT INSERT ON t TO {app}; GRANT USAGE ON FOREIGN SERVER sequin TO {app}, {owner}; GRANT USAGE ON SCHEMA public TO {owner}"
    ));
    attach(&mut world, "t", "NULL");
    for (id, force) in [(1, "NO FORCE"), (2, "FORCE")] {
        world.run(&format!("ALTER TABLE t {force} ROW LEVEL SECURITY"));
        // It may insert, and neither read nor update.
        let mut session = world.database.connect_as(&app);
        session.run(&format!("INSERT INTO t VALUES ({id}, 'x')"));
        let sf_id: Option<String> = world.one_of("SELECT sf_id FROM t WHERE id = $1", &[&id]);
        assert!(sf_id.is_some(), "{force}");
        assert_eq!(summary(&world), "create 1");
    }
    world.run(&format!("DROP OWNED BY {app}, {owner}; DROP ROLE {app}, {owner}"));
}

#[test]
fn a_policy_that_hides_the_new_row_does_not_keep_its_id_away() {
    let mut world = World::new();
    let app = format!("app_{}", world.database.name());
    world.run(&format!(
        "CREATE ROLE {app} LOGIN; CREATE TABLE t (id int PRIMARY KEY, name text, sf_id text);
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY new ON t FOR INSERT TO {app} WITH CHECK (true);
         GRANT ALL ON t TO {app}; GRANT USAGE ON FOREIGN SERVER sequin TO {app}"
    ));
    attach(&mut world, "t", "NULL");
    // It has every right to the table, and sees none of its rows.
    world.database.connect_as(&app).run("INSERT INTO t VALUES (1, 'x'), (2, 'y')");
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM t"), 2);
    world.run(&format!("DROP OWNED BY {app}; DROP ROLE {app}"));
}

#[test]
fn a_type_of_a_schema_that_the_role_may_not_use() {
    let mut world = World::new();
    let app = format!("app_{}", world.database.name());
    world.run(&format!(
        "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE ROLE {app} LOGIN;
         CREATE TABLE t (id ext.citext PRIMARY KEY, name ext.citext, sf_id text);
         GRANT ALL ON t TO {app}; GRANT USAGE ON FOREIGN SERVER sequin TO {app}"
    ));
    attach(&mut world, "t", "NULL");
    let mut session = world.database.connect_as(&app);
    session.run("INSERT INTO t VALUES ('a', 'x'), ('b', 'y')");
    // Its equality folds case, and yet another case is another value upstream.
    session.run("UPDATE t SET name = 'X'; UPDATE t SET name = NULL WHERE id = 'a'; DELETE FROM t");
    assert_eq!(summary(&world), "create 2, update 2, update 1, delete 2");
    world.run(&format!("DROP OWNED BY {app}; DROP ROLE {app}"));
}
