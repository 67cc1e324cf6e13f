//! docs/dependencies.md counts and names the same crates as cargo, and `make deny` reports the checks that it could not
//! run.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::docs::{path, read, rows, section};
use crate::support::server::shared;

const DOCUMENT: &str = "docs/dependencies.md";

/// cargo's output, without the network.
fn cargo(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).args(["--offline", "--locked", "--manifest-path"]).arg(path("Cargo.toml"));
    let output = cargo.output().unwrap_or_else(|e| panic!("{cargo:?}: {e}"));
    assert!(output.status.success(), "{cargo:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The crates of this repository in the library.
const OWN: [&str; 2] = ["sequin_mutations", "sequin-contract"];

/// The crates, with their versions, that the extension reaches over edges of these kinds, without those of this repository.
pub fn tree(feature: &str, edges: &str) -> BTreeSet<String> {
    let package = ["tree", "-p", "sequin_mutations", "--features", feature];
    let tree = cargo(&[&package[..], &["--edges", edges, "--prefix", "none", "--no-dedupe"]].concat());
    let crates = tree.lines().map(|line| line.split(" (").next().unwrap_or(line).to_owned());
    crates.filter(|name| !OWN.iter().any(|own| name.split(' ').next() == Some(own))).collect()
}

#[test]
fn it_counts_what_cargo_counts() {
    let document = read(DOCUMENT);
    let counts = document.lines().take_while(|line| !line.starts_with("## ")).collect::<Vec<_>>().join("\n");
    let documented: Vec<usize> = rows(&counts).iter().skip(1).map(|row| row[1].parse().unwrap()).collect();
    for feature in ["pg15", "pg16", "pg17", "pg18", "pg19"] {
        let counted: Vec<usize> =
            ["normal,no-proc-macro", "normal", "normal,build"].iter().map(|edges| tree(feature, edges).len()).collect();
        assert_eq!(counted, documented, "{feature}");
    }
}

#[test]
fn each_direct_dependency_has_its_reason() {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let direct: BTreeSet<&str> = packages
        .iter()
        .filter(|package| package["name"].as_str().is_some_and(|name| OWN.contains(&name)))
        .flat_map(|package| package["dependencies"].as_array().unwrap())
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap())
        .filter(|name| !OWN.contains(name))
        .collect();
    let table = rows(&section(&read(DOCUMENT), "## Direct dependencies"));
    let documented: BTreeSet<&str> = table.iter().skip(1).map(|row| row[0].as_str()).collect();
    assert_eq!(documented, direct);
    assert!(table.iter().skip(1).all(|row| row[1].len() > 20), "{table:?}");
}

#[test]
fn the_exclusions_are_not_there() {
    let shipped = tree("pg15", "normal,no-proc-macro");
    assert!(shipped.iter().any(|name| name.starts_with("rustls ")), "{shipped:?}");
    for absent in ["webpki-roots", "flate2", "brotli", "tokio", "openssl", "native-tls"] {
        assert!(!shipped.iter().any(|name| name.starts_with(absent)), "{absent}");
    }
}

/// Runs scripts/deny with the cargo-deny `stub`: returns the stub's calls, the script's output, and whether it passed.
fn deny(name: &str, stub: &str, advisories: &str) -> (Vec<String>, String, bool) {
    let script = read("scripts/deny");
    let version = script.lines().find_map(|line| line.strip_prefix("version=")).unwrap();
    let target = shared().scratch(name);
    let program = target.join(format!("cargo-deny-{version}/bin/cargo-deny"));
    let log = target.join("log");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    let said = format!("#!/bin/sh\necho \"$*\" >>'{}'\ncase \"$*\" in\n{stub}\nesac\n", log.display());
    // Copied by a separate process to make it executable: a fork of another thread may hold this process's file open
    // for writing. Until that fork ends, the file cannot be executed.
    let written = target.join("written");
    fs::write(&written, said).unwrap();
    fs::set_permissions(&written, Permissions::from_mode(0o755)).unwrap();
    let copied = Command::new("cp").arg("-p").arg(&written).arg(&program).status().unwrap();
    assert!(copied.success(), "{copied}");

    let mut command = Command::new(path("scripts/deny"));
    let output = command.current_dir(path("")).arg(&target).env("ADVISORIES", advisories).output().unwrap();
    let calls = fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect();
    (calls, String::from_utf8_lossy(&output.stderr).into_owned(), output.status.success())
}

#[test]
fn advisories_that_cannot_be_checked_are_not_passed_over() {
    let unreachable = "*fetch*) echo 'fatal: no route' >&2; exit 1;;";
    let (calls, said, passed) = deny("deny-unreachable", unreachable, "");
    assert!(passed && said.contains("fatal: no route\n") && said.contains("ADVISORIES WERE NOT CHECKED"), "{said}");
    let is_fuzz = |call: &str| call.contains("fuzz/Cargo.toml");
    assert!(calls.len() == 3 && calls[0].ends_with("bans licenses sources"), "{calls:?}");
    assert!(is_fuzz(&calls[1]) && calls[1].ends_with("bans sources"), "{calls:?}");
    let (_, said, passed) = deny("deny-required", unreachable, "required");
    assert!(!passed && said.contains("ADVISORIES WERE NOT CHECKED"), "{said}");

    let (calls, said, passed) = deny("deny-reachable", "*) ;;", "");
    assert!(
        passed && said.is_empty() && calls.len() == 5 && calls[3..].iter().all(|call| call.ends_with("advisories")),
        "{calls:?} {said}"
    );
    assert!(calls.iter().map(|call| call.contains("--offline")).eq([false, false, false, true, true]), "{calls:?}");
    assert!(is_fuzz(&calls[4]) && !is_fuzz(&calls[3]), "{calls:?}");
    let (calls, _, passed) = deny("deny-flaw", "*advisories*) exit 1;;", "");
    assert!(!passed && calls.len() == 4, "{calls:?}");
    let (calls, _, passed) = deny("deny-licence", "*licenses*) exit 1;;", "");
    assert!(!passed && calls.len() == 1, "{calls:?}");
}
