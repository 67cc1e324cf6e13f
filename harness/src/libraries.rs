//! Libraries that an executable finds relative to where it lies, which a copy of it therefore does not find.
//!
//! Debian's Postgres has none. The Python wheels with Postgres inside, by which other majors are tested, have.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// Where the system's own libraries are. They are never named in `LD_LIBRARY_PATH`: a whole distribution that was
/// unpacked elsewhere has its own, and mixing the two breaks every program.
const SYSTEM: [&str; 4] = ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/"];

/// What `LD_LIBRARY_PATH` must hold for `copy` to run as `original` does; nothing if it runs without.
pub fn lost(original: &Path, copy: &Path) -> io::Result<Option<String>> {
    if Command::new(copy).arg("--version").output()?.status.success() {
        return Ok(None);
    }
    let output = Command::new("ldd").arg(original).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut directories = BTreeSet::new();
    for line in text.lines() {
        let found = line.split_once(" => ").and_then(|(_, rest)| rest.split(" (").next()).map(Path::new);
        let Some(found) = found.filter(|path| path.is_absolute()) else { continue };
        if let Some(directory) = fs::canonicalize(found)?.parent().map(|path| path.display().to_string())
            && !SYSTEM.iter().any(|system| format!("{directory}/").starts_with(system))
        {
            directories.insert(directory);
        }
    }
    Ok(Some(directories.into_iter().collect::<Vec<_>>().join(":")))
}
