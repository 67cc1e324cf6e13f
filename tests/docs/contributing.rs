//! CONTRIBUTING.md: the places on its map exist, it has all the terms, and its rule about `unsafe` holds.

use std::fs;

use crate::docs::{path, read, rows, rust_files, section};

const DOCUMENT: &str = "CONTRIBUTING.md";

#[test]
fn each_path_exists() {
    const PLACES: [&str; 8] =
        ["src/", "contract/", "api/", "conformance/", "tests/", "harness/", "sandbox/", "regress/"];
    for (document, least) in [(DOCUMENT, 20), ("docs/design.md", 8)] {
        let text = read(document);
        let spans = text.split('`').skip(1).step_by(2);
        let is_path = |span: &&str| PLACES.iter().any(|place| span.starts_with(place)) && !span.contains([' ', '*']);
        let paths: Vec<&str> = spans.filter(is_path).collect();
        assert!(paths.len() >= least, "{paths:?}");
        for named in paths {
            assert!(path(named).exists(), "{document} names {named}");
        }
    }
}

#[test]
fn it_defines_fifteen_terms() {
    let terms = rows(&section(&read(DOCUMENT), "## Terms"));
    assert_eq!(terms.len(), 1 + 15, "{terms:?}");
}

#[test]
fn unsafe_blocks_are_in_the_bindings_alone() {
    let bindings = path("src/pg");
    assert!(rust_files(&bindings).iter().any(|file| fs::read_to_string(file).unwrap().contains("unsafe {")));
    for room in ["src", "contract/src", "api/src", "sandbox/src", "conformance/src"] {
        for file in rust_files(&path(room)).iter().filter(|file| !file.starts_with(&bindings)) {
            let source = fs::read_to_string(file).unwrap();
            let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
            for line in code {
                let is_unsafe = line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl");
                assert!(!is_unsafe && !line.contains("unsafe extern"), "{}: {line}", file.display());
            }
        }
    }
}
