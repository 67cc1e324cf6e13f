//! Moving records from the queue to `sequin.deferred`, and storing the results of attempts there.

use crate::pg::jsonb::Json;
use crate::pg::param::JsonbArray;
use crate::pg::spi::Connection;
use crate::pg::statement::Statement;
use contract::reply::Timestamp;

use super::row::State;

/// Moves records from the queue to `sequin.deferred`, where they wait until they are freed.
pub fn defer(connection: &Connection, server: &str, ids: &[i64]) {
    static DEFER: Statement<(&str, &[i64], i64, i64)> = Statement::new(
        "WITH gone AS (DELETE FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 \
           AND q.id OPERATOR(pg_catalog.>=) $3 AND q.id OPERATOR(pg_catalog.<=) $4 \
           AND q.id OPERATOR(pg_catalog.=) ANY ($2) \
           RETURNING q.server, q.id, q.key, q.role, q.kind, q.sync_id, q.collection_id, q.await_consumers, q.timeout_ms, \
           q.relation, q.ordering_key, q.upstream_id, q.data, q.enqueued_at) \
         INSERT INTO sequin.deferred (server, id, key, role, kind, sync_id, collection_id, await_consumers, timeout_ms, \
           relation, ordering_key, upstream_id, data, enqueued_at, state, attempts, next_attempt_at, resend_verbatim) \
         SELECT g.server, g.id, g.key, g.role, g.kind, g.sync_id, g.collection_id, g.await_consumers, g.timeout_ms, \
           g.relation, g.ordering_key, g.upstream_id, g.data, g.enqueued_at, 'pending', 0, 'infinity', false FROM gone g",
    );
    if let (Some(&first), Some(&last)) = (ids.iter().min(), ids.iter().max()) {
        DEFER.run(connection, (server, ids, first, last)).free();
    }
}

/// How an attempt ended.
pub struct Attempt<'a> {
    pub state: State,
    pub next_attempt_at: Timestamp,
    pub outcome: &'a str,
    pub error: &'a str,
}

/// Stores the result of an attempt of deferred records.
///
/// A create that was unknown once stays so, and is sent verbatim. If it is refused later, the first attempt may have
/// been applied, and may even be the reason.
pub fn note_attempt(connection: &Connection, ids: &[i64], attempt: &Attempt<'_>) {
    static NOTE: Statement<(&[i64], &str, Timestamp, &str, &str)> = Statement::new(
        "UPDATE sequin.deferred p SET attempts = p.attempts OPERATOR(pg_catalog.+) 1, next_attempt_at = $3, outcome = $4, \
         error = $5, resend_verbatim = p.kind OPERATOR(pg_catalog.=) 'create' \
         AND (p.resend_verbatim OR $2 OPERATOR(pg_catalog.=) 'unknown'), state = CASE WHEN p.resend_verbatim \
         AND p.kind OPERATOR(pg_catalog.=) 'create' AND $2 OPERATOR(pg_catalog.=) 'rejected' THEN 'unknown' ELSE $2 END \
         WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    let Attempt { state, next_attempt_at, outcome, error } = attempt;
    NOTE.run(connection, (ids, state.as_str(), *next_attempt_at, outcome, error)).free();
}

/// Makes merged records due again, each by itself. Updates and deletes are resent verbatim. So nothing merges with the
/// create, whose own flag would say that it is unknown.
pub fn split(connection: &Connection, ids: &[i64]) {
    static SPLIT: Statement<(&[i64],)> = Statement::new(
        "UPDATE sequin.deferred p SET state = 'pending', resend_verbatim = p.kind OPERATOR(pg_catalog.<>) 'create', \
         next_attempt_at = pg_catalog.clock_timestamp() \
         WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    SPLIT.run(connection, (ids,)).free();
}

/// Leaves records to a person: a create that was perhaps applied is unknown, each other record is rejected.
pub fn leave_to_person(connection: &Connection, ids: &[i64], was_applied: bool, outcome: &str, error: &str) {
    static LEAVE: Statement<(&[i64], bool, &str, &str)> = Statement::new(
        "UPDATE sequin.deferred p SET attempts = p.attempts OPERATOR(pg_catalog.+) 1, next_attempt_at = 'infinity', \
         outcome = $3, error = $4, resend_verbatim = p.kind OPERATOR(pg_catalog.=) 'create' AND (p.resend_verbatim OR $2), \
         state = CASE WHEN p.kind OPERATOR(pg_catalog.=) 'create' AND (p.resend_verbatim OR $2) \
         THEN 'unknown' ELSE 'rejected' END WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    LEAVE.run(connection, (ids, was_applied, outcome, error)).free();
}

/// Stores in a deferred create the data of its request, which includes the records merged into it.
pub fn set_data(connection: &Connection, id: i64, data: &str) {
    static SET: Statement<(i64, JsonbArray)> =
        Statement::new("UPDATE sequin.deferred p SET data = $2[1] WHERE p.id OPERATOR(pg_catalog.=) $1");
    SET.run(connection, (id, JsonbArray(&[Some(data)]))).free();
}

/// The data of deferred records, in the order of their ids, as JSON texts.
pub fn data(connection: &Connection, ids: &[i64]) -> Vec<String> {
    static DATA: Statement<(&[i64],)> = Statement::new(
        "SELECT p.data FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) ANY ($1) AND p.data IS NOT NULL \
         ORDER BY p.id",
    );
    let rows = DATA.run(connection, (ids,));
    let data = rows.iter::<(Json,)>().map(|(data,)| data.to_text()).collect();
    rows.free();
    data
}
