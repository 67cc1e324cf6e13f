//! A PgBouncer in front of one of the harness' servers.

use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use postgres::{Client, NoTls};
use sequin_harness::Server;

use crate::programs::program;
use crate::support::network::eventually;

/// It ends with this value, and when this process ends in any way: its keeper waits for the end of a pipe from here.
pub struct Bouncer {
    keeper: Child,
    input: Option<ChildStdin>,
    /// Where its socket is.
    pub directory: PathBuf,
    /// Only the name of its socket: it listens on no port.
    pub port: u16,
    log: PathBuf,
}

/// It exits at once on SIGTERM. Signals for the tests must not end the keeper.
const KEEPER: &str = "trap '' HUP INT TERM PIPE; \"$0\" \"$1\" </dev/null >>\"$2\" 2>&1 & pid=$!; \
    cat >/dev/null; kill $pid; wait $pid";

impl Bouncer {
    /// In transaction mode, with one backend for each database and user. Any of `users` may come, and is what the
    /// backend is.
    pub fn start(server: &Server, users: &[&str]) -> Bouncer {
        Bouncer::with(server, users, "pool_mode = transaction", "")
    }

    /// In transaction mode, where all clients share the one backend of `login`.
    pub fn shared(server: &Server, users: &[&str], login: &str) -> Bouncer {
        Bouncer::with(server, users, "pool_mode = transaction", &format!("user={login}"))
    }

    /// With other settings, and more about the databases.
    pub fn with(server: &Server, users: &[&str], settings: &str, databases: &str) -> Bouncer {
        static NEXT: AtomicU16 = AtomicU16::new(6432);
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = server.dir().to_path_buf();
        let scratch = server.scratch(&format!("bouncer-{port}"));
        let (ini, list, log) = (scratch.join("pgbouncer.ini"), scratch.join("users"), scratch.join("log"));
        let users: String = users.iter().map(|user| format!("\"{user}\" \"\"\n")).collect();
        let dir = directory.display();
        // Start-up parameters of drivers that PgBouncer does not know.
        let conf = format!(
            "[databases]\n* = host={dir} port=5432 {databases}\n\
             [pgbouncer]\nlisten_port = {port}\nunix_socket_dir = {dir}\nauth_type = trust\nauth_file = {list}\n\
             default_pool_size = 1\nignore_startup_parameters = extra_float_digits\n{settings}\n",
            list = list.display()
        );
        fs::write(&ini, conf).unwrap();
        fs::write(&list, users).unwrap();

        let mut command = server.account().command("/bin/sh");
        command.args(["-c", KEEPER]).arg(program("/usr/sbin/pgbouncer")).arg(&ini).arg(&log);
        fs::write(&log, "").unwrap();
        server.account().give(&log).unwrap();
        // A group of its own: a Ctrl-C on the terminal is not meant for it.
        let mut keeper = command.process_group(0).stdin(Stdio::piped()).spawn().unwrap();
        let input = keeper.stdin.take();
        let bouncer = Bouncer { keeper, input, directory, port, log };
        let socket = bouncer.directory.join(format!(".s.PGSQL.{port}"));
        eventually("PgBouncer listens", || UnixStream::connect(&socket).is_ok());
        bouncer
    }

    /// The connection string for libpq.
    pub fn dsn(&self, database: &str, user: &str) -> String {
        format!("host='{}' port={} dbname='{database}' user='{user}'", self.directory.display(), self.port)
    }

    /// A client of it.
    pub fn connect(&self, database: &str, user: &str) -> Client {
        let client = Client::connect(&self.dsn(database, user), NoTls);
        client.unwrap_or_else(|error| panic!("{error:?}\n{}", self.log()))
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("PgBouncer's log:\n{}", self.log());
        }
        drop(self.input.take());
        // Nothing is lost if this fails: the keeper goes on without us.
        let _ = self.keeper.wait();
    }
}
