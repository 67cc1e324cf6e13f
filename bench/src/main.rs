//! `sequin-bench [NAME...] [--runs 5] [--quick]`: the figures of docs/measurements.md, each beside a control.
//!
//! Absolute times say more about the machine and its load than about the extension. So each figure stands beside the
//! time of a raw-socket client for the same bytes from the same API, measured in turns. A figure is the median over the
//! runs with its spread; a goal is met if the median meets it. No goal causes a failure: a timing is a benchmark, never
//! a test.

mod api;
mod cancel;
mod capture;
mod counters;
mod drain;
mod echo;
mod enqueue;
mod flow;
mod gateway;
mod goal;
mod held;
mod held_xmin;
mod idle;
mod in_flight;
mod latency;
mod looped;
mod machine;
mod many_records;
mod memory;
mod neighbours;
mod one_record;
mod options;
mod outbox;
mod payload;
mod pg_net;
mod proc;
mod raw;
mod stats;
mod status;
mod syscalls;
mod table;
mod two_servers;
mod wide;
mod wire;

use std::error::Error;
use std::process::ExitCode;

use options::{Command, Options};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Measurement {
    name: &'static str,
    about: &'static str,
    run: fn(&Options) -> Result<()>,
}

const MEASUREMENTS: [Measurement; 18] = [
    Measurement { name: "one-record", about: "each verb in a PL/pgSQL loop", run: one_record::run },
    Measurement { name: "many-records", about: "100 and 10,000 records in one call", run: many_records::run },
    Measurement { name: "memory", about: "the backend's peak in a call of 10,000 records", run: memory::run },
    Measurement { name: "syscalls", about: "system calls of a warm call", run: syscalls::run },
    Measurement { name: "capture", about: "an INSERT into an attached table, by row", run: capture::run },
    Measurement { name: "enqueue", about: "queueing rows by trigger and by sequin_enqueue", run: enqueue::run },
    Measurement { name: "wide", about: "an UPDATE of one column in ever wider tables", run: wide::run },
    Measurement { name: "drain", about: "delivery of a queue that has filled up", run: drain::run },
    Measurement { name: "in-flight", about: "many requests at an API that takes its time", run: in_flight::run },
    Measurement {
        name: "two-servers",
        about: "deliveries beside a server that gives no answers",
        run: two_servers::run,
    },
    Measurement { name: "latency", about: "from a commit to its request on the wire", run: latency::run },
    Measurement { name: "idle", about: "a worker that has nothing to do", run: idle::run },
    Measurement { name: "counters", about: "counting a call for sequin.stat_servers", run: counters::run },
    Measurement { name: "status", about: "the views beside a large queue and history", run: status::run },
    Measurement { name: "held-xmin", about: "a steady flow beside an open snapshot; retention", run: held_xmin::run },
    Measurement { name: "cancel", about: "cancel, timeout and terminate in every phase", run: cancel::run },
    Measurement { name: "gateway", about: "what the gateway adds, and 64 mutations at once", run: gateway::run },
    Measurement { name: "neighbours", about: "the same work through pgsql-http, if installed", run: neighbours::run },
];

fn main() -> ExitCode {
    let (names, options) = match options::parse() {
        Ok(Command::Run { names, options }) => (names, options),
        Ok(Command::Help) => {
            print!("{}", usage());
            return ExitCode::SUCCESS;
        }
        Err(e) => return refuse(&e.to_string()),
    };
    if let Some(unknown) = names.iter().find(|name| MEASUREMENTS.iter().all(|measurement| measurement.name != **name)) {
        return refuse(&format!("there is no measurement {unknown:?}"));
    }
    machine::describe(&options);
    let mut worked = true;
    for measurement in MEASUREMENTS {
        if !names.is_empty() && !names.iter().any(|name| name == measurement.name) {
            continue;
        }
        if let Err(e) = (measurement.run)(&options) {
            println!("\n{}: not measured: {}", measurement.name, in_words(&*e));
            worked = false;
        }
    }
    if worked { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> String {
    let mut usage = String::from("usage: sequin-bench [NAME...] [--runs 5] [--quick]\n");
    for Measurement { name, about, .. } in MEASUREMENTS {
        usage.push_str(&format!("  {name:<14}{about}\n"));
    }
    usage + "Without a name, all of them.\n"
}

fn refuse(why: &str) -> ExitCode {
    eprint!("sequin-bench: {why}\n{}", usage());
    ExitCode::FAILURE
}

/// An error with the database's message, which the client's own text leaves out.
fn in_words(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<postgres::Error>().and_then(postgres::Error::as_db_error) {
        Some(said) => {
            [said.message(), said.detail().unwrap_or_default(), said.where_().unwrap_or_default()].join(" | ")
        }
        None => error.to_string(),
    }
}
