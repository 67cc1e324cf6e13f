//! The directories of this build.
//!
//! A test binary, a benchmark and the demo may each have another `CARGO_TARGET_DIR`. So the place of the running
//! executable is checked first: it cannot be wrong.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// The target directory that this process was built into.
pub fn target() -> PathBuf {
    let of_executable = env::current_exe().ok().and_then(|executable| {
        let marked = |dir: &&Path| dir.join("CACHEDIR.TAG").is_file();
        executable.ancestors().find(marked).map(Path::to_path_buf)
    });
    of_executable
        .or_else(|| env::var_os("CARGO_TARGET_DIR").map(PathBuf::from))
        .unwrap_or_else(|| workspace().join("target"))
}

/// A file that cargo built. `variable` in the environment names it. Otherwise it is searched beside the running
/// executable, then in `release` and `debug` of this target directory, then of the workspace's.
pub fn built(variable: &str, file: &str) -> Option<PathBuf> {
    if let Some(named) = env::var_os(variable) {
        return Some(PathBuf::from(named));
    }
    let mut places = Vec::new();
    if let Ok(executable) = env::current_exe() {
        places.extend(executable.ancestors().skip(1).take(2).map(Path::to_path_buf));
    }
    for target in [target(), workspace().join("target")] {
        places.push(target.join("release"));
        places.push(target.join("debug"));
    }
    places.into_iter().map(|place| place.join(file)).find(|path| path.is_file())
}

/// The extension's shared library: `SEQUIN_SO`, or a build that `built` finds.
pub fn shared_library() -> Option<PathBuf> {
    built("SEQUIN_SO", "libsequin_mutations.so")
}
