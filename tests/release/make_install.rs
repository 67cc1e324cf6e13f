//! `make install` puts the extension where Postgres looks for it, and `make uninstall` takes it out again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sequin_harness::paths;

use crate::support::server::shared;

/// Runs make in the repository with a target directory of the test's, so that nothing is built.
fn make(command: &str, target: &Path, root: &Path) -> Output {
    let mut make = Command::new("make");
    make.current_dir(paths::workspace()).args(["-s", command, &format!("DESTDIR={}", root.display())]);
    // A make that runs this test is none of its business.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("MFLAGS").env("CARGO_TARGET_DIR", target);
    make.output().unwrap_or_else(|e| panic!("{make:?}: {e}"))
}

/// The files in a directory and those below it, sorted.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// `path`, which is absolute, below `root`.
pub fn moved(path: &Path, root: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

#[test]
fn what_is_installed_is_what_was_built_and_goes_again() {
    let server = shared();
    let place = server.scratch("make install");
    let (target, root) = (server.scratch("make-target"), place.join("root"));
    let built = target.join("release/libsequin_mutations.so");
    fs::create_dir_all(built.parent().unwrap()).unwrap();

    let output = make("install", &target, &root);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("run make first"), "{said}");
    assert!(!root.exists());

    fs::copy(paths::shared_library().unwrap(), &built).unwrap();
    let output = make("install", &target, &root);
    assert!(output.status.success(), "{output:?}");
    let library = moved(&server.config().pkglibdir, &root).join("sequin_mutations.so");
    let extension = moved(&server.config().sharedir, &root).join("extension");
    let mut expected = vec![(library, built)];
    let control = "sequin_mutations.control";
    expected.push((extension.join(control), paths::workspace().join(control)));
    for script in files_below(&paths::workspace().join("sql")) {
        expected.push((extension.join(script.file_name().unwrap()), script));
    }
    expected.sort();
    let installed: Vec<PathBuf> = expected.iter().map(|(there, _)| there.clone()).collect();
    assert_eq!(files_below(&root), installed);
    for (there, source) in expected {
        assert!(fs::read(&there).unwrap() == fs::read(source).unwrap(), "{there:?} is not what it should be");
    }

    let output = make("uninstall", &target, &root);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(files_below(&root), Vec::<PathBuf>::new());
}
