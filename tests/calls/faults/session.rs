//! A session that calls through the proxy, and the judgement of each case.

use postgres::Client;
use sequin_harness::proxy::{Direction, Harm, Proxy};
use sequin_harness::{Log, Sandbox};
use serde_json::{Value, json};

use super::reported::{Reported, reported_of};
use super::{Case, answers, expected, is_wanted};
use crate::support::network::{PATIENCE, Pending, eventually, has_all_arrived, sockets_to, waits};
use crate::support::server::shared;
use crate::support::{Session, TARGET, World};

/// Long enough for a busy machine, short enough for some dozens of stalls.
const REQUEST_TIMEOUT_MS: u32 = 4_000;

pub struct FaultSession {
    // In the order in which they must go.
    client: Option<Client>,
    pid: i32,
    /// Its session is the administrator's.
    world: World,
    pub proxy: Proxy,
    /// Of a call. All have the same number of digits.
    number: u32,
    failures: Vec<String>,
    expectation: Expectation,
}

/// The claims that are right for a case, given the bytes of its reply, and those of them that were let through.
type Expectation = fn(&Case, &[u8], &[u8]) -> Vec<Reported>;

/// The records of the sandbox.
#[derive(Debug, PartialEq)]
struct Holdings(Vec<Value>);

impl FaultSession {
    pub fn new() -> FaultSession {
        let sandbox = Sandbox::start();
        let proxy = Proxy::before(&sandbox);
        let url = proxy.url();
        FaultSession::of(sandbox, proxy, &url, "", expected::right)
    }

    /// Calls go to `url`, which leads to the proxy.
    pub fn of(sandbox: Sandbox, proxy: Proxy, url: &str, options: &str, expectation: Expectation) -> FaultSession {
        let world = World::of(shared().fresh_database(), sandbox);
        let (database, sandbox) = (&world.database, &world.sandbox);
        let hasty = format!("request_timeout_ms '{REQUEST_TIMEOUT_MS}'");
        for (server, url, more) in [("hasty", url, hasty.as_str()), ("patient", url, ""), ("direct", sandbox.url(), "")]
        {
            database.create_server_named(server, url, sandbox.token());
            for options in [more, options, "max_batch '1'"].into_iter().filter(|options| !options.is_empty()) {
                database.execute(&format!("ALTER SERVER {server} OPTIONS ({options})"));
            }
        }
        let mut client = database.connect();
        let pid = client.pid();
        FaultSession { client: Some(client), pid, world, proxy, number: 10_000, failures: Vec::new(), expectation }
    }

    pub fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("the session was lost")
    }

    /// A call of one record, whose number is `self.number`.
    fn sql(&self, kind: &str, id: &str, server: &str) -> String {
        let data = json!({"number": self.number, "text": "some text"});
        let record = match kind {
            "create" => json!({"data": data}),
            "update" => json!({"upstream_id": id, "data": data}),
            _ => json!(id),
        };
        format!("SELECT data::text FROM sequin_mutate('{kind}', {TARGET}, '{record}', server => '{server}')")
    }

    /// Empties the sandbox, and makes one record there that can be changed.
    pub fn prepare(&mut self) -> String {
        self.world.sandbox.control("DELETE".parse().unwrap(), "/sandbox/records", None);
        let sql = format!("SELECT upstream_id FROM sequin_create({TARGET}, '{{}}', server => 'direct')");
        let id = self.world.column(&sql).remove(0);
        self.world.sandbox.clear_log();
        self.number += 1;
        id
    }

    /// All of it: a corrupted request may go to another sync or collection.
    fn holdings(&self) -> Holdings {
        let mut all = self.world.sandbox.control("GET".parse().unwrap(), "/sandbox/records", None);
        let records = all["records"].take();
        Holdings(records.as_array().unwrap_or_else(|| panic!("no records: {all}")).clone())
    }

    /// The bytes of a call that is left alone, and of its reply; over the connection of the call before, or a new one.
    pub fn measure(&mut self, kind: &str, answer: &answers::Answer, kept: bool) -> (Vec<u8>, Vec<u8>) {
        let id = self.prepare();
        if !kept {
            self.start_afresh();
        }
        if let Some(rule) = answer.rule() {
            self.world.sandbox.fault(rule);
        }
        self.proxy.watch();
        let sql = self.sql(kind, &id, "patient");
        let _ = self.client().simple_query(&sql);
        (self.proxy.came(Direction::ToApi), self.proxy.came(Direction::ToClient))
    }

    /// Runs the cases that are wanted, and says of all failures which they were. Returns how many have run.
    pub fn run(&mut self, cases: &[Case]) -> usize {
        let mut ran = 0;
        for case in cases.iter().filter(is_wanted) {
            self.check(case);
            ran += 1;
        }
        let failures = &self.failures;
        assert!(failures.is_empty(), "{} of {ran} cases:\n{}", failures.len(), failures.join("\n"));
        ran
    }

    fn check(&mut self, case: &Case) {
        let id = self.prepare();
        let server = server(case);
        if case.kept {
            // The call before may have been another server's, or have lost its connection.
            let sql = self.sql("create", "", server);
            self.client().column(&sql);
            self.world.sandbox.clear_log();
            self.number += 1;
        } else {
            self.start_afresh();
        }
        let before = self.holdings();
        if let Some(rule) = case.answer.rule() {
            self.world.sandbox.fault(rule);
        }
        let connections = self.proxy.connections();
        self.proxy.arm(case.fault);
        let sql = self.sql(case.kind, &id, server);
        let reported = self.call(case, &sql);
        let mut wrong = Vec::new();
        if !self.proxy.has_struck() {
            wrong.push("the fault was not done".to_owned());
        }
        let (came, went) = (self.proxy.came(Direction::ToClient), self.proxy.went(Direction::ToClient));
        let right = (self.expectation)(case, &came, &went);
        if !right.contains(&reported) {
            wrong.push(format!("claimed {reported:?}, which should be one of {right:?}"));
        }
        self.sent_once(case, connections, &mut wrong);
        let is_applied = self.holdings() != before;
        // A client cannot tell that a status differs from the API's.
        let was_lied_to = expected::status(&went) != expected::status(&came);
        if !was_lied_to && (reported.applied == "none" && is_applied || reported.applied == "all" && !is_applied) {
            wrong.push(format!("claimed {reported:?}, and the sandbox says applied: {is_applied}"));
        }
        if case.fault.harm == Harm::Stall {
            // Held bytes must not arrive later, in the middle of another case.
            self.proxy.hang_up();
        }
        self.proxy.relent();
        self.world.sandbox.clear_faults();
        if self.is_out_of_step() {
            self.close();
        }
        self.next_call(server, &mut wrong);
        if !wrong.is_empty() {
            let reply = if self.is_encrypted() { String::new() } else { String::from_utf8_lossy(&went).into_owned() };
            self.failures.push(format!("{case}:\n  {}\n  the reply: {reply:?}", wrong.join("\n  ")));
        }
    }

    /// The report of a call.
    fn call(&mut self, case: &Case, sql: &str) -> Reported {
        let client = self.client.take().expect("the session was lost");
        let pending = Pending::start(client, sql);
        if case.cancelled {
            assert!(self.proxy.await_strike(PATIENCE), "{case}: it never stalled");
            let (admin, pid, port) = (&mut self.world.client, self.pid, self.proxy.address().port());
            eventually(&format!("{case}: the call waits"), || has_read_all(port) && waits(admin, pid));
            admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
        }
        let (client, result) = pending.end(&case.to_string());
        self.client = Some(client);
        match result {
            Ok(_) => Reported { state: None, outcome: "applied".into(), applied: "all".into() },
            Err(error) => reported_of(error.as_db_error().unwrap_or_else(|| panic!("{case}: {error}"))),
        }
    }

    /// One request has left the client, on one connection; and the sandbox has not got it twice.
    fn sent_once(&self, case: &Case, connections: usize, wrong: &mut Vec<String>) {
        let sent = self.proxy.came(Direction::ToApi);
        let requests = requests_in(&sent);
        let connections = self.proxy.connections() - connections;
        if (!self.is_encrypted() && requests != 1) || connections > 1 || (connections == 0 && !case.kept) {
            wrong.push(format!("{requests} requests were sent on {connections} new connections"));
        }
        let Log { requests, .. } = self.world.sandbox.log();
        let doubled = case.fault.direction == Direction::ToApi && case.fault.harm == Harm::DuplicateRest;
        if requests.iter().filter(|request| request.complete).count() > 1 && !doubled {
            wrong.push(format!("the sandbox got it more than once: {requests:?}"));
        }
    }

    /// Whether the API has been given more, or less, than one whole request: then it takes what comes next on this
    /// connection for something else, and no client can know.
    fn is_out_of_step(&self) -> bool {
        !self.proxy.came(Direction::ToApi).starts_with(&self.proxy.went(Direction::ToApi))
    }

    fn is_encrypted(&self) -> bool {
        self.world.sandbox.url().starts_with("https")
    }

    fn close(&self) {
        close(&self.proxy);
    }

    /// Has the next call make a connection; and a whole handshake, for which the client must forget its old sessions.
    fn start_afresh(&mut self) {
        self.close();
        if self.is_encrypted() {
            // Any change of the server object will do.
            let limit = self.number % 100 + 1;
            for server in ["hasty", "patient"] {
                self.world.run(&format!("ALTER SERVER {server} OPTIONS (SET max_batch '{limit}')"));
            }
        }
    }

    /// The call after a fault, in the same session.
    fn next_call(&mut self, server: &str, wrong: &mut Vec<String>) {
        self.world.sandbox.clear_log();
        self.proxy.watch();
        self.number += 1;
        let sql = self.sql("create", "", server);
        let expected = json!({"number": self.number, "text": "some text"});
        match self.client().simple_query(&sql) {
            Ok(messages) => {
                let got = messages.iter().find_map(|message| match message {
                    postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                });
                let got: Option<Value> = got.and_then(|got| serde_json::from_str(&got).ok());
                if got.as_ref() != Some(&expected) {
                    wrong.push(format!("the next call gave {got:?}"));
                }
            }
            Err(error) => wrong.push(format!("the next call failed: {error:?}")),
        }
        let log = self.world.sandbox.log();
        let bodies: Vec<&str> = log.requests.iter().map(|request| request.body.as_str()).collect();
        let number = format!("\"number\":{}", self.number);
        // Rests of a spoilt request may come in between.
        if bodies.iter().filter(|body| body.replace(' ', "").contains(&number)).count() != 1 {
            wrong.push(format!("the next call arrived as {bodies:?}"));
        }
    }
}

/// A wait that may never end gets little time. All others may need much on a busy machine.
fn server(case: &Case) -> &'static str {
    match case.fault.harm {
        Harm::Stall if !case.cancelled => "hasty",
        Harm::Corrupt(_) | Harm::DuplicateByte => "hasty",
        _ => "patient",
    }
}

/// Closes the kept connections, and waits until the clients can know.
pub fn close(proxy: &Proxy) {
    proxy.hang_up();
    let port = proxy.address().port();
    eventually("the kept connections end", || {
        sockets_to(port).iter().all(|socket| !socket.is_open() || socket.is_half_closed())
    });
}

/// Whether clients have read what was sent to them; but for the ends of connections that they do not use now.
fn has_read_all(port: u16) -> bool {
    has_all_arrived(port)
        && sockets_to(port).iter().all(|socket| socket.has_read_all() || socket.is_half_closed() || !socket.is_open())
}

/// How many requests begin in these bytes.
pub fn requests_in(bytes: &[u8]) -> usize {
    bytes.windows(5).filter(|window| window == b"POST ").count()
}
