//! A run of the program.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output};

use sequin_harness::Sandbox;
use serde_json::json;
use tempfile::NamedTempFile;

/// What a run has found.
pub struct Verdict {
    pub status: Option<i32>,
    pub failed: BTreeSet<String>,
    pub output: String,
}

pub fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sequin-conformance")).args(arguments).output().unwrap()
}

/// Judges the server at `url`, which stands in front of this sandbox, by a collection and a pull consumer of its own.
pub fn judge(sandbox: &Sandbox, url: &str, collection: &str, more: &[&str]) -> Verdict {
    let consumer = format!("consumer of {collection}");
    sandbox.consumer(json!({"kind": "pull", "id": consumer, "collection_id": collection}));
    let own = ["--collection", collection, "--pull-consumer", &consumer];
    judge_any(url, sandbox.token(), &[&own, more].concat())
}

/// Judges the server at `url`.
pub fn judge_any(url: &str, token: &str, more: &[&str]) -> Verdict {
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{token}").unwrap();
    let file = file.path().to_str().unwrap();
    let arguments = [&[url, "--token-file", file], more].concat();
    let output = program(&arguments);
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    let failed = text.lines().filter_map(|line| line.strip_prefix("FAIL  "));
    let failed = failed.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    Verdict { status: output.status.code(), failed, output: text }
}

/// The records of a collection that are not deleted, of all that it ever had. Their numbers may be beyond a float.
pub fn alive(sandbox: &Sandbox, collection: &str) -> (usize, usize) {
    let address = format!("{}/sandbox/records?collection_id={collection}", sandbox.url());
    let records = ureq::get(address).call().unwrap().body_mut().read_to_string().unwrap();
    (records.matches(r#""deleted":false"#).count(), records.matches(r#""deleted":"#).count())
}
