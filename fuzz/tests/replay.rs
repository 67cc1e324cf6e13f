//! Every seed, without libFuzzer.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use sequin_fuzz::targets;

/// The files of a directory of this crate, in order.
fn files(directory: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_seed_passes() {
    let mut failed = Vec::new();
    for (name, run) in targets::ALL {
        let seeds = files(&format!("seeds/{name}"));
        assert!(seeds.len() >= 10, "{name} has lost its seeds");
        for seed in seeds {
            let bytes = fs::read(&seed).unwrap();
            if panic::catch_unwind(AssertUnwindSafe(|| run(&bytes))).is_err() {
                failed.push(seed);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_target_has_its_binary_and_its_seeds() {
    let names = |directory| -> Vec<String> {
        let stem = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        files(directory).iter().map(stem).collect()
    };
    let expected: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(names("bins"), expected);
    assert_eq!(names("seeds"), expected);
}
