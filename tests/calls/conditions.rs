//! A stored procedure catches each outcome by its condition's name, reads the known effect, and continues.

use serde_json::{Value, json};

use crate::support::{Session, TARGET, World, create};

/// Creates a function that runs a statement, and returns the condition it met with all its fields.
const CAUGHT: &str = r#"
CREATE TYPE caught AS (condition text, state text, message text, detail jsonb, hint text, context text);
CREATE FUNCTION caught(statement text) RETURNS caught LANGUAGE plpgsql AS $$
DECLARE it caught;
BEGIN
  BEGIN
    EXECUTE statement;
    it.condition := 'none';
    RETURN it;
  EXCEPTION
    WHEN null_value_not_allowed THEN it.condition := 'null_value_not_allowed';
    WHEN invalid_parameter_value THEN it.condition := 'invalid_parameter_value';
    WHEN read_only_sql_transaction THEN it.condition := 'read_only_sql_transaction';
    WHEN invalid_authorization_specification THEN it.condition := 'invalid_authorization_specification';
    WHEN insufficient_privilege THEN it.condition := 'insufficient_privilege';
    WHEN undefined_object THEN it.condition := 'undefined_object';
    WHEN configuration_limit_exceeded THEN it.condition := 'configuration_limit_exceeded';
    WHEN fdw_reply_handle THEN it.condition := 'fdw_reply_handle';
    WHEN fdw_unable_to_create_reply THEN it.condition := 'fdw_unable_to_create_reply';
    WHEN fdw_unable_to_establish_connection THEN it.condition := 'fdw_unable_to_establish_connection';
    WHEN fdw_table_not_found THEN it.condition := 'fdw_table_not_found';
    WHEN fdw_invalid_attribute_value THEN it.condition := 'fdw_invalid_attribute_value';
    WHEN fdw_unable_to_create_execution THEN it.condition := 'fdw_unable_to_create_execution';
  END;
  RETURN it;
END $$;
CREATE FUNCTION told(statement text) RETURNS caught LANGUAGE plpgsql AS $$
DECLARE it caught; said text;
BEGIN
  EXECUTE statement;
  RETURN it;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS it.state = RETURNED_SQLSTATE, it.message = MESSAGE_TEXT, said = PG_EXCEPTION_DETAIL,
    it.hint = PG_EXCEPTION_HINT, it.context = PG_EXCEPTION_CONTEXT;
  it.detail := nullif(said, '')::jsonb;
  RETURN it;
END $$"#;

/// All of these in one transaction, as a procedure would: an error that is caught leaves nothing behind.
#[test]
fn each_outcome_has_a_condition_name() {
    let mut world = World::new();
    world.run(CAUGHT);
    world.database.create_server_named("closed", "http://127.0.0.1:1", "x");
    world.database.create_server_named("amiss", world.sandbox.url(), "x");
    world.run("ALTER USER MAPPING FOR PUBLIC SERVER amiss OPTIONS (DROP token, ADD token_file 'none')");
    let create = create("'{}'");
    let cases = [
        (None, format!("SELECT sequin_create({TARGET}, NULL)"), "null_value_not_allowed"),
        (None, format!("SELECT sequin_create({TARGET}, '[]')"), "invalid_parameter_value"),
        (None, format!("SET LOCAL transaction_read_only = on; SELECT {create}"), "read_only_sql_transaction"),
        (None, format!("SELECT sequin_create({TARGET}, '{{}}', server => 'missing')"), "undefined_object"),
        (None, format!("SELECT sequin_create({TARGET}, '{{}}', server => 'amiss')"), "fdw_unable_to_create_execution"),
        (
            None,
            format!("SELECT sequin_create({TARGET}, '{{}}', server => 'closed')"),
            "fdw_unable_to_establish_connection",
        ),
        (Some(json!({"status": 401})), format!("SELECT {create}"), "invalid_authorization_specification"),
        (Some(json!({"status": 404})), format!("SELECT {create}"), "fdw_table_not_found"),
        (Some(json!({"status": 400})), format!("SELECT {create}"), "fdw_invalid_attribute_value"),
        (Some(json!({"status": 429})), format!("SELECT {create}"), "configuration_limit_exceeded"),
        (Some(json!({"status": 504})), format!("SELECT {create}"), "fdw_reply_handle"),
        (Some(json!({"reset": true})), format!("SELECT {create}"), "fdw_reply_handle"),
        (Some(json!({"body": "?"})), format!("SELECT {create}"), "fdw_reply_handle"),
        (Some(json!({"body": "{\"records\": [?"})), format!("SELECT {create}"), "fdw_unable_to_create_reply"),
        (None, format!("SELECT {create}"), "none"),
    ];
    world.run("BEGIN");
    for (fault, statement, condition) in cases {
        if let Some(fault) = fault.clone() {
            world.sandbox.fault(fault);
        }
        assert_eq!(world.one_of::<String>("SELECT (caught($1)).condition", &[&statement]), condition, "{fault:?}");
    }
    world.run("COMMIT");
    // The applied records, and the last one.
    assert_eq!(world.contact_count(), 4);
}

#[test]
fn a_role_without_usage_meets_insufficient_privilege() {
    let mut world = World::new();
    world.run(CAUGHT);
    let role = sequin_harness::identifier(world.database.name());
    world.run(&format!("CREATE ROLE {role}; GRANT EXECUTE ON FUNCTION sequin_create TO {role}; SET ROLE {role}"));
    let statement = format!("SELECT {}", create("'{}'"));
    let condition: String = world.one_of("SELECT (caught($1)).condition", &[&statement]);
    assert_eq!(condition, "insufficient_privilege");
}

#[test]
fn the_diagnostics_hold_everything_that_a_client_sees() {
    let mut world = World::new();
    world.run(CAUGHT);
    world
        .sandbox
        .fault(json!({"status": 429, "headers": {"retry-after": "7"}, "body": "{\"error\":\"Error: slow down\"}"}));
    let row = world
        .rows("SELECT (it).*, (it).detail::text AS said FROM told($1) AS it", &[&format!("SELECT {}", create("'{}'"))]);
    let text = |column: &str| row[0].get::<_, String>(column);
    assert_eq!((text("state"), text("message")), ("53400".into(), "Error: slow down".into()));
    assert_eq!(text("hint"), "Nothing was applied. Retry after 7000 ms.");
    let said: Value = serde_json::from_str(&text("said")).unwrap();
    let expected = json!({
        "outcome": "refused_for_now", "applied": "none", "http_status": 429, "docs": null, "retry_after_ms": 7000
    });
    assert_eq!(said, expected);
    let context = text("context");
    let line = "create of 1 record in salesforce:contact through server \"sequin\": nothing was applied\n";
    assert!(context.starts_with(line) && context.contains("PL/pgSQL function told(text)"), "{context}");
}

/// An error must be about its own call, not about an earlier one that was caught.
#[test]
fn the_context_of_a_caught_error_does_not_stick() {
    let mut world = World::new();
    world.run(CAUGHT);
    world.sandbox.fault(json!({"status": 504}));
    let failing = format!("SELECT {}", create("'{}'"));
    let context = |world: &mut World, statement: &str| {
        world.one_of::<Option<String>>("SELECT (told($1)).context", &[&statement]).unwrap_or_default()
    };
    assert!(context(&mut world, &failing).starts_with("create of 1 record"));
    let unrelated = context(&mut world, "SELECT 1 / 0");
    assert!(!unrelated.contains("salesforce"), "{unrelated}");
    let refused = context(&mut world, &format!("SELECT sequin_create({TARGET}, NULL)"));
    assert!(refused.starts_with("sequin_create for salesforce:contact: nothing was applied\n"), "{refused}");
    let nested = context(&mut world, &format!("SELECT {}, 1 / (random() > 2)::int", create("'{}'")));
    assert!(!nested.contains("create of 1 record"), "{nested}");
}
