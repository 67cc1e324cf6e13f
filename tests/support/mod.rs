//! What the tests of the extension share: a place to call from, and the parts of an error.

pub mod network;
pub mod random;

use std::fmt::Debug;
use std::thread;

use postgres::error::DbError;
use postgres::types::{FromSqlOwned, ToSql};
use postgres::{Client, NoTls, Row};
use sequin_harness::{Database, Encoding, Sandbox, Server};
use serde_json::{Value, json};

use crate::support::network::eventually;

/// The first arguments of every verb.
pub const TARGET: &str = "'sync', 'salesforce:contact'";

/// A sandbox, a database of its own with a server object for it, and a superuser's session.
pub struct World {
    // In the order in which they must go.
    pub client: Client,
    pub database: Database,
    pub sandbox: Sandbox,
}

impl World {
    pub fn new() -> World {
        World::with_options("")
    }

    /// With more options of the server object, as in `request_timeout_ms '100'`.
    pub fn with_options(options: &str) -> World {
        let mut world = World::without_server();
        world.database.create_server(world.sandbox.url(), world.sandbox.token());
        if !options.is_empty() {
            world.run(&format!("ALTER SERVER sequin OPTIONS ({options})"));
        }
        world
    }

    /// The extension alone.
    pub fn without_server() -> World {
        World::of(Database::fresh())
    }

    pub fn in_encoding(encoding: Encoding) -> World {
        let database = Server::shared().create_database_in(encoding);
        database.create_extension();
        let world = World::of(database);
        world.database.create_server(world.sandbox.url(), world.sandbox.token());
        world
    }

    fn of(database: Database) -> World {
        let sandbox = Sandbox::start();
        World { client: database.connect(), database, sandbox }
    }

    /// Runs statements that must work.
    pub fn run(&mut self, sql: &str) {
        self.client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The rows of a query that must work.
    pub fn rows(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.client.query(sql, parameters).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The first column of its only row.
    pub fn one<T: FromSqlOwned>(&mut self, sql: &str) -> T {
        self.one_of(sql, &[])
    }

    /// The same with parameters.
    pub fn one_of<T: FromSqlOwned>(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> T {
        let rows = self.rows(sql, parameters);
        assert_eq!(rows.len(), 1, "{sql}");
        rows[0].get(0)
    }

    /// The error of statements that must fail.
    pub fn error(&mut self, sql: &str) -> DbError {
        match self.client.batch_execute(sql) {
            Ok(()) => panic!("no error: {sql}"),
            Err(error) => db_error(error, sql),
        }
    }

    /// The error of a query that must fail.
    pub fn error_of(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> DbError {
        match self.client.query(sql, parameters) {
            Ok(rows) => panic!("no error but {rows:?}: {sql}"),
            Err(error) => db_error(error, sql),
        }
    }

    /// The error of statements that are cancelled as soon as so many mutations have arrived, of which the last must not
    /// be answered.
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
        match result {
            Ok(Err(error)) => db_error(error, sql),
            other => panic!("no error but {other:?}: {sql}"),
        }
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

    /// How many contacts the sandbox's provider has; it keeps those that were deleted, marked as such.
    pub fn contacts(&self) -> usize {
        let records = self.sandbox.records("salesforce:contact");
        records.iter().filter(|record| record["deleted"] == false).count()
    }

    /// Runs what must be refused before anything is connected to.
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

    /// Nobody has connected to the sandbox.
    pub fn assert_untouched(&self, what: impl Debug) {
        let log = self.sandbox.log();
        assert_eq!((log.connections, log.requests.len()), (0, 0), "{what:?}: {log:?}");
    }
}

fn db_error(error: postgres::Error, sql: &str) -> DbError {
    error.as_db_error().unwrap_or_else(|| panic!("not Postgres' error: {error}: {sql}")).clone()
}

/// A call of `sequin_mutate` for contacts.
pub fn mutate(kind: &str, records: &str) -> String {
    format!("SELECT * FROM sequin_mutate('{kind}', {TARGET}, '{records}')")
}

/// A create of three contacts.
pub fn create_three() -> String {
    mutate("create", r#"[{"data":{"n":1}},{"data":{"n":2}},{"data":{"n":3}}]"#)
}

/// A call of the verb for one contact, in an expression.
pub fn create(data: &str) -> String {
    format!("sequin_create({TARGET}, {data})")
}

/// The DETAIL that is expected, whole.
pub fn detail(outcome: &str, applied: &str, status: Option<u16>, docs: Value, retry_after_ms: Option<u64>) -> Value {
    json!({
        "outcome": outcome,
        "applied": applied,
        "http_status": status,
        "docs": docs,
        "retry_after_ms": retry_after_ms,
    })
}

/// The DETAIL as programs read it.
pub fn detail_of(error: &DbError) -> Value {
    let detail = error.detail().unwrap_or_else(|| panic!("no DETAIL: {error:?}"));
    serde_json::from_str(detail).unwrap_or_else(|e| panic!("{e} in the DETAIL {detail}"))
}

pub fn hint_of(error: &DbError) -> &str {
    error.hint().unwrap_or_default()
}

pub fn context_of(error: &DbError) -> &str {
    error.where_().unwrap_or_default()
}
