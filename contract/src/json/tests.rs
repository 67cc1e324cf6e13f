use super::*;

/// Valid JSON of every form that the cursor distinguishes.
const VALID: [&str; 22] = [
    "0",
    "-1.50e+10",
    "12345678901234567890.1230",
    "true",
    "null",
    r#""""#,
    r#""a""#,
    r#""a\"b""#,
    r#""a\\""#,
    r#""\\\"""#,
    r#""eight by""#,
    r#""sixteen bytes ab""#,
    r#""x\u0041\ud83d\ude00 é €""#,
    "[]",
    "{}",
    " [ 1 , 2 ] ",
    "[[],[[]],{}]",
    r#"{"a":{"b":[1,{"c":"}"}]},"d":"]"}"#,
    r#"{"a" : "x\\" , "b\"" : [ ] }"#,
    "[\n\t\"{\",\r\n \"[\\\"\" ]",
    r#"{"":""}"#,
    r#"[1e400,"\u0000"]"#,
];

/// Cuts a value into parts with the cursor and joins them without white space.
fn rebuild(cursor: &mut Cursor<'_>, out: &mut String) {
    match cursor.peek() {
        Some(b'[') => {
            cursor.enter();
            out.push('[');
            while cursor.next_element() {
                rebuild(cursor, out);
                out.push(',');
            }
            out.push(']');
        }
        Some(b'{') => {
            cursor.enter();
            out.push('{');
            while let Some(key) = cursor.next_key() {
                out.push_str(key);
                out.push(':');
                rebuild(cursor, out);
                out.push(',');
            }
            out.push('}');
        }
        _ => out.push_str(cursor.value()),
    }
}

fn tokens(text: &str) -> String {
    let mut cursor = Cursor::new(text);
    std::iter::from_fn(|| cursor.token()).collect()
}

#[test]
fn stepping_over_a_value_takes_all_of_it() {
    for text in VALID {
        let mut cursor = Cursor::new(text);
        assert_eq!(cursor.value(), text.trim(), "{text}");
        assert_eq!(cursor.peek(), None, "{text}");
        // The same value with more text after it.
        let followed = format!("{text},1");
        assert_eq!(Cursor::new(&followed).value(), text.trim(), "{text}");
    }
}

#[test]
fn walking_through_a_value_finds_every_part() {
    for text in VALID {
        let mut rebuilt = String::new();
        rebuild(&mut Cursor::new(text), &mut rebuilt);
        let rebuilt = rebuilt.replace(",]", "]").replace(",}", "}");
        assert_eq!(rebuilt, tokens(text), "{text}");
    }
}

#[test]
fn tokens_are_the_text_without_white_space() {
    for (text, expected) in
        [(" { \"a b\" : [ 1 , true ] } ", "{\"a b\":[1,true]}"), ("[ \"\\\" ,\" ]", "[\"\\\" ,\"]"), ("", "")]
    {
        assert_eq!(tokens(text), expected);
    }
}

#[test]
fn strings_end_at_their_quote_at_every_length_and_offset() {
    for length in 0..40 {
        for lead in 0..9 {
            let filler: String = "é\\\"\\\\x".chars().cycle().take(length * 6).collect();
            let text = format!("{}\"{filler}\" \"", " ".repeat(lead));
            assert_eq!(Cursor::new(&text).value(), format!("\"{filler}\""));
            let plain = "y".repeat(length);
            let text = format!("{}\"{plain}\"\"", " ".repeat(lead));
            assert_eq!(Cursor::new(&text).value(), format!("\"{plain}\""));
        }
    }
}

#[test]
fn depth_has_no_limit() {
    let depth = 200_000;
    let text = format!("{{\"data\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let mut cursor = Cursor::new(&text);
    assert_eq!(cursor.value().len(), text.len());
    let [data] = select_fields(&text, ["data"]).unwrap();
    assert_eq!(data.unwrap().len(), 2 * depth);
    assert!(is_valid(&text));
}

#[test]
fn invalid_json_terminates_without_a_panic() {
    for text in VALID {
        for start in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            for end in (start..=text.len()).filter(|at| text.is_char_boundary(*at)) {
                let broken = &text[start..end];
                rebuild(&mut Cursor::new(broken), &mut String::new());
                tokens(broken);
                is_storable(broken);
            }
        }
    }
    for broken in
        ["}", "]", ":", ",", ",,", "[}", "{]", "[:", "{:1}", "{1 2}", "\\", "\"\\", "[\"\\", "é", "\"\\u", "\"\\ué€"]
    {
        rebuild(&mut Cursor::new(broken), &mut String::new());
        tokens(broken);
        is_storable(broken);
    }
    // A caller treats these as objects by mistake.
    for broken in ["é", "\u{a0}{\"x", "7", "\"é\""] {
        let mut cursor = Cursor::new(broken);
        cursor.enter();
        while cursor.next_key().is_some() {
            cursor.value();
        }
    }
}

#[test]
fn types_have_names() {
    for (value, name) in [
        ("{}", "an object"),
        ("[]", "an array"),
        ("\"\"", "a string"),
        ("-1", "a number"),
        ("0", "a number"),
        ("true", "a boolean"),
        ("false", "a boolean"),
        (" null", "null"),
        ("", "nothing"),
    ] {
        assert_eq!(type_of(value), name, "{value}");
    }
}

#[test]
fn strings_lose_their_quotes_and_escapes() {
    for (value, content) in [
        (r#""""#, Some("")),
        (r#""plain é""#, Some("plain é")),
        (r#""a\n\"b\"\u00e9\/""#, Some("a\n\"b\"é/")),
        (r#""\ud83d\ude00""#, Some("😀")),
        (r#""\ud83d""#, None),
        (r#""\ude00\ud83d""#, None),
        ("1", None),
        ("null", None),
        ("{}", None),
        ("", None),
        ("\"", None),
    ] {
        assert_eq!(unquote(value).as_deref(), content, "{value}");
    }
}

#[test]
fn keys_are_compared_in_their_plain_spelling() {
    for (key, plain) in [(r#""id""#, r#""id""#), (r#""\u0069d""#, r#""id""#), (r#""\ud800""#, r#""\ud800""#)] {
        assert_eq!(plain_key(key), plain);
    }
}

#[test]
fn storable_is_what_jsonb_takes() {
    for (value, storable) in [
        (r#"{"a":"b"}"#, true),
        (r#""\u0001""#, true),
        (r#""\u0000""#, false),
        (r#""x\\u0000""#, true),
        (r#""x\\\u0000""#, false),
        (r#""\ud83d\ude00""#, true),
        (r#""\uD83D\uDE00 \u00e9""#, true),
        (r#""\ud83d""#, false),
        (r#""\ud83dx""#, false),
        (r#""\ud83d\n""#, false),
        (r#""\ud83d\u0041""#, false),
        (r#""\ud83d\ud83d""#, false),
        (r#""\ude00""#, false),
        (r#"{"\u0000":1}"#, false),
        (r#"["\u00e9",{"a":["\udc00"]}]"#, false),
        (r#""\"\\\/\b\f\n\r\t""#, true),
    ] {
        assert_eq!(is_storable(value), storable, "{value}");
    }
}

#[test]
fn fields_are_found_and_the_rest_is_checked() {
    let text = r#" {"x":[1,{"a":9}],"a":1,"b": {"c": 1.10} ,"\u0061":2e999} "#;
    assert_eq!(select_fields(text, ["a", "b", "c"]).unwrap(), [Some("2e999"), Some(r#"{"c": 1.10}"#), None]);
    assert_eq!(select_fields("{}", ["a"]).unwrap(), [None]);
    for broken in [
        "",
        " ",
        "[]",
        "1",
        "\"a\"",
        "null",
        "{",
        "{}}",
        "{} x",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":+1}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":tru}",
        "{\"a\":[1 2]}",
        "{\"a\":[1}",
        "{\"b\":[1}",
        "{'a':1}",
        "\u{feff}{}",
    ] {
        assert!(select_fields(broken, ["a"]).is_err(), "{broken}");
    }
}

#[test]
fn strings_are_written_as_json() {
    let mut out = Vec::new();
    push_string(&mut out, "a\"\\\n\u{1}é");
    assert_eq!(String::from_utf8(out).unwrap(), r#""a\"\\\n\u0001é""#);
}
