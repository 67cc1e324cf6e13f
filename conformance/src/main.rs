//! Judges any server of the Mutation API: `sequin-conformance URL --token-file F`.
//!
//! People write servers of their own, and a wrong one costs them records: an extension that believes a wrong 400 loses
//! a change, and one that believes a wrong 200 repeats none. So the contract is a program, and not only a document.
//! docs/your-own-endpoint.md explains each check.
//!
//! The program sees what a client sees, and nothing else. It creates records, looks at them through updates that change
//! nothing, and deletes them at the end. It shares no code with the servers of this repository.
//!
//! The map:
//! - `args`       the command line
//! - `client`     HTTP, with bodies that come slowly, and a count of connections
//! - `exchange`   one request and its reply, how they are shown, and what can be expected of them
//! - `reply`      the records in a reply
//! - `session`    the run: the texts of requests, and the records to clean up
//! - `case`       one check in progress: its failures and notes
//! - `checks`     the checks
//! - `report`     what is printed

#![forbid(unsafe_code)]

mod args;
mod case;
mod checks;
mod client;
mod exchange;
mod reply;
mod report;
mod session;

use std::process::ExitCode;

use args::Command;
use report::Report;
use session::Session;

fn main() -> ExitCode {
    let options = match args::parse() {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            println!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Command::List) => {
            report::list(&checks::all());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("sequin-conformance: {error}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let checks = match checks::chosen(&options.only) {
        Ok(checks) => checks,
        Err(unknown) => {
            eprintln!("sequin-conformance: there is no check {unknown}; --list names them");
            return ExitCode::from(2);
        }
    };
    let session = Session::new(*options);
    let mut report = Report::default();
    for check in checks {
        report.add(check.name, check.run(&session));
    }
    report.left_behind(&session.clean_up());
    report.finish()
}
