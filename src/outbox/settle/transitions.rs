//! The transitions of records: from a disposition to the tables.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::batching::backoff;
use contract::batching::plan::Operation;
use contract::batching::window::MAX_RETRY_AFTER;
use contract::outcome::OutcomeKind;

use crate::call::server;
use crate::outbox::disposition::{Disposition, SettledAs};
use crate::outbox::guard::{self, guarded};
use crate::outbox::store::archive::{Settled, archive, archive_in_part};
use crate::outbox::store::defer::{self, Attempt, Waits};
use crate::outbox::store::row::State;
use crate::outbox::store::{self, requeue};
use crate::pg::random;
use crate::pg::spi::Connection;
use crate::pg::text;
use crate::pg::transaction::{Cause, Failure, attempt};

/// Records with the same outcome and the same error.
type ByCause<'a> = BTreeMap<(&'a str, &'a str), Waits>;

/// Whether the records of an operation are deferred before anything else. A rejection defers its own record.
fn stays(operation: &Operation, disposition: &Disposition) -> bool {
    match disposition {
        Disposition::Done { .. } | Disposition::Free => false,
        Disposition::Rejected { .. } => !operation.merged.is_empty(),
        Disposition::Unknown { .. }
        | Disposition::Later { .. }
        | Disposition::Interrupted { .. }
        | Disposition::Again { .. } => true,
    }
}

/// Applies the dispositions of one server's records.
pub fn write(connection: &Connection, server: &str, dispositions: &[(&Operation, &Disposition)]) {
    let mut settled = Vec::with_capacity(dispositions.len());
    // Thousands of records may fail at once, most of them for one reason: then they take one statement.
    let (mut failed, mut postponed) = (ByCause::new(), ByCause::new());
    let mut interrupted: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    let waiting = dispositions.iter().filter(|(operation, disposition)| stays(operation, disposition));
    defer::defer(connection, server, &waiting.flat_map(|(operation, _)| operation.ids()).collect::<Vec<_>>());
    for (operation, disposition) in dispositions {
        let ids = || operation.ids().collect::<Vec<i64>>();
        match disposition {
            Disposition::Done { settled_as, upstream_id, record } => {
                settled.push(of_operation(operation, *settled_as, upstream_id.as_deref(), record.as_deref()));
            }
            Disposition::Free => {}
            Disposition::Unknown { outcome, error } => {
                let unknown = UnknownCreate { id: operation.id, merged: &operation.merged, outcome: *outcome, error };
                write_unknown(connection, server, unknown, operation.data.as_deref());
            }
            // The refusal does not say which of the merged records is at fault: each is sent again by itself.
            Disposition::Rejected { .. } if !operation.merged.is_empty() => defer::split(connection, &ids()),
            Disposition::Rejected { outcome, error } => {
                reject(connection, server, operation.id, *outcome, error);
            }
            Disposition::Later { outcome, error, retry_after } => {
                let wait = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
                let wait = wait + backoff::retry_delay(1, random::fraction());
                postponed.entry((outcome.as_str(), error.as_str())).or_default().extend(operation.ids(), wait);
            }
            Disposition::Interrupted { error } => {
                interrupted.entry(error.as_str()).or_default().extend(operation.ids());
            }
            Disposition::Again { outcome, error } => {
                let wait = backoff::retry_delay(operation.attempts + 1, random::fraction());
                failed.entry((outcome.as_str(), error.as_str())).or_default().extend(operation.ids(), wait);
            }
        }
    }
    for ((outcome, error), waits) in failed {
        defer::note_failed(connection, waits, outcome, error);
    }
    for ((outcome, error), waits) in postponed {
        defer::postpone(connection, waits, outcome, error);
    }
    for (error, ids) in interrupted {
        defer::note_interrupted(connection, &ids, error);
    }
    archive(connection, server, settled);
    let frees =
        |disposition: &Disposition| matches!(disposition, Disposition::Done { .. } | Disposition::Rejected { .. });
    let keys: Vec<&str> = dispositions
        .iter()
        .filter(|(_, disposition)| frees(disposition))
        .filter_map(|(operation, _)| operation.ordering_key.as_deref())
        .map(|key| key.text.as_str())
        .collect();
    requeue::free_behind(connection, server, &keys);
}

/// An operation as one row of the history, which stands for the merged records too.
fn of_operation<'a>(
    operation: &'a Operation,
    settled_as: SettledAs,
    upstream_id: Option<&'a str>,
    record: Option<&'a str>,
) -> Settled<'a> {
    let merged = &*operation.merged;
    let data = operation.data.as_deref().filter(|_| !merged.is_empty());
    Settled { id: operation.id, settled_as, upstream_id, data, record, merged }
}

/// The disposition as far as this database can store it. The rest of a reply is lost, as in a synchronous call.
pub fn storable(disposition: &Disposition) -> Disposition {
    let in_ascii = |error: String| if is_storable(&error) { error } else { text::escape_non_ascii(&error) };
    match disposition.clone() {
        Disposition::Done { settled_as, upstream_id, record } => {
            let had_record = record.is_some();
            let record = record.filter(|record| is_storable(record));
            let is_lost = had_record && record.is_none();
            Disposition::Done {
                settled_as: if is_lost { SettledAs::AppliedReplyLost } else { settled_as },
                upstream_id: upstream_id.filter(|id| is_storable(id)),
                record,
            }
        }
        Disposition::Rejected { outcome, error } => Disposition::Rejected { outcome, error: in_ascii(error) },
        Disposition::Unknown { outcome, error } => Disposition::Unknown { outcome, error: in_ascii(error) },
        Disposition::Again { outcome, error } => Disposition::Again { outcome, error: in_ascii(error) },
        Disposition::Interrupted { error } => Disposition::Interrupted { error: in_ascii(error) },
        Disposition::Later { outcome, error, retry_after } => {
            Disposition::Later { outcome, error: in_ascii(error), retry_after }
        }
        Disposition::Free => Disposition::Free,
    }
}

fn is_storable(text: &str) -> bool {
    attempt(|| text::to_text_datum(text)).is_ok()
}

/// Applies as much as possible of a disposition that [`write`] has failed with. Returns false if nothing could be
/// applied.
pub fn write_in_part(
    connection: &Connection,
    server: &str,
    operation: &Operation,
    disposition: &Disposition,
    failure: &Failure,
) -> bool {
    let disposition = storable(disposition);
    if guarded(|| write(connection, server, &[(operation, &disposition)])).is_ok() {
        return true;
    }
    let ids: Vec<i64> = operation.ids().collect();
    let why = &failure.message;
    let (was_applied, outcome, error) = match &disposition {
        Disposition::Done { settled_as, upstream_id, .. } => {
            let settled = of_operation(operation, *settled_as, upstream_id.as_deref(), None);
            if archive_in_part(connection, server, &settled) {
                free_behind(connection, server, operation);
                return true;
            }
            let known = upstream_id.as_ref().map(|id| format!(" as \"{id}\"")).unwrap_or_default();
            let error = format!("the record was applied{known}, and its result could not be stored: {why}");
            (true, settled_as.as_str(), error)
        }
        Disposition::Unknown { outcome, error } => (true, outcome.as_str(), format!("{error} ({why})")),
        Disposition::Rejected { outcome, error }
        | Disposition::Again { outcome, error }
        | Disposition::Later { outcome, error, .. } => (false, outcome.as_str(), format!("{error} ({why})")),
        Disposition::Interrupted { error } => (false, OutcomeKind::Unknown.as_str(), format!("{error} ({why})")),
        // There is nothing to write.
        Disposition::Free => return true,
    };
    let leave = || {
        defer::defer(connection, server, &ids);
        defer::leave_to_person(connection, &ids, was_applied, outcome, &text::storable(&error));
    };
    let is_left = guarded(leave).is_ok();
    // An unknown create keeps its key waiting for a person.
    if is_left && !was_applied {
        free_behind(connection, server, operation);
    }
    is_left
}

fn free_behind(connection: &Connection, server: &str, operation: &Operation) {
    if let Some(key) = &operation.ordering_key {
        requeue::free_behind(connection, server, &[&key.text]);
    }
}

/// Records an error that came up while a record was handled, before it was sent. If the record may not be at fault, it
/// is tried again later, until it has failed for longer than `max_retry_age`. Returns false if even this fails: the
/// record stays where it is, and the log says so.
pub fn fail(connection: &Connection, server: &str, id: i64, what: &str, failure: &Failure) -> bool {
    const RETRY_DELAY: Duration = Duration::from_secs(60);
    let error = text::storable(&format!("the record could not be {what}: {}", failure.message)).into_owned();
    let (state, next_attempt_at) = match failure.cause() {
        Cause::Content => (State::Rejected, store::NEVER),
        Cause::Doubtful | Cause::Surroundings => (State::Pending, store::after(RETRY_DELAY)),
    };
    let attempt = Attempt { state, next_attempt_at, outcome: OutcomeKind::NotSent.as_str(), error: &error };
    let written = guarded(|| {
        note_attempt(connection, server, &[id], &attempt);
        let is_doubtful = failure.cause() == Cause::Doubtful;
        let max_retry_age = server::options(server).ok().filter(|_| is_doubtful).map(|options| options.max_retry_age);
        let given_up = max_retry_age.map_or(0, |age| defer::give_up(connection, &[id], age));
        state == State::Rejected || given_up > 0
    });
    match written {
        Ok(is_dead) => {
            if is_dead {
                free_behind_record(connection, server, id);
            }
            true
        }
        Err(_) => {
            guard::note(what, id, failure);
            false
        }
    }
}

/// Frees the records that wait behind a record.
pub fn free_behind_record(connection: &Connection, server: &str, id: i64) {
    // The key itself may be damaged.
    match guarded(|| requeue::behind(connection, server, id)) {
        Ok(behind) => requeue::free(connection, &behind),
        Err(failure) => guard::note("read by its key", id, &failure),
    }
}

/// Rejects a record.
pub fn reject(connection: &Connection, server: &str, id: i64, outcome: OutcomeKind, error: &str) {
    let outcome = outcome.as_str();
    let attempt = Attempt { state: State::Rejected, next_attempt_at: store::NEVER, outcome, error };
    note_attempt(connection, server, &[id], &attempt);
}

/// Settles one record that was not sent.
pub fn settle_unsent(connection: &Connection, server: &str, id: i64, settled_as: SettledAs) {
    archive(connection, server, vec![Settled::without_reply(id, settled_as)]);
}

/// Settles an unknown create that a person found under this upstream id.
pub fn resolve(connection: &Connection, server: &str, id: i64, upstream_id: &str) {
    let resolved = Settled { upstream_id: Some(upstream_id), ..Settled::without_reply(id, SettledAs::Resolved) };
    archive(connection, server, vec![resolved]);
}

fn note_attempt(connection: &Connection, server: &str, ids: &[i64], attempt: &Attempt<'_>) {
    defer::defer(connection, server, ids);
    defer::note_attempt(connection, ids, attempt);
}

/// Defers records that wait for another record. Returns the number of records that were deferred.
pub fn defer_waiting(connection: &Connection, server: &str, ids: &[i64]) -> usize {
    guard::each_logged("made to wait", ids, |ids| defer::defer(connection, server, ids))
}

/// A create that may have been applied, and the records that were merged into it.
pub(super) struct UnknownCreate<'a> {
    pub id: i64,
    pub merged: &'a [i64],
    pub outcome: OutcomeKind,
    pub error: &'a str,
}

/// Stores an unknown create, which is deferred. `data` is the data that was sent.
pub(super) fn write_unknown(connection: &Connection, server: &str, unknown: UnknownCreate<'_>, data: Option<&str>) {
    let UnknownCreate { id, merged, outcome, error } = unknown;
    if !merged.is_empty() {
        defer::stand_for(connection, id, merged, data);
        store::merged::delete(connection, server, merged.to_vec());
    }
    let outcome = outcome.as_str();
    let attempt = Attempt { state: State::Unknown, next_attempt_at: store::NEVER, outcome, error };
    defer::note_attempt(connection, &[id], &attempt);
}
