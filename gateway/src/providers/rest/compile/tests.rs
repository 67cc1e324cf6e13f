//! Which descriptions pass, and where each fault is.

use super::*;

/// What is wrong with a collection's description, and the text of the file that is at fault.
fn wrong(collection: &str) -> (String, Option<String>) {
    #[derive(serde::Deserialize)]
    struct File {
        collection: BTreeMap<String, Description>,
    }
    let text = format!("[collection.c]\n{collection}");
    let (message, span) = match toml::from_str::<File>(&text) {
        Ok(file) => match Rest::compile(file.collection) {
            Ok(_) => return ("fine".into(), None),
            Err(Fault { span, message }) => (message, span),
        },
        Err(error) => (error.message().to_owned(), error.span()),
    };
    (message, span.map(|span| text[span].to_owned()))
}

const GOOD: &str = r#"create = { method = "POST", path = "/c", body = "{data}" }"#;

#[test]
fn a_description_passes() {
    for collection in [
        GOOD,
        r#"update = { method = "PATCH", path = "/c/{upstream_id}", body = { data = "{data}" } }"#,
        r#"delete = { method = "DELETE", path = "/c?id=eq.{upstream_id}", gone = [404, 410] }"#,
        r#"delete = { method = "POST", path = "/c/delete", body = { ids = ["{upstream_id}"] } }"#,
        r#"
        create = { method = "PUT", path = "/c/{key}", body = "{data}", already = [412],
            headers = { if-none-match = "*", x = "{data/a}" } }
        read = { method = "GET", path = "/c/{upstream_id}" }
        reply = { upstream_id = "/id", created_at = { at = "/at", unit = "ms" }, updated_at = "/to", data = "" }
        error = ["/errors/*", ""]
        limited = [429, { status = 403, at = "/code", equals = "limit" }]
        rejected = [{ status = 200, at = "/ok", equals = false }]
        replay = { kind = "unique_id" }
        "#,
        r#"
        create = { method = "POST", path = "/c", id = "{key:15}", body = { "..." = "{data}", id = "{key:15}" },
            encoding = "form", any_body = true, already = [409] }
        "#,
        &format!("{GOOD}\nreplay = {{ kind = \"key_header\", header = \"x-key\", window = \"24h\" }}"),
        &format!("{GOOD}\nreplay = {{ kind = \"none\" }}"),
        r#"create = { method = "PUT", path = "/c?x={key}", body = "{data}" }
        replay = { kind = "upsert" }"#,
    ] {
        assert_eq!(wrong(collection), ("fine".into(), None), "{collection}");
    }
}

#[test]
fn a_fault_has_its_place() {
    let action = |extra: &str| format!(r#"create = {{ method = "POST", path = "/c", body = "{{data}}", {extra} }}"#);
    let update = |extra: &str| {
        format!(r#"update = {{ method = "POST", path = "/{{upstream_id}}", body = "{{data}}", {extra} }}"#)
    };
    let path = |path: &str| format!(r#"create = {{ method = "POST", path = "{path}", body = "{{data}}" }}"#);
    let with = |extra: &str| format!("{GOOD}\n{extra}");
    for (collection, message, place) in [
        (String::new(), "needs a create, an update or a delete", None),
        (r#"read = { method = "GET", path = "/{upstream_id}" }"#.into(), "the collection c needs a create", None),
        (with("nonsense = 1"), "unknown field `nonsense`", Some("nonsense")),
        (action("nonsense = 1"), "unknown field `nonsense`", Some("nonsense")),
        (r#"create = { method = "POST" }"#.into(), "missing field `path`", Some(r#"{ method = "POST" }"#)),
        // Methods.
        (r#"create = { method = "GET", path = "/c", body = "{data}" }"#.into(), "must be one of POST", Some("\"GET\"")),
        (r#"create = { method = "post", path = "/c", body = "{data}" }"#.into(), "must be", Some("\"post\"")),
        (r#"delete = { method = "GET", path = "/{upstream_id}" }"#.into(), "must be one of DELETE", Some("\"GET\"")),
        // Paths.
        (path("c"), "must begin with one slash", Some("\"c\"")),
        (path("//h/c"), "must begin with one slash", Some("\"//h/c\"")),
        (path("{key}"), "must begin with one slash", Some("\"{key}\"")),
        (path("/a b"), "must be percent-encoded", Some("\"/a b\"")),
        (path("/a#b"), "must be percent-encoded", Some("\"/a#b\"")),
        (path("/ä"), "must be percent-encoded", Some("\"/ä\"")),
        (path("/a%2"), "must be percent-encoded", Some("\"/a%2\"")),
        (path("/a%zz"), "must be percent-encoded", Some("\"/a%zz\"")),
        (path("/a/../b"), "the part . or ..", Some("\"/a/../b\"")),
        (path("/a/%2E%2e/b"), "the part . or ..", Some("\"/a/%2E%2e/b\"")),
        (path("/{id}"), "unknown slot {id}", Some("\"/{id}\"")),
        (path("/{upstream_id}"), "a create has no {upstream_id} yet", Some("\"/{upstream_id}\"")),
        (path("/{data}"), "{data} is for bodies", Some("\"/{data}\"")),
        (r#"delete = { method = "DELETE", path = "/c" }"#.into(), "needs {upstream_id}", Some("\"/c\"")),
        (
            r#"delete = { method = "DELETE", path = "/{data/x}/{upstream_id}" }"#.into(),
            "there is no {data}",
            Some("\"/{data/x}/{upstream_id}\""),
        ),
        (
            with(r#"read = { method = "GET", path = "/{key}/{upstream_id}" }"#),
            "a read has no {key}",
            Some("\"/{key}/{upstream_id}\""),
        ),
        // Headers.
        (action(r#"headers = { "a b" = "x" }"#), "\"a b\" is no name", Some("\"a b\"")),
        (action(r#"headers = { "{key}" = "x" }"#), "is no name of a header", Some("\"{key}\"")),
        (
            action(r#"headers = { Authorization = "x" }"#),
            "the gateway itself takes care of Authorization",
            Some("Authorization"),
        ),
        (action(r#"headers = { x = "{y}" }"#), "has the unknown slot {y}", Some("\"{y}\"")),
        (action(r#"headers = { x = "{data}" }"#), "{data} is for bodies", Some("\"{data}\"")),
        // Bodies.
        (
            r#"create = { method = "POST", path = "/c" }"#.into(),
            "needs \"{data}\" in a body",
            Some(r#"{ method = "POST", path = "/c" }"#),
        ),
        (
            r#"create = { method = "POST", path = "/c", body = { a = "b" } }"#.into(),
            "needs \"{data}\" in a body",
            Some(r#"{ method = "POST", path = "/c", body = { a = "b" } }"#),
        ),
        (
            r#"delete = { method = "DELETE", path = "/{upstream_id}", body = "{data}" }"#.into(),
            "there is no {data}",
            Some("\"{data}\""),
        ),
        (
            r#"delete = { method = "DELETE", path = "/{upstream_id}", body = "{x}" }"#.into(),
            "has the unknown slot {x}",
            Some("\"{x}\""),
        ),
        (action(r#"encoding = "xml""#), "must be json or form", Some("\"xml\"")),
        // Ids.
        (action(r#"id = "{key}""#), "must be the slot of the key that is in the path", Some("\"{key}\"")),
        (action(r#"id = "x""#), "must be the slot", Some("\"x\"")),
        (action(r#"id = "{x}""#), "has the unknown slot", Some("\"{x}\"")),
        (update(r#"id = "{upstream_id}""#), "is for a create", Some("\"{upstream_id}\"")),
        // Replies.
        (action("applied = [700]"), "700 is no HTTP status", Some("700")),
        (action("applied = [200, 429]"), "429 already means something else", Some("429")),
        (action("applied = [200, 200]"), "fine", None),
        (action("gone = [404]"), "is for an update or a delete", Some("404")),
        (update("already = [412]"), "is for a create", Some("412")),
        (update("gone = [404], applied = [404]"), "404 already means", Some("404")),
        (action("already = [412]"), "needs {key}", Some("412")),
        (path("/c?k={key}").replace(" }", ", already = [409] }"), "needs `id`", Some("409")),
        (action(r#"reply = { data = "x" }"#), "the pointer \"x\" must be empty or begin", Some("\"x\"")),
        (with(r#"reply = { upstream_id = "id" }"#), "the pointer", Some("\"id\"")),
        (with(r#"reply = { upstream_id_header = "a b" }"#), "\"a b\" is no name", Some("\"a b\"")),
        (
            with(r#"reply = { updated_at = { at = "/a", unit = "us" } }"#),
            "its unit must be s or ms",
            Some(r#"{ at = "/a", unit = "us" }"#),
        ),
        (with(r#"error = ["message"]"#), "the pointer", Some("\"message\"")),
        (
            with(r#"limited = [429, { status = 403, equals = "x" }]"#),
            "needs `at`",
            Some(r#"{ status = 403, equals = "x" }"#),
        ),
        // Replays.
        (with(r#"replay = { kind = "twice" }"#), "must be", Some("\"twice\"")),
        (
            with(r#"replay = { kind = "key_header" }"#),
            "key_header needs a header and a window",
            Some(r#"{ kind = "key_header" }"#),
        ),
        (
            with(r#"replay = { kind = "key_header", header = "host", window = "1h" }"#),
            "the gateway itself",
            Some("\"host\""),
        ),
        (
            with(r#"replay = { kind = "key_header", header = "x", window = "soon" }"#),
            "must be a duration",
            Some("\"soon\""),
        ),
        (
            with(r#"replay = { kind = "key_header", header = "x", window = "0s" }"#),
            "must be a duration",
            Some("\"0s\""),
        ),
        (with(r#"replay = { kind = "unique_id", window = "1h" }"#), "is for key_header", Some("\"1h\"")),
        (with(r#"replay = { kind = "unique_id" }"#), "unique_id needs {key}", Some(r#"{ kind = "unique_id" }"#)),
        (
            format!("{}\nreplay = {{ kind = \"unique_id\" }}", path("/c/{key}")),
            "unique_id needs `already`",
            Some("{ kind = \"unique_id\" }"),
        ),
        (with(r#"replay = { kind = "upsert" }"#), "upsert needs {key}", Some(r#"{ kind = "upsert" }"#)),
        (
            r#"delete = { method = "DELETE", path = "/{upstream_id}" }
            replay = { kind = "none" }"#
                .into(),
            "is for a create",
            Some(r#"{ kind = "none" }"#),
        ),
        (
            format!(
                "{}\nreplay = {{ kind = \"key_header\", header = \"X\", window = \"1h\" }}",
                action("headers = { x = \"1\" }")
            ),
            "the create sets this header too",
            Some("{ kind = \"key_header\", header = \"X\", window = \"1h\" }"),
        ),
    ] {
        let (got, at) = wrong(&collection);
        assert!(got.contains(message), "{got}, not {message}: {collection}");
        assert_eq!(at.as_deref(), place, "{message}: {collection}");
    }
}

#[test]
fn there_must_be_a_collection() {
    assert!(Rest::compile(BTreeMap::new()).is_err());
}
