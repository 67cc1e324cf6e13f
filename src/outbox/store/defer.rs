//! Moving records from the queue to `sequin.deferred`, and storing the results of attempts there.

use crate::pg::elog;
use crate::pg::jsonb::Json;
use crate::pg::param::JsonbArray;
use crate::pg::spi::{Connection, QueryRows};
use crate::pg::statement::Statement;
use contract::reply::Timestamp;

use std::time::Duration;

use super::row::State;
use crate::outbox::store;

/// Moves records from the queue to `sequin.deferred`, where they wait until they are freed.
pub fn defer(connection: &Connection, server: &str, ids: &[i64]) {
    static DEFER: Statement<(&str, &[i64])> = Statement::new(concat!(
        "WITH gone AS (DELETE FROM sequin.queue q WHERE q.ctid OPERATOR(pg_catalog.=) ANY (ARRAY( \
           SELECT t.place FROM pg_catalog.unnest($2) AS s(id), LATERAL (",
        row_by_id!("sequin.queue"),
        ") t)) RETURNING q.server, q.id, q.key, q.role, q.kind, q.sync_id, q.collection_id, q.await_consumers, q.timeout_ms, \
           q.relation, q.ordering_key, q.upstream_id, q.data, q.enqueued_at), \
         kept AS (INSERT INTO sequin.deferred (server, id, key, role, kind, sync_id, collection_id, await_consumers, \
           timeout_ms, relation, ordering_key, upstream_id, data, enqueued_at, state, attempts, next_attempt_at, \
           resend_verbatim) \
         SELECT g.server, g.id, g.key, g.role, g.kind, g.sync_id, g.collection_id, g.await_consumers, g.timeout_ms, \
           g.relation, g.ordering_key, g.upstream_id, g.data, g.enqueued_at, 'pending', 0, 'infinity', false FROM gone g \
         RETURNING 1) \
         SELECT (SELECT pg_catalog.count(*) FROM gone), (SELECT pg_catalog.count(*) FROM kept)",
    ));
    if ids.is_empty() {
        return;
    }
    // The second round finds a change to which the write-back has added its upstream id in the meantime.
    let mut deferred = 0;
    for _ in 0..2 {
        let moved = DEFER.run(connection, (server, ids));
        let (gone, kept): (i64, i64) = moved.first().expect("an aggregate has one row");
        moved.free();
        if gone != kept {
            elog::internal_error("a trigger keeps records out of sequin.deferred".to_owned());
        }
        deferred += gone;
        if deferred == ids.len() as i64 {
            return;
        }
    }
}

/// Raises an error if a statement has not changed all of the deferred records that it was for.
fn check_changed(connection: &Connection, ids: &[i64], rows: QueryRows<'_>) {
    static COUNT: Statement<(&[i64],)> =
        Statement::new("SELECT pg_catalog.count(*) FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)");
    static QUEUED: Statement<(&[i64],)> = Statement::new(concat!(
        named_servers!(),
        "SELECT pg_catalog.count(*) FROM named n JOIN sequin.queue q ON q.server OPERATOR(pg_catalog.=) n.server \
         WHERE q.id OPERATOR(pg_catalog.=) ANY ($1)"
    ));
    let changed = rows.changed();
    rows.free();
    if changed == ids.len() {
        return;
    }
    let count = |statement: &Statement<(&[i64],)>| statement.run(connection, (ids,)).first::<(i64,)>();
    let open: i64 = [count(&COUNT), count(&QUEUED)].into_iter().flatten().map(|(count,)| count).sum();
    if open != changed as i64 {
        elog::internal_error("a trigger keeps the result of an attempt out of sequin.deferred".to_owned());
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
         error = $5, failed_since = COALESCE(p.failed_since, pg_catalog.clock_timestamp()), \
         resend_verbatim = p.kind OPERATOR(pg_catalog.=) 'create' \
         AND (p.resend_verbatim OR $2 OPERATOR(pg_catalog.=) 'unknown'), state = CASE WHEN p.resend_verbatim \
         AND p.kind OPERATOR(pg_catalog.=) 'create' AND $2 OPERATOR(pg_catalog.=) 'rejected' THEN 'unknown' ELSE $2 END \
         WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    let Attempt { state, next_attempt_at, outcome, error } = attempt;
    check_changed(connection, ids, NOTE.run(connection, (ids, state.as_str(), *next_attempt_at, outcome, error)));
}

/// Stores that the end of a worker has cut an attempt of deferred updates or deletes short: they are due at once.
///
/// It counts as an attempt, because a repeated delete that finds nothing was applied by this one. It is no failure, so
/// `failed_since` does not begin.
pub fn note_interrupted(connection: &Connection, ids: &[i64], error: &str) {
    static NOTE: Statement<(&[i64], &str)> = Statement::new(
        "UPDATE sequin.deferred p SET attempts = p.attempts OPERATOR(pg_catalog.+) 1, state = 'pending', \
         next_attempt_at = pg_catalog.clock_timestamp(), outcome = 'unknown', error = $2, resend_verbatim = false \
         WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    check_changed(connection, ids, NOTE.run(connection, (ids, error)));
}

/// Gives up pending records that have failed for longer than `age`: they wait for a person. Returns their number.
pub fn give_up(connection: &Connection, ids: &[i64], age: Duration) -> usize {
    static GIVE_UP: Statement<(&[i64], i64)> = Statement::new(
        "UPDATE sequin.deferred p SET next_attempt_at = 'infinity', state = CASE WHEN p.resend_verbatim \
         AND p.kind OPERATOR(pg_catalog.=) 'create' THEN 'unknown' ELSE 'rejected' END, \
         error = pg_catalog.concat('given up because it has failed for longer than max_retry_age; the last error: ', p.error) \
         WHERE p.id OPERATOR(pg_catalog.=) ANY ($1) AND p.state OPERATOR(pg_catalog.=) 'pending' \
         AND p.failed_since OPERATOR(pg_catalog.<) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) \
         pg_catalog.make_interval(secs => $2::pg_catalog.float8)) RETURNING 1",
    );
    let rows = GIVE_UP.run(connection, (ids, i64::try_from(age.as_secs()).unwrap_or(i64::MAX)));
    let count = rows.len();
    rows.free();
    count
}

/// Deferred records, each with the time to its next attempt, for a statement that changes all of them.
#[derive(Default)]
pub struct Waits(Vec<(i64, Duration)>);

impl Waits {
    pub fn extend(&mut self, ids: impl Iterator<Item = i64>, wait: Duration) {
        self.0.extend(ids.map(|id| (id, wait)));
    }

    /// The ids, which rise, and the times in microseconds.
    fn into_arrays(mut self) -> (Vec<i64>, Vec<i64>) {
        self.0.sort_unstable();
        let micros = |wait: Duration| i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        self.0.into_iter().map(|(id, wait)| (id, micros(wait))).unzip()
    }
}

/// The time of the next attempt of a record: `$3` and the wait that `$2` has for the id in `$1`, which is found by
/// bisection.
macro_rules! next_attempt_at {
    () => {
        "$3 OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => \
         ($2)[pg_catalog.width_bucket(p.id, $1)]::pg_catalog.float8 OPERATOR(pg_catalog./) 1000000)"
    };
}

/// Stores that attempts of deferred records have failed, and that they are sent again. A create stays unknown if it
/// was.
pub fn note_failed(connection: &Connection, waits: Waits, outcome: &str, error: &str) {
    static NOTE: Statement<(&[i64], &[i64], Timestamp, &str, &str)> = Statement::new(concat!(
        "UPDATE sequin.deferred p SET attempts = p.attempts OPERATOR(pg_catalog.+) 1, state = 'pending', next_attempt_at = ",
        next_attempt_at!(),
        ", outcome = $4, error = $5, failed_since = COALESCE(p.failed_since, pg_catalog.clock_timestamp()), \
         resend_verbatim = p.resend_verbatim AND p.kind OPERATOR(pg_catalog.=) 'create' \
         WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)"
    ));
    let (ids, waits) = waits.into_arrays();
    let now = store::after(Duration::ZERO);
    check_changed(connection, &ids, NOTE.run(connection, (&ids, &waits, now, outcome, error)));
}

/// Stores why deferred records were not accepted now, and when they are sent again. This is no attempt.
pub fn postpone(connection: &Connection, waits: Waits, outcome: &str, error: &str) {
    static POSTPONE: Statement<(&[i64], &[i64], Timestamp, &str, &str)> = Statement::new(concat!(
        "UPDATE sequin.deferred p SET next_attempt_at = ",
        next_attempt_at!(),
        ", outcome = $4, error = $5 WHERE p.id OPERATOR(pg_catalog.=) ANY ($1) \
         AND p.state OPERATOR(pg_catalog.=) 'pending'"
    ));
    let (ids, waits) = waits.into_arrays();
    POSTPONE.run(connection, (&ids, &waits, store::after(Duration::ZERO), outcome, error)).free();
}

/// Makes merged records due again, each by itself. Updates and deletes are resent verbatim. So nothing merges with the
/// create, whose own flag would say that it is unknown.
pub fn split(connection: &Connection, ids: &[i64]) {
    static SPLIT: Statement<(&[i64],)> = Statement::new(
        "UPDATE sequin.deferred p SET state = 'pending', resend_verbatim = p.kind OPERATOR(pg_catalog.<>) 'create', \
         next_attempt_at = pg_catalog.clock_timestamp() \
         WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    check_changed(connection, ids, SPLIT.run(connection, (ids,)));
}

/// Leaves records to a person: a create that was perhaps applied is unknown, each other record is rejected.
pub fn leave_to_person(connection: &Connection, ids: &[i64], was_applied: bool, outcome: &str, error: &str) {
    static LEAVE: Statement<(&[i64], bool, &str, &str)> = Statement::new(
        "UPDATE sequin.deferred p SET attempts = p.attempts OPERATOR(pg_catalog.+) 1, next_attempt_at = 'infinity', \
         outcome = $3, error = $4, resend_verbatim = p.kind OPERATOR(pg_catalog.=) 'create' AND (p.resend_verbatim OR $2), \
         state = CASE WHEN p.kind OPERATOR(pg_catalog.=) 'create' AND (p.resend_verbatim OR $2) \
         THEN 'unknown' ELSE 'rejected' END WHERE p.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    check_changed(connection, ids, LEAVE.run(connection, (ids, was_applied, outcome, error)));
}

/// Makes the row of a deferred create stand for the records that were merged into it. `data` is what was sent.
pub fn stand_for(connection: &Connection, id: i64, merged: &[i64], data: Option<&str>) {
    static SET: Statement<(i64, &[i64], JsonbArray)> = Statement::new(
        "UPDATE sequin.deferred p SET merged_ids = $2, data = COALESCE($3[1], p.data) \
         WHERE p.id OPERATOR(pg_catalog.=) $1",
    );
    check_changed(connection, &[id], SET.run(connection, (id, merged, JsonbArray(&[data]))));
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
