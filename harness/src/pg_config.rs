//! The facts that a Postgres installation reports.

use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The answers of `pg_config`: `PG_CONFIG` in the environment, or the one on the path.
#[derive(Clone, Debug)]
pub struct PgConfig {
    /// `15.20`
    pub version: String,
    /// The directory of `postgres` and `initdb`.
    pub bindir: PathBuf,
    /// The directory of `extension/` and of initdb's input.
    pub sharedir: PathBuf,
    /// The directory that `$libdir` means.
    pub pkglibdir: PathBuf,
    /// The directory of `libpq`, which may be a parent of the others.
    pub libdir: PathBuf,
}

impl PgConfig {
    /// Asks the `pg_config` of this test run.
    pub fn ask() -> io::Result<PgConfig> {
        PgConfig::of(Path::new(&env::var_os("PG_CONFIG").unwrap_or_else(|| "pg_config".into())))
    }

    /// Asks `program`.
    pub fn of(program: &Path) -> io::Result<PgConfig> {
        let questions = ["--version", "--bindir", "--sharedir", "--pkglibdir", "--libdir"];
        let output = Command::new(program)
            .args(questions)
            .output()
            .map_err(|e| io::Error::new(e.kind(), format!("cannot run {program:?} (make deps installs it): {e}")))?;
        let answers = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = answers.lines().collect();
        let [version, bindir, sharedir, pkglibdir, libdir] = lines[..] else {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(format!("{program:?} answered {answers:?} {error}")));
        };
        Ok(PgConfig {
            version: version.split_whitespace().nth(1).unwrap_or(version).to_owned(),
            bindir: bindir.into(),
            sharedir: sharedir.into(),
            pkglibdir: pkglibdir.into(),
            libdir: libdir.into(),
        })
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        let digits: String = self.version.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    }

    /// A unique name of the installation, which changes with an upgrade.
    pub fn name(&self) -> io::Result<String> {
        let postgres = self.bindir.join("postgres").metadata()?;
        let mut hash = DefaultHasher::new();
        (&self.bindir, postgres.size(), postgres.mtime(), postgres.mtime_nsec()).hash(&mut hash);
        Ok(format!("{}-{:08x}", self.version, hash.finish() as u32))
    }
}
