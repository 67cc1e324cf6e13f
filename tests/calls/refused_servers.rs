//! A server that is missing, or that a role may not use: nothing is connected to, and the hint has the statements to type.

use sequin_harness::identifier;

use crate::support::{Session, TARGET, World, hint_of};

fn create(server: &str) -> String {
    format!("SELECT sequin_create({TARGET}, '{{}}'{server})")
}

/// A role that may call the verbs, named after the test's database: roles belong to all databases.
fn caller(world: &mut World) -> String {
    let role = identifier(world.database.name());
    world.run(&format!(
        "CREATE ROLE {role} LOGIN;
         GRANT EXECUTE ON FUNCTION sequin_create TO {role}"
    ));
    role
}

#[test]
fn a_missing_server_is_answered_with_the_statements_that_make_one() {
    let mut world = World::without_server();
    let error = world.refused(&create(""));
    assert_eq!((error.code().code(), error.message()), ("42704", "server \"sequin\" does not exist"));

    // The statements of the hint, with the sandbox's address and token.
    let role = caller(&mut world);
    let hint = hint_of(&error).replace("https://api.example.com", world.sandbox.url());
    let hint = hint.replace("token '...'", &format!("token '{}'", world.sandbox.token()));
    let statements = hint.replace("the roles that are to use it.", &role);
    assert_eq!(statements.matches(';').count(), 2, "three statements: {hint}");
    world.run(&statements);
    let mut session = world.database.connect_as(world.database.name());
    session.run(&create(""));
    assert_eq!(world.sent(), 1);
}

#[test]
fn the_hint_quotes_the_servers_name() {
    let mut world = World::without_server();
    let error = world.refused(&create(", server => 'My \"API\"'"));
    assert_eq!((error.code().code(), error.message()), ("42704", "server \"My \"API\"\" does not exist"));
    assert!(hint_of(&error).contains("CREATE SERVER \"My \"\"API\"\"\" FOREIGN"), "{}", hint_of(&error));
}

#[test]
fn the_setting_names_the_server_that_a_call_leaves_out() {
    let mut world = World::new();
    world.run("SET sequin.server = 'elsewhere'");
    assert_eq!(world.refused(&create("")).message(), "server \"elsewhere\" does not exist");
    world.run(&create(", server => 'sequin'"));
    world.run("SET sequin.server = 'sequin'");
    world.run(&create(""));
    assert_eq!(world.refused_after(2, &create(", server => 'elsewhere'")), "42704");
}

#[test]
fn a_server_of_another_wrapper_is_not_used() {
    let mut world = World::without_server();
    world.run("CREATE FOREIGN DATA WRAPPER other; CREATE SERVER sequin FOREIGN DATA WRAPPER other");
    let error = world.refused(&create(""));
    assert_eq!(error.code().code(), "42704");
    let message = "server \"sequin\" belongs to the foreign-data wrapper \"other\", not to \"sequin_mutations\"";
    assert_eq!(error.message(), message);
    assert!(hint_of(&error).contains("or SET sequin.server to it"), "{}", hint_of(&error));
    // As it says.
    world.database.create_server_named("ours", world.sandbox.url(), world.sandbox.token());
    world.run("SET sequin.server = 'ours'");
    world.run(&create(""));
}

#[test]
fn a_role_without_a_mapping_gets_the_statement_that_makes_one() {
    let mut world = World::new();
    world.run("DROP USER MAPPING FOR PUBLIC SERVER sequin");
    let error = world.refused(&create(""));
    assert_eq!(error.code().code(), "42704");
    assert_eq!(error.message(), "server \"sequin\" has no user mapping for the current role");
    let hint = hint_of(&error);
    let (statement, _) = hint.split_once(", or").unwrap_or_else(|| panic!("{hint}"));
    world.run(&statement.replace("'...'", &format!("'{}'", world.sandbox.token())));
    world.run(&create(""));
}

/// And the grant takes effect at once, as its revocation does.
#[test]
fn a_role_without_usage_is_refused_until_it_is_granted() {
    let mut world = World::new();
    let role = caller(&mut world);
    world.run(&format!("SET ROLE {role}"));
    let error = world.refused(&create(""));
    assert_eq!((error.code().code(), error.message()), ("42501", "permission denied for foreign server \"sequin\""));
    assert!(hint_of(&error).contains("GRANT USAGE ON FOREIGN SERVER sequin TO"), "{}", hint_of(&error));

    world.run(&format!("RESET ROLE; GRANT USAGE ON FOREIGN SERVER sequin TO {role}; SET ROLE {role}"));
    world.run(&create(""));
    world.run(&format!("RESET ROLE; REVOKE USAGE ON FOREIGN SERVER sequin FROM {role}; SET ROLE {role}"));
    assert_eq!(world.refused_after(1, &create("")), "42501");
}

#[test]
fn a_role_without_execute_is_refused() {
    let mut world = World::new();
    let role = identifier(world.database.name());
    world.run(&format!("CREATE ROLE {role}; GRANT USAGE ON FOREIGN SERVER sequin TO {role}; SET ROLE {role}"));
    let calls = [
        format!("sequin_mutate('create', {TARGET}, '{{\"data\":{{}}}}')"),
        format!("sequin_create({TARGET}, '{{}}')"),
        format!("sequin_update({TARGET}, 'x', '{{}}')"),
        format!("sequin_delete({TARGET}, 'x')"),
    ];
    for call in calls {
        let error = world.error(&format!("SELECT * FROM {call}"));
        assert_eq!(error.code().code(), "42501", "{call}");
    }
    world.assert_untouched("no EXECUTE");
}
