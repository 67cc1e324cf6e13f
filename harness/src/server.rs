//! One throw-away Postgres.

mod builder;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};

use crate::account::Account;
use crate::guard::{Guard, without_pg_variables};
use crate::home::{Home, open_directory};
use crate::image::Image;
use crate::logs::KeptOnPanic;
use crate::pg_config::PgConfig;
use crate::process;

pub use builder::Builder;

/// Longer than any start takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The account that owns the cluster.
pub const SUPERUSER: &str = "postgres";

/// How to stop a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Waits for all sessions to disconnect.
    Smart,
    /// Ends the sessions and writes a checkpoint.
    Fast,
    /// Ends everything at once; the next start recovers.
    Immediate,
    /// SIGKILL to every process, like a power failure.
    Kill,
}

/// A running Postgres with its own directory, socket and log. It ends when the last clone of this handle is dropped, or
/// when the process ends in any way.
#[derive(Clone, Debug)]
pub struct Server(Arc<Cluster>);

#[derive(Debug)]
struct Cluster {
    // Dropped in this order: the guard removes the directory before its home can be removed.
    running: Mutex<Running>,
    log: KeptOnPanic,
    dir: PathBuf,
    image: Image,
    config: PgConfig,
    account: Account,
    home: Arc<Home>,
}

#[derive(Debug)]
struct Running {
    guard: Guard,
    postmaster: Option<i32>,
}

impl Server {
    /// A server with the harness's settings. Panics if it cannot start.
    pub fn start() -> Server {
        Server::builder().start().unwrap_or_else(|e| panic!("no server: {e}"))
    }

    /// A builder for a server with its own settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The server that the tests of a binary share. It is never dropped; its guard notices the end of the process.
    pub fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Server::start)
    }

    /// A session of the superuser.
    pub fn connect(&self, database: &str) -> Client {
        self.connect_as(database, SUPERUSER)
    }

    /// A session of `user`.
    pub fn connect_as(&self, database: &str, user: &str) -> Client {
        self.try_connect(database, user).unwrap_or_else(|e| panic!("cannot connect to {database} as {user}: {e}"))
    }

    /// The same, for callers that expect a refusal.
    pub fn try_connect(&self, database: &str, user: &str) -> Result<Client, postgres::Error> {
        let mut config = postgres::Config::new();
        config.host_path(&self.0.dir).port(5432).user(user).dbname(database);
        config.connect(NoTls)
    }

    /// A connection string in libpq's format, which tokio-postgres and psql also read.
    pub fn dsn(&self, database: &str) -> String {
        self.dsn_as(database, SUPERUSER)
    }

    /// The same for another user.
    pub fn dsn_as(&self, database: &str, user: &str) -> String {
        let quoted = |value: &str| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
        let host = quoted(&self.0.dir.display().to_string());
        format!("host={host} port=5432 dbname={} user={}", quoted(database), quoted(user))
    }

    /// psql, ready for arguments and without input: no start-up file, no pager, no settings of the user's environment.
    pub fn psql_command(&self, database: &str) -> Command {
        let mut command = Command::new(self.0.image.program("psql"));
        command.args(["-X", "-P", "pager=off", "-d", &self.dsn(database)]).stdin(Stdio::null());
        without_pg_variables(&mut command).env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs `sql` in psql, to its first error.
    pub fn psql(&self, database: &str, sql: &str) -> Output {
        let mut command = self.psql_command(database);
        command.args(["-v", "ON_ERROR_STOP=1", "-c", sql]);
        command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
    }

    /// Stops the server. Directory and log stay, and `restart` brings it back.
    pub fn stop(&self, how: Stop) {
        let mut running = self.running();
        let Some(postmaster) = running.postmaster.take() else {
            return;
        };
        let mut orphans = Vec::new();
        if how == Stop::Kill {
            // A process that started after the listing would live on, and keep the next server from its shared memory.
            process::halt(postmaster);
            orphans = process::children(postmaster);
        }
        let signal = match how {
            Stop::Smart => "TERM",
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
            Stop::Kill => "KILL",
        };
        let answer = running.guard.ask(&format!("stop {signal}"));
        assert!(answer.is_ok(), "the server was not stopped: {answer:?}");
        process::kill_all(&orphans);
    }

    /// Stops the server fast if it runs, and starts it in the same directory.
    pub fn restart(&self) {
        self.stop(Stop::Fast);
        self.start_again().unwrap_or_else(|e| panic!("no restart: {e}"));
    }

    /// The postmaster's process id, while it runs.
    pub fn postmaster(&self) -> Option<i32> {
        self.running().postmaster
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read(self.0.log.path()).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// The server's own directory, with the socket and `log`.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.0.dir.join("data")
    }

    /// A directory for files that the server's account must read (certificates, tokens). It is removed with the server.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let path = self.0.dir.join(name);
        open_directory(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        path
    }

    /// The account of the server's processes, to give files to.
    pub fn account(&self) -> &Account {
        &self.0.account
    }

    /// A program of the installation, as the server's account runs it.
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.0.account.command(self.0.image.program(name));
        without_pg_variables(&mut command).envs(self.0.image.environment());
        command
    }

    /// The image of the server.
    pub fn image(&self) -> &Image {
        &self.0.image
    }

    /// The installation that the image copies.
    pub fn config(&self) -> &PgConfig {
        &self.0.config
    }

    /// The directory that holds the image, the template and the server.
    pub fn home(&self) -> &Home {
        &self.0.home
    }

    /// Whether `CREATE EXTENSION` can work here. The error names the missing file.
    pub fn has_extension(&self) -> Result<(), String> {
        self.0.image.has_extension()
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_again(&self) -> io::Result<()> {
        let mut running = self.running();
        let answer = running.guard.ask("start")?;
        let postmaster = answer.parse().map_err(|_| io::Error::other(format!("the guard answered {answer:?}")))?;
        running.postmaster = Some(postmaster);
        let begun = Instant::now();
        while !self.is_ready(postmaster) {
            if !process::is_alive(postmaster) || begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("Postgres did not start:\n{}", self.log())));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The first line of the pid file is the owner's process id, the eighth is the status.
    fn is_ready(&self, postmaster: i32) -> bool {
        let Ok(file) = fs::read_to_string(self.data().join("postmaster.pid")) else {
            return false;
        };
        let mut lines = file.lines();
        lines.next() == Some(postmaster.to_string().as_str())
            && matches!(lines.nth(6).map(str::trim), Some("ready" | "standby"))
    }
}
