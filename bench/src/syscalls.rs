//! System calls of a call on a warm connection, counted by strace.
//!
//! The API waits a little before it replies, as a network does. A traced backend is slow: with an immediate reply it
//! would skip the wait that it makes in practice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sequin_harness::Database;

use crate::Result;
use crate::api::FixedApi;
use crate::options::Options;
use crate::payload;
use crate::table::Table;

const MISSING: &str = "\nsyscalls: not measured: there is no strace here (apt-get install strace). \
    Nothing else counts the calls of one process without it: /proc/PID/io leaves sockets out.";

const CASES: [(&str, &str); 2] = [
    ("create", "PERFORM sequin_create('bench', 'salesforce:contact', '{\"Email\": \"paul@arrakis.org\"}')"),
    (
        "FROM mutate",
        "PERFORM * FROM sequin_mutate('create', 'bench', 'salesforce:contact', '{\"data\": {\"Email\": \"paul@arrakis.org\"}}')",
    ),
];

pub fn run(options: &Options) -> Result<()> {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        println!("{MISSING}");
        return Ok(());
    }
    let calls = options.count(1000, 200);
    let title = format!("syscalls: a warm call, mean of {calls} (a raw client: 1 sendto, 1 recvfrom)");
    let mut table = Table::new(title, &["", "all", "of them"]);
    for (pause, reply) in [(Duration::ZERO, "reply at once"), (Duration::from_millis(1), "reply after 1 ms")] {
        for (name, statement) in CASES {
            let api = FixedApi::slow(&payload::small_reply(), pause);
            let database = Database::fresh();
            database.create_server(&api.url(), "bench");
            let counts = count(&database, statement, calls)?;
            let each = |count: &u64| *count as f64 / calls as f64;
            // A statement has a handful of its own in any case.
            let mut named: Vec<_> = counts.iter().filter(|(_, count)| each(count) >= 0.05).collect();
            named.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let named: Vec<String> = named.iter().map(|(name, count)| format!("{:.1} {name}", each(count))).collect();
            table.line([format!("{name}, {reply}"), format!("{:.1}", each(&counts.values().sum())), named.join(", ")]);
        }
    }
    table.print();
    Ok(())
}

/// The system calls of a warm backend during a loop of this many calls.
fn count(database: &Database, statement: &str, calls: usize) -> Result<BTreeMap<String, u64>> {
    let mut client = database.connect();
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
    let looped = |calls| format!("DO $do$ BEGIN FOR i IN 1..{calls} LOOP {statement}; END LOOP; END $do$");
    client.batch_execute(&looped(100))?;
    let mut strace = attach(pid)?;
    client.batch_execute(&looped(calls))?;
    kill(Pid::from_raw(i32::try_from(strace.id())?), Signal::SIGINT)?;
    let output = strace.stderr.take().ok_or("strace has no output")?;
    let counts = BufReader::new(output).lines().map_while(std::result::Result::ok).filter_map(|line| parse(&line));
    let counts = counts.collect();
    strace.wait()?;
    Ok(counts)
}

/// strace on the backend, once it counts.
fn attach(pid: i32) -> Result<Child> {
    let mut command = Command::new("strace");
    command.args(["-c", "-U", "calls,name", "-p", &pid.to_string()]);
    let mut strace = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let output = strace.stderr.as_mut().ok_or("strace has no output")?;
    let mut line = Vec::new();
    // One byte at a time: another reader reads the rest.
    for byte in std::io::Read::bytes(output) {
        match byte? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    if line.contains("attached") {
        return Ok(strace);
    }
    strace.wait()?;
    Err(line.into())
}

/// A line of strace's table: a count and a name.
fn parse(line: &str) -> Option<(String, u64)> {
    let mut words = line.split_whitespace();
    let (count, name) = (words.next()?.parse().ok()?, words.next()?);
    (name != "total").then(|| (name.to_owned(), count))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn counts_are_read_and_the_total_is_not() {
        assert_eq!(parse("      1000 sendto"), Some(("sendto".into(), 1000)));
        assert_eq!(parse("      4000 total"), None);
        assert_eq!(parse("--------- ----------------"), None);
        assert_eq!(parse("    calls syscall"), None);
    }
}
