//! Claiming requests for a worker: a request is committed before it is sent.
//!
//! Claims are made one worker at a time, in a short transaction. Records are read in the order of their ids from where
//! this worker stopped reading; the wake-up of a commit says how far back to go. So records that were delivered an hour
//! ago are not stepped over again, however long another transaction keeps their dead rows from being vacuumed.

mod assign;
mod cursor;
mod decode;
mod deferred;
mod in_flight;
mod scan;
mod upstream_ids;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use pgrx::pg_sys::Oid;

use contract::batching::plan::{Operation, Planned};
use contract::kind::Kind;

use crate::call::server::{self, Server};
use crate::ereport;
use crate::outbox::settle::transitions;
use crate::outbox::store;
use crate::outbox::{guard, server_state};
use crate::pg::spi::Connection;
use crate::pg::transaction;

pub use self::cursor::Cursors;
use self::in_flight::InFlight;
use self::scan::{AT_ONCE, Probe, QueueScan, Scan};

/// How long a server is left alone after its queue could not be read and no record is at fault.
const UNREADABLE_QUEUE_DELAY: Duration = Duration::from_secs(5);

/// Requests that may be sent now, for one server.
pub struct Work {
    pub server: String,
    pub requests: Vec<Claimed>,
    /// Whether there is more to do than this.
    pub has_more: bool,
    /// Whether the server is in backoff.
    pub is_in_backoff: bool,
}

/// A request that is claimed.
pub struct Claimed {
    pub claim: i64,
    pub planned: Planned,
    /// The server as the records' role may use it.
    pub server: Server,
}

/// The result of a claim.
pub enum Found {
    Work(Work),
    /// There is nothing to send until this time has passed, or a wake-up comes.
    Nothing(Option<Duration>),
}

/// Scans the servers' queues, and claims requests to the first server that has some. In a transaction.
pub fn claim_requests(connection: &Connection, cursors: &mut Cursors, owner: i64) -> Found {
    let in_flight = InFlight::read(connection, cursors);
    let pauses = server_state::pauses(connection);
    let backoffs = server_state::backoffs(connection);
    let mut next: Option<Duration> = pauses.check_again_in();
    for server in servers(connection, cursors) {
        if pauses.is_whole(&server) {
            continue;
        }
        let backoff = backoffs.get(&server);
        let (left, left_for_creates) =
            backoff.map_or((Duration::ZERO, Duration::ZERO), |backoff| (backoff.left(), backoff.left_for_creates()));
        if !left.is_zero() {
            next = earlier(next, Some(left));
            continue;
        }
        // One request at a time finds out whether the server works again. Settling it wakes this worker.
        if backoff.is_some() && in_flight.servers.contains(&server) {
            continue;
        }
        if !left_for_creates.is_zero() {
            next = earlier(next, Some(left_for_creates));
        }
        let probe = backoff.map(|_| Probe { may_create: left_for_creates.is_zero() });
        let mut scan =
            QueueScan { connection, cursors, server: &server, in_flight: &in_flight, pauses: &pauses, probe };
        let scanned = match guard::carefully(|| scan.run()) {
            Ok(scanned) => scanned,
            Err(failure) => {
                ereport::log(&format!("could not read the queue of server \"{server}\": {}", failure.message));
                next = earlier(next, Some(UNREADABLE_QUEUE_DELAY));
                continue;
            }
        };
        match scanned {
            Ok(Scan { requests, has_more, .. }) if !requests.is_empty() => {
                let (mut claimed, mut has_failed) = (Vec::new(), false);
                for request in requests {
                    has_failed |= claim_request(connection, owner, &server, request, &mut claimed);
                }
                cursors.last.clone_from(&server);
                if claimed.is_empty() {
                    next = earlier(next, Some(if has_failed { AT_ONCE } else { UNREADABLE_QUEUE_DELAY }));
                    continue;
                }
                return Found::Work(Work { server, requests: claimed, has_more, is_in_backoff: backoff.is_some() });
            }
            Ok(scanned) => next = earlier(next, scanned.next),
            Err(_) => {
                let fingerprint = server::fingerprint(&server, Oid::INVALID);
                // Checked again: the cause may have changed before the fingerprint was read.
                if let Err(unusable) = server::options(&server) {
                    server_state::pause(connection, &server, 0, &unusable.to_string(), Some(&fingerprint));
                }
                // From now on, its cause is checked.
                next = earlier(next, Some(AT_ONCE));
            }
        }
    }
    Found::Nothing(next)
}

/// Claims a request. If one of its records makes that fail, the record fails, and the others are claimed in parts.
/// Returns true if one has failed.
fn claim_request(
    connection: &Connection,
    owner: i64,
    server: &str,
    (planned, as_role): (Planned, Server),
    claimed: &mut Vec<Claimed>,
) -> bool {
    let Planned { batch_key, kind, operations } = planned;
    let mut claims: Vec<(i64, Vec<Operation>)> = Vec::new();
    let mut claim_of: HashMap<i64, i64> = HashMap::new();
    let all: Vec<&Operation> = operations.iter().collect();
    let failed = guard::each_carefully(&all, |part| {
        if kind == Kind::Create {
            transaction::commit_to_disk();
        }
        let claim = store::claim::write(connection, owner, server, kind, part);
        claim_of.extend(part.iter().map(|operation| (operation.id, claim)));
    });
    let mut has_failed = false;
    for (operation, failure) in failed {
        for id in operation.ids() {
            has_failed |= transitions::fail(connection, server, id, "claimed", &failure);
        }
    }
    for operation in operations {
        let Some(&claim) = claim_of.get(&operation.id) else { continue };
        match claims.last_mut().filter(|(last, _)| *last == claim) {
            Some((_, part)) => part.push(operation),
            None => claims.push((claim, vec![operation])),
        }
    }
    claimed.extend(claims.into_iter().map(|(claim, operations)| {
        let planned = Planned { batch_key: Rc::clone(&batch_key), kind, operations };
        Claimed { claim, planned, server: as_role.clone() }
    }));
    has_failed
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// All servers that may have records, beginning with the server after the one that was served last.
fn servers(connection: &Connection, cursors: &mut Cursors) -> Vec<String> {
    let mut servers = store::scan::foreign_servers(connection);
    if cursors.positions.is_empty() {
        cursors.dropped = store::scan::named_servers(connection);
        cursors.dropped.retain(|named| !servers.contains(named));
    }
    let dropped: Vec<String> = cursors.dropped.iter().filter(|dropped| !servers.contains(dropped)).cloned().collect();
    servers.extend(dropped);
    servers.sort_unstable();
    let after_last = servers.partition_point(|server| *server <= cursors.last);
    servers.rotate_left(after_last);
    servers
}
