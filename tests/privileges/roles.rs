//! The rights to send, and to see the token that is used.

use std::process::Command;

use postgres::error::SqlState;
use sequin_harness::{Database, Sandbox, Server};

use crate::support::Session;
use crate::support::server::{own, shared};

/// Not a word of any other text.
const CANARY: &str = "canary-7f3a91c2-token";

const CREATE: &str = "SELECT upstream_id FROM sequin_create('s', 'salesforce:contact', '{\"Email\":\"a@b.org\"}')";

const EXECUTE: &str = "GRANT EXECUTE ON FUNCTION sequin_create(text, text, jsonb, text[], int, name) TO";

/// A role of this test's own: roles are the whole cluster's, databases are not.
fn role(database: &Database, name: &str) -> String {
    let role = format!("{name}_{}", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN"));
    role
}

fn drop_role(database: &Database, role: &str) {
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn it_takes_usage_of_the_server_and_execute_of_the_verb() {
    let sandbox = Sandbox::start();
    let database = shared().fresh_database();
    database.create_server(sandbox.url(), sandbox.token());
    let app = role(&database, "app");
    let refused = |what: &str| {
        let error = database.connect_as(&app).query(CREATE, &[]).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{what}: {error}");
    };

    refused("neither");
    database.execute(&format!("GRANT USAGE ON FOREIGN SERVER sequin TO {app}"));
    refused("USAGE alone");
    database.execute(&format!("REVOKE USAGE ON FOREIGN SERVER sequin FROM {app}; {EXECUTE} {app}"));
    refused("EXECUTE alone");
    assert_eq!(sandbox.log().connections, 0);
    database.execute(&format!("GRANT USAGE ON FOREIGN SERVER sequin TO {app}"));
    let mut session = database.connect_as(&app);
    assert_eq!(session.rows(CREATE, &[]).len(), 1);

    // Rights are asked for on every call, also when the server is known and its connection open.
    database.execute(&format!("REVOKE USAGE ON FOREIGN SERVER sequin FROM {app}"));
    let error = session.query(CREATE, &[]).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{error}");
    assert_eq!(sandbox.log().requests.len(), 1);
    drop(session);
    drop_role(&database, &app);
}

#[test]
fn a_role_s_own_mapping_comes_before_publics() {
    let sandbox = Sandbox::builder().token("public-token").arg("--token").arg("own-token").start().unwrap();
    let database = shared().fresh_database();
    database.create_server(sandbox.url(), "public-token");
    let app = role(&database, "app");
    database.execute(&format!(
        "GRANT USAGE ON FOREIGN SERVER sequin TO {app}; {EXECUTE} {app};
         CREATE USER MAPPING FOR {app} SERVER sequin OPTIONS (token 'own-token')"
    ));
    database.connect().rows(CREATE, &[]);
    database.connect_as(&app).rows(CREATE, &[]);
    // One session that changes its role must not take its first role's token along.
    let mut session = database.connect();
    session.rows(CREATE, &[]);
    session.run(&format!("SET ROLE {app}"));
    session.rows(CREATE, &[]);
    session.run("RESET ROLE");
    session.rows(CREATE, &[]);
    let tokens: Vec<String> =
        sandbox.log().requests.iter().map(|request| request.headers["authorization"].clone()).collect();
    let (public, own) = ("Bearer public-token", "Bearer own-token");
    assert_eq!(tokens, [public, own, public, own, public]);
    drop(session);
    drop_role(&database, &app);
}

#[test]
fn a_definer_s_function_uses_the_definer_s_rights() {
    let sandbox = Sandbox::start();
    let database = shared().fresh_database();
    database.create_server(sandbox.url(), sandbox.token());
    let app = role(&database, "app");
    database.execute(
        "CREATE FUNCTION save(email text) RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
         AS $$ SELECT (sequin_create('s', 'salesforce:contact', jsonb_build_object('Email', email))).upstream_id $$",
    );
    let row = database.connect_as(&app).query_one("SELECT save('a@b.org')", &[]).unwrap();
    assert!(!row.get::<_, String>(0).is_empty());
    drop_role(&database, &app);
}

#[test]
fn a_token_is_used_but_seen_nowhere() {
    let sandbox = Sandbox::builder().token(CANARY).start().unwrap();
    let server =
        own("log_min_messages = debug5\nlog_statement = all\nlog_error_verbosity = verbose\nlog_connections = on");
    let database = server.fresh_database();
    // The statement that brings the token in is Postgres' own to log: the one thing to keep out of the log by hand.
    let mut administrator = database.connect();
    administrator.run("SET log_statement = none; SET log_min_messages = fatal");
    let setup = format!(
        "CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url '{}');
         CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token '{CANARY}');
         CREATE ROLE app LOGIN; GRANT USAGE ON FOREIGN SERVER sequin TO app;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app",
        sandbox.url()
    );
    administrator.run(&setup);

    let mut output = String::new();
    let mut run = |sql: &str| {
        let printed = server
            .psql_command(database.name())
            .args([
                "-d",
                &database.dsn_as("app"),
                "-c",
                "SET client_min_messages = debug5",
                "-c",
                "\\set VERBOSITY verbose",
                "-c",
                sql,
            ])
            .output()
            .unwrap();
        output.push_str(&String::from_utf8_lossy(&printed.stdout));
        output.push_str(&String::from_utf8_lossy(&printed.stderr));
    };
    run(CREATE);
    // An API that repeats the request in each part of its reply.
    let echoes = [
        format!("{{\"error\":\"Error: token {CANARY} is odd\"}}"),
        format!("{{\"error\":\"no\",\"docs\":[{{\"authorization\":\"Bearer {CANARY}\"}}]}}"),
        format!("{{\"summary\":\"{CANARY}\",\"validation_errors\":{{\"token\":[\"{CANARY}\"]}}}}"),
        format!("<html>{CANARY}</html>"),
    ];
    for status in [200, 400, 401, 404, 429, 500] {
        for body in &echoes {
            sandbox.fault(serde_json::json!({"status": status, "body": body}));
            run(CREATE);
        }
    }
    sandbox.fault(serde_json::json!({"cut_after": 0}));
    run(CREATE);
    assert_eq!(sandbox.log().requests.len(), 1 + 6 * echoes.len() + 1);
    assert!(output.contains("[redacted]"), "{output}");
    assert!(!output.contains(CANARY), "in what psql printed");

    let mut session = database.connect_as("app");
    assert_eq!(relations_with_canary(&mut session), Vec::<String>::new());
    let dump = dump_of_sequin(&server, &database);
    assert!(dump.contains("dump complete") && !dump.contains(CANARY), "in the dump");
    assert!(!server.log().contains(CANARY), "in the server's log");
}

/// The relations that the session may read and that show the canary somewhere.
fn relations_with_canary(session: &mut postgres::Client) -> Vec<String> {
    let readable = session.rows(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
             WHERE relkind IN ('r', 'v', 'm') AND has_schema_privilege(n.oid, 'USAGE')
               AND has_table_privilege(c.oid, 'SELECT')",
        &[],
    );
    assert!(readable.len() > 100);
    // Put together here, so that the query does not find itself in pg_stat_activity.
    let (head, tail) = CANARY.split_at(4);
    let mut shows = |relation: &String| {
        let sql = format!("SELECT count(*) FROM {relation} r WHERE r::text LIKE '%' || '{head}' || '{tail}' || '%'");
        // Some views are for superusers although PUBLIC may select from them.
        session.query_one(&sql, &[]).is_ok_and(|row| row.get::<_, i64>(0) > 0)
    };
    readable.iter().map(|row| row.get::<_, String>(0)).filter(|relation| shows(relation)).collect()
}

fn dump_of_sequin(server: &Server, database: &Database) -> String {
    let output = Command::new(server.config().bindir.join("pg_dump"))
        .args(["--schema=sequin", "-d", &database.dsn()])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
