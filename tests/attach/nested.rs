//! Triggers of the application that write attached tables while they run for a statement on one. Each row is sent as it
//! is when the outermost statement ends.

use serde_json::{Value, json};

use super::statements::summary;
use super::{book, sent};
use crate::support::{Session, World, context_of, detail_of};

/// The data of the only contact that the provider has.
fn contact(world: &World) -> Value {
    let records = world.sandbox.records("salesforce:contact");
    assert_eq!(records.len(), 1, "{records:?}");
    records[0]["data"].clone()
}

/// A trigger that updates the row that it fires for.
fn slug(world: &mut World, level: &str) {
    let changes = match level {
        "ROW" => "UPDATE people SET email = lower(NEW.name) || '@a.org' WHERE id = NEW.id",
        _ => "UPDATE people SET email = lower(name) || '@a.org' WHERE email IS DISTINCT FROM lower(name) || '@a.org'",
    };
    // The name is one that fires after the triggers of sequin_attach.
    world.run(&format!(
        "CREATE FUNCTION slug() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {changes}; RETURN NULL; END $$;
         CREATE TRIGGER slug AFTER INSERT OR UPDATE OF name ON people FOR EACH {level} EXECUTE FUNCTION slug()"
    ));
}

#[test]
fn a_trigger_that_completes_its_own_row() {
    for level in ["ROW", "STATEMENT"] {
        let mut world = book();
        slug(&mut world, level);
        world.run("INSERT INTO people (name) VALUES ('Paul')");
        assert_eq!(summary(&world), "create 1", "{level}");
        assert_eq!(contact(&world), json!({"Name": "Paul", "Email": "paul@a.org"}), "{level}");
        assert!(world.one::<Option<String>>("SELECT sf_id FROM people").is_some(), "{level}");
        world.run("UPDATE people SET name = 'Usul'");
        let [(kind, records)] = &sent(&world)[..] else { panic!("{level}: not one request") };
        assert_eq!((kind.as_str(), &records[0]["data"]), ("update", &json!({"Name": "Usul", "Email": "usul@a.org"})));
    }
}

#[test]
fn copy_and_upsert_and_merge_too() {
    for statement in [
        "INSERT INTO people (name) VALUES ('Paul') ON CONFLICT (id) DO UPDATE SET note = 'x'",
        "WITH w AS (INSERT INTO people (name) VALUES ('Paul') RETURNING id) SELECT id FROM w",
        "MERGE INTO people p USING (VALUES ('Paul')) v(name) ON false WHEN NOT MATCHED THEN INSERT (name) VALUES (v.name)",
        "DO $$ BEGIN INSERT INTO people (name) VALUES ('Paul'); END $$",
        "COPY",
    ] {
        for level in ["ROW", "STATEMENT"] {
            let mut world = book();
            slug(&mut world, level);
            // A session whose first statement on an attached table is this one.
            let mut session = world.database.connect();
            if statement == "COPY" {
                let mut copy = session.copy_in("COPY people (name) FROM STDIN").unwrap();
                std::io::Write::write_all(&mut copy, b"Paul\n").unwrap();
                copy.finish().unwrap();
            } else {
                session.run(statement);
            }
            assert_eq!(summary(&world), "create 1", "{statement} {level}");
            assert_eq!(contact(&world), json!({"Name": "Paul", "Email": "paul@a.org"}), "{statement} {level}");
        }
    }
}

#[test]
fn several_triggers_several_times() {
    let mut world = book();
    world.run(
        "CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           IF length(NEW.name) < 5 THEN UPDATE people SET name = name || '+' WHERE id = NEW.id; END IF;
           RETURN NULL;
         END $$;
         CREATE TRIGGER grow AFTER INSERT OR UPDATE ON people FOR EACH ROW EXECUTE FUNCTION grow();
         INSERT INTO people (name) VALUES ('a'), ('b')",
    );
    let names: Vec<Value> =
        world.sandbox.records("salesforce:contact").iter().map(|r| r["data"]["Name"].clone()).collect();
    assert_eq!(names, ["a++++", "b++++"]);
    assert_eq!(summary(&world), "create 2");
    world.run("UPDATE people SET name = 'c' || id");
    assert_eq!(summary(&world), "update 2");
    let names: Vec<Value> =
        world.sandbox.records("salesforce:contact").iter().map(|r| r["data"]["Name"].clone()).collect();
    let here: Vec<Value> = world
        .rows("SELECT name FROM people ORDER BY id", &[])
        .iter()
        .map(|row| json!(row.get::<_, String>(0)))
        .collect();
    assert_eq!(names, here);
}

#[test]
fn a_trigger_before_the_row_that_writes_other_rows() {
    let mut world = book();
    world.run(
        "INSERT INTO people (name) VALUES ('a'), ('b');
         CREATE FUNCTION others() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           IF NEW.name = 'first' THEN UPDATE people SET email = 'e@a.org' WHERE id <> NEW.id; END IF;
           RETURN NEW;
         END $$;
         CREATE TRIGGER others BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION others()",
    );
    sent(&world);
    world.run("UPDATE people SET name = 'first' WHERE id = 1");
    let [(_, records)] = &sent(&world)[..] else { panic!("not one request") };
    let data: Vec<&Value> = records.as_array().unwrap().iter().map(|record| &record["data"]).collect();
    assert_eq!(data, [&json!({"Email": "e@a.org"}), &json!({"Name": "first"})]);
}

#[test]
fn a_change_that_is_taken_back_is_not_sent() {
    let mut world = book();
    world.run(
        "INSERT INTO people (name) VALUES ('a');
         CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF NEW.name = 'no' THEN UPDATE people SET name = OLD.name WHERE id = NEW.id; END IF; RETURN NULL; END $$;
         CREATE TRIGGER back AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION back()",
    );
    sent(&world);
    world.run("UPDATE people SET name = 'no'");
    assert_eq!(sent(&world), []);
    assert_eq!(world.one::<String>("SELECT name FROM people"), "a");
}

#[test]
fn a_failed_part_of_a_trigger_leaves_nothing_behind() {
    let mut world = book();
    world.run(
        "CREATE FUNCTION try() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           BEGIN
             UPDATE people SET email = 'undone@a.org' WHERE id = NEW.id;
             INSERT INTO people (name) VALUES ('undone');
             RAISE 'no';
           EXCEPTION WHEN raise_exception THEN
             UPDATE people SET note = 'tried' WHERE id = NEW.id;
           END;
           RETURN NULL;
         END $$;
         CREATE TRIGGER try AFTER INSERT ON people FOR EACH ROW WHEN (NEW.name <> 'undone') EXECUTE FUNCTION try();
         INSERT INTO people (name) VALUES ('a')",
    );
    let create = json!([{"data": {"Name": "a", "Email": null}}]);
    assert_eq!(sent(&world), [("create".to_owned(), create)]);
    // A statement that fails as a whole leaves nothing to the next one.
    let error = world.error("INSERT INTO people (name, email) VALUES ('b', 'bad')");
    assert_eq!(error.code().code(), "HV024", "{error:?}");
    sent(&world);
    world.run("ALTER TABLE people DISABLE TRIGGER try; INSERT INTO people (name) VALUES ('c')");
    let create = json!([{"data": {"Name": "c", "Email": null}}]);
    assert_eq!(sent(&world), [("create".to_owned(), create)]);
}

#[test]
fn a_trigger_that_writes_another_attached_table() {
    let mut world = book();
    world.run(
        "CREATE TABLE visit (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person bigint, seen int, sf_id text);
         SELECT sequin_attach('visit', 'sync', 'salesforce:visit', 'sf_id', delivery => 'inline');
         CREATE FUNCTION visit() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           INSERT INTO visit (person, seen) VALUES (NEW.id, 1);
           UPDATE visit SET seen = 2 WHERE person = NEW.id;
           RETURN NULL;
         END $$;
         CREATE TRIGGER visit AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION visit();
         INSERT INTO people (name) VALUES ('a'), ('b')",
    );
    let visits: Vec<Value> =
        world.sandbox.records("salesforce:visit").iter().map(|r| r["data"]["seen"].clone()).collect();
    assert_eq!(visits, [2, 2]);
    let mut seen: Vec<String> = summary(&world).split(", ").map(str::to_owned).collect();
    seen.sort();
    assert_eq!(seen, ["create 2", "create 2"]);
    assert_eq!(
        world
            .one::<i64>("SELECT count(DISTINCT sf_id) FROM (SELECT sf_id FROM visit UNION SELECT sf_id FROM people) s"),
        4
    );
    // If the API refuses one of them, the error says how many the other had applied.
    world.run("ALTER TABLE visit ADD email text DEFAULT 'bad'; SELECT sequin_detach('visit');
        SELECT sequin_attach('visit', 'sync', 'salesforce:visit', 'sf_id', fields => '{\"email\": \"Email\"}', delivery => 'inline')");
    let error = world.error("INSERT INTO people (name) VALUES ('c')");
    assert_eq!((error.code().code(), &detail_of(&error)["applied"]), ("HV024", &json!("none")), "{error:?}");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM people"), 2);
}

#[test]
fn what_a_trigger_does_to_other_rows_while_an_id_is_written_is_sent() {
    let mut world = book();
    world.run(
        "INSERT INTO people (name) VALUES ('total 0');
         CREATE FUNCTION total() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           UPDATE people SET name = 'total ' || (SELECT count(sf_id) FROM people) WHERE id = 1 AND NEW.id <> 1;
           RETURN NULL;
         END $$;
         CREATE TRIGGER total AFTER UPDATE OF sf_id ON people FOR EACH ROW EXECUTE FUNCTION total()",
    );
    sent(&world);
    world.run("INSERT INTO people (name) VALUES ('a')");
    assert_eq!(summary(&world), "create 1, update 1");
    assert_eq!(world.sandbox.records("salesforce:contact")[0]["data"]["Name"], json!("total 2"));
}

#[test]
fn a_trigger_that_inserts_a_row_for_each_id_that_is_written_is_stopped() {
    let mut world = book();
    world.run(
        "CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO people (name) VALUES ('more'); RETURN NULL; END $$;
         CREATE TRIGGER more AFTER UPDATE ON people FOR EACH STATEMENT EXECUTE FUNCTION more()",
    );
    let error = world.error("INSERT INTO people (name) VALUES ('a')");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert!(error.message().contains("keep inserting further rows"), "{error:?}");
    assert!(context_of(&error).contains("after 101 records were applied by earlier requests"), "{error:?}");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM people"), 0);
}

#[test]
fn a_definer_s_trigger_sends_as_the_definer() {
    let mut world = book();
    let app = format!("app_{}", world.database.name());
    world.run(&format!(
        "CREATE TABLE visit (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sf_id text, seen int);
         SELECT sequin_attach('visit', 'sync', 'salesforce:visit', 'sf_id', delivery => 'inline');
         CREATE FUNCTION visit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
         BEGIN INSERT INTO visit (seen) VALUES (1); RETURN NULL; END $$;
         CREATE TRIGGER visit AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION visit();
         CREATE ROLE {app} LOGIN; GRANT ALL ON people TO {app}; GRANT USAGE ON FOREIGN SERVER sequin TO {app};
         DROP USER MAPPING FOR PUBLIC SERVER sequin;
         CREATE USER MAPPING FOR {app} SERVER sequin OPTIONS (token 'of-app');
         CREATE USER MAPPING FOR CURRENT_USER SERVER sequin OPTIONS (token 'sandbox-token')",
    ));
    // The application's own token is refused; the definer's record is made before that.
    let error = world.database.connect_as(&app).batch_execute("INSERT INTO people (name) VALUES ('a')").unwrap_err();
    assert_eq!(error.code().unwrap().code(), "28000", "{error:?}");
    let mut tokens: Vec<String> = world
        .sandbox
        .log()
        .mutations()
        .iter()
        .map(|request| {
            format!("{} {}", request.json()["collection_id"].as_str().unwrap(), request.headers["authorization"])
        })
        .collect();
    tokens.sort();
    assert_eq!(tokens, ["salesforce:contact Bearer of-app", "salesforce:visit Bearer sandbox-token"]);
    world.run(&format!("DROP OWNED BY {app}; DROP ROLE {app}"));
}

#[test]
fn a_field_name_that_json_escapes_waits_as_it_is() {
    let mut world = World::new();
    world.run(
        r#"CREATE TABLE people (id int PRIMARY KEY, name text, email text, sf_id text);
           SELECT sequin_attach('people', 's', 'salesforce:contact', 'sf_id', '{"name": "a \"name\"", "email": "Email"}',
                                delivery => 'inline')"#,
    );
    slug(&mut world, "ROW");
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    assert_eq!(contact(&world), json!({"a \"name\"": "Paul", "Email": "paul@a.org"}));
}
