//! Faults of the network at a chosen byte in either direction. The reported effect must match the sandbox's log and the
//! outcome table. A request is sent once, and the next call works.
//!
//! Some places are chosen at random: `SEQUIN_SOAK_ROUNDS` sets their number, and `SEQUIN_SOAK_SEED` repeats those of
//! another run. `SEQUIN_FAULTS_ONLY` runs only the cases whose name, as a failure prints it, contains this text.

mod answers;
mod calls;
mod expected;
mod places;
mod reported;
mod session;
mod tls;
mod worker;

use std::fmt;

use sequin_harness::proxy::{Direction, Fault, Harm};

/// One call of one record, with its fault.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub kind: &'static str,
    /// The API's answer.
    pub answer: &'static answers::Answer,
    /// Over the connection of the call before, or over a new one.
    pub kept: bool,
    pub fault: Fault,
    /// Where that is.
    pub place: &'static str,
    /// A stall is ended by a cancel, else by the time for the request.
    pub cancelled: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { direction, at, harm } = self.fault;
        let connection = if self.kept { "kept" } else { "new" };
        let end = if self.cancelled { ", cancelled" } else { "" };
        write!(f, "{}, answer {}, {connection} connection, ", self.kind, self.answer.name)?;
        write!(f, "{direction:?} {harm:?} at {at} ({}){end}", self.place)
    }
}

const KINDS: [&str; 3] = ["create", "update", "delete"];

const HARMS: [Harm; 7] =
    [Harm::Cut, Harm::Reset, Harm::Stall, Harm::Drip, Harm::DuplicateByte, Harm::DuplicateRest, Harm::Corrupt(0x01)];

/// The filter in `SEQUIN_FAULTS_ONLY`.
fn chosen() -> Option<String> {
    std::env::var("SEQUIN_FAULTS_ONLY").ok()
}

/// Whether this run is about the case.
fn is_wanted(case: &impl fmt::Display) -> bool {
    chosen().is_none_or(|only| case.to_string().contains(&only))
}

/// That a test has run some of its cases: one that a choice leaves without any has shown nothing.
fn assert_ran(cases: usize) {
    let only = chosen();
    assert_ne!(cases, 0, "no case here is named {only:?}: run its test, with its SEQUIN_SOAK_SEED if it is at random");
}

/// A listed direction and place.
type Place = (&'static str, Direction, usize);
