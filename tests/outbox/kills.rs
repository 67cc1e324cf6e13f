//! Crashes at every point of a delivery. The worker is killed, which makes Postgres restart all its processes, or the
//! server is stopped as by a power failure. The judge is the sandbox: no update or delete is lost, no create is sent
//! twice, no record returns to an earlier state.

use std::time::{Duration, Instant};

use postgres::Client;
use sequin_harness::raw::FullBacklog;
use sequin_harness::{Request, Stop};
use serde_json::{Value, json};

use crate::support::network::eventually;
use crate::support::server::{APP, PRELOADED};
use crate::support::{Session, World};

/// Where the worker is when it dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Point {
    /// The claim is being written.
    Claiming,
    /// The claim is committed; no connection was made yet.
    Connecting,
    /// The API has the head of the request, and does not read the body.
    Sending,
    /// As before, with a body that does not fit into the buffers on the way.
    SendingMuch,
    /// The API has it all, has done it, and does not answer.
    Waiting,
    /// Half of the reply is there.
    Receiving,
    /// The result is being written.
    Settling,
    /// All is done.
    After,
}

impl Point {
    const ALL: [Point; 8] = [
        Point::Claiming,
        Point::Connecting,
        Point::Sending,
        Point::SendingMuch,
        Point::Waiting,
        Point::Receiving,
        Point::Settling,
        Point::After,
    ];

    /// Whether a create is known to be safe to send, or to be done.
    fn is_certain(self) -> bool {
        matches!(self, Point::Claiming | Point::After)
    }
}

/// The kind of delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Create,
    Update,
    Delete,
    /// Of a row of an attached table.
    Insert,
    RowUpdate,
    RowDelete,
}

impl What {
    const ALL: [What; 6] = [What::Create, What::Update, What::Delete, What::Insert, What::RowUpdate, What::RowDelete];

    fn is_create(self) -> bool {
        matches!(self, What::Create | What::Insert)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    KillWorker,
    StopImmediately,
}

impl Way {
    fn conf(self) -> &'static str {
        match self {
            // The launcher comes back with the server, and starts the worker again.
            Way::KillWorker => "",
            Way::StopImmediately => PRELOADED,
        }
    }

    /// After either, Postgres recovers alike; so the second goes through one of each kind, unless there is time.
    fn whats(self) -> Vec<What> {
        match self {
            Way::StopImmediately if std::env::var_os("SEQUIN_SOAK_ROUNDS").is_none() => {
                vec![What::Create, What::Update, What::RowDelete]
            }
            _ => What::ALL.to_vec(),
        }
    }

    fn crash(self, cluster: &mut World) {
        match self {
            Way::KillWorker => cluster.kill_worker(),
            Way::StopImmediately => cluster.restart(Stop::Immediate),
        }
    }
}

/// One delivery that is interrupted.
struct Case {
    point: Point,
    what: What,
    /// The unique name of the contact.
    name: String,
    row: i64,
    upstream_id: Option<String>,
}

/// More than the buffers of two sockets hold.
const MUCH: usize = 6_000_000;

impl Case {
    /// With the record that the update or the delete is for.
    fn prepare(cluster: &mut World, point: Point, what: What, row: i64) -> Case {
        let name = format!("{point:?} {what:?}");
        let upstream_id = match what {
            What::Create | What::Insert => None,
            What::Update | What::Delete => Some(cluster.create(&name)),
            What::RowUpdate | What::RowDelete => {
                cluster.run(&format!("INSERT INTO people VALUES ({row}, '{name}', 0)"));
                let id = format!("(SELECT sf_id FROM people WHERE id = {row})");
                cluster.until(&format!("SELECT {id} IS NOT NULL"));
                Some(cluster.one(&format!("SELECT {id}")))
            }
        };
        cluster.settled();
        cluster.sandbox.clear_log();
        Case { point, what, name, row, upstream_id }
    }

    /// Queues it, the change with number 1.
    fn queue(&self, cluster: &mut World) -> Vec<i64> {
        let (name, row) = (&self.name, self.row);
        let note = "x".repeat(if self.point == Point::SendingMuch { MUCH } else { 1 });
        let id = &self.upstream_id;
        match self.what {
            What::Create => cluster.enqueue("create", &json!([{"data": {"Name": name, "n": 1, "note": note}}])),
            What::Update => cluster.enqueue("update", &json!([{"upstream_id": id, "data": {"n": 1, "note": note}}])),
            What::Delete => cluster.enqueue("delete", &json!([id])),
            What::Insert => self.change(cluster, &format!("INSERT INTO people VALUES ({row}, '{name}', 1, '{note}')")),
            What::RowUpdate => {
                self.change(cluster, &format!("UPDATE people SET n = 1, note = '{note}' WHERE id = {row}"))
            }
            What::RowDelete => self.change(cluster, &format!("DELETE FROM people WHERE id = {row}")),
        }
    }

    /// Queues a second change of the same record, with number 2, while the first one is in flight.
    fn queue_later(&self, cluster: &mut World) -> Vec<i64> {
        match self.what {
            What::Update => vec![cluster.enqueue_number(self.upstream_id.as_deref().unwrap_or_default(), 2)],
            What::Insert | What::RowUpdate => {
                self.change(cluster, &format!("UPDATE people SET n = 2 WHERE id = {}", self.row))
            }
            What::Create | What::Delete | What::RowDelete => vec![],
        }
    }

    /// Changes a row, and returns the ids of the queued records.
    fn change(&self, cluster: &mut World, sql: &str) -> Vec<i64> {
        let last = "SELECT last_value FROM sequin.outbox_id";
        let before: i64 = cluster.one(last);
        cluster.run(&format!("BEGIN; {sql}"));
        // Claims take numbers of the same sequence.
        let find = "SELECT COALESCE(array_agg(id), '{}') FROM sequin.queue WHERE id > $1 AND xmin::text = \
                    pg_current_xact_id()::text";
        let ids: Vec<i64> = cluster.rows(find, &[&before])[0].get(0);
        cluster.run("COMMIT");
        assert_eq!(ids.len(), 1, "{}", self.name);
        ids
    }

    /// Brings the worker to the point. The returned value keeps it there.
    fn arrive(&self, cluster: &mut World) -> (Vec<i64>, Option<Client>, Option<FullBacklog>) {
        let sandbox = &cluster.sandbox;
        match self.point {
            Point::Claiming => {
                let lock = lock(cluster, "claims");
                let ids = self.queue(cluster);
                waits_for_lock(cluster);
                (ids, Some(lock), None)
            }
            Point::Connecting => {
                let backlog = FullBacklog::start();
                cluster.set_url(&format!("http://{}", backlog.address()));
                let ids = self.queue(cluster);
                cluster.until("SELECT EXISTS (SELECT FROM sequin.claims)");
                (ids, None, Some(backlog))
            }
            Point::Sending | Point::SendingMuch | Point::Waiting => {
                sandbox.fault(json!({"stall": if self.point == Point::Waiting { "reply" } else { "body_read" }}));
                let ids = self.queue(cluster);
                cluster.in_the_air();
                if self.point == Point::Waiting {
                    eventually("it is done", || cluster.sandbox.log().mutations()[0].complete);
                }
                (ids, None, None)
            }
            Point::Receiving => {
                sandbox.fault(json!({"stall": "reply_body"}));
                let ids = self.queue(cluster);
                eventually("it is answered", || {
                    cluster.sandbox.log().mutations().first().is_some_and(|first| first.status == Some(200))
                });
                (ids, None, None)
            }
            Point::Settling => {
                sandbox.fault(json!({"hold": true}));
                let ids = self.queue(cluster);
                cluster.in_the_air();
                let lock = lock(cluster, "history");
                cluster.sandbox.clear_faults();
                waits_for_lock(cluster);
                (ids, Some(lock), None)
            }
            Point::After => {
                let ids = self.queue(cluster);
                cluster.settled();
                (ids, None, None)
            }
        }
    }

    /// The conditions at the end.
    fn judge(&self, cluster: &mut World, first: i64, later: &[i64]) {
        let Case { point, what, name, .. } = self;
        let state = |cluster: &mut World| {
            let sql = "SELECT state FROM sequin.outbox WHERE id = $1";
            cluster.rows(sql, &[&first]).first().map_or_else(|| "delivered".to_owned(), |row| row.get(0))
        };
        eventually(&format!("{name} is settled"), || matches!(state(cluster).as_str(), "delivered" | "unknown"));
        let is_unknown = state(cluster) == "unknown";
        assert_eq!(is_unknown, what.is_create() && !point.is_certain(), "{name}");
        if is_unknown {
            self.decide(cluster, first);
        }
        cluster.settled();
        for id in [&[first], later].concat() {
            assert!(
                cluster.one::<bool>(&format!("SELECT sequin_sent_with({id}) IN (SELECT id FROM sequin.delivered)")),
                "{name}"
            );
        }
        let log = cluster.sandbox.log();
        let requests = log.mutations();
        let complete: Vec<Value> = requests.iter().filter(|request| request.complete).map(|r| r.json()).collect();
        let numbers: Vec<i64> = complete.iter().filter_map(|body| body["records"][0]["data"]["n"].as_i64()).collect();
        assert!(numbers.is_sorted(), "{name}: {numbers:?}");
        let found: Vec<Value> = cluster.contacts().into_iter().filter(|c| c["data"]["Name"] == name.as_str()).collect();
        let expected = usize::from(!matches!(what, What::Delete | What::RowDelete));
        assert_eq!(found.len(), expected, "{name}: {found:?}");
        if let Some(contact) = found.first() {
            let last = if later.is_empty() { 1 } else { 2 };
            assert_eq!(contact["data"]["n"], last, "{name}");
        }
    }

    /// A person's work on an unknown create: looks upstream, and resolves it.
    fn decide(&self, cluster: &mut World, id: i64) {
        let log = cluster.sandbox.log();
        let creates: Vec<&Request> =
            log.mutations().into_iter().filter(|r| !r.complete || r.json()["kind"] == "create").collect();
        assert!(creates.len() <= 1, "{}: a create was sent {} times", self.name, creates.len());
        let found = cluster.contacts().into_iter().find(|contact| contact["data"]["Name"] == self.name.as_str());
        let is_done = matches!(self.point, Point::Waiting | Point::Receiving | Point::Settling);
        assert_eq!(found.is_some(), is_done, "{}", self.name);
        match found {
            Some(contact) => {
                let upstream_id = contact["upstream_id"].as_str().unwrap_or_default();
                cluster.run(&format!("SELECT sequin_resolve({id}, '{upstream_id}')"));
            }
            None => cluster.run(&format!("SELECT sequin_retry({id})")),
        }
    }
}

/// A session that locks an inner table of the outbox.
fn lock(cluster: &World, table: &str) -> Client {
    let mut client = cluster.server.connect(APP);
    client.run(&format!("BEGIN; LOCK TABLE sequin.{table} IN ACCESS EXCLUSIVE MODE"));
    client
}

fn waits_for_lock(cluster: &mut World) {
    cluster.until("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid = ANY (sequin.workers()))");
}

/// Goes through all points and kinds with one server.
fn crash_at_every_point(way: Way) {
    let mut cluster = World::with_own_server(way.conf());
    cluster.run(
        "ALTER SERVER sequin OPTIONS (connect_timeout_ms '30000');
         CREATE TABLE people (id int PRIMARY KEY, \"Name\" text, n int, note text, sf_id text);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id')",
    );
    let mut longest = Duration::ZERO;
    let mut row = 0;
    for point in Point::ALL {
        for what in way.whats() {
            if point == Point::SendingMuch && !matches!(what, What::Create | What::Update) {
                continue; // A delete is never large, and a row's data travels as any other.
            }
            row += 1;
            let case = Case::prepare(&mut cluster, point, what, row);
            let (first, lock, backlog) = case.arrive(&mut cluster);
            let later = if point == Point::After { vec![] } else { case.queue_later(&mut cluster) };
            let last_claim: i64 = cluster.one("SELECT last_value FROM sequin.outbox_id");
            way.crash(&mut cluster);
            drop((lock, backlog));
            cluster.worker();
            let back = Instant::now();
            if point == Point::Connecting {
                // Repeated requests need an API.
                cluster.set_reachable();
            }
            // Numbers that a crash has used up are not given again.
            let freed = format!("SELECT NOT EXISTS (SELECT FROM sequin.claims WHERE id <= {last_claim})");
            cluster.until(&freed);
            longest = longest.max(back.elapsed());
            case.judge(&mut cluster, first[0], &later);
        }
    }
    eprintln!("{way:?}: the claims of the dead were free at most {longest:?} after the worker had come back");
}

#[test]
fn a_worker_that_is_killed_at_any_point_loses_and_repeats_nothing() {
    crash_at_every_point(Way::KillWorker);
}

#[test]
fn a_server_that_crashes_at_any_point_loses_and_repeats_nothing() {
    crash_at_every_point(Way::StopImmediately);
}
