//! Libraries that an executable finds relative to its own place. A copy of the executable does not find them.
//!
//! Debian's Postgres has none. The Python wheels with Postgres, used to test other majors, have some.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// The directories of the system's own libraries. They are never named in `LD_LIBRARY_PATH`: a distribution unpacked
/// elsewhere has its own libraries, and mixing the two breaks every program.
const SYSTEM: [&str; 4] = ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/"];

/// The `LD_LIBRARY_PATH` with which `copy` runs as `original` does; empty if none is needed.
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
