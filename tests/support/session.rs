//! How the tests talk to Postgres: statements that must work, and statements that must fail.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use postgres::error::DbError;
use postgres::types::{FromSqlOwned, ToSql};
use postgres::{Client, Row, SimpleQueryMessage};

use super::waiting::PATIENCE;

/// A session, and whatever has one.
pub trait Session {
    fn session(&mut self) -> &mut Client;

    /// Runs statements that must work.
    #[track_caller]
    fn run(&mut self, sql: &str) {
        let result = self.session().batch_execute(sql);
        result.unwrap_or_else(|error| panic!("{sql}: {}", described(&error)));
    }

    /// The rows of a query that must work.
    #[track_caller]
    fn rows(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        let result = self.session().query(sql, parameters);
        result.unwrap_or_else(|error| panic!("{sql}: {}", described(&error)))
    }

    /// The first column of its only row.
    #[track_caller]
    fn one<T: FromSqlOwned>(&mut self, sql: &str) -> T {
        self.one_of(sql, &[])
    }

    /// The same with parameters.
    #[track_caller]
    fn one_of<T: FromSqlOwned>(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> T {
        let rows = self.rows(sql, parameters);
        assert_eq!(rows.len(), 1, "{sql}");
        rows[0].get(0)
    }

    /// The first column, as text.
    #[track_caller]
    fn column(&mut self, sql: &str) -> Vec<String> {
        let result = self.session().simple_query(sql);
        first_column(result.unwrap_or_else(|error| panic!("{sql}: {}", described(&error))))
    }

    /// The error of statements that must fail.
    #[track_caller]
    fn error(&mut self, sql: &str) -> DbError {
        db_error(self.session().simple_query(sql).map(first_column), sql)
    }

    /// The error of a query that must fail.
    #[track_caller]
    fn error_of(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> DbError {
        db_error(self.session().query(sql, parameters), sql)
    }

    /// Its backend.
    #[track_caller]
    fn pid(&mut self) -> i32 {
        self.one("SELECT pg_backend_pid()")
    }

    /// Waits until `sql`, a query of one boolean, is true.
    #[track_caller]
    fn until(&mut self, sql: &str) {
        let begun = Instant::now();
        while !self.one::<bool>(sql) {
            assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {sql}\n{:?}", self.open_work());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The open records of the outbox, for a message. Empty without an outbox.
    fn open_work(&mut self) -> Vec<String> {
        let sql = "(SELECT o::text FROM sequin.outbox o ORDER BY id LIMIT 20)
                   UNION ALL SELECT s::text FROM sequin.status s";
        self.session().simple_query(sql).map(first_column).unwrap_or_default()
    }
}

impl Session for Client {
    fn session(&mut self) -> &mut Client {
        self
    }
}

/// The first column of all rows, as text.
pub fn first_column(messages: Vec<SimpleQueryMessage>) -> Vec<String> {
    let value = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    };
    messages.into_iter().filter_map(value).collect()
}

/// Postgres' error of a statement that must have failed.
#[track_caller]
pub fn db_error<T: Debug>(result: Result<T, postgres::Error>, what: &str) -> DbError {
    match result {
        Ok(value) => panic!("no error but {value:?}: {what}"),
        Err(error) => error.as_db_error().unwrap_or_else(|| panic!("not Postgres' error: {error}: {what}")).clone(),
    }
}

fn described(error: &postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| format!("{error:?}"))
}
