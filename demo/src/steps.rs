//! The steps: files of SQL that psql shows statement by statement, each with its rows.
//!
//! A file's first line is its title. A second line `-- errors are expected` lets the demo continue after errors.
//! Elsewhere an error ends the demo, so a complete run has worked.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sequin_harness::paths;

const ERRORS_EXPECTED: &str = "-- errors are expected\n";

/// One titled piece of SQL.
pub struct Step {
    pub title: String,
    pub sql: String,
    pub errors_expected: bool,
}

/// The files in `demo/steps`, by their numbers.
pub fn all() -> io::Result<Vec<Step>> {
    let files: io::Result<Vec<PathBuf>> =
        fs::read_dir(paths::workspace().join("demo/steps"))?.map(|entry| Ok(entry?.path())).collect();
    let mut files = files?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    files.iter().map(|file| fs::read_to_string(file).map(|text| parse(&text))).collect()
}

fn parse(text: &str) -> Step {
    let (title, sql) = text.split_once('\n').unwrap_or((text, ""));
    let rest = sql.strip_prefix(ERRORS_EXPECTED);
    Step {
        title: title.trim_start_matches(['-', ' ']).to_owned(),
        sql: rest.unwrap_or(sql).to_owned(),
        errors_expected: rest.is_some(),
    }
}

/// Prints the step.
pub fn run(psql: Command, step: &Step) -> io::Result<()> {
    println!("\n=== {} ===\n", step.title);
    let arguments: &[&str] = if step.errors_expected { &["-a"] } else { &["-a", "-v", "ON_ERROR_STOP=1"] };
    feed(psql, step, arguments, Stdio::inherit())
}

/// Runs the step.
pub fn run_silently(psql: Command, step: &Step) -> io::Result<()> {
    feed(psql, step, &["-q", "-v", "ON_ERROR_STOP=1"], Stdio::null())
}

fn feed(mut psql: Command, step: &Step, arguments: &[&str], output: Stdio) -> io::Result<()> {
    io::stdout().flush()?;
    let mut psql = psql.args(arguments).stdin(Stdio::piped()).stdout(output).spawn()?;
    if let Some(mut input) = psql.stdin.take() {
        match input.write_all(step.sql.as_bytes()) {
            // psql stopped at an error before it read everything.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
    }
    let status = psql.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("\"{}\" failed", step.title))) }
}
