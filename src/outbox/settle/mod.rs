//! The results of requests: what became of their records, and what they said about the server, in one transaction.

use crate::ereport;
use crate::pg::spi::Connection;
use crate::pg::{random, transaction};
use contract::kind::Kind;

use super::claim::{self, Claimed};
use super::guard;
use super::send::News;
use super::{server_state, write_back};

pub mod archive;
pub mod transitions;

use self::transitions::Disposition;
use contract::batching::backoff::Health;
use contract::batching::plan::Operation;

/// A request that was made, and what became of its records.
pub struct Sent<'a> {
    pub claimed: &'a Claimed,
    pub dispositions: Vec<(&'a Operation, Disposition)>,
    /// What it said about the server; None if it was not made.
    pub news: Option<News>,
}

/// What is known of a server after some requests.
pub struct Said {
    pub health: Health,
    /// Before them nothing was wrong with it.
    pub was_well: bool,
}

/// What was written down of some requests.
pub struct Written {
    /// The lowest id of the records that are as free as they were before.
    pub freed: Option<i64>,
    /// Whether it is known to other workers how the server does.
    pub is_noted: bool,
}

/// Writes down what is known after some requests to one server.
pub fn write(
    connection: &Connection,
    server: &str,
    sent: &[Sent<'_>],
    said: &Said,
    owner: i64,
    write_backs: &mut write_back::Pending,
) -> Written {
    let mut kept = Vec::with_capacity(sent.len());
    for one in sent {
        let claim = one.claimed.claim;
        match guard::carefully(|| transitions::end_claim(connection, claim, owner)) {
            Ok(true) => kept.push(one),
            Ok(false) => ereport::log("a request was given up by somebody else; its result is not written down"),
            Err(failure) => {
                ereport::log(&format!("a claim could not be ended: {}", failure.message));
                if transitions::disown_claim(connection, claim, owner) {
                    kept.push(one);
                }
            }
        }
    }
    for Sent { claimed, dispositions, .. } in &kept {
        let forgotten = guard::carefully(|| {
            write_back::Pending::forget_deleted(connection, claimed.planned.kind, dispositions);
        });
        if let Err(failure) = forgotten {
            ereport::log(&format!("upstream ids of deleted rows could not be forgotten: {}", failure.message));
        }
    }
    let dispositions: Vec<(&Operation, &Disposition)> = kept
        .iter()
        .flat_map(|sent| &sent.dispositions)
        .map(|(operation, disposition)| (*operation, disposition))
        .collect();
    for stuck in write_dispositions(connection, server, &dispositions) {
        // Nothing of it can be written down, so it stays claimed: it must not be sent again and again.
        let kind = kept.iter().find(|sent| sent.dispositions.iter().any(|(operation, _)| operation.id == stuck.id));
        let kind = kind.map_or(Kind::Create, |sent| sent.claimed.planned.kind);
        claim::write(connection, claim::NOBODY, server, kind, &[stuck]);
    }
    for Sent { claimed, dispositions, .. } in &kept {
        write_backs.note(connection, claimed.planned.kind, dispositions);
    }
    let free = dispositions.iter().filter(|(_, disposition)| **disposition == Disposition::Free);
    let freed = free.flat_map(|(operation, _)| operation.ids()).min();
    tell_listeners(connection, server, &dispositions);
    let mut is_noted = true;
    if let Some(last) = sent.iter().rev().find(|sent| sent.news.is_some())
        && let Err(failure) = guard::carefully(|| write_news(connection, server, last, said))
    {
        ereport::log(&format!("the state of server \"{server}\" could not be written down: {}", failure.message));
        is_noted = false;
    }
    if sent.iter().any(|sent| sent.claimed.planned.kind == Kind::Create) {
        transaction::commit_to_disk();
    }
    Written { freed, is_noted }
}

/// Writes the dispositions down, if need be in part: the effect is there, and a reply that this database cannot store must not
/// make it sent again. Such a one is found by halves, so that it costs the others nothing. Gives the operations of which
/// nothing can be written down.
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

fn tell_listeners(connection: &Connection, server: &str, dispositions: &[(&Operation, &Disposition)]) {
    let (mut delivered, mut rejected, mut unknown) = (0, 0, 0);
    for (operation, disposition) in dispositions {
        match disposition {
            Disposition::Done { .. } => delivered += operation.ids().count(),
            Disposition::Rejected { .. } => rejected += operation.ids().count(),
            Disposition::Unknown { .. } => unknown += operation.ids().count(),
            Disposition::Again { .. } | Disposition::Free => {}
        }
    }
    transitions::notify(connection, server, delivered, rejected, unknown);
}

/// Writes down what the last of some requests has said about the server.
fn write_news(connection: &Connection, server: &str, last: &Sent<'_>, said: &Said) {
    let rest = || said.health.rest(random::fraction()).unwrap_or_default();
    match &last.news {
        None => {}
        Some(News::Answers) if said.was_well => {}
        Some(News::Answers) => server_state::recovered(connection, server),
        Some(News::Fails(error, after)) => {
            let has_lost_creates = last.claimed.planned.kind == Kind::Create
                && last.dispositions.iter().any(|(_, disposition)| matches!(disposition, Disposition::Unknown { .. }));
            server_state::trouble(connection, server, error, after.unwrap_or_else(rest), has_lost_creates);
        }
        Some(News::Unreachable(error)) => server_state::trouble(connection, server, error, rest(), false),
        Some(News::NotNow(error, after)) => {
            server_state::trouble(connection, server, error, after.unwrap_or_else(rest), false);
        }
        Some(News::Refuses(error)) => {
            let Claimed { planned, server: used, .. } = last.claimed;
            server_state::pause(connection, server, planned.batch_key.role, error, Some(&used.fingerprint()));
        }
    }
}
