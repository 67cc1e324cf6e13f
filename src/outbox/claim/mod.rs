//! Taking records for a worker: what is to be sent is written down and committed before any of it is sent.
//!
//! Claims are made one worker at a time, in a short transaction. Records are read in the order of their ids from where
//! this worker stopped reading; those that a commit brought below that place, the commit has told of (`worker::registry`).
//! So what was delivered an hour ago is not stepped over again, however long another transaction keeps its dead rows
//! from being vacuumed.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use pgrx::pg_sys::Oid;

use crate::call::server::{self, Server};
use crate::ereport;
use crate::pg::spi::{Connection, QueryRows};
use crate::pg::statement::{Statement, Value};
use crate::pg::transaction;
use contract::kind::Kind;

mod cursor;
mod decode;
mod deferred;
mod in_flight;
mod scan;
mod upstream_ids;

pub use self::cursor::Cursors;
use self::in_flight::{InFlight, hash};
use self::scan::{AT_ONCE, Probe, QueueScan, Scan};
use crate::outbox::guard;
use crate::outbox::server_state::{self, Trouble};
use crate::outbox::settle::transitions;
use contract::batching::plan::{Operation, Planned};

/// The owner of claims that are no worker's: what is claimed so is not sent, and not free either.
pub const NOBODY: i64 = -1;

/// How long a server is left alone whose queue cannot be read because of an error that is no record's.
const UNREADABLE: Duration = Duration::from_secs(5);

/// Requests that may be sent now, for one server.
pub struct Work {
    pub server: String,
    pub requests: Vec<Claimed>,
    /// Whether there is more to do than this.
    pub has_more: bool,
    /// Whether the server did not answer as it should the last time, to this worker or to another.
    pub is_in_trouble: bool,
}

/// A request that is written down.
pub struct Claimed {
    pub claim: i64,
    pub planned: Planned,
    /// The server as the records' role may use it.
    pub server: Server,
}

/// What a look at the queue has found.
pub enum Found {
    Work(Work),
    /// Nothing, until this time is over or somebody calls.
    Nothing(Option<Duration>),
}

static SERVERS: Statement = Statement::new(
    "SELECT s.srvname::pg_catalog.text FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper w \
     ON w.oid OPERATOR(pg_catalog.=) s.srvfdw WHERE w.fdwname OPERATOR(pg_catalog.=) 'sequin_mutations'",
);

pub static NAMED_SERVERS: Statement = Statement::new(concat!(
    named_servers!(),
    ", parked(server) AS ((SELECT p.server FROM sequin.deferred p ORDER BY p.server LIMIT 1) UNION ALL \
       (SELECT (SELECT p.server FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.>) n.server \
                ORDER BY p.server LIMIT 1) FROM parked n WHERE n.server IS NOT NULL)) \
     SELECT n.server FROM named n WHERE n.server IS NOT NULL UNION \
     SELECT n.server FROM parked n WHERE n.server IS NOT NULL"
));

static WRITE_CLAIM: Statement = Statement::new(
    "INSERT INTO sequin.claims (id, owner, server, kind, ids, heads, keys, claimed_at) \
     VALUES (pg_catalog.nextval('sequin.outbox_id'), $1, $2, $3, $4, $5, $6, pg_catalog.clock_timestamp()) RETURNING id",
);

/// Looks at every server's queue, and claims what can be sent to the first that has something. In a transaction.
pub fn claim(connection: &Connection, cursors: &mut Cursors, owner: i64) -> Found {
    let in_flight = InFlight::read(connection, cursors);
    let pauses = server_state::pauses(connection);
    let troubles = server_state::troubles(connection);
    let mut next: Option<Duration> = pauses.look_again();
    for server in servers(connection, cursors) {
        if pauses.is_whole(&server) {
            continue;
        }
        let trouble = troubles.get(&server);
        if let Some(Trouble { left, .. }) = trouble.filter(|trouble| !trouble.left.is_zero()) {
            next = earlier(next, Some(*left));
            continue;
        }
        // One request at a time finds out whether it works again. The end of another worker's request wakes this one.
        if trouble.is_some() && in_flight.servers.contains(&server) {
            continue;
        }
        let probe = trouble.map(|trouble| Probe { may_create: trouble.left_for_creates.is_zero() });
        if let Some(Trouble { left_for_creates, .. }) = trouble.filter(|trouble| !trouble.left_for_creates.is_zero()) {
            next = earlier(next, Some(*left_for_creates));
        }
        let mut look =
            QueueScan { connection, cursors, server: &server, in_flight: &in_flight, pauses: &pauses, probe };
        let scan = match guard::carefully(|| look.plan_requests()) {
            Ok(scan) => scan,
            Err(failure) => {
                ereport::log(&format!("the queue of server \"{server}\" could not be read: {}", failure.message));
                next = earlier(next, Some(UNREADABLE));
                continue;
            }
        };
        match scan {
            Ok(Scan { requests, has_more, .. }) if !requests.is_empty() => {
                let (mut claimed, mut has_rejected) = (Vec::new(), false);
                for request in requests {
                    has_rejected |= write_claims(connection, owner, &server, request, &mut claimed);
                }
                cursors.last.clone_from(&server);
                if claimed.is_empty() {
                    next = earlier(next, Some(if has_rejected { AT_ONCE } else { UNREADABLE }));
                    continue;
                }
                let is_in_trouble = trouble.is_some();
                return Found::Work(Work { server, requests: claimed, has_more, is_in_trouble });
            }
            Ok(scan) => next = earlier(next, scan.next),
            Err(_) => {
                let setup = server::fingerprint(&server, Oid::INVALID);
                // Once more, for it may have been changed since.
                if let Err(unusable) = server::options(&server) {
                    server_state::pause(connection, &server, 0, &unusable.to_string(), Some(&setup));
                }
                // From now on to look whether its cause has changed.
                next = earlier(next, Some(AT_ONCE));
            }
        }
    }
    Found::Nothing(next)
}

/// Writes down the claim of a request. If one of its records makes that fail, the others are claimed in parts, and that
/// one is rejected. True if one was.
fn write_claims(
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
        let claim = write(connection, owner, server, kind, part);
        claim_of.extend(part.iter().map(|operation| (operation.id, claim)));
    });
    let mut has_rejected = false;
    for (operation, failure) in failed {
        for id in operation.ids() {
            has_rejected |= transitions::fail(connection, server, id, "claimed", &failure);
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
    has_rejected
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// All servers that may have records, those first that come after the last one served.
fn servers(connection: &Connection, cursors: &mut Cursors) -> Vec<String> {
    let names = |batch: QueryRows| (0..batch.len()).filter_map(|row| batch.text(row, 1)).collect::<Vec<_>>();
    let mut servers = names(SERVERS.run(connection, &[]));
    if cursors.positions.is_empty() {
        cursors.lost = names(NAMED_SERVERS.run(connection, &[]));
        cursors.lost.retain(|named| !servers.contains(named));
    }
    servers.extend(cursors.lost.iter().filter(|lost| !servers.contains(lost)).cloned().collect::<Vec<_>>());
    servers.sort_unstable();
    let after_last = servers.partition_point(|server| *server <= cursors.last);
    servers.rotate_left(after_last);
    servers
}

/// Writes down a claim of these operations.
pub fn write(connection: &Connection, owner: i64, server: &str, kind: Kind, operations: &[&Operation]) -> i64 {
    let (mut ids, mut heads) = (Vec::new(), Vec::new());
    for operation in operations {
        for id in operation.ids() {
            ids.push(id);
            heads.push(operation.id);
        }
    }
    if ids == heads {
        // Mostly each record goes by itself.
        heads.clear();
    }
    let keys: Vec<i64> =
        operations.iter().filter_map(|operation| operation.ordering_key.as_deref()).map(hash).collect();
    let values = [
        Value::Int8(owner),
        Value::Text(Some(server)),
        Value::Text(Some(kind.as_str())),
        Value::Int8s(&ids),
        Value::Int8s(&heads),
        Value::Int8s(&keys),
    ];
    if kind == Kind::Create {
        transaction::commit_to_disk();
    }
    WRITE_CLAIM.run(connection, &values).int8(0, 1).expect("an id is not NULL")
}
