//! A data directory that initdb makes once, copied for each server: initdb takes a second or two, a copy a tenth.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use crate::account::Account;
use crate::home::Home;
use crate::image::Image;
use crate::pg_config::PgConfig;

/// The arguments of initdb, except for the directory.
pub const INITDB: [&str; 8] = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];

/// The template for `image`. The caller holds the home's lock.
pub fn of(config: &PgConfig, image: &Image, home: &Home, account: &Account) -> io::Result<PathBuf> {
    // One account owns a data directory, so each account has its template.
    let template = home.root().join(format!("template-{}-{}", config.name()?, account.uid()));
    if template.is_dir() {
        return Ok(template);
    }
    let new = home.root().join(format!(".template-{}", process::id()));
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir(&new)?;
    account.give(&new)?;
    let mut initdb = account.command(image.program("initdb"));
    initdb.args(INITDB).arg("-D").arg(&new);
    initdb.envs(image.environment());
    run(crate::guard::without_pg_variables(&mut initdb))?;
    fs::rename(&new, &template)?;
    Ok(template)
}

/// Copies `template` to `data` with owners and modes, and without copying blocks if the file system can.
pub fn copy(template: &Path, data: &Path) -> io::Result<()> {
    run(Command::new("cp").args(["-a", "--reflink=auto", "--"].map(OsStr::new)).arg(template).arg(data))
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(io::Error::other(format!("{command:?} failed: {}", String::from_utf8_lossy(&text))))
}
