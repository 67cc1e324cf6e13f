//! A bad call costs nothing. It is refused before any connection, names the wrong argument or element, and gives a
//! hint.

use sequin_harness::literal;

use crate::support::{Session, TARGET, World, context_of, hint_of};

/// Runs each call, of which none may reach the sandbox; the message must be as given, and the hint must hold the words.
fn all_refused(state: &str, cases: &[(&str, &str, &str)]) {
    all_refused_in(&mut World::new(), state, cases);
}

fn all_refused_in(world: &mut World, state: &str, cases: &[(&str, &str, &str)]) {
    for (call, message, hint) in cases {
        let error = world.refused(&format!("SELECT * FROM {call}"));
        assert_eq!((error.code().code(), error.message()), (state, *message), "{call}");
        assert!(hint_of(&error).contains(hint), "{call}: {}", hint_of(&error));
        let context = context_of(&error);
        let verb = &call[..call.find('(').unwrap()];
        assert!(context.starts_with(verb) && context.ends_with("nothing was applied"), "{call}: {context}");
    }
}

#[test]
fn after_a_refused_call_a_good_one_works() {
    let mut world = World::new();
    world.refused(&format!("SELECT sequin_create({TARGET}, NULL)"));
    world.run(&format!("SELECT sequin_create({TARGET}, '{{}}')"));
    assert_eq!(world.sent(), 1);
}

const CREATE: &str = r#"[{"data":{}}]"#;
const COLLECTION: &str = "salesforce:contact";

#[test]
fn a_null_argument_is_named() {
    let mutate = |arguments: &str| format!("sequin_mutate({arguments})");
    let cases = [
        (mutate(&format!("NULL, 's', '{COLLECTION}', '{CREATE}'")), "kind", "'create', 'update' or 'delete'"),
        (mutate(&format!("'create', NULL, '{COLLECTION}', '{CREATE}'")), "sync_id", "id of the sync"),
        (mutate(&format!("'create', 's', NULL, '{CREATE}'")), "collection_id", "salesforce:contact"),
        (mutate(&format!("'create', 's', '{COLLECTION}', NULL")), "records", "at least one record"),
        (mutate("NULL, NULL, NULL, NULL"), "kind", "'create', 'update' or 'delete'"),
        (format!("sequin_create(NULL, '{COLLECTION}', '{{}}')"), "sync_id", "id of the sync"),
        ("sequin_create('s', NULL, '{}')".into(), "collection_id", "salesforce:contact"),
        (format!("sequin_create({TARGET}, NULL)"), "data", "the provider's fields"),
        (format!("sequin_update(NULL, '{COLLECTION}', 'x', '{{}}')"), "sync_id", "id of the sync"),
        ("sequin_update('s', NULL, 'x', '{}')".into(), "collection_id", "salesforce:contact"),
        (format!("sequin_update({TARGET}, NULL, '{{}}')"), "upstream_id", "that was never created there"),
        (format!("sequin_update({TARGET}, 'x', NULL)"), "data", "the provider's fields"),
        (format!("sequin_delete(NULL, '{COLLECTION}', 'x')"), "sync_id", "id of the sync"),
        ("sequin_delete('s', NULL, 'x')".into(), "collection_id", "salesforce:contact"),
        (format!("sequin_delete({TARGET}, NULL)"), "upstream_id", "that was never created there"),
    ];
    let messages = cases.each_ref().map(|(_, name, _)| format!("{name} must not be NULL"));
    let cases: Vec<_> =
        cases.iter().zip(&messages).map(|((call, _, hint), message)| (&**call, &**message, *hint)).collect();
    all_refused("22004", &cases);
}

#[test]
fn an_empty_or_unknown_argument_is_named() {
    all_refused(
        "22023",
        &[
            (
                "sequin_mutate('', 's', 'salesforce:contact', '[{\"data\":{}}]')",
                "unknown kind \"\": it must be create, update or delete",
                "Pass 'create', 'update' or 'delete'.",
            ),
            (
                "sequin_mutate('upsert', 's', 'salesforce:contact', '[{\"data\":{}}]')",
                "unknown kind \"upsert\": it must be create, update or delete",
                "Pass 'create', 'update' or 'delete'.",
            ),
            (
                "sequin_mutate('CREATE', 's', 'salesforce:contact', '[{\"data\":{}}]')",
                "unknown kind \"CREATE\": it must be create, update or delete",
                "Pass 'create', 'update' or 'delete'.",
            ),
            ("sequin_create('', 'salesforce:contact', '{}')", "sync_id must not be empty", "id of the sync"),
            ("sequin_create(' ', 'salesforce:contact', '{}')", "sync_id must not be empty", "id of the sync"),
            ("sequin_create('s', '', '{}')", "collection_id must not be empty", "as the API names it"),
            ("sequin_create('s', E' \\n', '{}')", "collection_id must not be empty", "as the API names it"),
            (
                "sequin_update('s', 'salesforce:contact', '', '{}')",
                "upstream_id must not be empty",
                "that was never created there",
            ),
            (
                "sequin_delete('s', 'salesforce:contact', ' ')",
                "upstream_id must not be empty",
                "that was never created there",
            ),
        ],
    );
}

#[test]
fn what_a_collection_id_looks_like_is_for_the_api_to_judge() {
    let mut world = World::new();
    for collection in ["contact", ":contact", "salesforce:", "a b", "é\n"] {
        let error = world.error_of("SELECT sequin_create('s', $1, '{}')", &[&collection]);
        let detail = error.detail().unwrap_or_default();
        assert!(detail.contains("must be provider:collection"), "{collection}: {error:?}");
        assert_eq!(world.sent(), 1, "{collection}");
    }
    world.run("SELECT sequin_create('s', 'my crm: big deals', '{}')");
}

/// (kind, records, message, words of the hint)
const SHAPES: &[(&str, &str, &str, &str)] = &[
    ("create", "[]", "records is an empty array", "at least one record"),
    ("update", "[]", "records is an empty array", "at least one record"),
    ("delete", "[]", "records is an empty array", "at least one record"),
    ("create", "null", "records must be an array, not null", "{\"data\": {...}}"),
    ("delete", "null", "records must be an array, not null", "is a string, the upstream_id"),
    ("create", "7", "records must be an array, not a number", "{\"data\": {...}}"),
    ("update", "true", "records must be an array, not a boolean", "\"upstream_id\": \"...\""),
    ("create", "\"x\"", "records must be an array, not a string", "{\"data\": {...}}"),
    ("create", "{}", "records[0]: a create needs \"data\"", "{\"data\": {...}}"),
    ("create", "[{\"data\":{}}, {}]", "records[1]: a create needs \"data\"", "{\"data\": {...}}"),
    (
        "create",
        "[{\"data\":{}}, {\"data\":{}}, {\"data\":{}}, {\"upstream_id\":\"x\",\"data\":{}}]",
        "records[3]: a create takes no \"upstream_id\"",
        "use an update",
    ),
    ("create", "{\"upstream_id\":null,\"data\":{}}", "records[0]: a create takes no \"upstream_id\"", "use an update"),
    ("create", "[[{\"data\":{}}]]", "records[0]: a create needs an object, not an array", "{\"data\": {...}}"),
    ("update", "[[]]", "records[0]: an update needs an object, not an array", "\"upstream_id\": \"...\""),
    ("delete", "[[\"a\"]]", "records[0]: a delete needs a string or an object, not an array", "is a string"),
    ("create", "[{\"data\":{}},null]", "records[1]: a create needs an object, not null", "{\"data\": {...}}"),
    ("create", "[\"x\"]", "records[0]: a create needs an object, not a string", "{\"data\": {...}}"),
    ("update", "[1.5]", "records[0]: an update needs an object, not a number", "\"upstream_id\": \"...\""),
    ("delete", "[\"a\",false]", "records[1]: a delete needs a string or an object, not a boolean", "is a string"),
    ("create", "[{\"data\":[]}]", "records[0]: \"data\" must be an object, not an array", "{\"data\": {...}}"),
    ("create", "[{\"data\":null}]", "records[0]: \"data\" must be an object, not null", "{\"data\": {...}}"),
    ("create", "[{\"Email\":\"x\"}]", "records[0]: a create takes no key \"Email\"", "fields go inside \"data\""),
    (
        "update",
        "[{\"upstream_id\":\"a\",\"data\":{}},{\"upstream_id\":\"b\",\"data\":{}},{\"upstream_id\":\"c\",\"data\":{}},
          {\"data\":{}}]",
        "records[3]: an update needs \"upstream_id\"",
        "\"upstream_id\": \"...\"",
    ),
    ("update", "[{\"upstream_id\":\"a\"}]", "records[0]: an update needs \"data\"", "\"upstream_id\": \"...\""),
    (
        "update",
        "[{\"upstream_id\":7,\"data\":{}}]",
        "records[0]: \"upstream_id\" must be a string, not a number",
        "Put the id in quotes.",
    ),
    (
        "update",
        "[{\"upstream_id\":null,\"data\":{}}]",
        "records[0]: \"upstream_id\" must be a string, not null",
        "Put the id in quotes.",
    ),
    ("update", "{\"upstream_id\":\" \",\"data\":{}}", "records[0]: \"upstream_id\" must not be empty", "an update"),
    (
        "update",
        "{\"upstream_id\":\"a\",\"data\":{},\"Email\":1}",
        "records[0]: an update takes no key \"Email\"",
        "fields go inside \"data\"",
    ),
    (
        "delete",
        "[\"a\",{\"upstream_id\":\"b\",\"data\":{}}]",
        "records[1]: a delete takes no \"data\"",
        "use an update",
    ),
    ("delete", "[{}]", "records[0]: a delete needs \"upstream_id\"", "is a string, the upstream_id"),
    ("delete", "[\"\"]", "records[0]: \"upstream_id\" must not be empty", "is a string, the upstream_id"),
    ("delete", "[{\"upstream_id\":\"a\",\"x\":1}]", "records[0]: a delete takes no key \"x\"", "is a string"),
];

#[test]
fn the_element_of_records_that_is_wrong_is_named() {
    let call = |kind: &str, records: &str| format!("sequin_mutate('{kind}', {TARGET}, {})", literal(records));
    let calls: Vec<String> = SHAPES.iter().map(|(kind, records, ..)| call(kind, records)).collect();
    let cases: Vec<_> = calls.iter().zip(SHAPES).map(|(call, case)| (&**call, case.2, case.3)).collect();
    all_refused("22023", &cases);
}

#[test]
fn one_records_data_must_be_an_object() {
    let (mut calls, mut messages) = (Vec::new(), Vec::new());
    for (data, found) in
        [("[]", "an array"), ("[{}]", "an array"), ("null", "null"), ("\"x\"", "a string"), ("1", "a number")]
    {
        for call in [format!("sequin_create({TARGET}, '{data}')"), format!("sequin_update({TARGET}, 'x', '{data}')")] {
            calls.push(call);
            messages.push(format!("data must be a JSON object, not {found}"));
        }
    }
    let cases: Vec<_> = calls.iter().zip(&messages).map(|(call, said)| (&**call, &**said, "'{\"Email\":")).collect();
    all_refused("22023", &cases);
}

/// SQL counts an array's elements from 1.
#[test]
fn the_consumer_that_is_wrong_is_named() {
    let cases = [
        ("22004", "{NULL}", "await_consumers[1] must not be NULL"),
        ("22004", "{a,b,NULL}", "await_consumers[3] must not be NULL"),
        ("22004", "{{a,b},{c,NULL}}", "await_consumers[4] must not be NULL"),
        ("22023", "{\"\"}", "await_consumers[1] must not be empty"),
        ("22023", "{a,\" \"}", "await_consumers[2] must not be empty"),
    ];
    let verbs = [
        format!("sequin_mutate('create', {TARGET}, '{CREATE}'"),
        format!("sequin_create({TARGET}, '{{}}'"),
        format!("sequin_update({TARGET}, 'x', '{{}}'"),
        format!("sequin_delete({TARGET}, 'x'"),
    ];
    let mut world = World::new();
    for (state, consumers, message) in cases {
        let calls = verbs.each_ref().map(|verb| format!("{verb}, await_consumers => '{consumers}')"));
        let cases = calls.each_ref().map(|call| (&**call, message, "Name each consumer to wait for"));
        all_refused_in(&mut world, state, &cases);
    }
}

#[test]
fn a_negative_timeout_is_refused() {
    let mut world = World::new();
    for milliseconds in [-1, i32::MIN] {
        let message = format!("timeout_ms must not be negative, but is {milliseconds}");
        let calls = [
            format!("sequin_mutate('create', {TARGET}, '{CREATE}', timeout_ms => {milliseconds})"),
            format!("sequin_create({TARGET}, '{{}}', timeout_ms => {milliseconds})"),
        ];
        all_refused_in(&mut world, "22023", &calls.each_ref().map(|call| (&**call, &*message, "in milliseconds")));
    }
}

#[test]
fn a_read_only_transaction_sends_nothing() {
    let mut world = World::new();
    let calls = [
        ("sequin_mutate", format!("sequin_mutate('create', {TARGET}, '{CREATE}')")),
        ("sequin_create", format!("sequin_create({TARGET}, '{{}}')")),
        ("sequin_update", format!("sequin_update({TARGET}, 'x', '{{}}')")),
        ("sequin_delete", format!("sequin_delete({TARGET}, 'x')")),
    ];
    for (verb, call) in calls {
        let error = world.refused(&format!("BEGIN READ ONLY; SELECT * FROM {call}"));
        world.run("ROLLBACK");
        assert_eq!(error.code().code(), "25006");
        assert_eq!(error.message(), format!("cannot execute {verb}() in a read-only transaction"));
        assert!(hint_of(&error).contains("Nothing was sent."), "{}", hint_of(&error));
    }
}

/// A type that was altered by hand: more columns do no harm, other ones would be read as garbage.
#[test]
fn an_altered_result_type_is_refused() {
    let calls = [format!("sequin_mutate('create', {TARGET}, '{CREATE}')"), format!("sequin_create({TARGET}, '{{}}')")];
    for call in calls {
        let mut world = World::new();
        world.run("ALTER TYPE sequin_record DROP ATTRIBUTE deleted");
        let error = world.refused(&format!("SELECT * FROM {call}"));
        assert_eq!((error.code().code(), error.message()), ("HV00L", "the type sequin_record has been altered"));

        let mut world = World::new();
        world.run("ALTER TYPE sequin_record ADD ATTRIBUTE note text");
        let rows = world.rows(&format!("SELECT * FROM {call}"), &[]);
        assert_eq!((rows[0].get("note"), rows[0].get("deleted")), (None::<String>, Some(false)));
    }
}
