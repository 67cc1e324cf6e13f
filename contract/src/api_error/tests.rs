use super::*;

const TOKEN: &str = "s3cr3t/+token";

fn read(body: &str) -> ApiError {
    ApiError::read(body.as_bytes(), TOKEN)
}

#[test]
fn the_forms_of_errors() {
    for (body, text, excerpt, docs) in [
        // The documented one.
        (
            r#"{"error":"Error: Salesforce validation error: `Invalid email`","docs":[{"a": 1.10}]}"#,
            Some("Error: Salesforce validation error: `Invalid email`"),
            None,
            Some(r#"[{"a":1.10}]"#),
        ),
        (r#"{"error":"x"}"#, Some("x"), None, None),
        (r#"{"error":" x\n","docs":null}"#, Some("x"), None, None),
        (r#"{"error":"x","docs":"see there"}"#, Some("x"), None, Some(r#""see there""#)),
        (r#"{"error":"x","docs":[]}"#, Some("x"), None, Some("[]")),
        // The management endpoints'.
        (
            r#"{"summary":"Invalid request","validation_errors":{"sync_id":["can't be blank"],"records":["is empty"]}}"#,
            Some("Invalid request (sync_id, records)"),
            None,
            Some(r#"{"sync_id":["can't be blank"],"records":["is empty"]}"#),
        ),
        (r#"{"summary":"Not found"}"#, Some("Not found"), None, None),
        (r#"{"summary":"S","validation_errors":null}"#, Some("S"), None, None),
        (r#"{"summary":"S","validation_errors":["a"]}"#, Some("S"), None, Some(r#"["a"]"#)),
        (r#"{"validation_errors":{"a":1}}"#, Some("validation failed (a)"), None, Some(r#"{"a":1}"#)),
        (r#"{"error":"e","summary":"s","docs":1,"validation_errors":{"a":1}}"#, Some("e"), None, Some("1")),
        // Others.
        (r#"{"error":{"code":7}}"#, None, Some(r#"{"error":{"code":7}}"#), None),
        (r#"{"error":""}"#, None, Some(r#"{"error":""}"#), None),
        (r#"{"error":null,"docs":[1]}"#, None, Some(r#"{"error":null,"docs":[1]}"#), Some("[1]")),
        (r#"{"message" : "no"}"#, None, Some(r#"{"message":"no"}"#), None),
        (r#"["no", 1]"#, None, Some(r#"["no",1]"#), None),
        (r#""no""#, None, Some(r#""no""#), None),
        ("<html>\n<h1>502 Bad Gateway</h1>\n</html>", None, Some("<html> <h1>502 Bad Gateway</h1> </html>"), None),
        ("upstream connect error", None, Some("upstream connect error"), None),
        (r#"{"error":"cut"#, None, Some(r#"{"error":"cut"#), None),
        ("", None, None, None),
        (" \n", None, None, None),
    ] {
        let error = read(body);
        assert_eq!(error.text.as_deref(), text, "{body}");
        assert_eq!(error.excerpt.as_deref(), excerpt, "{body}");
        assert_eq!(error.docs.as_deref(), docs, "{body}");
        assert!(!error.has_lost_docs, "{body}");
    }
    let binary = ApiError::read(b"\xff\x00{}", TOKEN);
    assert_eq!(binary.excerpt.as_deref(), Some("\u{fffd}\\u0000{}"));
}

#[test]
fn which_texts_say_that_consumers_timed_out() {
    for (body, expected) in [
        (r#"{"error":"Error: Timed out waiting for consumers: contacts"}"#, true),
        (r#"{"error":"Timed out waiting for consumers: a, b","docs":[]}"#, true),
        (r#"{"error":"Error:  timed out waiting for consumer a"}"#, true),
        (r#"{"error":"Timed out waiting for consum\u0065rs"}"#, true),
        (r#"{"error":"Error: Salesforce validation error: `Timed out waiting for consumers`"}"#, false),
        (r#"{"error":"Error: Salesforce API timed out"}"#, false),
        (r#"{"error":"Timed out"}"#, false),
        (r#"{"error":["Timed out waiting for consumers"]}"#, false),
        (r#"{"message":"Timed out waiting for consumers"}"#, false),
        (r#"{"summary":"Timed out waiting for consumers"}"#, false),
        ("Timed out waiting for consumers", false),
        (r#"{"error":"日本日本日本日本日本日本日本"}"#, false),
    ] {
        assert_eq!(read(body).consumers_timed_out, expected, "{body}");
    }
}

#[test]
fn the_token_shows_nowhere() {
    let escaped = TOKEN.replace('/', "\\/").replace('s', "\\u0073");
    for echo in [TOKEN, &escaped] {
        for body in [
            format!(r#"{{"error":"bad token {echo}."}}"#),
            format!(r#"{{"error":"no","docs":{{"authorization":"Bearer {echo}","{echo}":["{echo}"]}}}}"#),
            format!(r#"{{"summary":"{echo}","validation_errors":{{"{echo}":1}}}}"#),
            format!(r#"{{"message":"{echo}"}}"#),
            format!(r#"["{echo}"]"#),
            format!("plain {echo}"),
            format!(r#"{{"error":"bad token {echo}"#),
            format!("{}{echo}", " ".repeat(4_095)),
        ] {
            let shown = format!("{:?}", read(&body));
            assert!(!shown.contains("s3cr3t") && !shown.contains("0073"), "{body}: {shown}");
        }
    }
    // A token of digits, echoed as a number.
    let error = ApiError::read(br#"{"error":"e","docs":[9876543210,{"a":9876543210.5}]}"#, "9876543210");
    assert_eq!(error.docs.as_deref(), Some(r#"["[redacted]",{"a":"[redacted].5"}]"#));
}

#[test]
fn a_token_that_is_json_itself_leaves_json_behind() {
    for token in ["a", "1", "\"", ",", "[", "{\"", "\\", "true", "[redacted]"] {
        let error = ApiError::read(br#"{"error":"[1,true]","docs":{"a":["\"\\",1,true,"[redacted]"]}}"#, token);
        let docs = error.docs.unwrap();
        assert!(json::is_valid(&docs), "{token}: {docs}");
    }
}

#[test]
fn docs_are_safe_to_print_and_to_cast() {
    for (docs, expected) in [
        ("{ \"a\" :\n[ 1 ,\t2 ] }", r#"{"a":[1,2]}"#),
        (r#""\u001b[31m\n\u202e""#, r#""\u001b[31m\n\u202e""#),
        ("\"\u{9b}\u{202e}\u{2028}\"", r#""\u009b\u202e\u2028""#),
        (r#""\"\\\/""#, r#""\"\\/""#),
        (r#""\u0000""#, "\"\u{fffd}\""),
        (r#"["\ud800"]"#, r#"["[unreadable]"]"#),
        ("[1e131071,-1E+99999,1e10,1.50]", r#"["1e131071","-1E+99999",1e10,1.50]"#),
        ("[true,false,null,{},[]]", "[true,false,null,{},[]]"),
    ] {
        let error = read(&format!(r#"{{"error":"e","docs":{docs}}}"#));
        assert_eq!(error.docs.as_deref(), Some(expected), "{docs}");
        assert!(json::is_valid(expected), "{docs}");
    }
}

#[test]
fn docs_that_are_too_much_are_left_out() {
    let of_size = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let of_depth = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for (docs, is_kept) in [
        (of_size(DOCS_BYTES), true),
        (of_size(DOCS_BYTES + 1), false),
        (of_size(10_000_000), false),
        (of_depth(DOCS_DEPTH), true),
        (of_depth(DOCS_DEPTH + 1), false),
        (of_depth(200_000), false),
    ] {
        let error = read(&format!(r#"{{"error":"e","docs":{docs}}}"#));
        assert_eq!((error.docs.is_some(), error.has_lost_docs), (is_kept, !is_kept), "{}", docs.len());
        assert_eq!(error.text.as_deref(), Some("e"));
    }
}

#[test]
fn texts_are_limited_and_printable() {
    let error = read(&format!(r#"{{"error":"\u001b[2J{}"}}"#, "é".repeat(5_000)));
    let text = error.text.unwrap();
    assert_eq!(text.chars().count(), text::MESSAGE_CHARS);
    assert!(text.starts_with("\\u001b[2Jé") && text.ends_with("é…"));
}

/// Escaped backslashes: a search for the token behind each of them would take hours.
#[test]
fn a_long_text_is_looked_at_only_as_far_as_it_is_shown() {
    let text = "%5c".repeat(1 << 20);
    let docs = read(&format!(r#"{{"error":"x","docs":"{text}"}}"#));
    assert_eq!((docs.text.as_deref(), docs.has_lost_docs), (Some("x"), true));
    // The whole excerpt could be the beginning of the token.
    assert_eq!(read(&format!(r#"{{"error":"{text}"}}"#)).text, None);
    assert_eq!(read(&text).excerpt, None);
}
