//! The process: how it starts and how it ends.

use std::process::Command;

use crate::support::{create, start, start_with};

#[test]
fn it_ends_with_its_input() {
    let mut sandbox = start();
    let open = sandbox.connect();
    drop(sandbox.stdin.take());
    assert!(sandbox.child.wait().unwrap().success());
    drop(open);
}

#[test]
fn it_ends_on_terminate_and_interrupt() {
    for signal in ["TERM", "INT"] {
        let mut sandbox = start();
        assert_eq!(sandbox.create(1).status, 200);
        let id = sandbox.child.id().to_string();
        // A shell builtin: a minimal system has no other.
        let kill = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &id]).status().unwrap();
        assert!(kill.success());
        assert!(sandbox.child.wait().unwrap().success());
    }
}

#[test]
fn it_listens_on_ipv6() {
    let sandbox = start_with(&["--listen", "[::1]:0"]);
    assert!(sandbox.address.starts_with("[::1]:"), "{}", sandbox.address);
    assert_eq!(sandbox.connect().mutate(&create(1)).status, 200);
}

#[test]
fn wrong_arguments_are_explained() {
    for args in [&["--nonsense"][..], &["--tls-cert", "x"], &["--listen", "nowhere"]] {
        let run = Command::new(env!("CARGO_BIN_EXE_sequin-sandbox")).args(args).output().unwrap();
        assert!(!run.status.success(), "{args:?}");
        assert!(!run.stderr.is_empty());
        assert!(run.stdout.is_empty());
    }
}
