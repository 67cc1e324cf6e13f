//! pg_dump as a role that is no superuser: the schema of a database that it owns, and its own data.

use std::process::{Output, Stdio};

use serde_json::json;

use crate::support::{Session, World};

/// A role that owns the database, with a table and a record of its own, beside a record of the superuser.
struct Owned {
    world: World,
    owner: String,
}

impl Owned {
    fn new() -> Owned {
        let mut world = World::new();
        let owner = format!("owner_{}", world.database.name());
        let database = world.database.name().to_owned();
        world.run(&format!(
            "CREATE ROLE \"{owner}\" LOGIN; ALTER DATABASE \"{database}\" OWNER TO \"{owner}\"; SELECT sequin_pause('sequin');
             GRANT USAGE ON FOREIGN SERVER sequin TO \"{owner}\";
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO \"{owner}\";
             GRANT EXECUTE ON FUNCTION sequin.capture, sequin.refuse_truncate TO \"{owner}\""
        ));
        world.enqueue("create", &json!([{"data": {"Name": "the superuser's"}}]));
        let mut session = world.database.connect_as(&owner);
        session.run(
            "CREATE TABLE people (id int PRIMARY KEY, name text, sf_id text);
                 SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id');
                 INSERT INTO people VALUES (1, 'the owner''s')",
        );
        Owned { world, owner }
    }

    fn dump(&self, role: &str, arguments: &[&str]) -> Output {
        let mut command = self.world.database.server().program("pg_dump");
        command.args(arguments).args(["-d", &self.world.database.dsn_as(role)]).output().unwrap()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let (owner, database) = (&self.owner, self.world.database.name().to_owned());
        let _ = self.world.client.batch_execute(&format!(
            "ALTER DATABASE \"{database}\" OWNER TO postgres; DROP OWNED BY \"{owner}\" CASCADE; DROP ROLE \"{owner}\""
        ));
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_owner_of_a_database_can_dump_its_schema() {
    let owned = Owned::new();
    for arguments in [&["-s"][..], &["-s", "-Fc"], &["-s", "--section=pre-data"]] {
        let output = owned.dump(&owned.owner, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let schema = text(&owned.dump(&owned.owner, &["-s"]));
    assert!(schema.contains("CREATE EXTENSION") && schema.contains("CREATE TRIGGER sequin_insert"), "{schema}");
    // As a framework dumps it for its repository: with the token of a mapping that the role may see.
    let token = owned.world.sandbox.token().to_owned();
    assert!(text(&owned.dump("postgres", &["-s", "-x", "-O"])).contains(&token));
    assert!(!text(&owned.dump(&owned.owner, &["-s", "-x", "-O"])).contains(&token));
}

#[test]
fn the_owner_of_a_database_dumps_the_records_that_the_views_show_him() {
    let mut owned = Owned::new();
    let dump = text(&owned.dump(&owned.owner, &[]));
    assert!(dump.contains("the owner's"), "{dump}");
    assert!(!dump.contains("the superuser's"), "{dump}");
    // A superuser, and who may read all, have both.
    let all = text(&owned.dump("postgres", &[]));
    assert!(all.contains("the owner's") && all.contains("the superuser's"), "{all}");

    // A superuser restores it, and the owner's record is held as in any copy.
    let restored = owned.world.database.server().create_database_in(sequin_harness::Encoding::Utf8);
    let mut psql = owned.world.database.server().psql_command(restored.name());
    let mut psql = psql
        .args(["-v", "ON_ERROR_STOP=1", "-d", &restored.dsn()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Of a mapping that the owner may not see there are no options.
    let dump: String = dump.split_inclusive(";\n").filter(|part| !part.contains("USER MAPPING")).collect();
    std::io::Write::write_all(&mut psql.stdin.take().unwrap(), dump.as_bytes()).unwrap();
    assert!(psql.wait_with_output().unwrap().status.success());
    let rows = restored.connect().rows("SELECT data->>'name' FROM sequin.outbox", &[]);
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["the owner's"]);
    let record = "SELECT string_agg(o.key::text, ' ') FROM sequin.outbox o WHERE data->>'name' = 'the owner''s'";
    let key: String = restored.connect().one(record);
    assert_eq!(owned.world.one::<String>(record), key);
    drop(restored);
}

#[test]
fn who_reads_all_data_dumps_all_records_and_another_role_its_own_schemas() {
    let mut owned = Owned::new();
    let role = format!("other_{}", owned.world.database.name());
    owned.world.run(&format!("CREATE ROLE \"{role}\" LOGIN; CREATE SCHEMA theirs AUTHORIZATION \"{role}\""));
    let refused = owned.dump(&role, &["-s"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("permission denied"), "{refused:?}");
    let own = text(&owned.dump(&role, &["-s", "-n", "theirs"]));
    assert!(own.contains("CREATE SCHEMA theirs"), "{own}");
    owned.world.run(&format!("GRANT pg_read_all_data TO \"{role}\""));
    let all = text(&owned.dump(&role, &[]));
    assert!(all.contains("the owner's") && all.contains("the superuser's"), "{all}");
    owned.world.run(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""));
}

/// docs/security.md, for operators whose database owner must not read all open records.
#[test]
fn an_owner_whose_right_to_the_records_is_taken_away_dumps_everything_else() {
    let mut owned = Owned::new();
    owned.world.run(
        "REVOKE SELECT ON sequin.queue, sequin.deferred, sequin.pending_upstream_ids, sequin.pauses, sequin.claims, sequin.holds, sequin.origin FROM pg_database_owner",
    );
    let refused = owned.dump(&owned.owner, &[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("permission denied for table"), "{refused:?}");
    let schema = text(&owned.dump(&owned.owner, &["-s"]));
    assert!(schema.contains("CREATE TRIGGER sequin_insert"), "{schema}");
    let rest = text(&owned.dump(&owned.owner, &["-N", "sequin"]));
    assert!(rest.contains("CREATE TRIGGER sequin_insert") && rest.contains("the owner's"), "{rest}");
    assert!(!rest.contains("COPY sequin."), "{rest}");
}

#[test]
fn a_role_that_owns_nothing_of_the_database_reads_no_inner_table() {
    let mut owned = Owned::new();
    let role = format!("other_{}", owned.world.database.name());
    owned.world.run(&format!("CREATE ROLE \"{role}\" LOGIN"));
    let mut session = owned.world.database.connect_as(&role);
    for table in [
        "queue",
        "deferred",
        "claims",
        "pending_upstream_ids",
        "pauses",
        "holds",
        "origin",
        "first_ids",
        "history",
        "outbox_id",
    ] {
        let error = session.query(&format!("SELECT FROM sequin.{table}"), &[]).unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{table}");
    }
    // Delivered records are in no dump, and only the owner of the extension reads them past the view.
    let mut session = owned.world.database.connect_as(&owned.owner);
    let error = session.query("SELECT FROM sequin.history", &[]).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");
    owned.world.run(&format!("DROP ROLE \"{role}\""));
}
