//! The owner of a database, without further rights, shadows every name of the extension's SQL, before and after the
//! installation.
//!
//! No shadow may run as another role than its caller, and none may become a part of the extension. In fact none runs at
//! all, which is asserted: each shadow would write a line into the server's log.

mod shadowed_server;

use sequin_harness::{Sandbox, paths};

use crate::support::Session;
use crate::support::network::eventually;
use crate::support::server::shared;
use shadowed_server::ShadowedServer;

/// The calls, with nothing of their own that could be shadowed.
const CALLS: [&str; 14] = [
    "SELECT upstream_id FROM app.sequin_create('s', 'salesforce:contact', '{\"n\": 1}')",
    "SELECT upstream_id FROM app.sequin_mutate('create', 's', 'salesforce:contact', '[{\"data\": {\"n\": 2}}]')",
    "SELECT * FROM app.sequin_mutate('update', 's', 'salesforce:contact', '[{\"upstream_id\": \"none\", \"data\": {}}]')",
    "SELECT app.sequin_enqueue('create', 's', 'salesforce:contact', '[{\"data\": {\"n\": 3}}, {\"data\": {\"n\": 4}}]')",
    "SELECT app.sequin_enqueue('delete', 's', 'salesforce:contact', '\"none\"')",
    "SELECT app.sequin_pause('sequin')",
    "SELECT app.sequin_resume('sequin')",
    "SELECT app.sequin_await_delivery('{1,2,3}', 20000)",
    "SELECT * FROM sequin.status",
    "SELECT * FROM sequin.stat_servers",
    "SELECT app.sequin_stat_reset()",
    "SELECT * FROM sequin.outbox",
    "SELECT * FROM sequin.delivered",
    "SELECT * FROM sequin.attachments",
];

const TABLES: &str = "
    CREATE SCHEMA IF NOT EXISTS @; CREATE TABLE @.inline (id pg_catalog.int4 PRIMARY KEY, name pg_catalog.text, up pg_catalog.text);
    CREATE TABLE @.later (id pg_catalog.uuid, tag pg_catalog.name, name pg_catalog.varchar, doc pg_catalog.jsonb, up pg_catalog.text, PRIMARY KEY (id, tag));
    SELECT app.sequin_attach('@.inline', 's', 'salesforce:contact', 'up', delivery => 'inline');
    SELECT app.sequin_attach('@.later', 's', 'salesforce:contact', 'up');
    INSERT INTO @.inline VALUES (1, 'a', NULL), (2, 'b', NULL);
    UPDATE @.inline SET name = 'c';
    DELETE FROM @.inline;
    INSERT INTO @.later VALUES ('7f3a91c2-0000-4000-8000-000000000001', 't', 'a', '{}', NULL);
    UPDATE @.later SET name = 'b', doc = '[1]'";

/// Drives everything in the database as `role`.
fn drive(shadowed: &ShadowedServer, database: &str, role: &str) {
    let mut session = if role == "mallory" { shadowed.mallory(database) } else { shadowed.server.connect(database) };
    for call in CALLS {
        if call.contains("none\"") && !call.contains("enqueue") {
            assert_eq!(session.error(call).code().code(), "HV024");
        } else {
            session.column(call);
        }
    }
    let schema = format!("of_{role}");
    session.run(&TABLES.replace('@', &schema));
    let mut observer = shadowed.observer(database);
    eventually("the id is written back", || {
        !observer.column(&format!("SELECT up FROM {schema}.later WHERE up IS NOT NULL")).is_empty()
    });
    eventually("all is settled", || {
        observer.column("SELECT 1 FROM sequin.outbox WHERE state IN ('pending', 'sending')").is_empty()
    });
    let dead = observer.column("SELECT id FROM sequin.dead_letters");
    assert!(!dead.is_empty(), "no delete was rejected");
    for id in dead {
        session.column(&format!("SELECT app.sequin_retry({id})"));
    }
    session.column("SELECT app.sequin_pause('sequin')");
    let update =
        "SELECT app.sequin_enqueue('update', 's', 'salesforce:contact', '{\"upstream_id\": \"x\", \"data\": {}}')";
    let id = session.column(update).remove(0);
    session.column(&format!("SELECT app.sequin_discard({id})"));
    let error = session.error(&format!("SELECT app.sequin_resolve({id}, 'x')"));
    assert!(!error.code().code().starts_with("XX"), "{error:?}");
    session.column("SELECT app.sequin_resume('sequin')");
    session.run(&format!("SELECT app.sequin_detach('{0}.inline'); SELECT app.sequin_detach('{0}.later')", schema));
}

#[test]
fn no_shadow_runs_at_the_install_in_a_call_in_a_trigger_or_in_the_worker() {
    let shadowed = ShadowedServer::start();
    shadowed.database("stage");
    let sandbox = Sandbox::start();

    // They do run where names are left to the search_path.
    for (role, sql, kinds) in [
        (
            "mallory",
            "SELECT 1 = 2, count(*), 'a'::text FROM pg_namespace",
            ["relation pg_namespace", "operator =", "aggregate count", "type text"],
        ),
        (
            "postgres",
            "SELECT lower('A'::pg_catalog.text), 'a'::pg_catalog.name || 1::pg_catalog.int4, '1'::jsonb FROM pg_database",
            ["relation pg_database", "operator ||", "function lower", "type jsonb"],
        ),
    ] {
        let ran = shadowed.ran_in(|| {
            shadowed.server.connect_as("stage", role).column(sql);
        });
        for kind in kinds {
            let line = format!("{kind} ran as {role} for {role}");
            assert!(ran.contains(&line), "{line}: {ran:?}");
        }
    }

    let before = shadowed.ran().len();
    let mut superuser = shadowed.server.connect("stage");
    superuser.run("CREATE EXTENSION sequin_mutations SCHEMA app");
    assert_eq!(shadowed.ran()[before..], [""; 0], "at the install");
    superuser.run(&format!(
        "CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url '{}', ordered_replies 'true');
             CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token '{}');
             GRANT USAGE ON FOREIGN SERVER sequin TO mallory;
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO mallory;
             GRANT EXECUTE ON FUNCTION sequin.capture, sequin.refuse_truncate TO mallory",
        sandbox.url(),
        sandbox.token()
    ));
    for role in ["mallory", "postgres"] {
        drive(&shadowed, "stage", role);
        assert_eq!(shadowed.ran()[before..], [""; 0], "in what {role} does, or the worker after him");
    }
    // For each role: two calls, two records of the outbox, two rows inline that were deleted again, and one later.
    let contacts = sandbox.records("salesforce:contact");
    let present = contacts.iter().filter(|contact| contact["deleted"] == false).count();
    assert_eq!((contacts.len(), present), (14, 10), "{contacts:?}");
    let names: Vec<&str> = contacts.iter().filter_map(|contact| contact["data"]["name"].as_str()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert!(names.iter().all(|name| ["b", "c"].contains(name)), "{names:?}");
}

/// The version that the control file installs.
fn version() -> String {
    let control = std::fs::read_to_string(paths::workspace().join("sequin_mutations.control")).unwrap();
    let line = control.lines().find(|line| line.starts_with("default_version")).unwrap();
    line.split('\'').nth(1).unwrap().to_owned()
}

/// The steps that `sql/` has.
fn update_steps() -> Vec<(String, String)> {
    let names = std::fs::read_dir(paths::workspace().join("sql")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let steps = names.filter_map(|name| {
        let versions = name.strip_prefix("sequin_mutations--")?.strip_suffix(".sql")?.to_owned();
        versions.split_once("--").map(|(from, to)| (from.to_owned(), to.to_owned()))
    });
    steps.collect()
}

/// An update in the extension's style, and one with an unqualified name.
const GOOD: &str = "
    ALTER TABLE sequin.origin ADD scratch pg_catalog.text;
    UPDATE sequin.origin SET scratch = pg_catalog.lower('A') WHERE system_identifier OPERATOR(pg_catalog.<>) 0;
    CREATE FUNCTION @extschema@.sequin_scratch() RETURNS pg_catalog.int4 LANGUAGE sql AS 'SELECT 1'";
const BAD: &str = "
    UPDATE sequin.origin SET scratch = system_identifier || 'a'::pg_catalog.name WHERE 'a'::pg_catalog.name = 1::pg_catalog.oid";

#[test]
fn no_shadow_runs_at_any_update_that_there_is() {
    let shadowed = ShadowedServer::start();
    let version = version();
    shadowed.write_script(&format!("sequin_mutations--{version}--good.sql"), GOOD);
    shadowed.write_script("sequin_mutations--good--bad.sql", BAD);
    let mut steps = update_steps();
    steps.push((version, "good".to_owned()));
    for (i, (from, to)) in steps.iter().enumerate() {
        let database = format!("step{i}");
        shadowed.database(&database);
        let before = shadowed.ran().len();
        let mut superuser = shadowed.server.connect(&database);
        for sql in [
            format!("CREATE EXTENSION sequin_mutations SCHEMA app VERSION '{from}'"),
            format!("ALTER EXTENSION sequin_mutations UPDATE TO '{to}'"),
        ] {
            superuser.run(&sql);
            assert_eq!(shadowed.ran()[before..], [""; 0], "{sql}");
        }
        if to == "good" {
            let ran = shadowed.ran_in(|| superuser.run("ALTER EXTENSION sequin_mutations UPDATE TO 'bad'"));
            assert!(ran.iter().any(|what| what.contains("ran as postgres for postgres")), "at a bad one: {ran:?}");
        }
    }
}

/// The class of CVE-2022-2625: a script that adopts an existing object of another role.
#[test]
fn what_has_the_name_of_ours_is_an_error_and_not_adopted() {
    let model = shared().fresh_database();
    let mut client = model.connect();
    let functions = "SELECT format('CREATE FUNCTION app.%I(%s) RETURNS int LANGUAGE sql AS ''SELECT 1''', proname,
            pg_get_function_identity_arguments(p.oid)), format('DROP FUNCTION app.%I', proname)
        FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
        JOIN pg_extension e ON e.oid = d.refobjid
        WHERE extname = 'sequin_mutations' AND deptype = 'e' AND pronamespace = 'public'::regnamespace";
    let mut ours: Vec<(String, String)> =
        client.rows(functions, &[]).iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(ours.len() >= 12, "{ours:?}");
    for (create, drop) in [
        ("CREATE TYPE app.sequin_record AS (id pg_catalog.text)", "DROP TYPE app.sequin_record"),
        ("CREATE DOMAIN app.sequin_record AS pg_catalog.text", "DROP DOMAIN app.sequin_record"),
        ("CREATE TABLE app.sequin_record (id pg_catalog.text)", "DROP TABLE app.sequin_record"),
    ] {
        ours.push((create.to_owned(), drop.to_owned()));
    }

    let database = shared().create_database();
    let role = format!("mallory_{}", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN; CREATE SCHEMA app AUTHORIZATION {role}"));
    let (mut superuser, mut mallory) = (database.connect(), database.connect_as(&role));
    // The owner of the database can also create the first objects of the install script.
    let also = [
        ("CREATE SCHEMA sequin", "DROP SCHEMA sequin"),
        ("CREATE FOREIGN DATA WRAPPER sequin_mutations", "DROP FOREIGN DATA WRAPPER sequin_mutations"),
    ];
    for (create, drop) in also {
        superuser.run(create);
        let error = superuser.error("CREATE EXTENSION sequin_mutations SCHEMA app");
        assert!(["42P06", "42710"].contains(&error.code().code()), "{create}: {error:?}");
        superuser.run(drop);
    }
    for (create, drop) in &ours {
        mallory.batch_execute(create).unwrap_or_else(|error| panic!("{create}: {error:?}"));
        let error = superuser.error("CREATE EXTENSION sequin_mutations SCHEMA app");
        assert!(["42723", "42710", "42P07"].contains(&error.code().code()), "{create}: {error:?}");
        assert!(error.message().contains("already exists"), "{create}: {error:?}");
        let left = "SELECT (SELECT count(*) FROM pg_extension WHERE extname = 'sequin_mutations')
            + (SELECT count(*) FROM pg_namespace WHERE nspname = 'sequin')
            + (SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND refobjid NOT IN (SELECT oid FROM pg_extension))";
        assert_eq!(superuser.one::<i64>(left), 0, "{create}");
        // It still belongs to mallory.
        mallory.batch_execute(drop).unwrap_or_else(|error| panic!("{drop}: {error:?}"));
    }
    superuser.run("CREATE EXTENSION sequin_mutations SCHEMA app");
    drop(mallory);
    database.execute(&format!("DROP EXTENSION sequin_mutations; DROP OWNED BY {role}; DROP ROLE {role}"));
}
