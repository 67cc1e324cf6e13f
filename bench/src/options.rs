//! The command line.

use std::error::Error;

/// The options of every measurement.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How often each figure is measured; its median and spread are shown.
    pub runs: usize,
    /// The minimum that shows that everything works.
    pub quick: bool,
}

impl Options {
    /// `full`, or less of it in a quick run.
    pub fn count(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// The requested measurements and options.
#[derive(Debug)]
pub enum Command {
    Help,
    Run { names: Vec<String>, options: Options },
}

pub fn parse() -> Result<Command, Box<dyn Error>> {
    use lexopt::prelude::*;

    let mut names = Vec::new();
    let (mut runs, mut quick) = (None, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("runs") => runs = Some(parser.value()?.parse::<usize>()?),
            Long("quick") => quick = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            Value(name) => names.push(name.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let options = Options { runs: runs.unwrap_or(if quick { 2 } else { 5 }), quick };
    if options.runs == 0 {
        return Err("--runs needs at least one".into());
    }
    Ok(Command::Run { names, options })
}
