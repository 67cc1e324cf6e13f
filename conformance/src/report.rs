//! What is printed: a line for each check as it ends, and for each failure what was expected, what came, and a command
//! that shows it.

use std::process::ExitCode;

use crate::case::{Ended, Findings};
use crate::checks::Check;
use crate::exchange::Failure;

/// Width of the names of checks.
const WIDTH: usize = 18;

#[derive(Default)]
pub struct Report {
    passed: usize,
    failed: Vec<&'static str>,
    skipped: usize,
}

pub fn list(checks: &[Check]) {
    for check in checks {
        println!("{:WIDTH$} {}", check.name, check.about);
    }
}

impl Report {
    pub fn add(&mut self, name: &'static str, findings: Findings) {
        let Findings { failures, notes, ended } = findings;
        match ended {
            Ended::Skipped(reason) if failures.is_empty() => {
                self.skipped += 1;
                println!("skip  {name:WIDTH$} {reason}");
                return;
            }
            Ended::Blocked => println!("FAIL  {name:WIDTH$} could not begin"),
            _ if failures.is_empty() => println!("ok    {name}"),
            _ => println!("FAIL  {name}"),
        }
        match failures.is_empty() {
            true => self.passed += 1,
            false => self.failed.push(name),
        }
        for note in notes {
            println!("      note: {note}");
        }
        for Failure { expected, exchange } in failures {
            println!("      expected: {expected}");
            if let Some(exchange) = exchange {
                match &exchange.got {
                    Ok(got) => println!("      got: {got}"),
                    Err(error) => println!("      got no reply: {error}"),
                }
                println!("      {exchange}");
            }
        }
    }

    /// The ids of records that could not be deleted.
    pub fn left_behind(&self, ids: &[String]) {
        if !ids.is_empty() {
            println!("\nThese records could not be deleted: {}", ids.join(", "));
        }
    }

    pub fn finish(self) -> ExitCode {
        let Report { passed, failed, skipped } = self;
        println!("\n{passed} passed, {} failed, {skipped} skipped", failed.len());
        if failed.is_empty() {
            return ExitCode::SUCCESS;
        }
        println!("failed: {}", failed.join(" "));
        ExitCode::FAILURE
    }
}
