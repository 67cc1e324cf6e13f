//! A server of a test's own, for those that stop it, kill it, or count its workers.

use std::process::Output;
use std::time::{Duration, Instant};

use postgres::types::{FromSqlOwned, ToSql};
use postgres::{Client, Row};
use sequin_harness::{Sandbox, Server, Stop, literal, process};
use serde_json::{Value, json};

use crate::support::network::{PATIENCE, eventually};

/// The database that the extension is in.
pub const APP: &str = "app";

/// Preloaded, a worker comes by itself with the server.
pub const PRELOADED: &str = "shared_preload_libraries = 'sequin_mutations'";

/// A server, a sandbox, and a superuser's session in the database `app`, which has the extension and a server object.
pub struct Cluster {
    // In the order in which they must go.
    pub client: Client,
    pub server: Server,
    pub sandbox: Sandbox,
}

impl Cluster {
    /// With these lines in postgresql.conf.
    pub fn start(conf: &str) -> Cluster {
        let server = Server::builder().conf(conf).start().unwrap_or_else(|error| panic!("no server: {error}"));
        server.connect("postgres").batch_execute("CREATE DATABASE app").unwrap();
        let mut cluster = Cluster { client: server.connect(APP), server, sandbox: Sandbox::start() };
        cluster.run("CREATE EXTENSION sequin_mutations");
        cluster.create_server();
        cluster
    }

    /// A server object for the sandbox, in the database of the session.
    pub fn create_server(&mut self) {
        let sql = format!(
            "CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url {}, ordered_replies 'true');
             CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token {})",
            literal(self.sandbox.url()),
            literal(self.sandbox.token())
        );
        self.run(&sql);
    }

    /// Sends all that is queued in the database of the session elsewhere.
    pub fn set_url(&mut self, url: &str) {
        self.run(&format!("ALTER SERVER sequin OPTIONS (SET url {})", literal(url)));
    }

    /// An address at which nobody listens.
    pub fn set_unreachable(&mut self) {
        self.set_url("http://127.0.0.1:1");
    }

    /// Back to the sandbox.
    pub fn set_reachable(&mut self) {
        let url = self.sandbox.url().to_owned();
        self.set_url(&url);
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
        let rows = self.rows(sql, &[]);
        assert_eq!(rows.len(), 1, "{sql}");
        rows[0].get(0)
    }

    /// Enqueues records of contacts.
    pub fn enqueue(&mut self, kind: &str, records: &Value) -> Vec<i64> {
        enqueue_in(&mut self.client, kind, records)
    }

    /// A create of one contact.
    pub fn enqueue_create(&mut self, name: &str) -> i64 {
        self.enqueue("create", &json!([{"data": {"Name": name}}]))[0]
    }

    /// An update of one.
    pub fn enqueue_update(&mut self, upstream_id: &str, number: i64) -> i64 {
        self.enqueue("update", &json!([{"upstream_id": upstream_id, "data": {"n": number}}]))[0]
    }

    /// Makes a contact upstream, at once.
    pub fn create(&mut self, name: &str) -> String {
        self.one(&format!(
            "SELECT (sequin_create('sync', 'salesforce:contact', '{{\"Name\": \"{name}\"}}')).upstream_id"
        ))
    }

    /// Waits until `sql`, a query of one boolean, is true.
    pub fn until(&mut self, sql: &str) {
        let begun = Instant::now();
        while !self.one::<bool>(sql) {
            let open = "SELECT COALESCE(string_agg(o::text, E'\\n'), '') FROM \
                        (SELECT o FROM sequin.outbox o ORDER BY id LIMIT 10) o";
            assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {sql}\n{}", self.one::<String>(open));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until no record is pending or sending.
    pub fn settled(&mut self) {
        self.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state IN ('pending', 'sending'))");
    }

    /// What has become of a record: its outcome if it is delivered, else its state.
    pub fn state(&mut self, id: i64) -> String {
        let sql = "SELECT outcome FROM sequin.delivered WHERE id = $1 \
                   UNION ALL SELECT state FROM sequin.outbox WHERE id = $1";
        let rows = self.rows(sql, &[&id]);
        assert_eq!(rows.len(), 1, "record {id} is in {} places", rows.len());
        rows[0].get(0)
    }

    /// The workers of the session's database.
    pub fn workers(&mut self) -> Vec<i32> {
        self.one("SELECT sequin.workers()")
    }

    /// Waits for the one worker of the session's database.
    pub fn worker(&mut self) -> i32 {
        let mut worker = None;
        eventually("a worker is there", || {
            worker = self.workers().first().copied();
            worker.is_some()
        });
        worker.expect("it is there")
    }

    /// Waits until the sandbox has a mutation that it has not answered.
    pub fn in_the_air(&self) {
        let is_there = || self.sandbox.log().mutations().iter().any(|request| request.status.is_none());
        eventually("a request is in the air", is_there);
    }

    /// Kills a worker, which makes Postgres start all its processes anew, and connects again.
    pub fn kill_worker(&mut self) {
        let patience = Duration::from_secs(2);
        let mut killed = None;
        // One of several that come at once may leave by itself before it is killed: then there is another one.
        eventually("the old session ends", || {
            let Ok(row) = self.client.query_one("SELECT (sequin.workers())[1]", &[]) else { return true };
            if killed.is_none_or(|at: Instant| at.elapsed() > patience)
                && let Some(worker) = row.get(0)
            {
                process::kill_all(&[worker]);
                killed = Some(Instant::now());
            }
            false
        });
        self.connect_again();
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
            client = self.server.try_connect(APP, sequin_harness::SUPERUSER).ok();
            client.is_some()
        });
        self.client = client.expect("it has connected");
    }

    /// What the sandbox has received: kind and records of each mutation.
    pub fn mutations(&self) -> Vec<Value> {
        self.sandbox.log().mutations().iter().map(|request| request.json()).collect()
    }

    /// The contacts upstream that are not deleted.
    pub fn contacts(&self) -> Vec<Value> {
        let mut records = self.sandbox.records("salesforce:contact");
        records.retain(|record| record["deleted"] == false);
        records
    }
}

/// Enqueues records of contacts in any session.
pub fn enqueue_in(client: &mut Client, kind: &str, records: &Value) -> Vec<i64> {
    let sql = "SELECT * FROM sequin_enqueue($1, 'sync', 'salesforce:contact', $2::text::jsonb)";
    let rows = client.query(sql, &[&kind, &records.to_string()]);
    rows.unwrap_or_else(|error| panic!("{kind}: {error:?}")).iter().map(|row| row.get(0)).collect()
}

/// That a program has done what it should.
pub fn must(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
    Server::builder().conf(&conf).copy_of(&backup).standby().start().unwrap_or_else(|error| panic!("{error}"))
}
