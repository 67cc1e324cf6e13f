//! A pull consumer: it takes records, and acknowledges or returns each.
//!
//! Delivery is at least once. A record that is not acknowledged within the lease is delivered again, under a new token.
//! The old token then settles nothing, because its holder may have died half-way.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::takes;
use crate::record::Record;
use crate::stream::Stream;

/// The state of one pull consumer. It ends with the process, so the stream and its positions begin anew together.
pub struct Pull {
    filter: Option<String>,
    lease: Duration,
    state: Mutex<State>,
    /// Changes when a record was settled or taken.
    changed: watch::Sender<()>,
}

struct State {
    /// Everything up to here was delivered at least once.
    position: u64,
    /// By `updated_idx`: delivered and not acknowledged.
    open: BTreeMap<u64, Open>,
    deliveries: u64,
}

struct Open {
    record: Arc<Record>,
    /// None after a nack.
    held: Option<Held>,
}

struct Held {
    delivery: u64,
    until: Instant,
}

impl Pull {
    /// `filter` is the one collection to read; None reads all. `lease` is how long a record stays handed out. `position` is
    /// an `updated_idx`: the first record is the one after it.
    pub fn new(filter: Option<String>, lease: Duration, position: u64) -> Pull {
        Pull {
            filter,
            lease,
            state: Mutex::new(State { position, open: BTreeMap::new(), deliveries: 0 }),
            changed: watch::Sender::new(()),
        }
    }

    /// Up to `limit` records with their tokens; waits up to `wait` for the first.
    pub async fn next(&self, stream: &Stream, limit: usize, wait: Duration) -> Vec<(String, Arc<Record>)> {
        let start = Instant::now();
        let deadline = start.checked_add(wait).unwrap_or(start + Duration::from_secs(86_400));
        let (mut appended, mut changed) = (stream.subscribe(), self.changed.subscribe());
        loop {
            let taken = self.take(stream, limit);
            if !taken.is_empty() || Instant::now() >= deadline {
                return taken;
            }
            // The end of a lease sends no wake-up: poll now and then.
            let look = deadline.min(Instant::now() + Duration::from_millis(50));
            let _ = timeout_at(look, async {
                tokio::select! {
                    _ = appended.changed() => {}
                    _ = changed.changed() => {}
                }
            })
            .await;
        }
    }

    fn take(&self, stream: &Stream, limit: usize) -> Vec<(String, Arc<Record>)> {
        let now = Instant::now();
        let held = |delivery| Some(Held { delivery, until: now + self.lease });
        let mut state = self.lock();
        let State { position, open, deliveries } = &mut *state;
        let mut taken = Vec::new();
        let free = |open: &Open| open.held.as_ref().is_none_or(|held| held.until <= now);
        for (idx, open) in open.iter_mut().filter(|(_, open)| free(open)).take(limit) {
            *deliveries += 1;
            open.held = held(*deliveries);
            taken.push((token(*idx, *deliveries), open.record.clone()));
        }
        let wanted = |record: &Record| takes(self.filter.as_deref(), record);
        let (fresh, after) = stream.read(*position, limit - taken.len(), wanted);
        *position = after;
        for record in fresh {
            *deliveries += 1;
            let open_now = Open { record: record.clone(), held: held(*deliveries) };
            open.insert(record.updated_idx, open_now);
            taken.push((token(record.updated_idx, *deliveries), record));
        }
        taken
    }

    /// Acknowledges or returns records. Unknown and stale tokens are skipped.
    pub fn settle(&self, tokens: &[String], done: bool) {
        let mut state = self.lock();
        for token in tokens {
            let Some((idx, delivery)) = untoken(token) else {
                continue;
            };
            let Some(open) = state.open.get_mut(&idx) else {
                continue;
            };
            if open.held.as_ref().is_some_and(|held| held.delivery == delivery) {
                match done {
                    true => drop(state.open.remove(&idx)),
                    false => open.held = None,
                }
            }
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Ends when all records of this range of `updated_idx` are acknowledged, or are not for this consumer.
    pub async fn processed(&self, range: RangeInclusive<u64>) {
        let mut changed = self.changed.subscribe();
        while !self.is_past(range.clone()) {
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn is_past(&self, range: RangeInclusive<u64>) -> bool {
        let state = self.lock();
        state.position >= *range.end() && state.open.range(range).next().is_none()
    }

    /// The records are gone: delivered ones cannot come back.
    pub fn forget(&self) {
        self.lock().open.clear();
        self.changed.send_replace(());
    }

    /// The `updated_idx` up to which every record was handed out at least once.
    pub fn position(&self) -> u64 {
        self.lock().position
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn token(idx: u64, delivery: u64) -> String {
    format!("{idx}-{delivery}")
}

fn untoken(token: &str) -> Option<(u64, u64)> {
    let (idx, delivery) = token.split_once('-')?;
    Some((idx.parse().ok()?, delivery.parse().ok()?))
}
