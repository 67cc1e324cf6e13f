//! A role that may only insert: the upstream ids of its rows are written as the table's owner, whose code must not find
//! any object of the session.

use postgres::Client;
use postgres::error::DbError;
use serde_json::json;

use super::{book, sent};
use crate::support::{Session, World, context_of, detail_of, hint_of};

/// An address book of a superuser, whose trigger notes each written id in a table, and in a value of a type, that it
/// names without a schema. `gain` makes a role a superuser if it runs as one.
struct Stage {
    world: World,
    app: String,
}

impl Stage {
    fn new() -> Stage {
        let mut world = book();
        let app = format!("app_{}", world.database.name());
        world.run(&format!(
            "CREATE TABLE audit (id bigint, up text); CREATE DOMAIN label AS text;
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
               BEGIN
                 INSERT INTO audit VALUES (NEW.id, NEW.sf_id);
                 EXECUTE 'SELECT $1::label' USING NEW.sf_id;
                 RETURN NEW;
               END $$;
             CREATE TRIGGER note BEFORE UPDATE OF sf_id ON people FOR EACH ROW EXECUTE FUNCTION note();
             CREATE ROLE {app} LOGIN; GRANT INSERT ON people TO {app}; GRANT USAGE ON FOREIGN SERVER sequin TO {app};
             CREATE SCHEMA lair AUTHORIZATION {app}"
        ));
        let mut session = world.database.connect_as(&app);
        session.run(&format!(
            "CREATE FUNCTION lair.gain() RETURNS boolean LANGUAGE plpgsql AS $$
                   BEGIN
                     IF current_user = 'postgres' THEN ALTER ROLE {app} SUPERUSER; END IF;
                     RETURN true;
                   END $$;
                 CREATE FUNCTION lair.gain_by_row() RETURNS trigger LANGUAGE plpgsql AS $$
                   BEGIN PERFORM lair.gain(); RETURN NEW; END $$;
                 GRANT USAGE ON SCHEMA lair TO PUBLIC"
        ));
        Stage { world, app }
    }

    fn session(&self) -> Client {
        self.world.database.connect_as(&self.app)
    }

    /// The role has gained nothing so far.
    #[track_caller]
    fn assert_nothing_gained(&mut self, what: &str) {
        let gained = format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{}'", self.app);
        assert!(!self.world.one::<bool>(&gained), "{what}: the role is a superuser now");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let app = &self.app;
        let drop = format!("DROP OWNED BY {app} CASCADE; DROP ROLE {app}");
        if let Err(error) = self.world.client.batch_execute(&drop) {
            eprintln!("{app} was not dropped: {error}");
        }
    }
}

const INSERT: &str = "INSERT INTO people (name) VALUES ('Feyd')";

fn error_of(session: &mut Client, sql: &str) -> DbError {
    session.batch_execute(sql).unwrap_err().as_db_error().unwrap_or_else(|| panic!("no error of the server")).clone()
}

/// The objects of a session that can be found by a name without a schema.
const OBJECTS: [(&str, &str); 6] = [
    (
        "a table with a trigger",
        "CREATE TEMP TABLE audit (id bigint, up text);
         CREATE TRIGGER gain BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION lair.gain_by_row();
         GRANT ALL ON audit TO PUBLIC",
    ),
    ("a table with a default", "CREATE TEMP TABLE audit (id bigint, up text, x bool DEFAULT lair.gain())"),
    (
        "a view",
        "CREATE TEMP TABLE t (id bigint, up text); CREATE TEMP VIEW audit AS SELECT * FROM t WHERE lair.gain();
         CREATE RULE gain AS ON INSERT TO audit DO INSTEAD INSERT INTO t SELECT NEW.id, NEW.up WHERE lair.gain()",
    ),
    ("a domain", "CREATE DOMAIN pg_temp.label AS text CHECK (lair.gain())"),
    ("an enumeration", "CREATE TYPE pg_temp.label AS ENUM ('x')"),
    ("a composite type", "CREATE TYPE pg_temp.label AS (x text)"),
];

#[test]
fn an_insert_is_refused_before_anything_is_sent_while_the_owners_code_could_find_a_temporary_object() {
    let mut stage = Stage::new();
    for (what, objects) in OBJECTS {
        let mut session = stage.session();
        session.batch_execute(objects).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let result = session.batch_execute(INSERT);
        stage.assert_nothing_gained(what);
        let error = result.expect_err(what).as_db_error().unwrap().clone();
        assert_eq!(error.code().code(), "42501", "{what}: {error:?}");
        let detail = detail_of(&error);
        assert_eq!((&detail["outcome"], &detail["applied"]), (&json!("not_sent"), &json!("none")), "{what}");
        assert!(hint_of(&error).contains("DISCARD TEMP"), "{what}: {error:?}");
        assert_eq!(context_of(&error), "INSERT on public.people: nothing was applied", "{what}");
        assert_eq!(sent(&stage.world), [], "{what}");
        // The HINT's statement helps.
        session.run("DISCARD TEMP");
        session.batch_execute(INSERT).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        stage.assert_nothing_gained(what);
        assert_eq!(sent(&stage.world).len(), 1, "{what}");
    }
    let ids = "SELECT count(*) FROM people p JOIN audit a ON a.id = p.id AND a.up = p.sf_id";
    assert_eq!(stage.world.one::<i64>(ids), OBJECTS.len() as i64);
}

/// Such a plan finds the temporary table where it was there when the plan was made.
#[test]
fn a_plan_from_before_a_temporary_table_was_made_is_of_no_use() {
    let mut stage = Stage::new();
    let mut session = stage.session();
    session.run(INSERT);
    session.run(&format!("BEGIN; SAVEPOINT a; {}", OBJECTS[0].1));
    assert_eq!(error_of(&mut session, INSERT).code().code(), "42501");
    stage.assert_nothing_gained("with the table");
    // The table goes with its savepoint.
    session.run(&format!("ROLLBACK TO a; {INSERT}; COMMIT"));
    // As it does at the end of a transaction, or by ON COMMIT DROP.
    let on_commit = "CREATE TEMP TABLE audit (id bigint, up text, x bool DEFAULT lair.gain()) ON COMMIT DROP";
    session.run(&format!("BEGIN; {on_commit}"));
    assert_eq!(error_of(&mut session, INSERT).code().code(), "42501");
    session.run("ROLLBACK");
    session.run(&format!("BEGIN; {on_commit}; COMMIT"));
    session.run(INSERT);
    stage.assert_nothing_gained("in the end");
    assert_eq!(sent(&stage.world).len(), 3);
    assert_eq!(stage.world.one::<i64>("SELECT count(*) FROM audit"), 3);
}

/// The table is made after the check, by code of the role that runs while its rows are read. Then the records are there,
/// which the error says.
#[test]
fn a_temporary_object_that_is_made_while_rows_are_read_is_not_found_either() {
    let mut stage = Stage::new();
    let app = stage.app.clone();
    stage.world.run(&format!("CREATE TYPE thing AS ENUM ('x'); ALTER TABLE people ADD thing thing; SELECT sequin_detach('people');
        SELECT sequin_attach('people', 's', 'salesforce:contact', 'sf_id', delivery => 'inline'); ALTER TYPE thing OWNER TO {app};
        GRANT CREATE ON SCHEMA public TO {app}"));
    let mut session = stage.session();
    session.run(
        "CREATE FUNCTION lair.json(thing) RETURNS json LANGUAGE plpgsql AS $$
               BEGIN
                 CREATE TEMP TABLE IF NOT EXISTS audit (id bigint, up text, x bool DEFAULT lair.gain());
                 RETURN '1';
               END $$;
             CREATE CAST (thing AS json) WITH FUNCTION lair.json(thing)",
    );
    let error = error_of(&mut session, "INSERT INTO people (name, thing) VALUES ('Feyd', 'x')");
    stage.assert_nothing_gained("by a cast");
    assert_eq!((error.code().code(), &detail_of(&error)["applied"]), ("HV00M", &json!("all")), "{error:?}");
    assert!(error.message().contains("temporary object audit"), "{error:?}");
    drop(session);
}

#[test]
fn temporary_objects_do_not_matter_where_the_ids_are_written_with_the_roles_own_rights() {
    let mut stage = Stage::new();
    let app = stage.app.clone();
    let mut session = stage.session();
    session.run("CREATE TEMP TABLE staging AS SELECT 'Feyd' AS name");
    let from_staging = "INSERT INTO people (name) SELECT name FROM staging";
    assert_eq!(error_of(&mut session, from_staging).code().code(), "42501");
    // A statement that makes no row writes no id.
    session.run(&format!("{from_staging} WHERE false"));
    assert_eq!(sent(&stage.world), []);
    // As the HINT says.
    stage.world.run(&format!("GRANT SELECT, UPDATE ON people TO {app}; GRANT INSERT ON audit TO {app}"));
    session.run(from_staging);
    assert_eq!(sent(&stage.world).len(), 1);
    assert_eq!(stage.world.one::<i64>("SELECT count(*) FROM people WHERE sf_id IS NOT NULL"), 1);
}

/// A plain table has no code that could find an object. Each of these statements adds some, and the second one removes
/// it:
const CODE: [(&str, &str); 12] = [
    ("CREATE TRIGGER x BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION note()", "DROP TRIGGER x ON people"),
    ("CREATE TRIGGER x AFTER UPDATE ON people EXECUTE FUNCTION note()", "DROP TRIGGER x ON people"),
    (
        "CREATE CONSTRAINT TRIGGER x AFTER INSERT OR UPDATE OF sf_id ON people DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
         EXECUTE FUNCTION note()",
        "DROP TRIGGER x ON people",
    ),
    ("CREATE RULE x AS ON UPDATE TO people DO ALSO SELECT 1", "DROP RULE x ON people"),
    ("ALTER TABLE people ADD CONSTRAINT x CHECK (valid(sf_id))", "ALTER TABLE people DROP CONSTRAINT x"),
    ("ALTER TABLE people ADD CONSTRAINT x EXCLUDE (sf_id WITH =)", "ALTER TABLE people DROP CONSTRAINT x"),
    ("ALTER TABLE people ADD x boolean GENERATED ALWAYS AS (valid(sf_id)) STORED", "ALTER TABLE people DROP x"),
    ("CREATE INDEX x ON people (valid(sf_id))", "DROP INDEX x"),
    ("CREATE INDEX x ON people (sf_id) WHERE valid(sf_id)", "DROP INDEX x"),
    ("CREATE INDEX x ON people (sf_id own_ops)", "DROP INDEX x"),
    (
        "ALTER TABLE people ADD CONSTRAINT y UNIQUE (sf_id);
         CREATE TABLE visits (up text REFERENCES people (sf_id) ON UPDATE CASCADE)",
        "DROP TABLE visits; ALTER TABLE people DROP CONSTRAINT y",
    ),
    ("ALTER TABLE people ALTER sf_id TYPE label", "ALTER TABLE people ALTER sf_id TYPE text"),
];

#[test]
fn a_role_with_a_temporary_table_may_insert_into_a_table_that_runs_no_code() {
    let mut stage = Stage::new();
    stage.world.run(
        "DROP TRIGGER note ON people;
         CREATE FUNCTION valid(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN true; END $$;
         CREATE OPERATOR CLASS own_ops FOR TYPE text USING btree AS FUNCTION 1 bttextcmp(text, text),
           OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >",
    );
    let mut session = stage.session();
    session.run("CREATE TEMP TABLE staging AS SELECT 'Feyd' AS name");
    let from_staging = "INSERT INTO people (name) SELECT name FROM staging";
    for (code, none) in CODE {
        stage.world.run(code);
        let error = error_of(&mut session, from_staging);
        assert_eq!(error.code().code(), "42501", "{code}: {error:?}");
        assert_eq!(sent(&stage.world), [], "{code}");
        stage.world.run(none);
        session.batch_execute(from_staging).unwrap_or_else(|error| panic!("{none}: {error:?}"));
        assert_eq!(sent(&stage.world).len(), 1, "{none}");
    }
    let ids = "SELECT count(DISTINCT sf_id) FROM people";
    assert_eq!(stage.world.one::<i64>(ids), CODE.len() as i64);
}

/// Objects that the owner's trigger creates are no danger to it, and must not block the next INSERT.
#[test]
fn a_trigger_of_the_owner_may_make_temporary_tables() {
    let mut stage = Stage::new();
    stage.world.run(
        "CREATE FUNCTION gather() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
           BEGIN
             CREATE TEMP TABLE IF NOT EXISTS gathered (id bigint);
             INSERT INTO pg_temp.gathered VALUES (NEW.id);
             RETURN NEW;
           END $$;
         CREATE TRIGGER gather BEFORE UPDATE OF sf_id ON people FOR EACH ROW EXECUTE FUNCTION gather()",
    );
    let mut session = stage.session();
    for _ in 0..3 {
        session.run(INSERT);
    }
    assert_eq!(stage.world.one::<i64>("SELECT count(*) FROM people WHERE sf_id IS NOT NULL"), 3);
}

/// An owner under the table's policies writes the ids as the owner, and the policies do not apply.
#[test]
fn an_owner_under_forced_row_security_may_have_temporary_tables() {
    let mut stage = Stage::new();
    let app = stage.app.clone();
    stage.world.run(&format!(
        "DROP TRIGGER note ON people; ALTER TABLE people OWNER TO {app}; ALTER TABLE people ENABLE ROW LEVEL SECURITY;
         ALTER TABLE people FORCE ROW LEVEL SECURITY; CREATE POLICY new ON people FOR INSERT WITH CHECK (true);
         GRANT USAGE ON SCHEMA public TO {app}"
    ));
    let mut session = stage.session();
    session.run(&format!("CREATE TEMP TABLE mine (id bigint); {INSERT}"));
    assert_eq!(stage.world.one::<i64>("SELECT count(*) FROM people WHERE sf_id IS NOT NULL"), 1);
}

/// Postgres does not look for functions and operators in the temporary schema, so these are no reason to refuse.
#[test]
fn temporary_functions_and_operators_are_neither_found_nor_in_the_way() {
    let mut stage = Stage::new();
    stage.world.run(
        "CREATE FUNCTION helper(a text, b text DEFAULT '') RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR <<< (LEFTARG = text, RIGHTARG = text, FUNCTION = helper);
         CREATE FUNCTION use_them() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
           BEGIN
             PERFORM helper(NEW.sf_id); PERFORM NEW.sf_id <<< 'x'::text;
             RETURN NEW;
           END $$;
         CREATE TRIGGER use_them BEFORE UPDATE OF sf_id ON people FOR EACH ROW EXECUTE FUNCTION use_them()",
    );
    let mut session = stage.session();
    session.run("CREATE FUNCTION pg_temp.helper(a text, b text DEFAULT '') RETURNS boolean LANGUAGE sql AS 'SELECT lair.gain()';
             CREATE OPERATOR pg_temp.<<< (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.helper)");
    session.run(INSERT);
    stage.assert_nothing_gained("by a function or an operator");
    assert_eq!(stage.world.one::<i64>("SELECT count(*) FROM people WHERE sf_id IS NOT NULL"), 1);
}
