//! A server leaves nothing behind, however its process ends, except its log if a test failed.
//!
//! The tests run this same binary with an ignored test, and kill it.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sequin_harness::account::Account;
use sequin_harness::{Sandbox, Server, paths, process};

/// A busy machine may take long; only a failure waits for all of it.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn eventually(what: &str, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen");
        thread::sleep(Duration::from_millis(10));
    }
}

fn this_binary(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// The facts that a victim prints about itself.
struct Traces {
    dir: PathBuf,
    home: PathBuf,
    passing: bool,
    postmaster: i32,
    child: i32,
    sandbox: i32,
}

impl Traces {
    fn print(server: &Server, child: u32, sandbox: u32) {
        let postmaster = server.postmaster().unwrap();
        let (dir, home) = (server.dir().display(), server.home().root().display());
        println!("\ntraces\t{dir}\t{home}\t{}\t{postmaster}\t{child}\t{sandbox}", server.home().is_passing());
    }

    fn read(from: &mut Child) -> Traces {
        // Left open: the victim has more to print.
        let output = from.stdout.as_mut().unwrap();
        let line = BufReader::new(output).lines().map_while(Result::ok).find(|line| line.starts_with("traces\t"));
        let line = line.expect("the victim said nothing");
        let fields: Vec<&str> = line.split('\t').collect();
        Traces {
            dir: fields[1].into(),
            home: fields[2].into(),
            passing: fields[3] == "true",
            postmaster: fields[4].parse().unwrap(),
            child: fields[5].parse().unwrap(),
            sandbox: fields[6].parse().unwrap(),
        }
    }
}

/// Starts a sandbox too, and a child that outlives this process. If the child inherited a pipe to either, they would
/// never see its end.
fn wait_to_be_killed(server: &Server) {
    let sandbox = Sandbox::start();
    let mut child = Command::new("sleep").arg("600").stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    Traces::print(server, child.id(), sandbox.pid());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "the other tests run it, to kill it"]
fn victim() {
    wait_to_be_killed(Server::shared());
}

#[test]
#[ignore = "the other tests run it, to kill it"]
fn victim_in_a_temporary_directory() {
    let base = paths::target().join("pg").join("far".repeat(40));
    wait_to_be_killed(&Server::builder().under(base).start().unwrap());
}

#[test]
#[ignore = "the other tests run it, to see it fail"]
fn victim_that_panics() {
    let server = Server::start();
    assert!(server.connect("postgres").batch_execute("SELECT 'what the test did' / 0").is_ok());
}

#[test]
fn nothing_is_left_of_a_killed_process() {
    // A clone in root's own directory is closed to the servers' account.
    let is_closed = !Account::for_server().unwrap().can_enter(&paths::target());
    for test in ["leftovers::victim", "leftovers::victim_in_a_temporary_directory"] {
        let mut victim = this_binary(test).spawn().unwrap();
        let traces = Traces::read(&mut victim);
        let backends = process::children(traces.postmaster);
        assert!(process::is_alive(traces.postmaster) && !backends.is_empty());
        assert!(traces.dir.join("data/PG_VERSION").is_file());

        victim.kill().unwrap();
        victim.wait().unwrap();
        eventually("the end of the postmaster", || !process::is_alive(traces.postmaster));
        eventually("the end of its children", || !backends.iter().any(|pid| process::is_alive(*pid)));
        eventually("the end of its directory", || !traces.dir.exists());
        eventually("the end of the sandbox", || !process::is_alive(traces.sandbox));
        if traces.passing {
            eventually("the end of its home", || !traces.home.exists());
        }
        assert_eq!(traces.passing, is_closed || test.ends_with("temporary_directory"));
        process::kill_all(&[traces.child]);
    }
    let _ = fs::remove_dir(paths::target().join("pg").join("far".repeat(40)));
}

/// A process that ends in good order leaves its shared server to the guard too.
#[test]
fn nothing_is_left_of_a_process_that_ends() {
    let mut victim = this_binary("leftovers::victim").spawn().unwrap();
    let traces = Traces::read(&mut victim);
    drop(victim.stdin.take());
    victim.wait().unwrap();
    eventually("the end of the server", || !traces.dir.exists() && !process::is_alive(traces.postmaster));
}

#[test]
fn the_log_is_kept_when_a_test_fails() {
    let output = this_binary("leftovers::victim_that_panics").stderr(Stdio::piped()).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let path = text.lines().find_map(|line| line.strip_prefix("the server's log: ")).expect("no path was printed");
    let log = fs::read_to_string(path).unwrap();
    assert!(log.contains("what the test did"), "{log}");
    let server = Path::new(path).file_stem().unwrap();
    assert!(!paths::target().join("pg/run").join(server).exists());
    fs::remove_file(path).unwrap();
}
