//! The place of a server that cannot run under `target/`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process;

use sequin_harness::account::Account;
use sequin_harness::home::Home;
use sequin_harness::{Server, paths};

fn base(name: &str) -> PathBuf {
    paths::target().join(format!("pg/{name}-{}", process::id()))
}

/// As root the server runs under an account that cannot enter. Any other user runs it as the owner, who can.
#[test]
fn avoids_a_directory_that_it_may_not_enter() {
    let closed = base("closed");
    fs::create_dir_all(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let account = Account::for_server().unwrap();
    let home = Home::under(&closed.join("below"), &account).unwrap();
    assert_eq!(home.is_passing(), !account.can_enter(&closed));
    assert_eq!(home.is_passing(), account.is_another());
    drop(home);
    fs::remove_dir_all(closed).unwrap();
}

/// Root can enter every directory, but the account of its servers may not, if the repository is in root's own
/// directory. Any other user may meet a target directory that root has made.
#[test]
fn avoids_a_directory_that_it_may_not_write() {
    let closed = base("unwritable");
    fs::create_dir_all(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o555)).unwrap();
    let account = Account::for_server().unwrap();
    let is_avoided = !account.is_another() || !account.can_enter(&closed);
    for base in [closed.clone(), closed.join("below")] {
        assert_eq!(Home::under(&base, &account).unwrap().is_passing(), is_avoided, "{base:?}");
    }
    fs::set_permissions(&closed, Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir_all(closed).unwrap();
}

/// Image, template and server are made in a temporary directory, work there, and are removed with the server.
#[test]
fn avoids_a_path_that_no_socket_fits_into() {
    let long = base(&"long".repeat(30));
    let server = Server::builder().under(&long).start().unwrap();
    let root = server.home().root().to_path_buf();
    assert!(server.home().is_passing(), "{root:?}");
    assert!(server.psql("postgres", "SELECT 1").status.success());
    drop(server);
    assert!(!root.exists(), "{root:?} was left behind");
    fs::remove_dir_all(long).unwrap();
}
