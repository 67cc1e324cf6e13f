//! A product as a child process: on a port that the system chose, and gone when the test is gone.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sequin_harness::{paths, process};
use tempfile::TempDir;

/// How long a product may take to listen. Some compile Python first, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs the program, says its number, and kills it when this process has closed the pipe, even by being killed itself.
const KEEPER: &str = r#"log=$1; shift; "$@" </dev/null >"$log" 2>&1 & echo $!; cat >/dev/null; kill -KILL $!; wait"#;

/// A running product. Dropping it kills the product and removes its directory.
pub struct Product {
    name: &'static str,
    keeper: Child,
    input: Option<ChildStdin>,
    pid: i32,
    port: u16,
    dir: TempDir,
}

impl Product {
    /// Starts `command` in `dir`, and returns when it listens on a port of this machine, whichever that is.
    pub fn start(name: &'static str, command: &Command, dir: TempDir) -> Product {
        let mut keeper = Command::new("/bin/sh");
        keeper.args(["-c", KEEPER, name]).arg(dir.path().join("log"));
        keeper.arg(command.get_program()).args(command.get_args()).current_dir(dir.path());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => keeper.env(name, value),
                None => keeper.env_remove(name),
            };
        }
        keeper.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().expect("/bin/sh runs");
        let input = keeper.stdin.take();
        let mut pid = String::new();
        let output = keeper.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut pid).expect("the keeper says a number");
        let pid = pid.trim().parse().expect("the number of a process");
        let mut product = Product { name, keeper, input, pid, port: 0, dir };
        product.port = product.await_port();
        product
    }

    fn await_port(&self) -> u16 {
        let begun = Instant::now();
        loop {
            if let Some(port) = listening_port(self.pid) {
                return port;
            }
            let is_alive = process::is_alive(self.pid);
            assert!(is_alive && begun.elapsed() < PATIENCE, "{} does not listen: {}", self.name, self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// `http://127.0.0.1:` and the port.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("log")).unwrap_or_default()).into_owned()
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        drop(self.input.take());
        // The keeper ends by itself; a failed wait needs no handling.
        let _ = self.keeper.wait();
    }
}

/// A port on which the process listens.
fn listening_port(pid: i32) -> Option<u16> {
    let handles = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let targets = handles.flatten().filter_map(|handle| fs::read_link(handle.path()).ok());
    let sockets: HashSet<String> = targets
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    ["tcp", "tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok()?;
        table.lines().find_map(|line| {
            // proc_pid_net(5): the second field is the local address, the fourth the state, the tenth the inode.
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_listening = fields.get(3) == Some(&"0A") && sockets.contains(*fields.get(9)?);
            let port = fields.get(1)?.rsplit(':').next()?;
            is_listening.then(|| u16::from_str_radix(port, 16).ok()).flatten()
        })
    })
}

/// A new directory for one product.
pub fn directory() -> TempDir {
    TempDir::with_prefix("sequin-judge-").expect("a temporary directory")
}

/// A file or directory that `scripts/deps-judges` has installed.
pub fn installed(path: &str) -> PathBuf {
    let dir = std::env::var_os("SEQUIN_JUDGES").map_or_else(|| paths::target().join("judges"), PathBuf::from);
    let file = dir.join(path);
    assert!(file.exists(), "there is no {}: scripts/deps-judges installs it", file.display());
    file
}

/// A program of the judges' Python.
pub fn python_program(name: &str) -> Command {
    Command::new(installed(&format!("venv/bin/{name}")))
}

/// A script of `launch/`, which ends in a module of the judges' npm packages.
pub fn node_script(name: &str) -> Command {
    let mut command = Command::new(installed("node"));
    command.arg(launcher(name)).env("SEQUIN_JUDGES_MODULES", installed("node_modules"));
    command
}

/// A file of `launch/`.
pub fn launcher(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/launch").join(name)
}
