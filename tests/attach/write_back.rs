//! Writing upstream ids into rows, despite other triggers and constraints of the table.

use serde_json::json;

use super::statements::summary;
use super::{book, sent};
use crate::support::{Session, context_of};

const TOUCH: &str = "
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.note := coalesce(NEW.note, '') || '+'; RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch()";

#[test]
fn a_trigger_that_touches_each_updated_row_costs_no_second_request() {
    let mut world = book();
    world.run(TOUCH);
    world.run("INSERT INTO people (name) VALUES ('a'), ('b')");
    assert_eq!(summary(&world), "create 2", "touched column not mapped");
    world.run("SELECT sequin_detach('people'); SELECT sequin_attach('people', 's', 'salesforce:contact', 'sf_id', delivery => 'inline')");
    world.run("INSERT INTO people (name) VALUES ('c'), ('d')");
    assert_eq!(summary(&world), "create 2", "touched column mapped");
    world.run("UPDATE people SET name = 'e' WHERE name = 'c'");
    assert_eq!(sent(&world)[0].1[0]["data"]["name"], json!("e"));
}

#[test]
fn triggers_before_the_row_decide_what_is_sent() {
    let mut world = book();
    world.run(
        "CREATE FUNCTION lower_email() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF NEW.name = 'skip' THEN RETURN NULL; END IF; NEW.email := lower(NEW.email); RETURN NEW; END $$;
         CREATE TRIGGER lower_email BEFORE INSERT OR UPDATE ON people FOR EACH ROW EXECUTE FUNCTION lower_email()",
    );
    world.run("INSERT INTO people (name, email) VALUES ('a', 'A@A.ORG'), ('skip', NULL)");
    assert_eq!(sent(&world), [("create".to_owned(), json!([{"data": {"Name": "a", "Email": "a@a.org"}}]))]);
    world.run("UPDATE people SET email = upper(email)");
    assert_eq!(sent(&world), []);
}

#[test]
fn triggers_after_the_row_that_write_the_same_table() {
    let mut world = book();
    world.run(
        "CREATE FUNCTION twin() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF NEW.name NOT LIKE 'twin%' THEN INSERT INTO people (name) VALUES ('twin of ' || NEW.name); END IF; RETURN NULL; END $$;
         CREATE TRIGGER twin AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION twin()",
    );
    world.run("INSERT INTO people (name) VALUES ('a'), ('b')");
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM people"), 4);
    for record in world.sandbox.records("salesforce:contact") {
        let (id, name) = (record["upstream_id"].as_str().unwrap(), record["data"]["Name"].as_str().unwrap());
        assert_eq!(world.one_of::<String>("SELECT name FROM people WHERE sf_id = $1", &[&id]), name);
    }
}

/// An error that keeps an id from its row fails the statement, and says that the records exist.
#[test]
fn an_id_that_cannot_be_written_is_reported_with_the_applied_records() {
    let cases = [
        ("a check", "ALTER TABLE people ADD CHECK (sf_id IN ('none'))"),
        ("a length", "ALTER TABLE people ALTER sf_id TYPE varchar(2)"),
        ("a domain", "CREATE DOMAIN short AS text CHECK (length(value) < 2); ALTER TABLE people ALTER sf_id TYPE short"),
        (
            "a trigger that raises",
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
             CREATE TRIGGER no BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION no()",
        ),
        (
            "a trigger that skips",
            "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
             CREATE TRIGGER skip BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION skip()",
        ),
        (
            "a trigger that puts it back",
            "CREATE FUNCTION old() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.sf_id := OLD.sf_id; RETURN NEW; END $$;
             CREATE TRIGGER old BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION old()",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, setup) in cases {
        let mut world = book();
        world.run(setup);
        match world.client.batch_execute("INSERT INTO people (name) VALUES ('a'), ('b')") {
            Ok(()) => wrong
                .push(format!("{what}: no error, although {} records are there without a row", world.contact_count())),
            Err(error) => {
                let error = error.as_db_error().unwrap().clone();
                assert_eq!(world.contact_count(), 2);
                let context = context_of(&error);
                if !context.contains("applied") || !context.contains("INSERT on public.people") {
                    wrong.push(format!(
                        "{what}: {} {} CONTEXT {context:?} DETAIL {:?}",
                        error.code().code(),
                        error.message(),
                        error.detail()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_row_that_is_gone_when_its_insert_ends_is_not_created() {
    let mut world = book();
    world.run(
        "CREATE FUNCTION del() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM people WHERE id = NEW.id; RETURN NULL; END $$;
         CREATE TRIGGER del AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION del();
         INSERT INTO people (name) VALUES ('a'), ('b')",
    );
    assert_eq!(sent(&world), []);
}

#[test]
fn it_asks_nothing_of_the_owner_but_to_own_the_table() {
    let mut wrong = Vec::new();
    for setup in
        ["GRANT USAGE ON SCHEMA public TO", "REVOKE ALL ON people FROM", "REVOKE USAGE ON SCHEMA public FROM PUBLIC,"]
    {
        let mut world = book();
        let (app, owner) = (format!("app_{}", world.database.name()), format!("owner_{}", world.database.name()));
        world.run(&format!(
            "CREATE ROLE {app} LOGIN; CREATE ROLE {owner}; ALTER TABLE people OWNER TO {owner};
             GRANT INSERT ON people TO {app}; GRANT USAGE ON FOREIGN SERVER sequin TO {app};
             GRANT USAGE ON SCHEMA public TO {app}; {setup} {owner}"
        ));
        let inserted = world.database.connect_as(&app).batch_execute("INSERT INTO people (name) VALUES ('a')");
        world.run(&format!("DROP OWNED BY {app}; ALTER TABLE people OWNER TO CURRENT_USER; DROP OWNED BY {owner}; DROP ROLE {app}, {owner}"));
        let created = world.contact_count();
        // The owner's rights that RI checks need are allowed here too. Calls of the server are not, and the error must
        // count the applied records.
        if let Err(error) = inserted
            && (setup.starts_with("GRANT") || !context_of(error.as_db_error().unwrap()).contains("applied"))
        {
            wrong.push(format!("{setup}: {created} created, {:?}", error.as_db_error()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_definer_s_function_sends_as_the_definer() {
    let mut world = book();
    let app = format!("app_{}", world.database.name());
    world.run(&format!(
        "CREATE FUNCTION add(name text) RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
         AS $$ INSERT INTO public.people (name) VALUES ($1); SELECT sf_id FROM public.people WHERE name = $1 $$;
         CREATE ROLE {app} LOGIN"
    ));
    let row = world.database.connect_as(&app).query_one("SELECT add('a')", &[]).unwrap();
    assert!(row.get::<_, Option<String>>(0).is_some());
    world.run(&format!("DROP ROLE {app}"));
}

#[test]
fn a_role_without_the_server_may_not_write() {
    let mut world = book();
    let app = format!("app_{}", world.database.name());
    world.run(&format!("CREATE ROLE {app} LOGIN; GRANT ALL ON people TO {app}"));
    let error = world.database.connect_as(&app).batch_execute("INSERT INTO people (name) VALUES ('a')").unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501", "{error}");
    assert_eq!(sent(&world), []);
    world.run(&format!("DROP OWNED BY {app}; DROP ROLE {app}"));
}
