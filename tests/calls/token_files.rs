//! Tokens in files: where they may be, who may read them, and when they are read again.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use postgres::Client;
use postgres::error::SqlState;
use sequin_harness::{Database, Sandbox, Server};

const CREATE: &str = "SELECT upstream_id FROM sequin_create('s', 'salesforce:contact', '{\"Email\":\"a@b.org\"}')";

/// A server with a directory of secrets, and next to it a file that is not in it.
struct World {
    server: Server,
    secrets: PathBuf,
}

impl World {
    fn new() -> World {
        let server = Server::start();
        let secrets = server.scratch("secrets");
        let mut session = server.connect("postgres");
        session.batch_execute("LOAD 'sequin_mutations'").unwrap();
        let setting = format!("ALTER SYSTEM SET sequin.secrets_directory = '{}'", secrets.display());
        session.batch_execute(&setting).unwrap();
        session.batch_execute("SELECT pg_reload_conf()").unwrap();
        World { server, secrets }
    }

    fn write(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.secrets.join(name);
        write(&self.server, &path, content, mode);
        path
    }

    fn database(&self, sandbox: &Sandbox, file: &str) -> Database {
        let database = self.server.fresh_database();
        database.execute(&format!(
            "CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url '{}');
             CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token_file '{file}')",
            sandbox.url()
        ));
        database
    }
}

fn write(server: &Server, path: &Path, content: &str, mode: u32) {
    fs::write(path, content).unwrap();
    server.account().give(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
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
    let world = World::new();
    let sandbox = Sandbox::builder().token("first").arg("--token").arg("second").start().unwrap();
    world.write("prod", "first\n", 0o600);
    let database = world.database(&sandbox, "prod");
    let mut session = database.connect();
    session.query(CREATE, &[]).unwrap();
    session.query(CREATE, &[]).unwrap();
    world.write("prod", "second", 0o400);
    session.query(CREATE, &[]).unwrap();
    let log = sandbox.log();
    let tokens: Vec<&str> = log.requests.iter().map(|request| request.headers["authorization"].as_str()).collect();
    assert_eq!(tokens, ["Bearer first", "Bearer first", "Bearer second"]);
}

#[test]
fn a_file_that_is_not_ours_alone_is_refused() {
    let world = World::new();
    let sandbox = Sandbox::builder().token("secret").start().unwrap();
    let database = world.database(&sandbox, "prod");
    let mut session = database.connect();

    assert!(refusal(&mut session).contains("No such file"), "missing");
    for mode in [0o640, 0o604, 0o644, 0o622, 0o666] {
        world.write("prod", "secret", mode);
        let message = refusal(&mut session);
        assert!(message.contains("can be read or written by others"), "{mode:o}: {message}");
    }
    for content in ["", "\n", "zwei Worte", "Zeilen\numbruch", "caf\u{e9}", "ende\t", &"x".repeat(9_000)] {
        world.write("prod", content, 0o600);
        let message = refusal(&mut session);
        assert!(message.contains("does not hold a token"), "{content:?}: {message}");
        assert!(content.trim().is_empty() || !message.contains(content.trim()), "{message}");
    }
    fs::remove_file(world.secrets.join("prod")).unwrap();
    fs::create_dir(world.secrets.join("prod")).unwrap();
    world.server.account().give(&world.secrets.join("prod")).unwrap();
    assert!(refusal(&mut session).contains("is not a plain file"), "a directory");
    assert_eq!(sandbox.log().connections, 0);

    fs::remove_dir(world.secrets.join("prod")).unwrap();
    world.write("prod", "secret", 0o600);
    session.query(CREATE, &[]).unwrap();
}

#[test]
fn a_file_outside_the_directory_cannot_be_named() {
    let world = World::new();
    let sandbox = Sandbox::builder().token("secret").start().unwrap();
    let outside = world.server.scratch("elsewhere").join("outside");
    write(&world.server, &outside, "secret", 0o600);
    world.write("inside", "secret", 0o600);
    symlink(&outside, world.secrets.join("link")).unwrap();
    symlink("inside", world.secrets.join("alias")).unwrap();
    let database = world.database(&sandbox, "link");
    let mut session = database.connect();
    assert!(refusal(&mut session).contains("leads out of"), "a link that leads out");
    // A link that stays within is how Kubernetes mounts secrets.
    session.batch_execute("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token_file 'alias')").unwrap();
    session.query(CREATE, &[]).unwrap();

    for name in ["../outside", "/etc/passwd", "a/../../outside", "", outside.to_str().unwrap()] {
        let sql = format!("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token_file '{name}')");
        let error = session.batch_execute(&sql).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INVALID_PARAMETER_VALUE), "{name}: {error}");
    }
}

#[test]
fn without_a_directory_no_file_is_read() {
    let sandbox = Sandbox::start();
    let database = Database::fresh();
    database.execute(&format!(
        "CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url '{}');
         CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token_file 'prod')",
        sandbox.url()
    ));
    assert!(refusal(&mut database.connect()).contains("sequin.secrets_directory is not set"));
    // The setting is the administrator's: a session cannot point it elsewhere, not even a superuser's.
    let mut session = database.connect();
    session.batch_execute("LOAD 'sequin_mutations'").unwrap();
    let error = session.batch_execute("SET sequin.secrets_directory = '/tmp'").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::CANT_CHANGE_RUNTIME_PARAM), "{error}");
}

#[test]
fn it_takes_the_right_to_read_files_to_name_one() {
    let database = Database::fresh();
    let owner = format!("owner_{}", database.name());
    database.execute(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT USAGE ON FOREIGN DATA WRAPPER sequin_mutations TO {owner}"
    ));
    let mut session = database.connect_as(&owner);
    session
        .batch_execute("CREATE SERVER own FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'https://example.com')")
        .unwrap();
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
        session.batch_execute(sql).unwrap();
    }
    drop(session);
    database.execute(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}
