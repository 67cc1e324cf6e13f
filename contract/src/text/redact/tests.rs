use super::*;

/// Every character that some notation writes otherwise.
const TOKEN: &str = r#"s3"c\r/e+t&%<'9"#;

fn escaped(write: impl Fn(char) -> String) -> String {
    TOKEN.chars().map(write).collect()
}

/// The spellings of the token.
fn spellings() -> Vec<(&'static str, String)> {
    let json = serde_json::to_string(TOKEN).unwrap();
    let json = json.trim_matches('"').to_owned();
    let special = |c: char| !c.is_ascii_alphanumeric();
    let broken_up = |by: &str| escaped(|c| format!("{c}{by}")).strip_suffix(by).unwrap().to_owned();
    let names = "s3&quot;c&bsol;r&sol;e&plus;t&AMP;&percnt;&LT;&apos;9".to_owned();
    let html = |c: char| match c {
        '"' => "&quot;".to_owned(),
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '\'' => "&apos;".to_owned(),
        other => other.to_string(),
    };
    vec![
        ("plain", TOKEN.to_owned()),
        ("debug", format!("{TOKEN:?}").trim_matches('"').to_owned()),
        ("JSON with escaped slashes", json.replace('/', "\\/")),
        ("JSON in JSON", serde_json::to_string(&json).unwrap().trim_matches('"').to_owned()),
        ("JSON in JSON in JSON", json.replace('/', "\\/").replace('\\', r"\\\\")),
        ("code units", escaped(|c| format!("\\u{:04x}", u32::from(c)))),
        ("code units, upper case", escaped(|c| format!("\\u{:04X}", u32::from(c)))),
        ("code units in JSON", escaped(|c| format!("\\\\u{:04x}", u32::from(c)))),
        ("some code units", escaped(|c| if special(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })),
        ("bytes", escaped(|c| format!("\\x{:02x}", u32::from(c)))),
        ("percent signs", escaped(|c| if special(c) { format!("%{:02X}", u32::from(c)) } else { c.to_string() })),
        ("percent signs for all", escaped(|c| format!("%{:02x}", u32::from(c)))),
        ("HTML", escaped(html)),
        ("HTML numbers", escaped(|c| format!("&#{};", u32::from(c)))),
        ("HTML numbers, hexadecimal", escaped(|c| format!("&#x{:04x};", u32::from(c)))),
        ("HTML numbers with zeros", escaped(|c| format!("&#{:07};", u32::from(c)))),
        ("HTML numbers with many zeros", escaped(|c| format!("&#X{:050x};", u32::from(c)))),
        ("HTML names", names),
        ("zero width spaces", broken_up("\u{200b}")),
        ("soft hyphens", broken_up("\u{ad}")),
        ("joiners and selectors", broken_up("\u{200d}\u{fe0f}\u{e0100}")),
        ("tags", broken_up("\u{e0041}\u{2066}")),
        ("bytes that are no UTF-8", broken_up("\u{fffd}")),
        ("bells", broken_up("\u{7}\0")),
        ("zero width spaces in HTML", broken_up("&#8203;&#x0200B;&shy;&ZeroWidthSpace;")),
        ("zero width spaces in JSON", broken_up("\\u200b\\u00AD\\\\u200B")),
        ("tags in JSON", broken_up("\\udb40\\udc41")),
        ("zero width spaces in a url", broken_up("%E2%80%8B%c2%ad%00")),
        ("mixed", r#"\u0073%33\"c\\r\/e%2bt&amp;%25&lt;&#39;9"#.to_owned()),
        ("JSON", json),
    ]
}

#[test]
fn a_secret_is_found_in_every_spelling() {
    for (name, spelling) in spellings() {
        for (before, after) in
            [("", ""), ("Bearer ", " is bad"), ("{\"a\":\"", "\"}"), ("é", "é"), ("%", "%"), ("&", ";")]
        {
            let text = format!("{before}{spelling}{after}");
            assert_eq!(redact(&text, TOKEN), format!("{before}[redacted]{after}"), "{name}: {text}");
            let twice = format!("{text}{text}");
            assert_eq!(redact(&twice, TOKEN).matches(REDACTED).count(), 2, "{name}: {twice}");
        }
    }
}

#[test]
fn the_beginning_of_a_secret_is_found_at_the_end() {
    for (name, spelling) in spellings() {
        let text = format!("before {spelling}");
        for end in "before ".len()..text.len() {
            let text = String::from_utf8_lossy(&text.as_bytes()[..end]);
            let shown = redact_beginning(&text, TOKEN);
            assert!(!shown.contains("s3") && shown.starts_with("before"), "{name}: {text} gives {shown}");
            assert!(shown.len() <= "before ".len(), "{name}: {text} gives {shown}");
        }
    }
    // What ends is not cut.
    assert_eq!(redact("before s3", TOKEN), "before s3");
}

#[test]
fn what_looks_like_a_spelling_can_be_the_secret_itself() {
    for secret in
        ["a%2Fb", "a&amp;b", "%25", "%", "&", "&quot;", "\\", "\\\\", "\\u0041", "\\n", "a\\", "\\a", "u0041", "x41"]
    {
        let json = serde_json::to_string(secret).unwrap();
        let percent = secret.replace('%', "%25").replace('\\', "%5C").replace('&', "%26");
        for text in [secret, json.trim_matches('"'), &percent] {
            if text == percent && secret.chars().all(|c| c == '\\') {
                continue; // Not found: a token of backslashes alone.
            }
            let shown = redact(text, secret);
            assert!(shown.chars().all(|c| REDACTED.contains(c)), "{secret} in {text}: {shown}");
        }
    }
}

/// A search behind each backslash would take minutes.
#[test]
fn the_time_is_linear_in_a_run_of_backslashes() {
    let text = "\\".repeat(1 << 20);
    assert_eq!(redact(&text, TOKEN), text);
    assert_eq!(redact(&(text + TOKEN), TOKEN), REDACTED);
}

#[test]
fn what_is_not_the_secret_stays() {
    for text in [
        "&shy;",
        "s\u{ad}3\u{ad}",
        "&#0;&#00;&#",
        "&#x110000;",
        "&bogus;",
        "%E2%80",
        "",
        "s3",
        "\\",
        "%",
        "&",
        "&#;",
        "&#x;",
        "%zz",
        "\\u00",
        "\\u00zz",
        "%+1",
        "é\\é",
        "S3\"C\\R/E+T&%<'9",
    ] {
        assert_eq!(redact(text, TOKEN), text);
        assert!(matches!(redact(text, ""), Cow::Borrowed(_)));
    }
}

/// A search behind each entity would take minutes.
#[test]
fn the_time_is_linear_in_a_run_of_skipped_characters() {
    for unit in ["&#8203;", "\u{ad}", "%00", "\\u200b"] {
        let text = unit.repeat(1 << 16);
        // Not by assert_eq, which would print it.
        assert!(redact(&text, "token-1") == text);
        assert!(!redact(&format!("{text}token-1{text}"), "token-1").contains("token"));
        assert!(redact(&format!("t{text}oken-1"), "token-1") == REDACTED);
    }
    let zeros = format!("&#{}116;oken-1", "0".repeat(1 << 16));
    assert!(redact(&zeros, "token-1") == REDACTED);
}
