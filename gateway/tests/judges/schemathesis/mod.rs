//! Schemathesis makes requests from docs/openapi.yaml, right ones and wrong ones, and compares the replies with it.

use std::path::Path;
use std::process::Command;

use sequin_harness::{Sandbox, paths};

use crate::support::gateway::{Gateway, Section, TOKEN};
use crate::support::product::{directory, installed, launcher};

/// The sync of the document's examples.
const SYNC: &str = "70a313f8-7c94-43d4-8d0c-5659a52de5c4";

/// Generated requests for each operation. `SEQUIN_JUDGES_ROUNDS` is another number.
const REQUESTS: &str = "25";

#[test]
fn the_gateway_does_what_the_document_says() {
    let gateway = Gateway::start(&[Section::new(SYNC, "provider = \"memory\"\n", Vec::new())]);
    agrees(&gateway.url(), TOKEN, &[]);
}

#[test]
fn the_sandbox_does_what_the_document_says() {
    let sandbox = Sandbox::start();
    // It does not know keys, so it cannot refuse one that is too long.
    agrees(sandbox.url(), sandbox.token(), &["--header", "Idempotency-Key: one"]);
}

fn agrees(url: &str, token: &str, options: &[&str]) {
    let dir = directory();
    let requests = std::env::var("SEQUIN_JUDGES_ROUNDS").unwrap_or_else(|_| REQUESTS.to_owned());
    let mut command = Command::new(installed("venv/bin/schemathesis"));
    command.arg("--config-file").arg(launcher("schemathesis.toml")).arg("run");
    command.arg(document()).args(["--url", url, "--header", &format!("Authorization: Bearer {token}")]);
    command.args(["--checks", "all", "--max-examples", &requests, "--no-color", "--generation-database", "none"]);
    if let Ok(seed) = std::env::var("SEQUIN_JUDGES_SEED") {
        command.args(["--seed", &seed]);
    }
    let output = command.args(options).current_dir(dir.path()).output().expect("Schemathesis runs");
    let text = String::from_utf8_lossy(&output.stdout);
    // It prints its seed.
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(" Tested: "), "{text}");
}

fn document() -> std::path::PathBuf {
    Path::new(&paths::workspace()).join("docs/openapi.yaml")
}
