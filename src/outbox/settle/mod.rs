//! Settling requests: the dispositions of their records and the state of their server, in one transaction.
//!
//! A result counts only while its claim exists: a worker that was presumed dead, and comes back, changes nothing.

pub mod dead_claim;
pub mod transitions;

use contract::batching::plan::{Operation, Planned};
use contract::batching::server_state::ServerState;
use contract::kind::Kind;

use crate::call::server::Server;
use crate::ereport;
use crate::outbox::claim::Claimed;
use crate::outbox::claims_lock;
use crate::outbox::disposition::Disposition;
use crate::outbox::guard;
use crate::outbox::send::Flight;
use crate::outbox::store::state::notify;
use crate::outbox::store::{claim, defer, requeue};
use crate::outbox::{server_state, write_back};
use crate::pg::spi::Connection;
use crate::pg::transaction::commit_to_disk;

/// A request that has ended, with the dispositions of its records.
struct Sent<'a> {
    claim: i64,
    planned: &'a Planned,
    /// The server as the records' role used it.
    server: &'a Server,
    dispositions: Vec<(&'a Operation, &'a Disposition)>,
    /// None if the request was not made.
    state: Option<&'a ServerState>,
}

impl<'a> Sent<'a> {
    fn new(flight: &'a Flight) -> Sent<'a> {
        let Claimed { claim, planned, server, .. } = &flight.claimed;
        let with_operation =
            |(place, disposition): &'a (usize, Disposition)| (&planned.operations[*place], disposition);
        Sent {
            claim: *claim,
            planned,
            server,
            dispositions: flight.dispositions.iter().map(with_operation).collect(),
            state: flight.state.as_ref(),
        }
    }
}

/// The result of settling some requests.
pub struct Written {
    /// The lowest id of the records that are as free as before.
    pub freed: Option<i64>,
    /// Whether the pauses that must begin are stored.
    pub is_noted: bool,
    /// Records stay claimed, because their results could not be stored.
    pub has_stuck: bool,
    /// The number of records that were delivered.
    pub delivered: usize,
}

/// Settles some requests to one server.
pub fn write(
    connection: &Connection,
    server: &str,
    ended: &[&Flight],
    owner: i64,
    write_backs: &mut write_back::Handover,
) -> Written {
    let sent: Vec<Sent<'_>> = ended.iter().map(|flight| Sent::new(flight)).collect();
    let kept: Vec<&Sent<'_>> = sent.iter().filter(|sent| end_claim(connection, sent.claim, owner)).collect();
    for Sent { planned, dispositions, .. } in &kept {
        let forgotten = guard::carefully(|| write_back::forget_deleted(connection, planned.kind, dispositions));
        if let Err(failure) = forgotten {
            ereport::log(&format!("could not forget the upstream ids of deleted rows: {}", failure.message));
        }
    }
    let dispositions: Vec<(&Operation, &Disposition)> =
        kept.iter().flat_map(|sent| &sent.dispositions).copied().collect();
    let stuck = write_dispositions(connection, server, &dispositions);
    let has_stuck = !stuck.is_empty();
    for stuck in stuck {
        // No part of it can be stored. It stays claimed: otherwise it would be sent again and again.
        let is_of = |sent: &&&Sent<'_>| sent.dispositions.iter().any(|(operation, _)| operation.id == stuck.id);
        let kind = kept.iter().find(is_of).map_or(Kind::Create, |sent| sent.planned.kind);
        if kind == Kind::Create {
            commit_to_disk();
        }
        claim::write(connection, claim::NO_OWNER, server, kind, &[stuck]);
    }
    let given_up = kept.iter().map(|sent| give_up(connection, server, sent)).sum();
    for Sent { planned, dispositions, .. } in &kept {
        write_backs.note(connection, server, planned, dispositions);
    }
    let free = dispositions.iter().filter(|(_, disposition)| **disposition == Disposition::Free);
    let freed = free.flat_map(|(operation, _)| operation.ids()).min();
    let delivered = notify_listeners(connection, server, &dispositions, given_up);
    let mut is_noted = true;
    for Sent { planned, server: as_role, state, .. } in &sent {
        let Some(ServerState::Refuses { error }) = state else { continue };
        // A session that has the lock may be changing the pause. The server refuses the next request as well.
        if !claims_lock::try_acquire(server) {
            continue;
        }
        let role = planned.batch_key.role;
        let pause = || server_state::pause(connection, server, role, error, Some(&as_role.fingerprint()));
        if let Err(failure) = guard::carefully(pause) {
            ereport::log(&format!("could not pause server \"{server}\": {}", failure.message));
            is_noted = false;
        }
    }
    if sent.iter().any(|sent| sent.planned.kind == Kind::Create) {
        commit_to_disk();
    }
    Written { freed, is_noted, has_stuck, delivered }
}

/// Ends a claim of this worker, or leaves it without an owner. Returns false if another worker has ended it: then the
/// result must be discarded.
fn end_claim(connection: &Connection, claim: i64, owner: i64) -> bool {
    match guard::carefully(|| claim::end(connection, claim, owner)) {
        Ok(true) => true,
        Ok(false) => {
            ereport::log(&format!("claim {claim} was taken over by another worker; discarding its result"));
            false
        }
        Err(failure) => {
            ereport::log(&format!("could not end claim {claim}: {}", failure.message));
            guard::guarded(|| claim::disown(connection, claim, owner)).unwrap_or(true)
        }
    }
}

/// Gives up records that have failed for longer than the server's option `max_retry_age`. Returns their number.
fn give_up(connection: &Connection, server: &str, Sent { server: as_role, dispositions, .. }: &Sent<'_>) -> usize {
    let is_repeated = |(operation, disposition): &&(&Operation, &Disposition)| {
        operation.attempts > 0 && matches!(disposition, Disposition::Again { .. })
    };
    let failed: Vec<&Operation> = dispositions.iter().filter(is_repeated).map(|(operation, _)| *operation).collect();
    let mut given_up = 0;
    let give_up = |part: &[&Operation]| {
        let ids: Vec<i64> = part.iter().flat_map(|operation| operation.ids()).collect();
        let count = defer::give_up(connection, &ids, as_role.options().max_retry_age);
        if count > 0 {
            let keys = part.iter().filter_map(|operation| operation.ordering_key.as_deref());
            requeue::free_behind(connection, server, &keys.map(|key| key.text.as_str()).collect::<Vec<_>>());
        }
        given_up += count;
    };
    for (operation, failure) in guard::each_carefully(&failed, give_up) {
        guard::note("given up", operation.id, &failure);
    }
    given_up
}

/// Applies dispositions, if need be in part: a request with an effect must not be sent again because this database
/// cannot store its reply. Finds such a record by halves, so that other records are unaffected. Returns the operations
/// that could not be stored at all.
fn write_dispositions<'a>(
    connection: &Connection,
    server: &str,
    dispositions: &[(&'a Operation, &Disposition)],
) -> Vec<&'a Operation> {
    let mut stuck = Vec::new();
    for ((operation, disposition), failure) in
        guard::each_guarded(dispositions, |part| transitions::write(connection, server, part))
    {
        guard::note("settled, and its result is kept in part", operation.id, &failure);
        if !transitions::write_in_part(connection, server, operation, disposition, &failure) {
            stuck.push(*operation);
        }
    }
    stuck
}

/// Sends NOTIFY sequin_outbox, at the commit, with the number of records that were settled. Returns how many were
/// delivered.
fn notify_listeners(
    connection: &Connection,
    server: &str,
    dispositions: &[(&Operation, &Disposition)],
    given_up: usize,
) -> usize {
    let (mut delivered, mut rejected, mut unknown) = (0, given_up, 0);
    for (operation, disposition) in dispositions {
        match disposition {
            Disposition::Done { .. } => delivered += operation.ids().count(),
            Disposition::Rejected { .. } => rejected += operation.ids().count(),
            Disposition::Unknown { .. } => unknown += operation.ids().count(),
            Disposition::Again { .. }
            | Disposition::Interrupted { .. }
            | Disposition::Later { .. }
            | Disposition::Free => {}
        }
    }
    if delivered + rejected + unknown > 0 {
        notify(connection, server, delivered, rejected, unknown);
    }
    delivered
}
