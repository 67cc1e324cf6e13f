//! The Postgres servers of tests: the shared one, or a separate one.
//!
//! Their name look-ups obey `harness/shim/getaddrinfo.c`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use sequin_harness::{Builder, Server, literal, look_ups};

use super::session::Session;

/// The database of a server of a test's own.
pub const APP: &str = "app";

/// Preloaded, a worker comes by itself with the server.
pub const PRELOADED: &str = "shared_preload_libraries = 'sequin_mutations'";

/// The server that the tests share. Each makes a database of its own there.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| own(""))
}

/// A server of a test's own, with these lines in postgresql.conf: for tests that stop it, kill it, or count its workers.
pub fn own(conf: &str) -> Server {
    start(builder().conf(conf))
}

/// One with an installation of its own as well, below a directory that begins with this name: for tests that write
/// files there. The next server in the same directory would remove them.
pub fn own_installation(name: &str) -> Server {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    start(builder().under(shared().scratch(&format!("{name}-{number}"))))
}

/// A server that follows `primary`.
pub fn standby_of(primary: &Server) -> Server {
    let scratch = primary.scratch("backup");
    primary.account().give(&scratch).unwrap();
    let backup = scratch.join("data");
    let mut command = primary.program("pg_basebackup");
    let command = command.args(["-X", "stream", "-c", "fast", "-d", &primary.dsn("postgres"), "-D"]).arg(&backup);
    must(&command.output().unwrap());
    let conninfo = primary.dsn("postgres").replace('\'', "''");
    let conf = format!("{PRELOADED}\nhot_standby = on\nprimary_conninfo = '{conninfo}'");
    start(builder().conf(&conf).copy_of(&backup).standby())
}

/// Gives the server a directory of token files.
pub fn secrets_directory(server: &Server) -> PathBuf {
    let path = server.scratch("secrets");
    let mut session = server.connect("postgres");
    session.run("LOAD 'sequin_mutations'");
    session.run(&format!("ALTER SYSTEM SET sequin.secrets_directory = {}", literal(&path.display().to_string())));
    session.run("SELECT pg_reload_conf()");
    path
}

/// Writes a file of the server's account.
pub fn write_as_server(server: &Server, path: &Path, content: &str, mode: u32) {
    fs::write(path, content).unwrap();
    server.account().give(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// For a server with more than that.
pub fn builder() -> Builder {
    look_ups::obeying(Server::builder())
}

pub fn start(builder: Builder) -> Server {
    builder.start().unwrap_or_else(|error| panic!("no server: {error}"))
}

/// Checks that a program has succeeded.
pub fn must(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
