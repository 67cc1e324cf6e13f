//! The Debian package of `make deb`: its description, its contents, and a server that uses it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sequin_harness::{Sandbox, paths};

use crate::docs::dependencies::tree;
use crate::docs::{path, read};
use crate::release::make_install::{files_below, moved};
use crate::support::Session;
use crate::support::server::{own_installation, shared};

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The package of a library that is there; nothing is built.
fn package(major: u32, library: &Path, name: &str) -> PathBuf {
    let target = shared().scratch(name);
    let built = target.join("release/libsequin_mutations.so");
    fs::create_dir_all(built.parent().unwrap()).unwrap();
    fs::copy(library, built).unwrap();
    let mut deb = Command::new(path("scripts/deb"));
    // A make that runs this test is none of its business.
    deb.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("MFLAGS");
    deb.env("DEBFULLNAME", "Liet Kynes").env("DEBEMAIL", "liet@tabr.org");
    PathBuf::from(run(deb.arg(major.to_string()).arg(&target)))
}

fn field(package: &Path, name: &str) -> String {
    run(Command::new("dpkg-deb").arg("-f").arg(package).arg(name))
}

#[test]
fn it_is_a_package_of_debian_and_serves() {
    let major = shared().config().major();
    let package_of_ours = package(major, &paths::shared_library().unwrap(), "package");
    let name = format!("postgresql-{major}-sequin-mutations");
    let architecture = run(Command::new("dpkg").arg("--print-architecture"));
    let version = format!("{}-1", env!("CARGO_PKG_VERSION"));
    let file = package_of_ours.file_name().unwrap().to_string_lossy();
    assert_eq!(file, format!("{name}_{version}_{architecture}.deb"));
    for (field_name, expected) in [
        ("Package", name.as_str()),
        ("Version", &version),
        ("Architecture", &architecture),
        ("Maintainer", "Liet Kynes <liet@tabr.org>"),
    ] {
        assert_eq!(field(&package_of_ours, field_name), expected);
    }
    let depends = field(&package_of_ours, "Depends");
    let (server, libraries) = depends.split_once(", ").unwrap();
    assert_eq!(server, format!("postgresql-{major}"));
    assert!(libraries.starts_with("libc6 (>= 2.") && libraries.ends_with("), libgcc-s1"), "{depends}");

    let listing = run(Command::new("dpkg-deb").arg("-c").arg(&package_of_ours));
    for line in listing.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_closed = matches!(words[0], "-rw-r--r--" | "drwxr-xr-x");
        assert!(is_closed && words[1] == "root/root", "{line}");
    }

    let root = shared().scratch("unpacked package");
    run(Command::new("dpkg-deb").arg("-x").arg(&package_of_ours).arg(&root));
    let control = shared().scratch("package control");
    run(Command::new("dpkg-deb").arg("-e").arg(&package_of_ours).arg(&control));
    run(Command::new("md5sum").arg("--check").arg("--strict").arg(control.join("md5sums")).current_dir(&root));
    let share = root.join(format!("usr/share/postgresql/{major}/extension"));
    let library = root.join(format!("usr/lib/postgresql/{major}/lib/sequin_mutations.so"));
    let doc = root.join(format!("usr/share/doc/{name}"));
    let strays: Vec<PathBuf> =
        files_below(&root).into_iter().filter(|file| !file.starts_with(&share) && !file.starts_with(&doc)).collect();
    assert_eq!(strays, [library.as_path()]);
    let mut sources = files_below(&path("sql"));
    sources.push(path("sequin_mutations.control"));
    assert_eq!(files_below(&share).len(), sources.len());
    for source in sources {
        let packed = fs::read(share.join(source.file_name().unwrap())).unwrap();
        assert!(packed == fs::read(&source).unwrap(), "{source:?}");
    }
    let copyright = fs::read_to_string(doc.join("copyright")).unwrap();
    assert!(copyright.starts_with(&read("LICENSE")));
    for crate_name in tree(&format!("pg{major}"), "normal,no-proc-macro") {
        let (name, version) = crate_name.split_once(' ').unwrap();
        assert!(copyright.contains(&format!("\n{name} {version} (")), "{crate_name} has no licence");
    }
    for text in ["changelog.gz", "changelog.Debian.gz"] {
        assert!(run(Command::new("zcat").arg(doc.join(text))).contains(env!("CARGO_PKG_VERSION")), "{text}");
    }
    serves(&share, &library);
}

/// A separate server, which gets the package's files instead of the built ones.
fn serves(share: &Path, library: &Path) {
    let server = own_installation("package home");
    let installed = run(server.program("pg_config").args(["--sharedir", "--pkglibdir"]));
    let (sharedir, pkglibdir) = installed.split_once('\n').unwrap();
    assert_ne!(Path::new(pkglibdir), server.config().pkglibdir);
    let extension = Path::new(sharedir).join("extension");
    let mut files: Vec<(PathBuf, PathBuf)> =
        files_below(share).into_iter().map(|file| (extension.join(file.file_name().unwrap()), file)).collect();
    files.push((Path::new(pkglibdir).join("sequin_mutations.so"), library.to_path_buf()));
    for (there, packed) in files {
        fs::remove_file(&there).unwrap();
        fs::copy(packed, &there).unwrap();
    }

    let sandbox = Sandbox::start();
    let database = server.fresh_database();
    database.create_server(sandbox.url(), sandbox.token());
    let sql = "SELECT sequin_create('s', 'salesforce:contact', '{\"Email\": \"a@b.org\"}')";
    database.connect().run(sql);
    assert_eq!(sandbox.records("salesforce:contact").len(), 1);
}

#[test]
fn the_same_library_makes_the_same_package() {
    let config = shared().config();
    // Any will do, and Postgres' own is small.
    let library = config.pkglibdir.join("plpgsql.so");
    let [one, other] =
        ["package-one", "package-other"].map(|name| fs::read(package(config.major(), &library, name)).unwrap());
    assert!(one == other);
}

#[test]
fn a_release_without_its_day_is_not_packed() {
    // Where the script looks for the other files, too.
    let repository = shared().scratch("undated repository");
    fs::create_dir(repository.join("scripts")).unwrap();
    for file in ["scripts/deb", "sequin_mutations.control"] {
        fs::copy(path(file), repository.join(file)).unwrap();
    }
    fs::write(repository.join("CHANGELOG.md"), "# Changelog\n\n## 1.0.0 (unreleased)\n").unwrap();
    // Read, not executed: a fork of another thread may hold the copy open for writing, which prevents its execution.
    let script = repository.join("scripts/deb");
    let output = Command::new("/bin/sh").arg(script).arg("15").arg(&repository).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("does not say when"), "{said}");
    assert!(!moved(Path::new("/deb"), &repository).exists());
}
