//! Choosing how a server starts: installation, data directory, place and settings.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::{Cluster, Running, Server};
use crate::account::Account;
use crate::guard::Guard;
use crate::home::Home;
use crate::image::Image;
use crate::logs::KeptOnPanic;
use crate::pg_config::PgConfig;
use crate::{paths, template};

/// The settings of every server. A builder's own lines follow and override them.
const DEFAULTS: &str = "
listen_addresses = ''
port = 5432
max_connections = 100
# For the workers of many tests at once.
max_worker_processes = 32
shared_buffers = '32MB'
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
# No file here has to survive a crash of the machine.
fsync = off
# Compilation would only add noise to measurements.
jit = off
# In files of the data directory, so that a killed server leaves nothing in /dev/shm.
dynamic_shared_memory_type = mmap
";

/// Chooses how a server starts.
#[derive(Debug, Default)]
pub struct Builder {
    conf: String,
    env: Vec<(String, String)>,
    base: Option<PathBuf>,
    data: Option<PathBuf>,
    installation: Option<Installation>,
    is_standby: bool,
}

/// A Postgres, and a library of the extension that was built for it.
#[derive(Debug)]
struct Installation {
    config: PgConfig,
    library: Option<PathBuf>,
}

impl Installation {
    /// The installation and library of this test run.
    fn of_this_run() -> io::Result<Installation> {
        Ok(Installation { config: PgConfig::ask()?, library: paths::shared_library() })
    }
}

impl Builder {
    /// Adds lines to postgresql.conf, after the harness's own.
    pub fn conf(mut self, lines: &str) -> Builder {
        self.conf.push_str(lines);
        self.conf.push('\n');
        self
    }

    /// Adds a variable to the environment of the server's processes.
    pub fn env(mut self, name: &str, value: &str) -> Builder {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Keeps image, template and server under `base` instead of `target/pg`, if a server can run there.
    pub fn under(mut self, base: impl Into<PathBuf>) -> Builder {
        self.base = Some(base.into());
        self
    }

    /// Runs another Postgres than the rest of the test run: the installation of `config`, with the extension's
    /// `library`.
    pub fn installation(mut self, config: PgConfig, library: impl Into<PathBuf>) -> Builder {
        self.installation = Some(Installation { config, library: Some(library.into()) });
        self
    }

    /// Starts from a copy of the data directory `data`, which no server may use, or from a base backup.
    pub fn copy_of(mut self, data: impl Into<PathBuf>) -> Builder {
        self.data = Some(data.into());
        self
    }

    /// Follows the server that `primary_conninfo` names until it is promoted.
    pub fn standby(mut self) -> Builder {
        self.is_standby = true;
        self
    }

    /// Starts the server, and returns when it accepts connections.
    pub fn start(self) -> io::Result<Server> {
        let account = Account::for_server()?;
        let Installation { config, library } = self.installation.map_or_else(Installation::of_this_run, Ok)?;
        let home = match &self.base {
            Some(base) => Arc::new(Home::under(base, &account)?),
            None => Home::shared(&account)?,
        };
        let lock = home.lock()?;
        let image = Image::of(&config, library.as_deref(), &home, &account)?;
        let template = template::of(&config, &image, &home, &account)?;
        drop(lock);

        let dir = home.server_directory()?;
        let environment = image.environment().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment: Vec<_> = environment.chain(self.env).collect();
        let guard = Guard::spawn(&dir, &image.program("postgres"), &account, &environment)?;
        let log = KeptOnPanic::in_directory(&dir);
        let running = Mutex::new(Running { guard, postmaster: None });
        let server = Server(Arc::new(Cluster { running, log, dir, image, config, account, home }));
        server.account().give(server.dir())?;
        template::copy(self.data.as_ref().unwrap_or(&template), &server.data())?;
        if self.is_standby {
            let signal = server.data().join("standby.signal");
            File::create(&signal)?;
            server.account().give(&signal)?;
        }
        let socket =
            format!("unix_socket_directories = '{}'\n", server.dir().display().to_string().replace('\'', "''"));
        let mut conf = File::options().append(true).open(server.data().join("postgresql.conf"))?;
        conf.write_all([DEFAULTS, &socket, &self.conf].concat().as_bytes())?;
        server.start_again()?;
        Ok(server)
    }
}
