//! Input: options of a server, `name=value`, separated by NUL.
//!
//! - An accepted URL leads to the host in its text and to the mutation endpoint. It is unencrypted only for a loopback
//!   address, or with allow_http.
//! - Every number is within its limits, and is the one in the input.
//! - The resulting address is accepted again, with the same result.

use std::net::Ipv6Addr;
use std::time::Duration;

use contract::options::{self, OptionError, ServerOptions};

const OPERATION: &str = "/v1/mutations/run";

const NAMES: [&str; 14] = [
    "url",
    "connect_timeout_ms",
    "request_timeout_ms",
    "max_response_bytes",
    "ca_file",
    "max_batch",
    "atomic_batches",
    "ordered_replies",
    "idempotency_header",
    "max_in_flight",
    "max_requests_per_second",
    "max_retry_age",
    "max_await_ms",
    "allow_http",
];

/// The options as name and value.
pub fn given(bytes: &[u8]) -> Vec<(String, String)> {
    let split = |option: &[u8]| {
        let option = String::from_utf8_lossy(option);
        let (name, value) = option.split_once('=').unwrap_or((&option, ""));
        (name.to_owned(), value.to_owned())
    };
    bytes.split(|&byte| byte == 0).map(split).collect()
}

pub fn run(bytes: &[u8]) {
    let given = given(bytes);
    assert_eq!(options::reject_all(&[]), Ok(()));
    let read = options::read_server(&given);
    assert_eq!(read, options::read_server(&given));
    match read {
        Ok(options) => is_what_was_given(&options, &given),
        Err(OptionError::Unknown { name, valid }) => {
            assert!(!NAMES.contains(&name.as_str()) && valid == NAMES, "{name}");
        }
        Err(OptionError::Value { name, .. }) => assert!(given.iter().any(|(other, _)| other == name)),
        Err(OptionError::Missing(name)) => assert!(name == "url" && !given.iter().any(|(other, _)| other == name)),
        Err(OptionError::NotOneToken) => panic!("a server has no token"),
    }
}

fn is_what_was_given(options: &ServerOptions, given: &[(String, String)]) {
    assert!(given.iter().all(|(name, _)| NAMES.contains(&name.as_str())));
    let of = |name: &str| given.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let url = of("url").expect("a url is required");
    leads_where_it_says(options, url, of("allow_http"));

    let numbers = [
        ("connect_timeout_ms", options.connect_timeout.as_millis(), 5_000, 86_400_000),
        ("request_timeout_ms", options.request_timeout.as_millis(), 60_000, 86_400_000),
        ("max_response_bytes", options.max_response_bytes.into(), 64 << 20, 1 << 30),
        ("max_batch", options.max_batch.into(), 200, 10_000),
        ("max_in_flight", options.max_in_flight.into(), 8, 1_000),
    ];
    for (name, number, default, most) in numbers {
        let written = of(name).map_or(default, |digits| digits.parse().expect("a number"));
        assert!(number == written && (1..=most).contains(&number), "{name}: {number}");
    }
    assert_eq!(options.ca_file.as_ref().map(|path| path.as_os_str()), of("ca_file").map(AsRef::as_ref));
    assert!(options.ca_file.as_ref().is_none_or(|path| path.has_root()));
    assert_eq!(options.atomic_batches, of("atomic_batches").is_some_and(is_yes));
    assert_eq!(options.ordered_replies, of("ordered_replies").is_some_and(is_yes));
    assert_eq!(options.creates_per_request(), if options.ordered_replies { options.max_batch } else { 1 });
    if let Some(name) = &options.idempotency_header {
        let name = name.as_str();
        assert!(of("idempotency_header").is_some_and(|written| written.eq_ignore_ascii_case(name)));
        // RFC 9110, 5.6.2.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(is_token));
        assert!(!["authorization", "content-length", "transfer-encoding", "host"].contains(&name));
    }
}

fn is_yes(word: &str) -> bool {
    ["true", "on", "yes", "1"].iter().any(|yes| word.eq_ignore_ascii_case(yes))
}

fn leads_where_it_says(options: &ServerOptions, url: &str, allow_http: Option<&str>) {
    let uri = &options.uri;
    let scheme = uri.scheme_str().expect("a scheme");
    let (written_scheme, rest) = url.split_once("://").expect("scheme and host");
    assert!(written_scheme.eq_ignore_ascii_case(scheme) && ["http", "https"].contains(&scheme), "{url}");
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    assert_eq!(uri.authority().map(|authority| authority.as_str()), Some(authority));
    // Characters that another URL parser could read as the end of the host, or of the request line.
    assert!(!authority.contains(['@', '\\']), "{url:?}");
    assert!(url.bytes().all(|byte| (0x21..0x7f).contains(&byte)) && !url.contains(['?', '#']), "{url:?}");
    let host = uri.host().expect("a host");
    assert!(!host.is_empty());
    assert!(authority.starts_with(host));
    let port = &authority[host.len()..];
    let digits = port.strip_prefix(':').unwrap_or("443");
    assert!(
        digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|port| port > 0),
        "{url}"
    );
    assert!(port.is_empty() || uri.port_u16().map(|port| port.to_string()).as_deref() == Some(digits), "{url}");
    let path = path.trim_end_matches('/');
    let base = if path.is_empty() { String::new() } else { format!("/{path}") };
    assert_eq!(uri.path(), format!("{base}{OPERATION}"));
    assert_eq!(uri.query(), None);
    assert!(scheme == "https" || stays_here(host) || allow_http.is_some_and(is_yes), "{url}");

    let whole = uri.to_string();
    let again = whole.strip_suffix(OPERATION).expect("the operation");
    let again = [("url".to_owned(), again.to_owned()), ("allow_http".to_owned(), "on".to_owned())];
    let expected = ServerOptions {
        uri: uri.clone(),
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(60),
        max_response_bytes: 64 << 20,
        ca_file: None,
        max_batch: 200,
        atomic_batches: false,
        ordered_replies: false,
        idempotency_header: None,
        max_in_flight: 8,
        max_requests_per_second: None,
        max_retry_age: Duration::from_secs(259_200),
        max_await: Duration::from_secs(300),
    };
    assert_eq!(options::read_server(&again), Ok(expected));
}

fn stays_here(host: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_127 = host.starts_with("127.") && host.split('.').count() == 4 && host.split('.').all(is_part);
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    is_127
        || host.eq_ignore_ascii_case("localhost")
        || in_brackets.is_some_and(|host| host.parse() == Ok(Ipv6Addr::LOCALHOST))
}
