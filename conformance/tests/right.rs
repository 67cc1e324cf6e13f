//! Servers that keep the contract pass, and leave no record behind.

use std::fs;

use sequin_harness::{Gateway, Sandbox};

use crate::kit::{alive, judge, judge_any, program};
use crate::proxy::{Fault, Proxy};

const COLLECTION: &str = "salesforce:right";

#[test]
fn the_sandbox_passes_and_nothing_is_left_in_it() {
    let sandbox = Sandbox::start();
    let verdict = judge(&sandbox, sandbox.url(), COLLECTION, &[]);
    assert_eq!(verdict.status, Some(0), "{}", verdict.output);
    assert!(verdict.output.contains("34 passed, 0 failed, 4 skipped"), "{}", verdict.output);
    let (alive, all) = alive(&sandbox, COLLECTION);
    assert!(alive == 0 && all > 30, "{alive} of {all}");
}

#[test]
fn the_gateway_passes() {
    let gateway = Gateway::builder().sync("demo").start().unwrap();
    let verdict = judge_any(gateway.url(), gateway.token(), &["--sync", "demo", "--collection", COLLECTION, "--keys"]);
    assert_eq!(verdict.status, Some(0), "{}", verdict.output);
    assert!(verdict.output.contains("32 passed, 0 failed, 6 skipped"), "{}", verdict.output);
}

#[test]
fn a_server_with_keys_passes() {
    let sandbox = Sandbox::start();
    let proxy = Proxy::start(&sandbox, Fault::keys(|_, _| None));
    let verdict = judge(&sandbox, proxy.url(), COLLECTION, &["--keys"]);
    assert_eq!(verdict.status, Some(0), "{}", verdict.output);
    assert!(verdict.output.contains("37 passed, 0 failed, 1 skipped"), "{}", verdict.output);
    assert_eq!(alive(&sandbox, COLLECTION).0, 0);
}

#[test]
fn a_server_that_takes_few_records_passes() {
    for max in [1, 2, 7] {
        let sandbox = Sandbox::start();
        let proxy = Proxy::start(&sandbox, Fault::at_most(max, &format!(r#"{{"max_records":{max}}}"#)));
        let verdict = judge(&sandbox, proxy.url(), COLLECTION, &["--atomic", "no"]);
        assert_eq!(verdict.status, Some(0), "{}", verdict.output);
        assert!(verdict.output.contains("ok    max-records"), "{}", verdict.output);
        assert_eq!(alive(&sandbox, COLLECTION).0, 0);
    }
}

#[test]
fn a_real_providers_data_can_be_given() {
    let sandbox = Sandbox::start();
    let data = ["--data", r#"{"name": "{n}", "age": 7}"#, "--change", r#"{"name": "changed {n}"}"#];
    let verdict = judge(&sandbox, sandbox.url(), COLLECTION, &data);
    assert_eq!(verdict.status, Some(0), "{}", verdict.output);
    assert!(verdict.output.contains("skip  invalid-data       no --invalid-data"), "{}", verdict.output);
    assert!(verdict.output.contains("skip  numbers"), "{}", verdict.output);
    let names: Vec<_> = sandbox.records(COLLECTION).iter().map(|record| record["data"]["name"].to_string()).collect();
    assert!(names.len() > 10 && names.iter().all(|name| name.contains("x")), "{names:?}");
}

#[test]
fn a_wrong_command_line_is_explained_and_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let (token, empty) = (directory.path().join("token"), directory.path().join("empty"));
    fs::write(&token, "t\n").unwrap();
    fs::write(&empty, "\n").unwrap();
    let (token, empty) = (token.to_str().unwrap(), empty.to_str().unwrap());
    for (arguments, reason) in [
        (&["--token-file", token][..], "the URL of the server is missing"),
        (&["http://x"], "--token-file is missing"),
        (&["x", "--token-file", token], "http://"),
        (&["http://x", "--token-file", "/nonexistent"], "/nonexistent: "),
        (&["http://x", "--token-file", empty], "must hold one token"),
        (&["http://x", "--token-file", token, "--data", "[]"], "not a JSON object"),
        (&["http://x", "--token-file", token, "--data", r#"{"a": 1}"#], "--data needs --change"),
        (&["http://x", "--token-file", token, "--change", r#"{"a": 1}"#], "--change needs {n}"),
        (
            &["http://x", "--token-file", token, "--data", r#"{"a": 1}"#, "--change", r#"{"a": "{n}"}"#],
            "a field that is not in --change",
        ),
        (&["http://x", "--token-file", token, "--only", "nonsense"], "there is no check nonsense"),
        (&["http://x", "--token-file", token, "--nonsense"], "--nonsense"),
    ] {
        let output = program(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
}

#[test]
fn the_document_explains_each_check_and_option() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/your-own-endpoint.md");
    let document = fs::read_to_string(document).unwrap();
    let list = String::from_utf8(program(&["--list"]).stdout).unwrap();
    let names: Vec<_> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 30, "{list}");
    for name in &names {
        assert!(document.contains(&format!("| `{name}` |")), "{name} is not explained");
    }
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name);
    let checks: Vec<_> = rows.filter(|name| !name.starts_with("--")).collect();
    assert_eq!(checks, names, "the document's checks, in order");
    let help = String::from_utf8(program(&["--help"]).stdout).unwrap();
    for option in help.split_whitespace().filter(|word| word.starts_with("--")) {
        assert!(document.contains(option), "{option} is not explained");
    }
}

#[test]
fn a_server_that_is_not_there_fails_every_check_that_runs() {
    let sandbox = Sandbox::start();
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let verdict = judge(&sandbox, &format!("http://{free}"), COLLECTION, &["--only", "create", "--only", "update"]);
    assert_eq!(verdict.status, Some(1));
    assert_eq!(verdict.failed.len(), 2, "{}", verdict.output);
    assert!(verdict.output.contains("got no reply: "), "{}", verdict.output);
    assert!(verdict.output.contains("FAIL  update             could not begin"), "{}", verdict.output);
}
