//! The numbers of `sequin.status`, at a cost that does not grow with the outbox.
//!
//! A role sees counts of the records that it may see. Numbers up to [`counts::MOST`] of a server are exact; larger ones
//! are estimated. Where the queue begins, the worker says: an index holds the entries of delivered records until a vacuum
//! removes them, and each read would step over them.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::ffi::CStr;

use pgrx::pg_sys::Oid;

use contract::reply::Timestamp;

use crate::call::stats::{self, Deliveries};
use crate::pg::spi::{self, Connection};
use crate::pg::{catalog, guc, security_context, session};

use super::store::counts::{self, Count, FailedWriteBack, MOST, Sampled, WriteBacks};
use super::store::row::State;
use super::store::scan;
use super::worker::registry;

/// The outbox of one server.
pub struct ServerStatus {
    pub server: String,
    pub backlog: i64,
    pub oldest: Option<Timestamp>,
    pub rejected: i64,
    pub unknown: i64,
    pub write_backs: i64,
    pub write_back_error: Option<String>,
    /// At least one of the numbers of records is estimated.
    pub is_estimate: bool,
    pub deliveries: Deliveries,
}

/// The outboxes of the servers that the current role may use or has records for.
pub fn read() -> Vec<ServerStatus> {
    stats::prepare();
    let role = session::current_role();
    let read = || {
        let status = spi::connected(|connection| -> Result<_, Infallible> { Ok(Reading::new(connection, role).run()) });
        let Ok(status) = status;
        status
    };
    security_context::as_queue_owner(|| guc::with_values(IN_ORDER_OF_INDEX, true, read))
}

/// A read that stops early has to follow an index. Without statistics of the tables the planner would sort all records.
const IN_ORDER_OF_INDEX: [(&CStr, &CStr); 6] = [
    (c"enable_bitmapscan", c"off"),
    (c"enable_seqscan", c"off"),
    (c"enable_sort", c"off"),
    (c"enable_indexscan", c"on"),
    (c"enable_tidscan", c"on"),
    (c"jit", c"off"),
];

/// The counts of one server.
#[derive(Default)]
struct Tally {
    may_use: bool,
    deliveries: Option<Deliveries>,
    queued: Part,
    deferred: Part,
    /// The rejected and unknown ones of the deferred records.
    dead: Part,
    rejected: i64,
    unknown: i64,
    write_backs: Part,
    write_back_error: Option<String>,
}

/// The records of a server in one table, or a part of it.
#[derive(Default)]
struct Part {
    /// Of all roles, as far as they were read.
    read: i64,
    /// Of those that the role may see.
    visible: i64,
    oldest: Option<i64>,
}

impl Part {
    fn is_cut_short(&self) -> bool {
        self.read >= MOST
    }

    fn add(&mut self, records: i64, oldest: i64, is_visible: bool) {
        self.read += records;
        if is_visible {
            self.visible += records;
            self.oldest = earlier(self.oldest, Some(oldest));
        }
    }

    /// Takes an estimate of the visible records. Those that were read are some of them.
    fn estimate(&mut self, estimate: &Part) {
        if self.is_cut_short() {
            self.visible = self.visible.max(estimate.visible);
            self.oldest = self.oldest.or(estimate.oldest);
        }
    }
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

impl Tally {
    fn of_state(&mut self, state: State) -> Option<&mut i64> {
        match state {
            State::Pending => None,
            State::Rejected => Some(&mut self.rejected),
            State::Unknown => Some(&mut self.unknown),
        }
    }

    fn status(self, server: String) -> Option<ServerStatus> {
        let Tally { may_use, deliveries, queued, deferred, rejected, unknown, write_backs, write_back_error, .. } =
            self;
        let backlog = queued.visible + deferred.visible;
        if !may_use && backlog == 0 && write_backs.visible == 0 {
            return None;
        }
        Some(ServerStatus {
            server,
            backlog,
            oldest: earlier(queued.oldest, deferred.oldest).map(Timestamp),
            rejected,
            unknown,
            write_backs: write_backs.visible,
            write_back_error,
            is_estimate: [queued, deferred, write_backs].iter().any(Part::is_cut_short),
            deliveries: deliveries.filter(|_| may_use).unwrap_or(Deliveries::NONE),
        })
    }
}

type Tallies = BTreeMap<String, Tally>;

/// One reading of all servers, for a role.
struct Reading<'a> {
    connection: &'a Connection,
    role: Oid,
    sees_all: bool,
    /// Whether the role may see the records of another role.
    visible: HashMap<u32, bool>,
}

impl Reading<'_> {
    fn new(connection: &Connection, role: Oid) -> Reading<'_> {
        Reading { connection, role, sees_all: catalog::reads_all_data(role), visible: HashMap::new() }
    }

    fn run(mut self) -> Vec<ServerStatus> {
        let mut tallies = self.servers();
        self.count_queue(&mut tallies);
        self.count_deferred(&mut tallies);
        self.count_write_backs(&mut tallies);
        tallies.into_iter().filter_map(|(server, tally)| tally.status(server)).collect()
    }

    fn may_see(&mut self, owner: Oid) -> bool {
        let role = self.role;
        let has_rights = |owner: &u32| catalog::has_rights_of(role, *owner);
        self.sees_all || *self.visible.entry(owner.to_u32()).or_insert_with_key(has_rights)
    }

    /// The servers that exist, and those that records name.
    fn servers(&self) -> Tallies {
        let has_worker = !registry::pids().is_empty();
        let mut tallies = Tallies::new();
        for (server, oid) in scan::foreign_servers(self.connection) {
            let deliveries = stats::deliveries(oid);
            // A worker that is gone says nothing of now. Its last deliveries count for some seconds.
            let deliveries = match has_worker {
                true => deliveries,
                false => Deliveries { records_per_second: deliveries.records_per_second, ..Deliveries::NONE },
            };
            let tally =
                Tally { may_use: catalog::may_use(oid, self.role), deliveries: Some(deliveries), ..Tally::default() };
            tallies.insert(server, tally);
        }
        loop {
            let known: Vec<&str> = tallies.keys().map(String::as_str).collect();
            let found = counts::unknown_servers(self.connection, &known);
            if found.is_empty() {
                return tallies;
            }
            tallies.extend(found.into_iter().map(|server| (server, Tally::default())));
        }
    }

    fn count_queue(&mut self, tallies: &mut Tallies) {
        let from = |tally: &Tally| tally.deliveries.map_or(i64::MIN, |deliveries| deliveries.queue_from);
        let (servers, from): (Vec<&str>, Vec<i64>) =
            tallies.iter().map(|(server, tally)| (server.as_str(), from(tally))).unzip();
        for Count { server, role, records, oldest, .. } in counts::queued(self.connection, &servers, &from) {
            let is_visible = self.may_see(role);
            tallies.entry(server).or_default().queued.add(records, oldest.0, is_visible);
        }
        if tallies.values().any(|tally| tally.queued.is_cut_short()) {
            for (server, estimate) in self.sample(Sampled::Queue) {
                tallies.entry(server).or_default().queued.estimate(&estimate.queued);
            }
        }
    }

    fn count_deferred(&mut self, tallies: &mut Tallies) {
        let servers: Vec<&str> = tallies.keys().map(String::as_str).collect();
        for Count { server, role, state, records, oldest } in counts::deferred(self.connection, &servers) {
            let is_visible = self.may_see(role);
            let tally = tallies.entry(server).or_default();
            tally.deferred.add(records, oldest.0, is_visible);
            if let Some(number) = tally.of_state(state).filter(|_| is_visible) {
                *number += records;
            }
        }
        let cut_short = tallies.iter_mut().filter(|(_, tally)| tally.deferred.is_cut_short());
        let cut_short: Vec<String> = cut_short
            .map(|(server, tally)| {
                (tally.rejected, tally.unknown) = (0, 0);
                server.clone()
            })
            .collect();
        if cut_short.is_empty() {
            return;
        }
        // They are few among many that wait.
        let servers: Vec<&str> = cut_short.iter().map(String::as_str).collect();
        for Count { server, role, state, records, oldest } in counts::dead(self.connection, &servers) {
            let is_visible = self.may_see(role);
            let tally = tallies.entry(server).or_default();
            tally.dead.add(records, oldest.0, is_visible);
            if let Some(number) = tally.of_state(state).filter(|_| is_visible) {
                *number += records;
            }
        }
        for (server, estimate) in self.sample(Sampled::Deferred) {
            let tally = tallies.entry(server).or_default();
            tally.deferred.estimate(&estimate.deferred);
            if tally.dead.is_cut_short() {
                tally.rejected = tally.rejected.max(estimate.rejected);
                tally.unknown = tally.unknown.max(estimate.unknown);
            }
        }
    }

    fn count_write_backs(&mut self, tallies: &mut Tallies) {
        let write_backs = counts::write_backs(self.connection);
        // The bound is for all servers together.
        let read: i64 = write_backs.iter().map(|write_backs| write_backs.records).sum();
        for WriteBacks { server, role, records } in write_backs {
            let is_visible = self.may_see(role);
            tallies.entry(server).or_default().write_backs.add(records, i64::MAX, is_visible);
        }
        if read >= MOST {
            for (server, estimate) in self.sample(Sampled::WriteBacks) {
                let write_backs = &mut tallies.entry(server).or_default().write_backs;
                write_backs.read = MOST;
                write_backs.estimate(&estimate.write_backs);
            }
        }
        for FailedWriteBack { server, role, error } in counts::failed_write_backs(self.connection) {
            if self.may_see(role) {
                tallies.entry(server).or_default().write_back_error.get_or_insert(error);
            }
        }
    }

    /// The estimates of a table's records, by server.
    fn sample(&mut self, table: Sampled) -> Tallies {
        let mut tallies = Tallies::new();
        for Count { server, role, state, records, oldest } in counts::sample(self.connection, table) {
            let is_visible = self.may_see(role);
            let tally = tallies.entry(server).or_default();
            let part = match table {
                Sampled::Queue => &mut tally.queued,
                Sampled::Deferred => &mut tally.deferred,
                Sampled::WriteBacks => &mut tally.write_backs,
            };
            part.add(records, oldest.0, is_visible);
            if let Some(number) = tally.of_state(state).filter(|_| is_visible) {
                *number += records;
            }
        }
        tallies
    }
}
