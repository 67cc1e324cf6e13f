use super::*;

#[test]
fn what_is_hidden_is_escaped() {
    for (text, expected) in [
        ("", ""),
        ("plain, é, 日本, 😀", "plain, é, 日本, 😀"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\u{1b}[31mred", "\\u001b[31mred"),
        ("nul\0", "nul\\u0000"),
        ("del\u{7f}", "del\\u007f"),
        ("c1\u{9b}31m\u{85}", "c1\\u009b31m\\u0085"),
        ("\u{202e}evil\u{2066}", "\\u202eevil\\u2066"),
        ("\u{200b}\u{feff}\u{2028}", "\\u200b\\ufeff\\u2028"),
        ("soft\u{ad}hyphen\u{fe0f}\u{3164}", "soft\\u00adhyphen\\ufe0f\\u3164"),
        ("tag\u{e0041}", "tag\\udb40\\udc41"),
        // The joiner within an emoji is part of it.
        ("👩\u{200d}🚀", "👩\u{200d}🚀"),
    ] {
        assert_eq!(printable(text, 1_000), expected);
    }
}

#[test]
fn no_hidden_character_gets_through() {
    for c in (0..=0x2FFF).filter_map(char::from_u32) {
        let out = printable(&c.to_string(), 100);
        assert!(!out.chars().any(is_hidden), "{c:?}");
        assert!(!out.bytes().any(|byte| byte < b' ' || byte == 0x7f), "{c:?}");
    }
}

#[test]
fn long_texts_are_cut_at_a_character() {
    assert_eq!(printable("abcde", 5), "abcde");
    assert_eq!(printable("abcdef", 5), "abcd…");
    assert_eq!(printable("éééééé", 5), "éééé…");
    // An escape is cut out whole.
    assert_eq!(printable("abcd\n", 5), "abcd…");
    assert_eq!(printable("abc\nd", 6), "abc\\nd");
    assert_eq!(printable("\u{1b}", 5), "…");
    for length in 990..1_010 {
        for text in ["x".repeat(length), "é".repeat(length), "\n".repeat(length), "😀".repeat(length)] {
            let out = printable(&text, MESSAGE_CHARS);
            assert!(out.chars().count() <= MESSAGE_CHARS);
        }
    }
}

#[test]
fn secrets_are_taken_out() {
    for (text, secret, expected) in [
        ("Bearer tok123, tok123!", "tok123", "Bearer [redacted], [redacted]!"),
        ("nothing here", "tok123", "nothing here"),
        ("anything", "", "anything"),
        ("", "tok", ""),
    ] {
        assert_eq!(redact(text, secret), expected);
    }
}

#[test]
fn excerpts_are_one_short_line() {
    let cases: [(&[u8], Option<&str>); 8] = [
        (b"", None),
        (b" \r\n ", None),
        (b"Bad Gateway", Some("Bad Gateway")),
        (b"<html>\n  <b>502</b>\r\n</html>\n", Some("<html> <b>502</b> </html>")),
        (b"\xff\xfebinary\0", Some("\u{fffd}\u{fffd}binary\\u0000")),
        (b"echo tok123 echo", Some("echo [redacted] echo")),
        (b"\x1b[2Jgone", Some("\\u001b[2Jgone")),
        ("é\u{202e}".as_bytes(), Some("é\\u202e")),
    ];
    for (body, expected) in cases {
        assert_eq!(excerpt(body, "tok123").as_deref(), expected);
    }
    let long = excerpt(&b"word ".repeat(1_000_000), "tok123").unwrap();
    assert_eq!(long.chars().count(), EXCERPT_CHARS);
    assert!(long.ends_with('…'));
}

#[test]
fn a_secret_that_the_window_cuts_does_not_show() {
    let secret = "s3cr3t-token";
    for blanks in 4_080..4_120 {
        let body = format!("begin{}{secret} end {}", " ".repeat(blanks), "x".repeat(100));
        let out = excerpt(body.as_bytes(), secret).unwrap();
        assert!(!out.contains("s3"), "{blanks}: {out}");
        assert!(out.starts_with("begin"));
    }
}
