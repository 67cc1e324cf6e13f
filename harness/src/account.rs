//! The account that runs the server.
//!
//! Postgres refuses to run as root, and builds often do. Then `postgres` runs it, or `nobody` if there is no such
//! account. Any other user runs it directly.

use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

/// The account of the server's processes. `None`: the account of this process.
#[derive(Clone, Debug)]
pub struct Account(Option<User>);

impl Account {
    /// The account for servers that this process starts.
    pub fn for_server() -> io::Result<Account> {
        if !geteuid().is_root() {
            return Ok(Account(None));
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name)? {
                return Ok(Account(Some(user)));
            }
        }
        Err(io::Error::other("Postgres refuses to run as root, and neither account postgres nor nobody exists"))
    }

    /// Whether it differs from this process's account.
    pub fn is_another(&self) -> bool {
        self.0.is_some()
    }

    /// The number of the account, to keep the files of two accounts apart.
    pub fn uid(&self) -> u32 {
        self.0.as_ref().map_or_else(geteuid, |user| user.uid).as_raw()
    }

    /// A command that will run under this account, away from directories that the account cannot enter.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir("/").stdin(Stdio::null());
        if let Some(user) = &self.0 {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    /// Words in front of a shell's command that make it run under this account; none if it does anyway. `setpriv`
    /// becomes the program that it starts, so the shell's `$!` is that program's.
    pub fn prefix(&self) -> Vec<String> {
        let Some(user) = &self.0 else {
            return Vec::new();
        };
        ["setpriv", "--clear-groups", "--reuid"]
            .map(String::from)
            .into_iter()
            .chain([user.uid.to_string(), "--regid".into(), user.gid.to_string(), "--".into()])
            .collect()
    }

    /// Makes the account the owner of `path`.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            Some(user) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
            None => Ok(()),
        }
    }

    /// Whether the account can reach `dir`: no closed directory above it, no permission missing.
    pub fn can_enter(&self, dir: &Path) -> bool {
        let status = self.command("/bin/sh").args(["-c", "cd -- \"$0\""]).arg(dir).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}
