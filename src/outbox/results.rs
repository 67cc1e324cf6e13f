//! The results of requests: what became of their records, and what they said about the server, in one transaction.

use crate::mutation::kind::Kind;
use crate::pg::spi::Connection;
use crate::pg::worker as process;

use super::backoff::Health;
use super::claim::Claimed;
use super::plan::Operation;
use super::send::News;
use super::settle::{self, Fate};
use super::{servers, write_back};

/// A request that was made, and what became of its records.
pub struct Sent<'a> {
    pub claimed: &'a Claimed,
    pub fates: Vec<(&'a Operation, Fate)>,
    /// What it said about the server; None if it was not made.
    pub news: Option<News>,
}

/// What is known of a server after some requests.
pub struct Said {
    pub health: Health,
    /// Before them nothing was wrong with it.
    pub was_well: bool,
}

/// Writes down what is known after some requests to one server. Gives the lowest id of the records that are as free as
/// they were before.
pub fn write(
    connection: &Connection,
    server: &str,
    sent: &[Sent<'_>],
    said: &Said,
    owner: i64,
    write_backs: &mut write_back::Pending,
) -> Option<i64> {
    let mut kept = Vec::with_capacity(sent.len());
    for one in sent {
        if settle::end_claim(connection, one.claimed.claim, owner) {
            kept.push(one);
        } else {
            process::log("a request was given up by somebody else; its result is not written down");
        }
    }
    for Sent { claimed, fates, .. } in &kept {
        write_back::Pending::forget_deleted(connection, claimed.planned.kind, fates);
    }
    let fates: Vec<(&Operation, &Fate)> =
        kept.iter().flat_map(|sent| &sent.fates).map(|(operation, fate)| (*operation, fate)).collect();
    write_fates(connection, server, &fates);
    for Sent { claimed, fates, .. } in &kept {
        write_backs.note(connection, claimed.planned.kind, fates);
    }
    let free = fates.iter().filter(|(_, fate)| **fate == Fate::Free);
    let freed = free.flat_map(|(operation, _)| operation.ids()).min();
    tell_listeners(connection, server, &fates);
    if let Some(last) = sent.iter().rev().find(|sent| sent.news.is_some()) {
        write_news(connection, server, last, said);
    }
    if sent.iter().any(|sent| sent.claimed.planned.kind == Kind::Create) {
        process::commit_to_disk();
    }
    freed
}

/// Writes the fates down, if need be in part: the effect is there, and a reply that this database cannot store must not
/// make it sent again. Such a one is found by halves, so that it costs the others nothing; an error that is of another
/// kind, as a full disk, comes again and goes on.
fn write_fates(connection: &Connection, server: &str, fates: &[(&Operation, &Fate)]) {
    let mut parts = vec![fates];
    while let Some(part) = parts.pop() {
        let Err(error) = process::attempt(|| settle::write(connection, server, part)) else { continue };
        if let [(operation, fate)] = part {
            process::log(&format!("a result is kept in part, because it could not be stored: {error}"));
            settle::write(connection, server, &[(*operation, &settle::storable(fate))]);
        } else {
            let (first, second) = part.split_at(part.len() / 2);
            parts.extend([second, first]);
        }
    }
}

fn tell_listeners(connection: &Connection, server: &str, fates: &[(&Operation, &Fate)]) {
    let (mut delivered, mut rejected, mut unknown) = (0, 0, 0);
    for (operation, fate) in fates {
        match fate {
            Fate::Done { .. } => delivered += operation.ids().count(),
            Fate::Rejected { .. } => rejected += operation.ids().count(),
            Fate::Unknown { .. } => unknown += operation.ids().count(),
            Fate::Again { .. } | Fate::Free => {}
        }
    }
    settle::notify(connection, server, delivered, rejected, unknown);
}

/// Writes down what the last of some requests has said about the server.
fn write_news(connection: &Connection, server: &str, last: &Sent<'_>, said: &Said) {
    let rest = || said.health.rest(process::random()).unwrap_or_default();
    match &last.news {
        None => {}
        Some(News::Answers) if said.was_well => {}
        Some(News::Answers) => servers::recovered(connection, server),
        Some(News::Fails(error) | News::Unreachable(error)) => servers::trouble(connection, server, error, rest()),
        Some(News::NotNow(error, after)) => servers::trouble(connection, server, error, after.unwrap_or_else(rest)),
        Some(News::Refuses(error)) => {
            let Claimed { planned, server: used, .. } = last.claimed;
            servers::pause(connection, server, planned.lane.role, error, Some(&used.setup()));
        }
    }
}
