//! A request of this process that is to be counted whichever way it ends.

use std::cell::Cell;
use std::sync::Once;
use std::time::{Duration, Instant};

use pgrx::pg_sys::Oid;

use contract::outcome::OutcomeKind;

use crate::call::http;
use crate::pg::bgworker;

use super::{EndedRequest, Via, note};

thread_local! {
    /// The request of this process, if one is open. A process that is terminated runs no destructor.
    static CURRENT: Cell<Option<Begun>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Begun {
    server: Oid,
    via: Via,
    records: usize,
    at: Instant,
    /// The time until its reply was read or it failed.
    elapsed: Option<Duration>,
}

/// An open request. If it is dropped while it is open, an interrupt has ended it.
pub struct OpenRequest {
    begun: Cell<Option<Begun>>,
}

impl OpenRequest {
    pub fn begin(server: Oid, via: Via, records: usize) -> OpenRequest {
        static AT_EXIT: Once = Once::new();
        AT_EXIT.call_once(|| bgworker::at_exit(end_current));
        let begun = Begun { server, via, records, at: Instant::now(), elapsed: None };
        CURRENT.set(Some(begun));
        OpenRequest { begun: Cell::new(Some(begun)) }
    }

    /// The reply was read, or the request has failed.
    pub fn note_answered(&self) {
        let begun = self.begun.get().map(|begun| Begun { elapsed: Some(begun.at.elapsed()), ..begun });
        self.begun.set(begun);
    }

    /// Counts the request with its outcome, once.
    pub fn end(&self, outcome: Option<OutcomeKind>) {
        if let Some(begun) = self.begun.take() {
            begun.end(outcome, false);
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if let Some(begun) = self.begun.take() {
            begun.cancel();
        }
    }
}

impl Begun {
    fn cancel(self) {
        let was_sent = http::traffic().bytes_sent > 0;
        self.end(Some(if was_sent { OutcomeKind::Unknown } else { OutcomeKind::NotSent }), true);
    }

    fn end(self, outcome: Option<OutcomeKind>, is_cancelled: bool) {
        CURRENT.set(None);
        let Begun { server, via, records, at, elapsed } = self;
        let elapsed = elapsed.unwrap_or_else(|| at.elapsed());
        note(server, &EndedRequest { via, records, outcome, is_cancelled, traffic: http::traffic(), elapsed });
    }
}

/// Counts the request during which the process was asked to end.
fn end_current() {
    if let Some(begun) = CURRENT.take() {
        begun.cancel();
    }
}
