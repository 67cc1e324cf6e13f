//! A release has one version and one date in all files.

use std::process::Command;

use serde_json::Value;

use crate::docs::{path, read};
use crate::release::make_install::files_below;
use crate::support::Session;
use crate::support::server::shared;

/// The workspace's, and so the library's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A line of the control file.
fn control(name: &str) -> String {
    let file = read("sequin_mutations.control");
    let line = file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = '"));
    line.and_then(|rest| rest.strip_suffix('\'')).unwrap_or_else(|| panic!("no {name}")).to_owned()
}

/// The releases that the changelog has, the newest first.
pub fn releases() -> Vec<String> {
    let changelog = read("CHANGELOG.md");
    let headings = changelog.lines().filter_map(|line| line.strip_prefix("## ")?.split(' ').next());
    headings.map(str::to_owned).collect()
}

#[test]
fn every_file_names_the_same_version() {
    assert_eq!(control("default_version"), VERSION);
    let scripts = files_below(&path("sql"));
    let script = path(&format!("sql/sequin_mutations--{VERSION}.sql"));
    assert!(scripts.contains(&script), "{scripts:?}");
    let head = std::fs::read_to_string(script).unwrap();
    assert!(head.starts_with(&format!("-- The objects of sequin_mutations {VERSION}.")));
    assert!(read("README.md").contains(&format!("\nVersion {VERSION}. ")));
    let changelog = read("CHANGELOG.md");
    let newest = changelog.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    let (version, day) = newest.split_once(" - ").unwrap();
    assert_eq!(version, VERSION);
    let parts: Vec<usize> = day.split('-').map(str::len).collect();
    assert!(parts == [4, 2, 2] && day.chars().all(|c| c.is_ascii_digit() || c == '-'), "{day}");
}

#[test]
fn every_earlier_release_can_be_updated_to_this_one() {
    let releases = releases();
    assert_eq!(releases[0], VERSION);
    for pair in releases.windows(2) {
        let step = format!("sql/sequin_mutations--{}--{}.sql", pair[1], pair[0]);
        assert!(path(&step).is_file(), "there is no {step}");
    }
    for release in releases {
        assert!(path(&format!("sql/sequin_mutations--{release}.sql")).is_file(), "{release} has no install script");
    }
}

#[test]
fn the_library_knows_its_version() {
    let world = crate::support::World::new();
    let mut client = world.database.connect();
    let version: String = client.one("SELECT extversion FROM pg_extension WHERE extname = 'sequin_mutations'");
    assert_eq!(version, VERSION);
    client.run(&format!("SELECT {}", crate::support::create("'{}'")));
    let log = world.sandbox.log();
    let agent = format!("sequin_mutations/{VERSION}");
    assert_eq!(log.mutations()[0].headers["user-agent"], agent);
}

#[test]
fn what_pgxn_reads_agrees() {
    let meta: Value = serde_json::from_str(&read("META.json")).unwrap();
    assert_eq!(meta["name"], "sequin_mutations");
    assert_eq!(meta["version"], VERSION);
    assert_eq!(meta["abstract"], control("comment"));
    assert_eq!(meta["license"], "postgresql");
    assert!(read("LICENSE").starts_with("PostgreSQL License"));
    let copyright = format!("Copyright (c) 2026, {}", meta["maintainer"].as_str().unwrap());
    assert!(read("LICENSE").contains(&copyright), "{copyright}");
    assert_eq!(meta["meta-spec"]["version"], "1.0.0");
    let provided = meta["provides"].as_object().unwrap();
    assert_eq!(provided.keys().collect::<Vec<_>>(), ["sequin_mutations"]);
    let extension = &provided["sequin_mutations"];
    assert_eq!((&extension["version"], &extension["abstract"]), (&meta["version"], &meta["abstract"]));
    assert_eq!(extension["file"], format!("sql/sequin_mutations--{VERSION}.sql"));
    for file in ["file", "docfile"] {
        assert!(path(extension[file].as_str().unwrap()).is_file(), "{extension}");
    }
    // The oldest major that there is a feature for.
    let oldest = read("Cargo.toml").lines().find_map(|line| line.strip_prefix("pg")?.split(' ').next()?.parse().ok());
    let oldest: u32 = oldest.unwrap();
    assert_eq!(meta["prereqs"]["runtime"]["requires"]["PostgreSQL"], format!("{oldest}.0.0"));
}

#[test]
fn the_archive_is_what_is_committed_without_the_fuzz_targets() {
    let target = shared().scratch("dist");
    let output = Command::new(path("scripts/dist")).arg(&target).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let archives = files_below(&target);
    assert_eq!(archives, [target.join(format!("sequin_mutations-{VERSION}.zip"))]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), archives[0].to_string_lossy());
    // A zip has the names of its files as they are.
    let listed = Command::new("git").current_dir(path("")).args(["ls-tree", "-r", "--name-only", "HEAD"]).output();
    let archive = std::fs::read(&archives[0]).unwrap();
    let archive = String::from_utf8_lossy(&archive);
    let names = String::from_utf8(listed.unwrap().stdout).unwrap();
    assert!(names.lines().count() > 100);
    for name in names.lines() {
        let entry = format!("sequin_mutations-{VERSION}/{name}");
        assert_eq!(archive.contains(&entry), !name.starts_with("fuzz/"), "{name}");
    }
}
