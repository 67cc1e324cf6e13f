//! The paths of the neighbours' programs.

use std::env;
use std::path::{Path, PathBuf};

/// An executable: where Debian's package puts it, else on the path. Without it there is no test, and that is a failure.
pub fn program(debian: &str) -> PathBuf {
    let debian = Path::new(debian);
    let name = debian.file_name().unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).map(|directory| directory.join(name));
    [debian.to_path_buf()].into_iter().chain(places).find(|file| file.is_file()).unwrap_or_else(|| missing(debian))
}

/// A file that a package brings, at one of these places.
pub fn file(places: &[PathBuf]) -> &Path {
    places.iter().find(|file| file.exists()).unwrap_or_else(|| missing(&places[0]))
}

fn missing(what: &Path) -> ! {
    panic!("there is no {}: scripts/deps-neighbours installs it", what.display())
}

#[test]
#[should_panic(expected = "there is no /usr/sbin/no-such-program: scripts/deps-neighbours installs it")]
fn a_missing_program_is_a_failure_that_says_what_to_do() {
    program("/usr/sbin/no-such-program");
}
