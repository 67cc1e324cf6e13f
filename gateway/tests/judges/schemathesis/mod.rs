//! Schemathesis makes requests from docs/openapi.yaml, right ones and wrong ones, and compares the replies with it.

use std::process::Command;

use sequin_harness::{Sandbox, paths};
use serde_json::json;

use crate::support::gateway::{Gateway, Section, TOKEN};
use crate::support::product::{directory, installed, launcher};
use crate::support::variable;

/// The sync of the document's examples.
const SYNC: &str = "70a313f8-7c94-43d4-8d0c-5659a52de5c4";

/// Generated requests for each operation. `SEQUIN_JUDGES_ROUNDS` is another number.
const REQUESTS: u64 = 25;

#[test]
fn the_gateway_does_what_the_document_says() {
    let gateway = Gateway::start(&[Section::new(SYNC, "provider = \"memory\"\n", Vec::new())]);
    agrees("gateway", &gateway.url(), TOKEN);
}

#[test]
fn the_sandbox_does_what_the_document_says() {
    let sandbox = Sandbox::start();
    // The consumers of the examples. No mutation waits for the second one: it takes no collection that exists.
    sandbox.consumer(json!({"kind": "pull", "id": "jobs"}));
    sandbox.consumer(json!({"kind": "pull", "id": "contacts", "collection_id": "no:collection"}));
    agrees("sandbox", sandbox.url(), sandbox.token());
}

fn agrees(judged: &str, url: &str, token: &str) {
    let dir = directory();
    let requests = variable("SEQUIN_JUDGES_ROUNDS").unwrap_or(REQUESTS).to_string();
    let mut command = Command::new(installed("venv/bin/schemathesis"));
    command.env("SCHEMATHESIS_HOOKS", launcher("schemathesis_hooks.py")).env("JUDGED", judged);
    command.arg("--config-file").arg(launcher("schemathesis.toml")).arg("run");
    command.arg(paths::workspace().join("docs/openapi.yaml"));
    command.args(["--url", url, "--header", &format!("Authorization: Bearer {token}")]);
    command.args(["--checks", "all", "--max-examples", &requests, "--no-color", "--generation-database", "none"]);
    if let Some(seed) = variable("SEQUIN_JUDGES_SEED") {
        command.args(["--seed", &seed.to_string()]);
    }
    let output = command.current_dir(dir.path()).output().expect("Schemathesis runs");
    let text = String::from_utf8_lossy(&output.stdout);
    // It prints its seed.
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(" passed, "), "{text}");
}
