//! The orders that end a call, and the sessions that obey them.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage, Statement};
use sequin_harness::{Database, process};

use super::proxy::ClientProxy;
use crate::support::Session as _;
use crate::support::network::{Pending, eventually, reset_statement_timeout};

/// The order that ends a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    Cancel,
    StatementTimeout,
    Terminate,
    /// The client is gone, and the server looks whether it is (client_connection_check_interval).
    Disconnect,
    /// PostgreSQL 17 and later.
    TransactionTimeout,
}

impl Order {
    /// Whether the session goes with the call.
    pub fn ends_session(self) -> bool {
        matches!(self, Order::Terminate | Order::Disconnect | Order::TransactionTimeout)
    }

    fn is_by_time(self) -> bool {
        matches!(self, Order::StatementTimeout | Order::TransactionTimeout)
    }

    /// The message of a session that obeys, also in the log.
    pub fn words(self) -> &'static str {
        match self {
            Order::Cancel => "canceling statement due to user request",
            Order::StatementTimeout => "canceling statement due to statement timeout",
            Order::Terminate => "terminating connection due to administrator command",
            Order::Disconnect => "connection to client lost",
            Order::TransactionTimeout => "terminating connection due to transaction timeout",
        }
    }

    /// Whether this error is the order's.
    fn is_obeyed_by(self, error: &postgres::Error) -> bool {
        match error.as_db_error() {
            // Postgres takes its own timeout for a cancel when it comes while the statement is parsed.
            Some(error) if self == Order::StatementTimeout && error.where_().is_none() => {
                [self.words(), Order::Cancel.words()].contains(&error.message())
            }
            Some(error) => error.message() == self.words(),
            // Of a session that ends, the client does not always get the last words. The log has them.
            None => self.ends_session(),
        }
    }
}

/// A session, and the backend behind it.
pub struct Caller {
    client: Option<Client>,
    pub pid: i32,
    proxy: Option<ClientProxy>,
}

/// The result of a call and of the order.
pub struct Given {
    pub result: Result<Vec<String>, postgres::Error>,
    /// From the order until the client had the call's end, or until the backend was gone if there was no client any more.
    pub delay: Duration,
}

impl Caller {
    pub fn new(database: &Database) -> Caller {
        Caller::of(database.connect(), None)
    }

    /// One that is fit for `order`. In `dir` there is room for a socket.
    pub fn for_order(order: Order, database: &Database, dir: &Path) -> Caller {
        if order != Order::Disconnect {
            return Caller::new(database);
        }
        let (mut client, proxy) = ClientProxy::connect(database, dir);
        client.run("SET client_connection_check_interval = 1");
        Caller::of(client, Some(proxy))
    }

    fn of(mut client: Client, proxy: Option<ClientProxy>) -> Caller {
        Caller { pid: client.pid(), client: Some(client), proxy }
    }

    pub fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("the session has not ended")
    }

    /// Runs `sql` and gives `order` after `moment`, or when the call ends, to observe that too. `what` is for panics.
    pub fn obey(&mut self, order: Order, moment: Duration, sql: &str, giver: &mut Giver, what: &str) -> Given {
        let mut moment = moment;
        if order.is_by_time() {
            moment = Duration::from_millis(moment.as_millis() as u64);
            let setting = if order == Order::StatementTimeout { "statement_timeout" } else { "transaction_timeout" };
            self.client().run(&format!("SET {setting} = {}", moment.as_millis()));
        }
        let begun = Instant::now();
        let pending = Pending::start(self.client.take().expect("the session has not ended"), sql);
        let mut ordered = begun + moment;
        if !order.is_by_time() {
            thread::sleep(moment);
            ordered = giver.give(order, self.pid, sql);
            if let Some(proxy) = &self.proxy {
                ordered = Instant::now();
                proxy.cut();
            }
        }
        let (mut client, result) = pending.end(what);
        let mut ended = Instant::now();
        if order == Order::StatementTimeout {
            reset_statement_timeout(&mut client);
        }
        if order.ends_session() && (result.is_err() || order != Order::TransactionTimeout) {
            drop(client);
            eventually(&format!("{what}: the backend ends"), || !process::is_alive(self.pid));
            if order == Order::Disconnect {
                ended = Instant::now();
            }
        } else {
            self.client = Some(client);
        }
        if let Err(error) = &result {
            assert!(order.is_obeyed_by(error), "{what}: {error:?}");
            assert!(order.ends_session() || error.code() == Some(&SqlState::QUERY_CANCELED), "{what}: {error:?}");
        }
        Given { result, delay: ended.saturating_duration_since(ordered) }
    }

    /// Whether each answer belongs to its statement. A statement_timeout that comes at the very end of a statement takes
    /// effect in Postgres a moment later, when there is nothing to cancel any more; a client takes that error for the answer
    /// to its next statement, and is one behind from then on.
    pub fn is_in_step(&mut self) -> bool {
        let answer = self.client().simple_query("SELECT 'in step'").unwrap_or_default();
        answer.iter().any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("in step")))
    }
}

/// The session that gives the orders.
pub struct Giver {
    pub client: Client,
    cancel: Statement,
    terminate: Statement,
    wait: Statement,
}

impl Giver {
    pub fn new(database: &Database) -> Giver {
        let mut client = database.connect();
        let mut prepare = |function: &str| {
            // The backend shows only the beginning of a statement.
            let is_it = "starts_with($2, query)";
            let sql = format!(
                "SELECT {is_it}, CASE WHEN state = 'active' AND {is_it} THEN {function}($1) END
                 FROM pg_stat_get_activity($1)"
            );
            client.prepare(&sql).unwrap()
        };
        let [cancel, terminate, wait] = ["pg_cancel_backend", "pg_terminate_backend", "abs"].map(&mut prepare);
        Giver { client, cancel, terminate, wait }
    }

    /// Gives the order, if it is one that a session can give, unless the statement has ended, and returns when it did so. A
    /// cancel that came before the statement would be for nothing, and on a busy machine the moment may have passed when the
    /// statement begins.
    fn give(&mut self, order: Order, pid: i32, sql: &str) -> Instant {
        let statement = match order {
            Order::Cancel => &self.cancel,
            Order::Terminate => &self.terminate,
            _ => &self.wait,
        };
        loop {
            let now = Instant::now();
            let row = self.client.query_one(statement, &[&pid, &sql]).unwrap();
            if row.get(0) {
                return now;
            }
            thread::yield_now();
        }
    }

    /// The only value of a query that must work.
    pub fn one(&mut self, sql: &str) -> i64 {
        self.client.one(sql)
    }
}
