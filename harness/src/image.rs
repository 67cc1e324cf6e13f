//! A Postgres tree with the extension, without an installation.
//!
//! Postgres finds its share and library directories relative to its executable (`make_relative_path` in path.c). So
//! copied executables in a tree of the same shape use that tree. The rest of the tree is symbolic links to the
//! installation. `extension/` and `pkglibdir` are directories of links, with the extension's files among them. Nothing
//! is written to /usr, and no root is needed.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::thread;
use std::time::Duration;

use crate::account::Account;
use crate::home::{Home, open_directory};
use crate::libraries;
use crate::paths;
use crate::pg_config::PgConfig;

/// Executables that look for others beside themselves. The rest may be links.
const COPIED: [&str; 4] = ["postgres", "initdb", "pg_ctl", "pg_config"];

const NAME: &str = "sequin_mutations";

/// In an image's root: the value of `LD_LIBRARY_PATH` for its executables.
const LIBRARY_PATH: &str = "library-path";

/// A tree in which Postgres runs.
#[derive(Clone, Debug)]
pub struct Image {
    bindir: PathBuf,
    sharedir: PathBuf,
    pkglibdir: PathBuf,
    library_path: Option<String>,
}

impl Image {
    /// The image of `config` in `home`, with the extension's `library` in it; created if it is missing. The caller
    /// holds the home's lock.
    pub fn of(config: &PgConfig, library: Option<&Path>, home: &Home, account: &Account) -> io::Result<Image> {
        let root = home.root().join(config.name()?);
        let common = common_ancestor(&[&config.bindir, &config.sharedir, &config.pkglibdir]);
        let mut image = Image {
            library_path: None,
            bindir: moved(&config.bindir, &common, &root),
            sharedir: moved(&config.sharedir, &common, &root),
            pkglibdir: moved(&config.pkglibdir, &common, &root),
        };
        if !root.is_dir() {
            let new = home.root().join(format!(".new-{}", process::id()));
            build(config, &common, &new)?;
            fs::rename(&new, &root)?;
        }
        image.library_path = fs::read_to_string(root.join(LIBRARY_PATH)).ok();
        image.check(account)?;
        image.install_extension(library)?;
        Ok(image)
    }

    /// The environment that the image's executables need.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.library_path.iter().map(|path| ("LD_LIBRARY_PATH", path.as_str()))
    }

    /// The directory of the executables.
    pub fn bindir(&self) -> &Path {
        &self.bindir
    }

    /// An executable of the image.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }

    /// Checks that the copy looks for its files in the image, not in the installation.
    fn check(&self, account: &Account) -> io::Result<()> {
        if !self.program("pg_config").is_file() {
            return Ok(());
        }
        let mut command = account.command(self.program("pg_config"));
        let output = command.args(["--sharedir", "--pkglibdir"]).envs(self.environment()).output()?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = [&self.sharedir, &self.pkglibdir];
        if answer.lines().map(Path::new).eq(expected) {
            return Ok(());
        }
        Err(io::Error::other(format!("this Postgres cannot be relocated: expected {expected:?}, got {answer:?}")))
    }

    /// Updates changed files. Each file is renamed into place, so a running server keeps the library that it has open.
    fn install_extension(&self, library: Option<&Path>) -> io::Result<()> {
        let extension = self.sharedir.join("extension");
        let mut sources = vec![paths::workspace().join(format!("{NAME}.control"))];
        let scripts = fs::read_dir(paths::workspace().join("sql"))?;
        for script in scripts {
            let script = script?.path();
            if is_script(&script) {
                sources.push(script);
            }
        }
        for stale in fs::read_dir(&extension)? {
            let stale = stale?.path();
            if is_script(&stale) && !sources.iter().any(|source| source.file_name() == stale.file_name()) {
                fs::remove_file(stale)?;
            }
        }
        for source in sources.iter().filter(|source| source.is_file()) {
            replace(source, &extension.join(source.file_name().unwrap_or_default()), 0o644)?;
        }
        if let Some(library) = library {
            replace(library, &self.pkglibdir.join(format!("{NAME}.so")), 0o755)?;
        }
        Ok(())
    }

    /// Whether `CREATE EXTENSION` can work. The error names the missing file.
    pub fn has_extension(&self) -> Result<(), String> {
        let needed = [
            (self.sharedir.join("extension").join(format!("{NAME}.control")), format!("{NAME}.control")),
            (self.pkglibdir.join(format!("{NAME}.so")), format!("lib{NAME}.so (make all builds it)")),
        ];
        match needed.iter().find(|(path, _)| !path.is_file()) {
            Some((_, missing)) => Err(format!("there is no {missing}")),
            None => Ok(()),
        }
    }
}

fn build(config: &PgConfig, common: &Path, root: &Path) -> io::Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    let extension = config.sharedir.join("extension");
    let real = [&config.bindir, &config.sharedir, &config.pkglibdir, &extension];
    for dir in real {
        overlay(dir, &real, common, root)?;
    }
    // Postgres may find libpq relative to its executable, by rpath.
    if config.libdir.starts_with(common) && config.libdir.is_dir() {
        if real.iter().any(|dir| dir.starts_with(&config.libdir)) {
            overlay(&config.libdir, &real, common, root)?;
        } else {
            let link = moved(&config.libdir, common, root);
            make_parents(&link, root)?;
            symlink(&config.libdir, link)?;
        }
    }
    for name in COPIED {
        let (from, to) = (config.bindir.join(name), moved(&config.bindir, common, root).join(name));
        if from.exists() {
            fs::remove_file(&to)?;
            fs::copy(&from, &to)?;
            until_executable(&to)?;
            if let Some(path) = libraries::lost(&from, &to)? {
                fs::write(root.join(LIBRARY_PATH), path)?;
            }
        }
    }
    Ok(())
}

/// Waits until no process has the new `program` open for writing. A thread that forked meanwhile has inherited the open
/// file. Until its child executes another program, executing this one fails.
fn until_executable(program: &Path) -> io::Result<()> {
    while let Err(error) = Command::new(program).arg("--version").output() {
        if error.kind() != io::ErrorKind::ExecutableFileBusy {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Recreates `dir` under `root`, with a link to each entry except the recreated ones.
fn overlay(dir: &Path, real: &[&PathBuf], common: &Path, root: &Path) -> io::Result<()> {
    let target = moved(dir, common, root);
    make_parents(&target, root)?;
    open_directory(&target)?;
    for entry in fs::read_dir(dir)? {
        let from = entry?.path();
        let to = target.join(from.file_name().unwrap_or_default());
        let ours = from.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NAME));
        if ours || real.iter().any(|dir| dir.starts_with(&from)) || to.is_symlink() {
            continue;
        }
        symlink(from, to)?;
    }
    Ok(())
}

fn make_parents(path: &Path, root: &Path) -> io::Result<()> {
    let mut missing: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| dir.starts_with(root)).collect();
    missing.reverse();
    missing.into_iter().try_for_each(open_directory)
}

fn moved(path: &Path, common: &Path, root: &Path) -> PathBuf {
    root.join(path.strip_prefix(common).unwrap_or(path))
}

fn common_ancestor(paths: &[&PathBuf]) -> PathBuf {
    let first = paths[0].ancestors().skip(1);
    first.filter(|dir| paths.iter().all(|path| path.starts_with(dir))).map(Path::to_path_buf).next().unwrap_or_default()
}

fn is_script(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(&format!("{NAME}--")) && name.ends_with(".sql")
}

/// Copies `from` over `to`, unless size and time are equal.
fn replace(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let wanted = from.metadata()?;
    let same = to.metadata().is_ok_and(|have| {
        have.len() == wanted.len() && have.modified().ok() == wanted.modified().ok() && !to.is_symlink()
    });
    if same {
        return Ok(());
    }
    let new = to.with_extension(format!("new-{}", process::id()));
    fs::copy(from, &new)?;
    fs::set_permissions(&new, Permissions::from_mode(mode))?;
    File::options().append(true).open(&new)?.set_modified(wanted.modified()?)?;
    fs::rename(new, to)
}
