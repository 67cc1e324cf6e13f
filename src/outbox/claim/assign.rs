//! From ready changes to requests, each with the server as the role of its records may use it.

use std::collections::HashMap;
use std::rc::Rc;

use contract::batching::ordering_key::OrderingKey;
use contract::batching::plan::{self, Change, End, Ending, Limits, Plan, Planned};
use contract::outcome::OutcomeKind;

use crate::call::server::{self, Server};
use crate::outbox::disposition::SettledAs;
use crate::outbox::settle::transitions;
use crate::outbox::store::archive::{Settled, archive, archive_in_part};
use crate::outbox::store::requeue;
use crate::outbox::{guard, server_state};
use crate::pg::spi::Connection;
use crate::pg::{catalog, security_context};

/// Plans the requests. If one key makes that fail, its records fail, and the others are planned without them.
pub fn plan(connection: &Connection, server: &str, ready: Vec<Change>, limits: &Limits) -> Plan {
    if !guard::is_careful() {
        return plan::plan(ready, limits);
    }
    guard::guarded(|| plan::plan(ready.clone(), limits))
        .unwrap_or_else(|_| plan_by_keys(connection, server, ready, limits))
}

/// Plans key by key. Each plan has one request then: two keys may lead to one record.
fn plan_by_keys(connection: &Connection, server: &str, ready: Vec<Change>, limits: &Limits) -> Plan {
    let mut by_key: Vec<Vec<Change>> = Vec::new();
    let mut places: HashMap<Rc<OrderingKey>, usize> = HashMap::new();
    for change in ready {
        let new = by_key.len();
        let place = change.ordering_key.as_ref().map_or(new, |key| *places.entry(Rc::clone(key)).or_insert(new));
        if place == new {
            by_key.push(Vec::new());
        }
        by_key[place].push(change);
    }
    let mut plan = Plan::default();
    for changes in by_key {
        let ids: Vec<i64> = changes.iter().map(|change| change.id).collect();
        match guard::guarded(|| plan::plan(changes, limits)) {
            Ok(of_key) => {
                plan.endings.extend(of_key.endings);
                plan.requests.extend(of_key.requests);
                plan.requests.truncate(1);
            }
            Err(failure) => ids.iter().for_each(|id| {
                transitions::fail(connection, server, *id, "planned", &failure);
            }),
        }
    }
    plan
}

/// Settles changes that need no request. Returns true if one was settled.
pub fn settle_endings(connection: &Connection, server: &str, endings: &[Ending], cut_short: &[String]) -> bool {
    const NO_UPSTREAM_ID: &str =
        "its row has no upstream id: it was never created upstream, or the reply of its create was lost";
    let (mut without_request, mut count) = (Vec::new(), 0);
    for ending in endings {
        match ending.end {
            End::CancelledOut => without_request.push((ending.id, SettledAs::CancelledOut)),
            End::NothingToSend => without_request.push((ending.id, SettledAs::NothingToSend)),
            End::NoUpstreamId => {
                count += guard::each_logged("rejected", &[ending.id], |_| {
                    transitions::reject(connection, server, ending.id, OutcomeKind::NotSent, NO_UPSTREAM_ID);
                });
            }
        }
    }
    let settled = |(id, settled_as): &(i64, SettledAs)| Settled::without_reply(*id, *settled_as);
    let failed = guard::each_carefully(&without_request, |part: &[(i64, SettledAs)]| {
        archive(connection, server, part.iter().map(settled).collect());
    });
    count += without_request.len() - failed.len();
    for (one, failure) in &failed {
        let is_settled = archive_in_part(connection, server, &settled(one))
            || transitions::fail(connection, server, one.0, "settled", failure);
        count += usize::from(is_settled);
    }
    if !endings.is_empty() {
        // Unread records of these keys may wait for one of the settled records.
        let keys: Vec<&str> = cut_short.iter().map(String::as_str).collect();
        requeue::free_behind(connection, server, &keys);
    }
    count > 0
}

/// Gives each request the server as its role may use it. A role without rights is paused: the second value says whether
/// one was.
pub fn assign(connection: &Connection, server: &str, planned: Vec<Planned>) -> (Vec<(Planned, Server)>, bool) {
    let mut requests = Vec::with_capacity(planned.len());
    let mut has_paused = false;
    for planned in planned {
        let role = planned.batch_key.role;
        match as_role(server, role) {
            Ok(server) => requests.push((planned, server)),
            Err(_) => {
                let fingerprint = server::fingerprint(server, role.into());
                // Checked again: the cause may have changed before the fingerprint was read.
                if let Err(reason) = as_role(server, role) {
                    server_state::pause(connection, server, role, &reason, Some(&fingerprint));
                }
                has_paused = true;
            }
        }
    }
    (requests, has_paused)
}

fn as_role(server: &str, role: u32) -> Result<Server, String> {
    let Some(name) = catalog::role_name(role) else {
        return Err(format!("role {role} does not exist any more"));
    };
    security_context::looking_up_as(role.into(), || server::find(Some(server)))
        .map_err(|unusable| format!("role \"{name}\": {unusable}"))
}
