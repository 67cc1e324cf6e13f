//! Child processes that outlive this process briefly, to clean up after it.
//!
//! Each is a shell whose standard input is a pipe from here. No other process has the write end: std makes pipes
//! close-on-exec, so neither the servers nor a psql inherits it. When this process ends, even by SIGKILL or without
//! destructors, the kernel closes the pipe and the shell does its work.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::account::Account;

/// Starts and stops one Postgres, and removes its directory at the end.
#[derive(Debug)]
pub struct Guard {
    keeper: Keeper,
    answers: BufReader<ChildStdout>,
}

impl Guard {
    /// A guard of the server directory `dir`. It has the account of this process, so that it can remove every file.
    /// Only the server runs under `account`. `env` is added to the server's environment.
    pub fn spawn(dir: &Path, postgres: &Path, account: &Account, env: &[(String, String)]) -> io::Result<Guard> {
        // A file and not an argument, which keeps the line in ps readable.
        let script = dir.join("guard.sh");
        fs::write(&script, include_str!("guard.sh"))?;
        let mut command = shell();
        command.arg(script).arg(dir).arg(postgres).args(account.prefix());
        // Not for the shell or setpriv, which are the system's own.
        command.arg("env").args(env.iter().map(|(name, value)| format!("{name}={value}")));
        let (keeper, answers) = Keeper::spawn(command)?;
        Ok(Guard { keeper, answers })
    }

    /// Gives a command and waits for its answer.
    pub fn ask(&mut self, command: &str) -> io::Result<String> {
        self.keeper.tell(command)?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(io::Error::other("the server's guard has gone"));
        }
        Ok(answer.trim_end().to_owned())
    }
}

/// A shell that waits for the end of its input. Dropping it waits until its work is done.
#[derive(Debug)]
pub struct Keeper {
    child: Child,
    input: Option<ChildStdin>,
}

impl Keeper {
    /// Removes a home in the temporary directory once the last server has left it.
    pub fn of_home(root: &Path) -> io::Result<Keeper> {
        let mut command = shell();
        let script = "trap '' HUP INT TERM PIPE; cat >/dev/null; n=600; \
             while [ -n \"$(ls -A \"$1/run\" 2>/dev/null)\" ] && [ $n -gt 0 ]; do n=$((n - 1)); sleep 0.1; done; \
             rm -rf \"$1\"";
        command.args(["-c", script, "sequin-home"]).arg(root);
        Keeper::spawn(command).map(|(keeper, _)| keeper)
    }

    fn spawn(mut command: Command) -> io::Result<(Keeper, BufReader<ChildStdout>)> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no pipe from the guard"))?;
        Ok((Keeper { child, input }, BufReader::new(output)))
    }

    fn tell(&mut self, command: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or_else(|| io::Error::other("no pipe to the guard"))?;
        writeln!(input, "{command}")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.input.take());
        // A failure here loses nothing: the shell runs on by itself.
        let _ = self.child.wait();
    }
}

/// In its own process group: Ctrl-C, or a CI system that kills the whole group, must not reach it.
fn shell() -> Command {
    let mut command = Command::new("/bin/sh");
    command.current_dir("/").process_group(0);
    without_pg_variables(&mut command);
    command
}

/// `PGHOST`, `PGOPTIONS`, `PGPORT` and their like are meant for the user's own servers.
pub fn without_pg_variables(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if is_pg_variable(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn is_pg_variable(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("PG") && name != "PG_CONFIG")
}
