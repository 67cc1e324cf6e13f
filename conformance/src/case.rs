//! One check in progress. It goes on after a failure where it can, so that one run shows all.

use crate::exchange::Failure;
use crate::session::{Known, Session};

/// What a check has found.
#[derive(Default)]
pub struct Findings {
    pub failures: Vec<Failure>,
    /// Observations that are no failures, because the contract leaves them open.
    pub notes: Vec<String>,
    pub ended: Ended,
}

#[derive(Default, PartialEq)]
pub enum Ended {
    #[default]
    Whole,
    /// The server does not claim what the check needs, or the options do not give it.
    Skipped(&'static str),
    /// The check could not begin: creating a record for it has failed.
    Blocked,
}

/// Why a check ends early.
pub enum Stop {
    Failed(Failure),
    Skipped(&'static str),
    Blocked(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

pub struct Case<'a> {
    pub session: &'a Session,
    failures: Vec<Failure>,
    notes: Vec<String>,
}

impl<'a> Case<'a> {
    pub fn run(session: &'a Session, check: fn(&mut Case) -> Result<(), Stop>) -> Findings {
        let mut case = Case { session, failures: Vec::new(), notes: Vec::new() };
        let ended = check(&mut case);
        let Case { mut failures, notes, .. } = case;
        let ended = match ended {
            Ok(()) => Ended::Whole,
            Err(Stop::Failed(failure)) => {
                failures.push(failure);
                Ended::Whole
            }
            Err(Stop::Skipped(reason)) => Ended::Skipped(reason),
            Err(Stop::Blocked(failure)) => {
                failures.push(failure);
                Ended::Blocked
            }
        };
        Findings { failures, notes, ended }
    }

    /// Keeps a failure, and goes on.
    pub fn collect<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        self.collect_as("", result)
    }

    /// Keeps a failure, with the name of what was tried.
    pub fn collect_as<T>(&mut self, what: &str, result: Result<T, Failure>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(mut failure) => {
                if !what.is_empty() {
                    failure.expected = format!("{what}: {}", failure.expected);
                }
                self.failures.push(failure);
                None
            }
        }
    }

    pub fn fail(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// A record to work on.
    pub fn new_record(&self) -> Result<Known, Stop> {
        self.session.new_record().map_err(Stop::Blocked)
    }

    /// Several of them.
    pub fn new_records(&self, count: usize) -> Result<Vec<Known>, Stop> {
        (0..count).map(|_| self.new_record()).collect()
    }

    /// The record is there, and no change of this run is in it.
    pub fn expect_untouched(&mut self, known: &Known) -> Result<(), Failure> {
        let (exchange, data) = self.session.look_at(known).map_err(|mut failure| {
            failure.expected = format!("the record is there after the refused requests: {}", failure.expected);
            failure
        })?;
        let Some(data) = data else {
            self.note("replies show no data, so that a change by a refused request cannot be seen");
            return Ok(());
        };
        match data.iter().find(|(_, value)| self.session.is_changed(known, value.get())) {
            None => Ok(()),
            Some((name, _)) => Err(exchange.fails(format!("the refused requests before have not changed {name:?}"))),
        }
    }
}
