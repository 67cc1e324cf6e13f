//! The demo, run as `make demo` runs it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sequin_harness::paths;

use crate::docs::tidy;

/// A variable of the environment that every process of one run inherits.
const MARK: &str = "SEQUIN_DEMO_TEST";

struct Demo {
    child: Child,
    mark: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> Demo {
        let program = paths::built("SEQUIN_DEMO", "sequin-demo");
        let program = program.unwrap_or_else(|| panic!("there is no sequin-demo: cargo build -p sequin-demo"));
        let mark = format!("{}-{:?}", std::process::id(), thread::current().id());
        let mut command = Command::new(program);
        command.args(arguments).env(MARK, &mark);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Demo { child: command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")), mark }
    }

    /// Waits for its end, and for the end of everything that it started.
    fn finish(mut self, input: &str) -> Output {
        let pid = self.child.id();
        if let Some(mut stdin) = self.child.stdin.take() {
            // Without psql nothing reads it.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = self.child.wait_with_output().unwrap_or_else(|e| panic!("{e}"));
        let begun = Instant::now();
        loop {
            let left = started_by(pid, &self.mark);
            if left.is_empty() {
                return output;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "left behind: {left:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has started a process with `name` in its command line.
    fn wait_for(&self, name: &str) {
        let begun = Instant::now();
        while !started_by(self.child.id(), &self.mark).iter().any(|line| line.contains(name)) {
            assert!(begun.elapsed() < Duration::from_secs(60), "it has started no {name}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The processes that the demo `pid` has started, directly or not, itself included. Postgres writes its title over its
/// environment, but its working directory is below one that has the demo's pid in its name.
fn started_by(pid: u32, mark: &str) -> Vec<String> {
    let mark = format!("{MARK}={mark}");
    let directories = [format!("/run/{pid}-"), format!("/sequin-pg-{pid}-")];
    let mut lines = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path()) {
        // An unreadable process has just ended, or belongs to another account.
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let is_marked = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
        let place: PathBuf = fs::read_link(process.join("cwd")).unwrap_or_default();
        let place = place.to_string_lossy();
        if is_marked || directories.iter().any(|directory| place.contains(directory.as_str())) {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            lines.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    lines
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| tidy(&String::from_utf8_lossy(bytes));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn it_shows_each_statement_with_its_rows_and_leaves_nothing() {
    let output = Demo::start(&[]).finish("");
    let (rows, errors) = texts(&output);
    assert!(output.status.success(), "{rows}\n{errors}");
    for expected in [
        // The statements,
        "CREATE EXTENSION IF NOT EXISTS sequin_mutations;",
        "FROM sequin_create(",
        "FROM sequin_update(",
        "FROM sequin_delete(",
        "SELECT sequin_attach(",
        "SELECT sequin_enqueue(",
        "CREATE TRIGGER",
        "await_consumers =>",
        // what they return,
        "{\"Email\": \"paul@arrakis.org\", \"LastName\": \"Atreides\", \"FirstName\": \"Paul\"}",
        " | Paul       | Duke",
        " Gurney  | gurney@caladan.org  | ",
        " Gurney | gurney@arrakis.org | ",
        "stilgar@tabr.org | 00Q",
        " | create | {\"name\": \"Irulan\"} | pending\n",
        " | create | {\"name\": \"Irulan\"} | applied | cus_",
        " | Leto II | cus_",
        " sequin |       0 |        0 |       0 | f      | t\n",
        "(2 rows)",
        // and where to go next.
        "make demo-psql",
    ] {
        assert!(rows.contains(expected), "no {expected:?} in:\n{rows}");
    }
    for expected in [
        "ERROR:  Error: Salesforce validation error: `Invalid email`",
        "DETAIL:  {\"outcome\": \"rejected\", \"applied\": \"none\", \"http_status\": 400,",
        "HINT:  Nothing was applied. Correct the record and send it again.",
        "CONTEXT:  create of 1 record in salesforce:contact through server \"sequin\": nothing was applied",
    ] {
        assert!(errors.contains(expected), "no {expected:?} in:\n{errors}");
    }
    // One by hand, one through the trigger. Any other would be a demo that does not work.
    assert_eq!(errors.matches("ERROR:").count(), 2, "{errors}");
}

#[test]
fn psql_in_it_works_and_leaves_nothing() {
    let create = "SELECT upstream_id AS id FROM sequin_create('demo', 'salesforce:contact', '{\"Title\": \"Naib\"}',
        await_consumers => '{contacts}') \\gset\nSELECT data->>'Title' AS title FROM contacts WHERE upstream_id = :'id';\n";
    let demo = Demo::start(&["psql"]);
    // This also shows that the final search can find the process.
    demo.wait_for("sequin-gateway");
    demo.wait_for("postgres: checkpointer");
    let output = demo.finish(create);
    let (rows, errors) = texts(&output);
    assert!(output.status.success() && errors.is_empty(), "{rows}\n{errors}");
    assert!(rows.ends_with(" title\n-------\n Naib\n(1 row)"), "{rows}");
}

#[test]
fn it_takes_no_other_word() {
    let output = Demo::start(&["nonsense"]).finish("");
    let (rows, errors) = texts(&output);
    assert_eq!((output.status.code(), rows.as_str()), (Some(1), ""));
    assert!(errors.contains("usage: sequin-demo [psql]"), "{errors}");
}
