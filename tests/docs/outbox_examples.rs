//! The example of the outbox, run as it is; then the cases that it claims to handle.

use serde_json::{Value, json};

use crate::docs::{psql, read};
use crate::support::{Session, World};

/// Runs SQL as a user does, to its end, and returns psql's output.
fn run(world: &World, sql: &str) -> String {
    let (output, ok) = psql(world.database.server().psql_command(world.database.name()), sql);
    assert!(ok, "{output}");
    output
}

/// The requests since the last time: kind and records.
fn sent(world: &World) -> Vec<(String, Value)> {
    let part = |body: String| {
        let mut body: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        assert_eq!((&body["sync_id"], &body["collection_id"]), (&json!("my-sync-id"), &json!("hubspot:deal")));
        (body["kind"].as_str().unwrap_or_default().to_owned(), body["records"].take())
    };
    world.bodies().into_iter().map(part).collect()
}

#[test]
fn enqueue_trigger_sql() {
    let mut world = World::new();
    let output = run(&world, &read("examples/enqueue_trigger.sql"));
    assert!(output.contains(" is_delivered \n--------------\n t\n"), "{output}");
    assert!(output.contains(" {\"tracking\": \"HEIGHLINER-1\", \"dealstage\": \"shipped\"} | applied | t"), "{output}");
    assert!(!output.contains("paid"), "{output}");
    let deal: String = world.one("SELECT deal_id FROM orders WHERE customer = 'Paul'");
    let shipped = json!([{"upstream_id": deal, "data": {"dealstage": "shipped", "tracking": "HEIGHLINER-1"}}]);
    let expected = [
        ("create".to_owned(), json!([{"data": {"dealname": "Paul"}}])),
        ("create".to_owned(), json!([{"data": {"dealname": "Chani"}}])),
        // Two changes of one transaction are one record; a rolled back change is none.
        ("update".to_owned(), shipped),
    ];
    assert_eq!(sent(&world), expected);

    // A role that ships needs only a right to the table.
    let clerk = format!("clerk_of_{}", world.database.name());
    world.run(&format!("CREATE ROLE {clerk}; GRANT SELECT, UPDATE ON orders TO {clerk}; SET ROLE {clerk}"));
    world.run("UPDATE orders SET state = 'returned' WHERE customer = 'Paul'");
    let error = world.error("SELECT sequin_enqueue('delete', 'my-sync-id', 'hubspot:deal', '\"1\"')");
    assert_eq!(error.code().code(), "42501", "{error:?}");
    world.run("RESET ROLE");
    world.settled();
    let returned = json!([{"upstream_id": deal, "data": {"dealstage": "returned", "tracking": "HEIGHLINER-1"}}]);
    assert_eq!(sent(&world), [("update".to_owned(), returned)]);

    // The API refuses: the statement has worked, and the refusal waits for a person.
    world.sandbox.fault(json!({"status": 400, "body": "{\"error\": \"Error: closed\", \"docs\": []}"}));
    world.run("UPDATE orders SET state = 'closed' WHERE customer = 'Paul'");
    world.settled();
    let refused = world.rows("SELECT state, error FROM sequin.dead_letters", &[]);
    let refused: Vec<(&str, &str)> = refused.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(refused, [("rejected", "Error: closed")]);
    assert_eq!(world.one::<String>("SELECT state FROM orders WHERE customer = 'Paul'"), "closed");
    world.run(&format!("DROP OWNED BY {clerk}; DROP ROLE {clerk}"));
}
