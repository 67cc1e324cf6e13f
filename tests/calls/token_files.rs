//! Tokens in files: permitted places and permissions, and when they are read again.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use postgres::Client;
use postgres::error::SqlState;
use sequin_harness::{Database, Sandbox, Server};

use crate::support::Session;
use crate::support::server::{own, secrets_directory, shared, write_as_server};

const CREATE: &str = "SELECT upstream_id FROM sequin_create('s', 'salesforce:contact', '{\"Email\":\"a@b.org\"}')";

/// A server with a directory of token files.
struct Secrets {
    server: Server,
    directory: PathBuf,
}

impl Secrets {
    fn new() -> Secrets {
        let server = own("");
        let directory = secrets_directory(&server);
        Secrets { server, directory }
    }

    fn write(&self, name: &str, content: &str, mode: u32) {
        write_as_server(&self.server, &self.directory.join(name), content, mode);
    }

    /// A database whose mapping names `file`.
    fn database(&self, sandbox: &Sandbox, file: &str) -> Database {
        let database = self.server.fresh_database();
        map_to_file(&database, sandbox, file);
        database
    }
}

fn map_to_file(database: &Database, sandbox: &Sandbox, file: &str) {
    database.execute(&format!(
        "CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url '{}');
         CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token_file '{file}')",
        sandbox.url()
    ));
}

fn refusal(session: &mut Client) -> String {
    let error = session.query(CREATE, &[]).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::FDW_UNABLE_TO_CREATE_EXECUTION), "{error}");
    let error = error.as_db_error().unwrap();
    assert!(error.hint().is_some(), "{error}");
    error.message().to_owned()
}

#[test]
fn a_token_is_read_from_its_file_and_again_when_it_has_changed() {
    let secrets = Secrets::new();
    let sandbox = Sandbox::builder().token("first").arg("--token").arg("second").start().unwrap();
    secrets.write("prod", "first\n", 0o600);
    let database = secrets.database(&sandbox, "prod");
    let mut session = database.connect();
    session.rows(CREATE, &[]);
    session.rows(CREATE, &[]);
    secrets.write("prod", "second", 0o400);
    session.rows(CREATE, &[]);
    let log = sandbox.log();
    let tokens: Vec<&str> = log.requests.iter().map(|request| request.headers["authorization"].as_str()).collect();
    assert_eq!(tokens, ["Bearer first", "Bearer first", "Bearer second"]);
}

#[test]
fn a_file_that_is_not_ours_alone_is_refused() {
    let secrets = Secrets::new();
    let sandbox = Sandbox::builder().token("secret").start().unwrap();
    let database = secrets.database(&sandbox, "prod");
    let mut session = database.connect();

    assert!(refusal(&mut session).contains("No such file"), "missing");
    for mode in [0o640, 0o604, 0o644, 0o622, 0o666] {
        secrets.write("prod", "secret", mode);
        let message = refusal(&mut session);
        assert!(message.contains("is accessible by other operating system users"), "{mode:o}: {message}");
    }
    for content in ["", "\n", "zwei Worte", "Zeilen\numbruch", "caf\u{e9}", "ende\t", &"x".repeat(9_000)] {
        secrets.write("prod", content, 0o600);
        let message = refusal(&mut session);
        assert!(message.contains("does not hold a token"), "{content:?}: {message}");
        assert!(content.trim().is_empty() || !message.contains(content.trim()), "{message}");
    }
    fs::remove_file(secrets.directory.join("prod")).unwrap();
    fs::create_dir(secrets.directory.join("prod")).unwrap();
    secrets.server.account().give(&secrets.directory.join("prod")).unwrap();
    assert!(refusal(&mut session).contains("is not a regular file"), "a directory");
    assert_eq!(sandbox.log().connections, 0);

    fs::remove_dir(secrets.directory.join("prod")).unwrap();
    secrets.write("prod", "secret", 0o600);
    session.rows(CREATE, &[]);
}

#[test]
fn a_file_outside_the_directory_cannot_be_named() {
    let secrets = Secrets::new();
    let sandbox = Sandbox::builder().token("secret").start().unwrap();
    let outside = secrets.server.scratch("elsewhere").join("outside");
    write_as_server(&secrets.server, &outside, "secret", 0o600);
    secrets.write("inside", "secret", 0o600);
    symlink(&outside, secrets.directory.join("link")).unwrap();
    symlink("inside", secrets.directory.join("alias")).unwrap();
    let database = secrets.database(&sandbox, "link");
    let mut session = database.connect();
    assert!(refusal(&mut session).contains("is outside of sequin.secrets_directory"), "a link that leads out");
    // A link that stays within is how Kubernetes mounts secrets.
    session.run("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token_file 'alias')");
    session.rows(CREATE, &[]);

    for name in ["../outside", "/etc/passwd", "a/../../outside", "", outside.to_str().unwrap()] {
        let sql = format!("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token_file '{name}')");
        let error = session.batch_execute(&sql).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INVALID_PARAMETER_VALUE), "{name}: {error}");
    }
}

#[test]
fn without_a_directory_no_file_is_read() {
    let sandbox = Sandbox::start();
    let database = shared().fresh_database();
    map_to_file(&database, &sandbox, "prod");
    assert!(refusal(&mut database.connect()).contains("sequin.secrets_directory is not set"));
    // The setting is the administrator's: a session cannot point it elsewhere, not even a superuser's.
    let mut session = database.connect();
    session.run("LOAD 'sequin_mutations'");
    let error = session.batch_execute("SET sequin.secrets_directory = '/tmp'").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::CANT_CHANGE_RUNTIME_PARAM), "{error}");
}

#[test]
fn it_takes_the_right_to_read_files_to_name_one() {
    let database = shared().fresh_database();
    let owner = format!("owner_{}", database.name());
    database.execute(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT USAGE ON FOREIGN DATA WRAPPER sequin_mutations TO {owner}"
    ));
    let mut session = database.connect_as(&owner);
    session.run("CREATE SERVER own FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'https://example.com')");
    let attempts = [
        "CREATE USER MAPPING FOR CURRENT_USER SERVER own OPTIONS (token_file 'prod')",
        "ALTER SERVER own OPTIONS (ADD ca_file '/etc/ssl/certs/ca-certificates.crt')",
    ];
    for sql in attempts {
        let error = session.batch_execute(sql).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error}");
    }
    database.execute(&format!("GRANT pg_read_server_files TO {owner}"));
    for sql in attempts {
        session.run(sql);
    }
    drop(session);
    database.execute(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}
