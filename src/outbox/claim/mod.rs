//! Claiming requests for a worker: a request is committed before it is sent.
//!
//! Claims are made in a short transaction, for as many requests as each server's window has room for. Records are read in
//! the order of their ids from where this worker stopped reading; the wake-up of a commit says how far back to go. So
//! records that were delivered an hour ago are not stepped over again, however long another transaction keeps their dead
//! rows from being vacuumed.

mod assign;
mod budget;
mod cursor;
mod decode;
mod deferred;
mod in_flight;
mod scan;
mod upstream_ids;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use pgrx::pg_sys::Oid;

use contract::batching::plan::{Operation, Planned};
use contract::batching::window::Window;
use contract::kind::Kind;

use crate::call::server::{self, Server};
use crate::ereport;
use crate::outbox::settle::transitions;
use crate::outbox::store::{self, requeue};
use crate::outbox::{claims_lock, guard, server_state};
use crate::pg::spi::Connection;
use crate::pg::transaction;

pub use self::budget::Budget;
pub use self::cursor::Cursors;
pub use self::in_flight::InFlight;
use self::scan::{AT_ONCE, QueueScan, Scan};

/// How long a server is left alone after its queue could not be read and no record is at fault.
const UNREADABLE_QUEUE_DELAY: Duration = Duration::from_secs(5);

/// A request that is claimed.
pub struct Claimed {
    pub claim: i64,
    pub planned: Planned,
    /// The server as the records' role may use it.
    pub server: Server,
}

/// The result of a claim.
#[derive(Default)]
pub struct Claims {
    pub requests: Vec<Claimed>,
    /// When to scan again, if no wake-up and no end of a request comes before.
    pub next: Option<Duration>,
    /// Another session has the lock of a server.
    pub is_locked_out: bool,
}

/// Scans the servers' queues, and claims requests to all servers that have some and room for them. In a transaction. The
/// stored backoffs count, except those of the servers `unstored`.
pub fn claim_requests(
    connection: &Connection,
    cursors: &mut Cursors,
    in_flight: &mut InFlight,
    windows: &mut HashMap<String, Window>,
    unstored: &HashSet<String>,
    owner: i64,
    mut budget: Budget,
) -> Claims {
    // The locks come before the pauses: a record that is enqueued after a pause must not be sent.
    let (servers, locked): (Vec<String>, Vec<String>) =
        servers(connection, cursors).into_iter().partition(|server| claims_lock::try_acquire(server));
    requeue::free_postponed(connection);
    let pauses = server_state::pauses(connection);
    let now = Instant::now();
    let mut backoffs = server_state::backoffs(connection);
    let is_stored = |server: &String| !locked.contains(server) && !unstored.contains(server);
    for (server, window) in windows.iter_mut().filter(|(server, _)| is_stored(server)) {
        window.load(backoffs.get(server).map_or(&[], Vec::as_slice), now);
    }
    let mut claims = Claims { requests: Vec::new(), next: pauses.check_again_in(), is_locked_out: !locked.is_empty() };
    for server in servers {
        if budget.is_spent() {
            break;
        }
        if pauses.is_whole(&server) {
            continue;
        }
        // A resume frees all records that are held.
        if !pauses.has_hold(&server) {
            requeue::free_forgotten(connection, &server, &pauses.roles(&server));
        }
        let stored = backoffs.remove(&server).unwrap_or_default();
        // A round follows the end of a request, too, which makes room.
        let next_change = |windows: &HashMap<String, Window>| {
            let change = windows.get(&server).and_then(|window| window.next_change(now));
            change.map(|at| at.saturating_duration_since(now))
        };
        // The limits may have grown since the last scan.
        if let Some(window) = windows.get_mut(&server)
            && window.room(now) == 0
            && let Ok(Ok(options)) = guard::carefully(|| server::options(&server))
        {
            window.set_limits(scan::limits(&options));
        }
        if windows.get(&server).is_some_and(|window| window.room(now) == 0) {
            claims.next = earlier(claims.next, next_change(windows));
            continue;
        }
        let in_flight = in_flight.of(&server);
        // The end of a request makes room for more.
        let Some(share) = budget.share(in_flight.requests, in_flight.bytes) else { continue };
        let (pauses, mut left) = (&pauses, share);
        let mut scan = QueueScan {
            connection,
            cursors,
            server: &server,
            in_flight,
            pauses,
            windows,
            stored,
            budget: &mut left,
            now,
        };
        let scanned = guard::carefully(|| scan.run());
        budget.subtract(&share, &left);
        let scanned = match scanned {
            Ok(scanned) => scanned,
            Err(failure) => {
                ereport::log(&format!("could not read the queue of server \"{server}\": {}", failure.message));
                claims.next = earlier(claims.next, Some(UNREADABLE_QUEUE_DELAY));
                continue;
            }
        };
        match scanned {
            Ok(Scan { requests, next }) => {
                claims.next = earlier(claims.next, earlier(next, next_change(windows)));
                if requests.is_empty() {
                    continue;
                }
                let (claimed_before, mut has_failed) = (claims.requests.len(), false);
                for request in requests {
                    has_failed |= claim_request(connection, owner, &server, request, &mut claims.requests);
                }
                cursors.last.clone_from(&server);
                if claims.requests.len() == claimed_before {
                    let delay = if has_failed { AT_ONCE } else { UNREADABLE_QUEUE_DELAY };
                    claims.next = earlier(claims.next, Some(delay));
                }
            }
            Err(_) => {
                let fingerprint = server::fingerprint(&server, Oid::INVALID);
                // Checked again: the cause may have changed before the fingerprint was read.
                if let Err(unusable) = server::options(&server) {
                    server_state::pause(connection, &server, 0, &unusable.to_string(), Some(&fingerprint));
                }
                // From now on, its cause is checked.
                claims.next = earlier(claims.next, Some(AT_ONCE));
            }
        }
    }
    if budget.is_spent() {
        claims.next = earlier(claims.next, Some(AT_ONCE));
    }
    claims
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
    cursors.servers = store::scan::foreign_servers(connection);
    let mut servers: Vec<String> = cursors.servers.iter().map(|(server, _)| server.clone()).collect();
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
