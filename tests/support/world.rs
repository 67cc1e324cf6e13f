//! The one fixture: a database with the extension, a sandbox that its server object leads to, and a superuser's session.

use std::fmt::Debug;
use std::thread;

use postgres::error::DbError;
use postgres::{Client, NoTls};
use sequin_harness::{Database, Encoding, Sandbox, Server, Stop, literal};
use serde_json::Value;

use super::server::{self, APP};
use super::session::{Session, db_error};
use super::waiting::eventually;
use super::{detail, detail_of};

/// See the module.
pub struct World {
    // In the order in which they must go.
    pub client: Client,
    pub database: Database,
    pub server: Server,
    pub sandbox: Sandbox,
}

impl Session for World {
    fn session(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl World {
    /// A database of the shared server, with the server object `sequin`.
    pub fn new() -> World {
        World::with_options("")
    }

    /// With more options of the server object, as in `request_timeout_ms '100'`.
    pub fn with_options(options: &str) -> World {
        let mut world = World::without_server();
        world.create_server();
        if !options.is_empty() {
            world.run(&format!("ALTER SERVER sequin OPTIONS ({options})"));
        }
        world
    }

    /// The extension alone.
    pub fn without_server() -> World {
        World::of(server::shared().fresh_database(), Sandbox::start())
    }

    pub fn in_encoding(encoding: Encoding) -> World {
        let database = server::shared().create_database_in(encoding);
        database.create_extension();
        let mut world = World::of(database, Sandbox::start());
        world.create_server();
        world
    }

    /// The database `app` of a server of its own, with these lines in postgresql.conf.
    pub fn with_own_server(conf: &str) -> World {
        World::set_up(server::own(conf))
    }

    /// The same on a server that is there.
    pub fn set_up(server: Server) -> World {
        server.connect("postgres").run("CREATE DATABASE app");
        let mut world = World::at(&server, APP, Sandbox::start());
        world.run("CREATE EXTENSION sequin_mutations");
        world.create_server();
        world
    }

    /// A database that is there, with whatever it has.
    pub fn at(server: &Server, database: &str, sandbox: Sandbox) -> World {
        World::of(server.database(database), sandbox)
    }

    /// A database with the extension.
    pub fn of(database: Database, sandbox: Sandbox) -> World {
        World { client: database.connect(), server: database.server().clone(), database, sandbox }
    }

    /// Its parts, for another world. Its database stays.
    pub fn into_parts(self) -> (Client, Server, Sandbox) {
        (self.client, self.server, self.sandbox)
    }

    /// A server object for the sandbox, and its mapping.
    pub fn create_server(&mut self) {
        self.database.create_server(self.sandbox.url(), self.sandbox.token());
    }

    /// Sends all that is queued in this database elsewhere.
    pub fn set_url(&mut self, url: &str) {
        self.run(&format!("ALTER SERVER sequin OPTIONS (SET url {})", literal(url)));
    }

    /// An address at which nothing listens.
    pub fn set_unreachable(&mut self) {
        self.set_url("http://127.0.0.1:1");
    }

    /// Back to the sandbox.
    pub fn set_reachable(&mut self) {
        let url = self.sandbox.url().to_owned();
        self.set_url(&url);
    }

    /// Stops the server, starts it again, and connects.
    pub fn restart(&mut self, how: Stop) {
        self.server.stop(how);
        self.server.restart();
        self.connect_again();
    }

    /// A new session, as soon as the server takes one.
    pub fn connect_again(&mut self) {
        let mut client = None;
        eventually("the server takes connections", || {
            client = self.server.try_connect(self.database.name(), sequin_harness::SUPERUSER).ok();
            client.is_some()
        });
        self.client = client.expect("it has connected");
    }

    /// The error of statements that are cancelled as soon as this many mutations have arrived. The last one must not be
    /// answered.
    pub fn cancelled_after(&mut self, mutations: usize, sql: &str) -> DbError {
        let token = self.client.cancel_token();
        let World { client, sandbox, .. } = self;
        let result = thread::scope(|scope| {
            let statement = scope.spawn(|| client.batch_execute(sql));
            eventually("the mutations arrive", || {
                assert!(!statement.is_finished(), "the statement has ended before: {sql}");
                let log = sandbox.log();
                log.mutations().iter().filter(|request| request.complete).count() == mutations
            });
            token.cancel_query(NoTls).unwrap_or_else(|error| panic!("no cancel: {error}"));
            statement.join()
        });
        db_error(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), sql)
    }

    /// How many mutations have arrived since the last time.
    pub fn sent(&self) -> usize {
        self.bodies().len()
    }

    /// The bodies of the mutations that have arrived since the last time.
    pub fn bodies(&self) -> Vec<String> {
        let log = self.sandbox.log();
        self.sandbox.clear_log();
        log.mutations().into_iter().map(|request| request.body.clone()).collect()
    }

    /// The body of the only one.
    pub fn body(&self) -> String {
        let mut bodies = self.bodies();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        bodies.remove(0)
    }

    /// The contacts of the sandbox's provider. Deleted ones are kept, and marked as such.
    pub fn contacts(&self) -> Vec<Value> {
        let mut records = self.sandbox.records("salesforce:contact");
        records.retain(|record| record["deleted"] == false);
        records
    }

    /// How many there are.
    pub fn contact_count(&self) -> usize {
        self.contacts().len()
    }

    /// The data of the only one.
    pub fn contact(&self) -> Value {
        let contacts = self.contacts();
        assert_eq!(contacts.len(), 1, "{contacts:?}");
        contacts[0]["data"].clone()
    }

    /// Runs statements that must be refused before any connection.
    pub fn refused(&mut self, sql: &str) -> DbError {
        let error = self.error(sql);
        self.assert_untouched(sql);
        let not_sent = detail("not_sent", "none", None, Value::Null, None);
        assert_eq!(detail_of(&error), not_sent, "{sql}");
        assert!(!error.hint().unwrap_or_default().is_empty(), "no hint: {sql}");
        error
    }

    /// The SQLSTATE of a call that must be refused when there is a connection already, over which `before` mutations
    /// have gone.
    pub fn refused_after(&mut self, before: usize, sql: &str) -> String {
        let error = self.error(sql);
        assert_eq!(self.sent(), before, "{sql}");
        error.code().code().to_owned()
    }

    /// Runs each statement, and compares the number of mutations that arrive.
    pub fn all_send(&mut self, cases: &[(usize, impl AsRef<str>)]) {
        for (mutations, sql) in cases {
            self.run(sql.as_ref());
            assert_eq!(self.sent(), *mutations, "{}", sql.as_ref());
        }
    }

    /// Checks that the sandbox has had no connection.
    pub fn assert_untouched(&self, what: impl Debug) {
        let log = self.sandbox.log();
        assert_eq!((log.connections, log.requests.len()), (0, 0), "{what:?}: {log:?}");
    }
}
