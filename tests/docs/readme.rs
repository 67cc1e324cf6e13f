//! The README does what it says: its statements run as the roles it names, and print the rows it shows.

use sequin_harness::Sandbox;
use serde_json::json;

use crate::docs::{Block, blocks, psql, read, statements, tidy};
use crate::support::Session;
use crate::support::server::own;

/// The README's placeholders for values that only the reader knows.
const URL: &str = "https://api.example.com";
const TOKEN: &str = "your-token";
const RECORD: &str = "0031U00000Qn2ZVQAZ";
const ATTACHED_RECORD: &str = "0031U00000Qn2ZWQAZ";

#[test]
fn its_first_screen_has_two_commands_a_statement_and_the_warning() {
    let document = read("README.md");
    let screen = document.lines().take(50).collect::<Vec<_>>().join("\n");
    let blocks = blocks(&screen);
    let shell: Vec<&str> =
        blocks.iter().filter(|block| block.language == "sh").map(|block| block.text.trim_end()).collect();
    assert_eq!(shell, ["make demo", "make && sudo make install"]);
    let (statement, rows) = &statements(&screen)[0];
    assert!(statement.text.contains("sequin_create") && rows.is_some(), "{statement:?}");
    assert!(screen.contains("ROLLBACK does not undo"), "{screen}");
}

#[test]
fn its_statements_run_and_print_what_it_shows() {
    let sandbox = Sandbox::start();
    // A server of its own: the README's role is called app, and roles are the whole cluster's.
    let server = own("");
    let mut superuser = server.connect("postgres");
    superuser.run("CREATE ROLE app");
    superuser.run("CREATE DATABASE shop");

    // The first statement is for `make demo-psql`, where the set-up is done. Other readers set it up first, as this test does.
    let is_setup = |block: &Block| block.text.contains("CREATE EXTENSION");
    let (setup, calls): (Vec<_>, Vec<_>) =
        statements(&read("README.md")).into_iter().partition(|(block, _)| is_setup(block));
    let [setup] = &setup[..] else { panic!("one block sets it up: {setup:?}") };
    assert_eq!(setup.0.text.matches(';').count(), 5, "five statements to set it up");
    let sql = setup.0.text.replace(URL, sandbox.url()).replace(TOKEN, sandbox.token());
    assert!(sql.contains(sandbox.url()) && sql.contains(sandbox.token()));
    let (output, ok) = psql(server.psql_command("shop"), &sql);
    assert!(ok, "{output}");

    sandbox.consumer(json!({
        "kind": "postgres", "id": "contacts", "collection_id": "salesforce:contact",
        "dsn": server.dsn("shop"), "table": "contacts",
    }));
    server.connect("shop").run("GRANT SELECT ON contacts TO app");

    // The record's id is the sandbox's choice; it is as long as the README's, so that columns keep their width.
    let mut record: Option<String> = None;
    for (block, promised) in &calls {
        let sql = match &record {
            Some(id) => block.text.replace(RECORD, id),
            None => block.text.clone(),
        };
        // Tables are not app's to make.
        let sql = if sql.contains("people") { sql } else { format!("SET ROLE app;\n{sql}") };
        let (output, ok) = psql(server.psql_command("shop"), &sql);
        let created = || Some(sandbox.records("salesforce:contact").first()?["upstream_id"].as_str()?.to_owned());
        record = record.or_else(created);
        let Some(promised) = promised else {
            assert!(ok && sql.contains("sequin_attach"), "line {}: no output is shown: {output}", block.line);
            continue;
        };
        let records = sandbox.records("salesforce:contact");
        let attached = records.get(1).and_then(|record| record["upstream_id"].as_str()).unwrap_or_default();
        let expected =
            promised.replace(RECORD, record.as_deref().unwrap_or_default()).replace(ATTACHED_RECORD, attached);
        assert_eq!(tidy(&output), tidy(&expected), "README.md, line {}", block.line);
    }

    let log = sandbox.log();
    let kinds: Vec<String> =
        log.mutations().iter().map(|request| request.json()["kind"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(
        kinds,
        ["create", "update", "update", "create", "update", "create", "update"],
        "one call is one request"
    );
    assert_eq!(log.mutations()[2].json()["await_consumer_ids"], json!(["contacts"]));
    let contacts = sandbox.records("salesforce:contact");
    assert_eq!(contacts.len(), 2, "the refused one does not exist");
    let emperor = json!({"Email": "paul@arrakis.org", "FirstName": "Paul", "Title": "Emperor"});
    assert_eq!(contacts[0]["data"], emperor);
    assert_eq!(contacts[1]["data"], json!({"Email": "chani@tabr.org", "LastName": "Sihaya"}));
}
