//! One claimed request on its way, which may take several exchanges, one after the other.
//!
//! If a refusal does not say which record is at fault, requests with half of the records each follow, down to a single
//! refused record.

use std::ops::Range;

use pgrx::pg_sys::Oid;

use contract::batching::server_state::ServerState;
use contract::batching::window::Ticket;
use contract::kind::Kind;
use contract::secret::Secret;

use crate::call::{Answer, Exchange, SentRequest};
use crate::outbox::claim::Claimed;
use crate::outbox::disposition::Disposition;
use crate::pg::transaction;

use super::judge::{self, Attempt};

/// See the module.
pub struct Flight {
    pub claimed: Claimed,
    /// The oid of the extension whose record it is. A new extension may have another record of this number.
    pub extension: Oid,
    /// The operations that are not sent yet, by their places. The next ones are last.
    parts: Vec<Range<usize>>,
    /// The operations of the exchange in progress, and its token.
    current: Option<(Range<usize>, Secret)>,
    /// The dispositions so far, each with the place of its operation.
    pub dispositions: Vec<(usize, Disposition)>,
    /// The state of the server. None if no request was made.
    pub state: Option<ServerState>,
    /// The place in the server's window, until the flight has ended.
    pub ticket: Option<Ticket>,
    /// The exchanges that have begun.
    pub exchanges: u32,
}

impl Flight {
    pub fn new(claimed: Claimed, extension: Oid, ticket: Ticket) -> Flight {
        let all = 0..claimed.planned.operations.len();
        Flight {
            claimed,
            extension,
            parts: vec![all],
            current: None,
            dispositions: Vec::new(),
            state: None,
            ticket: Some(ticket),
            exchanges: 0,
        }
    }

    /// Whether creates of it are unknown.
    pub fn has_lost_creates(&self) -> bool {
        let is_unknown = |(_, disposition): &(usize, Disposition)| matches!(disposition, Disposition::Unknown { .. });
        self.claimed.planned.kind == Kind::Create && self.dispositions.iter().any(is_unknown)
    }

    /// The next exchange. None if all operations have a disposition: the flight has ended.
    ///
    /// After a failure of the server, or if the worker `is_leaving`, the remaining operations are not sent.
    pub fn next_exchange(&mut self, is_leaving: bool) -> Option<Exchange> {
        while let Some(part) = self.parts.pop() {
            if is_leaving || self.state.as_ref().is_some_and(|state| *state != ServerState::Answers) {
                let free = self.unsent();
                self.dispositions.extend(part.map(|place| (place, free.clone())));
                continue;
            }
            let mut state = ServerState::Answers;
            let Claimed { planned, server, .. } = &self.claimed;
            let operations = &planned.operations[part.clone()];
            let prepared = transaction::try_without_transaction(|| {
                let mut state = ServerState::Answers;
                let prepared = judge::prepare(server, &planned.batch_key, planned.kind, operations, &mut state);
                (prepared, state)
            });
            let prepared = match prepared {
                Ok((prepared, after)) => {
                    state = after;
                    prepared
                }
                Err(failure) => Err(judge::broken(planned.kind, operations, failure, &mut state)),
            };
            match prepared {
                Ok((exchange, token)) => {
                    self.current = Some((part, token));
                    self.exchanges += 1;
                    return Some(exchange);
                }
                // No request was made, so nothing is known of the server, unless its token cannot be used.
                Err(attempt) => self.note(part, attempt, (state != ServerState::Answers).then_some(state)),
            }
        }
        None
    }

    /// The disposition of operations that this flight does not send any more. They may have been sent in a larger
    /// request, which was refused and applied in part. Then a delete that finds nothing next time was applied by it.
    fn unsent(&self) -> Disposition {
        match self.claimed.planned.kind {
            Kind::Delete if self.exchanges > 0 => {
                Disposition::Interrupted { error: "refused together with other records".to_owned() }
            }
            _ => Disposition::Free,
        }
    }

    /// Judges the end of the exchange in progress.
    pub fn judge(&mut self, answer: Answer) {
        let Some((part, token)) = self.current.take() else { return };
        let mut state = ServerState::Answers;
        let Claimed { planned, server, .. } = &self.claimed;
        let operations = &planned.operations[part.clone()];
        let was_sent = self.exchanges > 1 && !server.options().atomic_batches;
        let judged = transaction::try_without_transaction(|| {
            let mut state = ServerState::Answers;
            let collection_id = &planned.batch_key.collection_id;
            let sent = SentRequest::new(planned.kind, operations.len(), collection_id, server, token, answer);
            (judge::judge(planned.kind, operations, was_sent, &sent, &mut state), state)
        });
        let attempt = match judged {
            Ok((attempt, after)) => {
                state = after;
                attempt
            }
            Err(failure) => judge::broken(planned.kind, operations, failure, &mut state),
        };
        self.note(part, attempt, Some(state));
    }

    fn note(&mut self, part: Range<usize>, attempt: Attempt, state: Option<ServerState>) {
        self.state = state.or(self.state.take());
        match attempt {
            Attempt::Settled(dispositions) => self.dispositions.extend(part.zip(dispositions)),
            Attempt::Split => {
                let middle = part.start + part.len() / 2;
                self.parts.push(middle..part.end);
                self.parts.push(part.start..middle);
            }
        }
    }
}
