//! One round of a worker: sending the claimed requests, and settling them.

use std::time::Instant;

use contract::batching::backoff::{ServerBackoff, ServerState};
use contract::kind::Kind;

use crate::outbox::claim::{Claimed, Work};
use crate::outbox::disposition::Disposition;
use crate::outbox::send;
use crate::outbox::settle::{self, Sent};
use crate::pg::bgworker::{self, Activity};
use crate::pg::spi;
use crate::pg::transaction::{self, Cause};
use crate::pg::wait_event::WaitEvent;

use super::presence::{self, Presence};
use super::{DROP_EXTENSION_DELAY, FAILURE_DELAYS, MAX_SETTLE_FAILURES, SETTLE_INTERVAL, Worker, back_off, has_failed};
use super::{lifecycle, registry};

impl Worker {
    /// Sends requests to one server, and settles them.
    pub(super) fn deliver(&mut self, work: Work) {
        let Work { server, requests, is_in_backoff, .. } = work;
        let mut unsettled: Vec<Sent<'_>> = Vec::new();
        let mut since = Instant::now();
        let mut is_refused = false;
        for (place, claimed) in requests.iter().enumerate() {
            let Claimed { claim, planned, server: as_role } = claimed;
            let count = planned.operations.len();
            let (kind, collection) = (planned.kind, &planned.batch_key.collection_id);
            bgworker::report_activity(
                Activity::Running,
                &format!("{kind} of {count} in {collection} through server \"{server}\""),
            );
            let (dispositions, state) = if is_refused {
                (planned.operations.iter().map(|operation| (operation, Disposition::Free)).collect(), None)
            } else {
                let (dispositions, state) = send::send_request(as_role, planned);
                is_refused = state != ServerState::Answers;
                (dispositions, Some(state))
            };
            unsettled.push(Sent { claim: *claim, planned, server: as_role, dispositions, state });
            // Creates go first. Their results must not wait for an update that hangs: if this worker ended with it, they would
            // be lost.
            let is_create = |claimed: &Claimed| claimed.planned.kind == Kind::Create;
            let was_last_create = is_create(claimed) && requests.get(place + 1).is_some_and(|next| !is_create(next));
            if was_last_create || since.elapsed() > SETTLE_INTERVAL {
                self.settle(&server, &unsettled, is_in_backoff);
                unsettled.clear();
                since = Instant::now();
            }
        }
        if !unsettled.is_empty() {
            self.settle(&server, &unsettled, is_in_backoff);
        }
        self.write_backs.write();
    }

    fn settle(&mut self, server: &str, sent: &[Sent<'_>], is_in_backoff: bool) {
        let backoff = self.backoffs.entry(server.to_owned()).or_default();
        let was_well = !is_in_backoff && *backoff == ServerBackoff::default();
        for state in sent.iter().filter_map(|sent| sent.state.as_ref()) {
            *backoff = backoff.after(state);
        }
        let backoff = *backoff;
        let (mut freed, mut is_noted) = (None, true);
        let write_backs = &mut self.write_backs;
        let mut settle = || {
            match presence::of_extension() {
                Presence::Present(_) => {}
                Presence::BeingDropped => return false,
                Presence::Absent => lifecycle::exit_for_good(),
            }
            let connected = spi::connected(|connection| -> Result<(), std::convert::Infallible> {
                let written = settle::write(connection, server, sent, backoff, was_well, self.owner, write_backs);
                (freed, is_noted) = (written.freed, written.is_noted);
                Ok(())
            });
            let Ok(()) = connected;
            true
        };
        loop {
            match transaction::try_transaction(&mut settle) {
                Ok(true) => break,
                Ok(false) => {
                    bgworker::wait(DROP_EXTENSION_DELAY, WaitEvent::WorkerMain);
                }
                // Only this worker has the results, so it goes on trying.
                Err(failure) => {
                    // No record is at fault: the search for it found none. The next worker treats the requests as lost.
                    if self.failures >= MAX_SETTLE_FAILURES && failure.cause() != Cause::Surroundings {
                        failure.raise();
                    }
                    self.failures = has_failed("settle requests", &failure, self.failures);
                }
            }
        }
        self.failures = 0;
        // After the commit, so that each worker that wakes finds the freed records. This includes the current worker.
        registry::wake_workers(freed.unwrap_or(i64::MAX));
        if !is_noted {
            // Otherwise a server that fails or refuses would be asked again at once.
            back_off(FAILURE_DELAYS.0);
        }
    }
}
