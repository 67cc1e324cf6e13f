//! Making deferred records due, or letting them wait until another record is settled.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::outbox::{claims_lock, guard};
use crate::pg::spi::Connection;
use crate::pg::statement::Statement;

/// The pending records behind ordering keys, which wait until they are freed.
macro_rules! behind_keys {
    () => {
        concat!(
            " WHERE p.server OPERATOR(pg_catalog.=) $1 AND ",
            has_key_of!("p.ordering_key", "$2"),
            " AND p.state OPERATOR(pg_catalog.=) 'pending' AND p.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'"
        )
    };
}

/// The pending records of a server that wait until they are freed.
macro_rules! waiting {
    () => {
        " WHERE p.server OPERATOR(pg_catalog.=) $1 AND p.state OPERATOR(pg_catalog.=) 'pending' \
         AND p.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'"
    };
}

/// Not in flight. The settlement of a claimed record must not wait for a session that has changed its row, and whose
/// transaction may stay open for hours.
macro_rules! not_claimed {
    () => {
        " AND NOT p.id OPERATOR(pg_catalog.=) ANY (SELECT i.id FROM sequin.claims c, pg_catalog.unnest(c.ids) AS i(id) \
         WHERE c.server OPERATOR(pg_catalog.=) $1)"
    };
}

/// The pending records of a server that are not due and not in flight.
macro_rules! not_due {
    () => {
        concat!(
            " WHERE p.server OPERATOR(pg_catalog.=) $1 AND p.state OPERATOR(pg_catalog.=) 'pending' \
             AND p.next_attempt_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()",
            not_claimed!()
        )
    };
}

/// Makes records wait until they are freed. Returns the number of records that were changed.
pub fn stall(connection: &Connection, ids: &[i64]) -> usize {
    static STALL: Statement<(&[i64],)> = Statement::new(
        "UPDATE sequin.deferred p SET next_attempt_at = 'infinity' WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    guard::each_logged("made to wait", ids, |ids| STALL.run(connection, (ids,)).free())
}

/// Frees records: they are due now.
pub fn free(connection: &Connection, ids: &[i64]) {
    static FREE: Statement<(&[i64],)> = Statement::new(
        "UPDATE sequin.deferred p SET next_attempt_at = pg_catalog.clock_timestamp() \
         WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    guard::each_logged("freed", ids, |ids| FREE.run(connection, (ids,)).free());
}

/// An ordering key whose records could not be freed yet, because another session had the lock of the server: it may have
/// changed one of them, in a transaction that stays open for hours.
struct Postponed {
    server: String,
    key: String,
    /// In the current transaction.
    is_freed: bool,
}

static POSTPONED: Mutex<Vec<Postponed>> = Mutex::new(Vec::new());

fn postponed() -> MutexGuard<'static, Vec<Postponed>> {
    POSTPONED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The servers whose forgotten records this process has freed, each with whether it was in the current transaction.
static CHECKED: Mutex<Vec<(String, bool)>> = Mutex::new(Vec::new());

fn checked() -> MutexGuard<'static, Vec<(String, bool)>> {
    CHECKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frees, once in each process, the first records of keys that wait for no other record: an earlier worker has ended
/// with postponed keys. Those of the `paused` roles wait for a person. The caller has the lock of the server.
pub fn free_forgotten(connection: &Connection, server: &str, paused: &[i64]) {
    macro_rules! forgotten {
        () => {
            concat!(
                waiting!(),
                " AND p.ordering_key IS NOT NULL \
                 AND p.role::pg_catalog.oid::pg_catalog.int8 OPERATOR(pg_catalog.<>) ALL ($2) \
                 AND NOT EXISTS (SELECT FROM sequin.deferred e WHERE e.server OPERATOR(pg_catalog.=) $1 AND ",
                same_key!("e.ordering_key", "p.ordering_key"),
                " AND e.collection_id OPERATOR(pg_catalog.=) p.collection_id \
                 AND COALESCE(e.relation::pg_catalog.oid, 0) OPERATOR(pg_catalog.=) COALESCE(p.relation::pg_catalog.oid, 0) \
                 AND e.id OPERATOR(pg_catalog.<) p.id AND e.state OPERATOR(pg_catalog.<>) 'rejected')"
            )
        };
    }
    static FREE: Statement<(&str, &[i64])> = Statement::new(concat!(
        "UPDATE sequin.deferred p SET next_attempt_at = pg_catalog.clock_timestamp()",
        forgotten!(),
    ));
    static FIND: Statement<(&str, &[i64])> =
        Statement::new(concat!("SELECT p.id FROM sequin.deferred p", forgotten!()));
    if checked().iter().any(|(checked, _)| checked == server) {
        return;
    }
    if guard::carefully(|| FREE.run(connection, (server, paused)).free()).is_err() {
        free(connection, &super::ids(FIND.run(connection, (server, paused))));
    }
    checked().push((server.to_owned(), true));
}

/// Frees the records that [`free_behind`] could not free.
pub fn free_postponed(connection: &Connection) {
    for postponed in postponed().iter_mut().filter(|postponed| claims_lock::try_acquire(&postponed.server)) {
        free_behind(connection, &postponed.server, &[&postponed.key]);
        postponed.is_freed = true;
    }
}

/// Notes that the transaction of [`free_postponed`] and [`free_forgotten`] was committed, or rolled back.
pub fn end_postponed(is_committed: bool) {
    postponed().retain_mut(|postponed| !(std::mem::take(&mut postponed.is_freed) && is_committed));
    checked().retain_mut(|(_, is_new)| !std::mem::take(is_new) || is_committed);
}

/// Frees the records behind these ordering keys. A failure with one record affects neither the others nor the record
/// that they waited for.
pub fn free_behind(connection: &Connection, server: &str, ordering_keys: &[&str]) {
    static FREE: Statement<(&str, &[&str])> = Statement::new(concat!(
        "UPDATE sequin.deferred p SET next_attempt_at = pg_catalog.clock_timestamp()",
        behind_keys!(),
    ));
    static FIND: Statement<(&str, &[&str])> =
        Statement::new(concat!("SELECT p.id FROM sequin.deferred p", behind_keys!()));
    static FIND_UNLOCKED: Statement<(&str, &[&str])> =
        Statement::new(concat!("SELECT p.id FROM sequin.deferred p", behind_keys!(), " FOR UPDATE SKIP LOCKED"));
    if ordering_keys.is_empty() {
        return;
    }
    if !claims_lock::try_acquire(server) {
        let postpone = |key: &&str| Postponed { server: server.to_owned(), key: (*key).to_owned(), is_freed: false };
        postponed().extend(ordering_keys.iter().map(postpone));
        // The other session frees the rows that it has locked, unless it rolls back.
        return free(connection, &super::ids(FIND_UNLOCKED.run(connection, (server, ordering_keys))));
    }
    if guard::carefully(|| FREE.run(connection, (server, ordering_keys)).free()).is_err() {
        free(connection, &super::ids(FIND.run(connection, (server, ordering_keys))));
    }
}

/// Frees all waiting records of a server.
pub fn free_all(connection: &Connection, server: &str) {
    static FREE: Statement<(&str,)> = Statement::new(concat!(
        "UPDATE sequin.deferred p SET next_attempt_at = pg_catalog.clock_timestamp()",
        waiting!()
    ));
    static FIND: Statement<(&str,)> = Statement::new(concat!("SELECT p.id FROM sequin.deferred p", waiting!()));
    if guard::carefully(|| FREE.run(connection, (server,)).free()).is_err() {
        free(connection, &super::ids(FIND.run(connection, (server,))));
    }
}

/// Ends all waits of a server's pending records, whatever they wait for, except for those in flight.
pub fn end_waits(connection: &Connection, server: &str) {
    static END: Statement<(&str,)> = Statement::new(concat!(
        "UPDATE sequin.deferred p SET next_attempt_at = pg_catalog.clock_timestamp()",
        not_due!()
    ));
    static FIND: Statement<(&str,)> = Statement::new(concat!("SELECT p.id FROM sequin.deferred p", not_due!()));
    if guard::carefully(|| END.run(connection, (server,)).free()).is_err() {
        free(connection, &super::ids(FIND.run(connection, (server,))));
    }
}

/// The records that wait behind a record and are not in flight.
pub fn behind(connection: &Connection, server: &str, id: i64) -> Vec<i64> {
    static BEHIND: Statement<(&str, i64)> = Statement::new(concat!(
        "SELECT p.id FROM (SELECT q.server, q.ordering_key FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 \
         AND q.id OPERATOR(pg_catalog.=) $2 UNION ALL SELECT r.server, r.ordering_key FROM sequin.deferred r \
         WHERE r.id OPERATOR(pg_catalog.=) $2) k JOIN sequin.deferred p ON p.server OPERATOR(pg_catalog.=) k.server AND ",
        same_key!("p.ordering_key", "k.ordering_key"),
        " WHERE p.id OPERATOR(pg_catalog.<>) $2 AND p.state OPERATOR(pg_catalog.=) 'pending' \
         AND p.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'",
        not_claimed!(),
    ));
    super::ids(BEHIND.run(connection, (server, id)))
}

/// Makes a deferred record pending and due. A change without an upstream id takes this one.
pub fn retry(connection: &Connection, id: i64, upstream_id: Option<&str>) {
    static RETRY: Statement<(i64, Option<&str>)> = Statement::new(
        "UPDATE sequin.deferred p SET resend_verbatim = p.resend_verbatim OR p.state OPERATOR(pg_catalog.=) 'unknown', \
         state = 'pending', next_attempt_at = pg_catalog.clock_timestamp(), failed_since = NULL, \
         upstream_id = COALESCE(p.upstream_id, CASE WHEN p.kind OPERATOR(pg_catalog.<>) 'create' THEN $2 END) \
         WHERE p.id OPERATOR(pg_catalog.=) $1",
    );
    RETRY.run(connection, (id, upstream_id)).free();
}
