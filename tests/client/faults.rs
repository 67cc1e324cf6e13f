//! Faults of the network at a chosen byte in either direction: what is claimed is true by the sandbox's word and right by
//! the table, a request is sent once, and the next call works.
//!
//! Some places are chosen by dice; `SEQUIN_FAULTS_SEED` repeats the choices of another run, and `SEQUIN_FAULTS_ONLY` runs
//! those cases alone whose name, as a failure prints it, contains this.

mod answers;
mod bench;
mod calls;
mod oracle;
mod places;
mod tls;
mod worker;

use std::fmt;

use sequin_harness::proxy::{Direction, Fault, Harm};

/// One call of one record, and what is done to it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub kind: &'static str,
    /// What the API answers.
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

/// A small generator of numbers; how good they are does not matter.
struct Dice(u64);

impl Dice {
    /// From the environment or from the clock. Printed, so that a failure can be repeated.
    fn printed() -> Dice {
        let clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_micros() as u64);
        let seed = std::env::var("SEQUIN_FAULTS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(clock);
        eprintln!("SEQUIN_FAULTS_SEED={seed}");
        // Zero would stay zero.
        Dice(seed | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Whether this run is about the case.
fn is_wanted(case: &impl fmt::Display) -> bool {
    std::env::var("SEQUIN_FAULTS_ONLY").map_or(true, |only| case.to_string().contains(&only))
}

/// The direction and the place in it, of those that are listed.
type Place = (&'static str, Direction, usize);
