use super::*;

fn options(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn server_with(pairs: &[(&str, &str)]) -> Result<ServerOptions, OptionError> {
    let mut all = options(&[("url", "https://api.example.com")]);
    all.extend(options(pairs));
    read_server(&all)
}

#[test]
fn defaults_are_those_of_the_reference() {
    let server = server_with(&[]).unwrap();
    assert_eq!(server.uri.to_string(), "https://api.example.com/v1/mutations/run");
    assert_eq!(server.connect_timeout, Duration::from_millis(5_000));
    assert_eq!(server.request_timeout, Duration::from_millis(60_000));
    assert_eq!(server.max_response_bytes, 64 * 1024 * 1024);
    assert_eq!(server.max_batch, 200);
    assert_eq!((server.ordered_replies, server.creates_per_request()), (false, 1));
    assert_eq!((server.atomic_batches, server.ca_file, server.idempotency_header), (false, None, None));
}

#[test]
fn the_operation_is_added_to_the_url() {
    let cases = [
        ("https://api.example.com", "https://api.example.com/v1/mutations/run"),
        ("https://api.example.com/", "https://api.example.com/v1/mutations/run"),
        ("https://api.example.com:8443/base/", "https://api.example.com:8443/base/v1/mutations/run"),
        ("http://localhost:7376", "http://localhost:7376/v1/mutations/run"),
        ("http://127.0.0.1", "http://127.0.0.1/v1/mutations/run"),
        ("http://[::1]:80", "http://[::1]:80/v1/mutations/run"),
    ];
    for (url, whole) in cases {
        assert_eq!(read_server(&options(&[("url", url)])).unwrap().uri.to_string(), whole);
    }
}

#[test]
fn urls_that_are_none_are_refused() {
    let bad = [
        "",
        "api.example.com",
        "/path",
        "ftp://example.com",
        "https://",
        "https:///x",
        "https://user:pw@example.com",
        "https://example.com?x=1",
        "https://example.com#x",
        "https://exa mple.com",
        "https://example.com\n",
        "https://example.com:443=x",
        "https://example.com:70000",
        "https://example.com:0",
        "https://example.com:",
        "https://example.com:+443",
        "https://[::1]:x",
        "http://[::1]example.com:80",
        "https://example[::1].com:443",
        "https://example.com/\u{e9}",
        "https://example.com/\u{85}",
        "https://example.com/\u{7f}",
        "http://api.example.com",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://[2001:db8::1]",
        "http://[localhost]",
        "http://[LOCALHOST]:80",
        "https://[localhost]",
        "http://[127.0.0.1]",
        "http://[::ffff:127.0.0.1]",
        "http://[::1%25lo]",
        "https://[example.com]",
    ];
    for url in bad {
        let error = read_server(&options(&[("url", url)])).unwrap_err();
        assert!(matches!(error, OptionError::Value { name: "url", .. }), "{url}: {error}");
    }
    assert_eq!(read_server(&[]).unwrap_err(), OptionError::Missing("url"));
}

#[test]
fn http_beyond_loopback_takes_allow_http() {
    let remote = |allow| read_server(&options(&[("url", "http://api.example.com"), ("allow_http", allow)]));
    assert!(remote("true").is_ok());
    assert!(remote("false").is_err());
}

#[test]
fn values_out_of_range_are_refused() {
    let bad = [
        ("connect_timeout_ms", "0"),
        ("connect_timeout_ms", "-1"),
        ("connect_timeout_ms", "5s"),
        ("request_timeout_ms", "86400001"),
        ("request_timeout_ms", "1e3"),
        ("max_response_bytes", "0"),
        ("max_response_bytes", "1073741825"),
        ("max_batch", "0"),
        ("max_batch", "10001"),
        ("max_in_flight", "0"),
        ("max_in_flight", "1001"),
        ("max_requests_per_second", "0"),
        ("max_requests_per_second", "1.5"),
        ("max_retry_age", "0"),
        ("max_retry_age", ""),
        ("max_retry_age", "d"),
        ("max_retry_age", "3 weeks"),
        ("max_retry_age", "-1 d"),
        ("max_retry_age", "3661 d"),
        ("max_retry_age", "99999999999999999999 d"),
        ("max_await_ms", "0"),
        ("max_await_ms", "86400001"),
        ("atomic_batches", "maybe"),
        ("ordered_replies", ""),
        ("allow_http", ""),
        ("ca_file", "relative.pem"),
        ("ca_file", ""),
        ("idempotency_header", "two words"),
        ("idempotency_header", "Authorization"),
        ("idempotency_header", ""),
    ];
    for (name, value) in bad {
        let error = server_with(&[(name, value)]).unwrap_err();
        assert!(error.to_string().contains(name), "{name} {value}: {error}");
    }
}

#[test]
fn creates_share_a_request_where_replies_are_ordered() {
    let server = server_with(&[("ordered_replies", "on"), ("max_batch", "7")]).unwrap();
    assert_eq!(server.creates_per_request(), 7);
    let server = server_with(&[("atomic_batches", "on"), ("max_batch", "7")]).unwrap();
    assert_eq!(server.creates_per_request(), 1);
}

#[test]
fn an_unknown_option_names_the_valid_ones() {
    let error = server_with(&[("token", "x")]).unwrap_err();
    assert_eq!(error.to_string(), "invalid option \"token\"");
    let hint = error.hint().unwrap();
    assert!(hint.contains("url, connect_timeout_ms") && hint.contains("allow_http"), "{hint}");
    assert!(reject_all(&options(&[("url", "x")])).unwrap_err().hint().unwrap().contains("no valid options"));
}

#[test]
fn a_mapping_has_one_token_within_its_directory() {
    assert!(
        matches!(read_user_mapping(&options(&[("token", "abc")])), Ok(TokenOption::Inline(secret)) if secret.expose() == "abc")
    );
    assert!(
        matches!(read_user_mapping(&options(&[("token_file", "prod/a")])), Ok(TokenOption::File(path)) if path == *"prod/a")
    );
    let bad = [
        options(&[]),
        options(&[("token", "a"), ("token_file", "b")]),
        options(&[("token", "a\nb")]),
        options(&[("token_file", "")]),
        options(&[("token_file", "../x")]),
        options(&[("token_file", "a/../../x")]),
        options(&[("token_file", "/etc/passwd")]),
        options(&[("user", "x")]),
    ];
    for options in bad {
        assert!(read_user_mapping(&options).is_err(), "{options:?}");
    }
}

#[test]
fn an_error_does_not_repeat_the_token() {
    let error = read_user_mapping(&options(&[("token", "geheim\n")])).err().unwrap();
    assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("geheim"));
}

#[test]
fn the_limits_of_the_outbox_are_read() {
    let server = server_with(&[]).unwrap();
    assert_eq!((server.max_in_flight, server.max_requests_per_second), (8, None));
    assert_eq!((server.max_retry_age, server.max_await), (Duration::from_secs(259_200), Duration::from_secs(300)));
    let server =
        server_with(&[("max_in_flight", "1000"), ("max_requests_per_second", "25"), ("max_await_ms", "1")]).unwrap();
    assert_eq!((server.max_in_flight, server.max_requests_per_second), (1_000, Some(25)));
    assert_eq!(server.max_await, Duration::from_millis(1));
    for (value, seconds) in
        [("1", 1), ("90 s", 90), ("30min", 1_800), ("12 hours", 43_200), ("3 d", 259_200), (" 1  day ", 86_400)]
    {
        let server = server_with(&[("max_retry_age", value)]).unwrap();
        assert_eq!(server.max_retry_age, Duration::from_secs(seconds), "{value}");
    }
}
