//! The Debian package, made of the binary under test.

use std::path::Path;
use std::process::Command;

use super::Folder;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_package_has_the_program_its_service_and_its_example() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        eprintln!("NOT CHECKED: the Debian package (there is no dpkg-deb)");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = Folder::new();
    let made = Command::new(root.join("scripts/deb-gateway"))
        .arg(env!("CARGO_BIN_EXE_sequin-gateway"))
        .arg(folder.path(""))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let package = String::from_utf8(made.stdout).unwrap();
    let package = package.trim();

    let field = |name: &str| run(Command::new("dpkg-deb").args(["--field", package, name])).trim().to_owned();
    assert_eq!(field("Package"), "sequin-gateway");
    assert_eq!(field("Version"), format!("{}-1", env!("CARGO_PKG_VERSION")));
    assert!(field("Depends").starts_with("libc6 (>= 2."), "{}", field("Depends"));

    let unpacked = folder.path("unpacked");
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&unpacked));
    let text = |name: &str| std::fs::read_to_string(unpacked.join(name)).unwrap();
    let own = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    assert_eq!(text("lib/systemd/system/sequin-gateway.service"), own("packaging/gateway/sequin-gateway.service"));
    assert_eq!(text("etc/sequin-gateway/gateway.toml.example"), own("examples/gateway.toml"));
    assert_eq!(text("DEBIAN/conffiles"), "/etc/sequin-gateway/gateway.toml.example\n");
    let copyright = text("usr/share/doc/sequin-gateway/copyright");
    assert!(copyright.contains("\nhyper v") && copyright.contains("\nrustls v") && !copyright.contains("pgrx"));
    let version = run(Command::new(unpacked.join("usr/bin/sequin-gateway")).arg("--version"));
    assert_eq!(version, format!("sequin-gateway {}\n", env!("CARGO_PKG_VERSION")));
}
