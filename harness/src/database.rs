//! One database for one test.

use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use postgres::Client;

use crate::server::{SUPERUSER, Server};

/// The encoding of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As template1 has it.
    Utf8,
    /// One byte a character, and many characters missing.
    Latin1,
    /// Bytes that Postgres does not interpret.
    SqlAscii,
}

/// A database. A database that was created here is dropped with this value, even if it has sessions.
#[derive(Debug)]
pub struct Database {
    server: Server,
    name: String,
    /// Whether it is dropped with this value.
    is_owned: bool,
}

impl Database {
    /// A new database of the shared server, with the extension in it.
    pub fn fresh() -> Database {
        Server::shared().fresh_database()
    }

    fn create(server: &Server, encoding: Encoding) -> Database {
        let name = unique_name();
        let options = match encoding {
            Encoding::Utf8 => "",
            Encoding::Latin1 => "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
            Encoding::SqlAscii => "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
        };
        execute(&mut server.connect("postgres"), &format!("CREATE DATABASE {} {options}", identifier(&name)));
        Database { server: server.clone(), name, is_owned: true }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A session of the superuser.
    pub fn connect(&self) -> Client {
        self.server.connect(&self.name)
    }

    /// A session of `user`.
    pub fn connect_as(&self, user: &str) -> Client {
        self.server.connect_as(&self.name, user)
    }

    /// The connection string.
    pub fn dsn(&self) -> String {
        self.server.dsn(&self.name)
    }

    /// The connection string for another user.
    pub fn dsn_as(&self, user: &str) -> String {
        self.server.dsn_as(&self.name, user)
    }

    /// Runs `sql` in psql, to its first error.
    pub fn psql(&self, sql: &str) -> Output {
        self.server.psql(&self.name, sql)
    }

    /// Runs statements that must work, in a session of their own.
    pub fn execute(&self, sql: &str) {
        execute(&mut self.connect(), sql);
    }

    /// `CREATE EXTENSION sequin_mutations`
    pub fn create_extension(&self) {
        if let Err(missing) = self.server.has_extension() {
            panic!("the extension cannot be created: {missing}");
        }
        self.execute("CREATE EXTENSION sequin_mutations");
    }

    /// A server object called `sequin` for the API at `url`, with `token` for every role. It declares that replies are
    /// in the order of the request, as the sandbox's replies are.
    pub fn create_server(&self, url: &str, token: &str) {
        self.create_server_named("sequin", url, token);
    }

    /// The same under another name.
    pub fn create_server_named(&self, name: &str, url: &str, token: &str) {
        let (name, url, token) = (identifier(name), literal(url), literal(token));
        self.execute(&format!(
            "CREATE SERVER {name} FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url {url}, ordered_replies 'true');
             CREATE USER MAPPING FOR PUBLIC SERVER {name} OPTIONS (token {token})"
        ));
    }
}

impl Server {
    /// A new database from template1. Its name begins with the test's.
    pub fn create_database(&self) -> Database {
        self.create_database_in(Encoding::Utf8)
    }

    /// The existing database with this name, which is not dropped.
    pub fn database(&self, name: &str) -> Database {
        Database { server: self.clone(), name: name.to_owned(), is_owned: false }
    }

    /// A new database in another encoding, with locale C.
    pub fn create_database_in(&self, encoding: Encoding) -> Database {
        Database::create(self, encoding)
    }

    /// A new database that has the extension.
    pub fn fresh_database(&self) -> Database {
        let database = self.create_database();
        database.create_extension();
        database
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.is_owned {
            return;
        }
        let Ok(mut client) = self.server.try_connect("postgres", SUPERUSER) else {
            return; // The test has stopped the server.
        };
        if let Err(e) =
            client.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(&self.name)))
        {
            eprintln!("database {} was not dropped: {e}", self.name);
        }
    }
}

/// `name` as a quoted SQL identifier.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a quoted SQL string.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

fn execute(client: &mut Client, sql: &str) {
    if let Err(e) = client.batch_execute(sql) {
        panic!("{sql}: {}", e.as_db_error().map_or_else(|| e.to_string(), |e| format!("{e:?}")));
    }
}

/// The test's name, as libtest gives it to the thread, and a number, so that a server's log can be read.
fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let thread = thread::current();
    let test = thread.name().unwrap_or("thread").replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_lowercase();
    format!("{:.50}_{}", test, NEXT.fetch_add(1, Ordering::Relaxed))
}
