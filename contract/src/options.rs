//! The options of servers and user mappings. One table for each validates, lists and reads them.
//!
//! The same rules run when an object is created and when it is used. So an accepted value can always be used, and an option
//! from another version of the extension is refused with the same message at both times.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::header::{self, HeaderName};
use http::uri::Scheme;

use super::secret::Secret;

/// The path of the mutation endpoint, which is appended to the option `url`.
const MUTATION_PATH: &str = "/v1/mutations/run";

/// The options of a server object, with defaults for the omitted ones.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// The whole address of the mutation endpoint.
    pub uri: Uri,
    /// The time limit for name resolution, the connection and the TLS handshake.
    pub connect_timeout: Duration,
    /// The time limit for a whole request, without the wait for consumers.
    pub request_timeout: Duration,
    /// The largest reply body, in bytes.
    pub max_response_bytes: u64,
    /// A file of PEM certificates to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The most records that the outbox and table triggers put into one request.
    pub max_batch: u32,
    /// Whether the API applies nothing of a batch that it refuses.
    pub atomic_batches: bool,
    /// Whether the API returns records in the order of the request.
    pub ordered_replies: bool,
    /// The request header that carries the idempotency key.
    pub idempotency_header: Option<HeaderName>,
    /// The most requests of a database's outbox that are in flight at once.
    pub max_in_flight: u32,
    /// The most requests that a database's outbox begins in one second.
    pub max_requests_per_second: Option<u32>,
    /// How long the outbox goes on sending a record that fails. Afterwards the record waits for a person.
    pub max_retry_age: Duration,
    /// The longest wait for consumers that the outbox asks the API for.
    pub max_await: Duration,
}

impl ServerOptions {
    /// The most creates that one request may hold. Without `ordered_replies` it is 1: an upstream id written into the wrong
    /// row would send all later changes of that row to another record.
    pub fn creates_per_request(&self) -> u32 {
        if self.ordered_replies { self.max_batch } else { 1 }
    }
}

/// The option that gives a user mapping its token.
#[derive(Clone)]
pub enum TokenOption {
    /// `token`: the token itself.
    Inline(Secret),
    /// `token_file`: the path of a file, relative to `sequin.secrets_directory`.
    File(PathBuf),
}

/// Why the options of an object are refused. No variant holds a token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The object takes no such option. `valid` lists the ones that it takes.
    #[error("invalid option \"{name}\"")]
    #[expect(missing_docs, reason = "the variant's comment names its fields")]
    Unknown { name: String, valid: Vec<&'static str> },
    /// The value is invalid. `reason` continues the message.
    #[error("invalid value for option \"{name}\": {reason}")]
    #[expect(missing_docs, reason = "the variant's comment names its fields")]
    Value { name: &'static str, reason: String },
    /// A required option is absent.
    #[error("option \"{0}\" is required")]
    Missing(&'static str),
    /// A user mapping has both token options, or neither.
    #[error("a user mapping needs exactly one of the options \"token\" and \"token_file\"")]
    NotOneToken,
}

impl OptionError {
    /// The HINT: what to write instead.
    pub fn hint(&self) -> Option<String> {
        match self {
            OptionError::Unknown { valid, .. } if valid.is_empty() => {
                Some("There are no valid options in this context.".into())
            }
            OptionError::Unknown { valid, .. } => {
                Some(format!("Valid options in this context are: {}.", valid.join(", ")))
            }
            OptionError::Value { name: "url", .. } => {
                Some("Write it as url 'https://api.example.com'; the extension appends /v1/mutations/run.".into())
            }
            OptionError::Missing("url") => Some("Add OPTIONS (url 'https://api.example.com').".into()),
            OptionError::NotOneToken => Some(
                "Write OPTIONS (token_file 'prod'), or OPTIONS (token '...') if dumps may contain the token.".into(),
            ),
            _ => None,
        }
    }
}

/// One option: its name, and the function that reads its value into the raw options `T`.
struct Rule<T> {
    name: &'static str,
    take: fn(&mut T, &str) -> Result<(), String>,
}

/// The options of a server as written, before defaults and before rules that involve several options.
#[derive(Default)]
struct RawServer {
    base: Option<Uri>,
    connect_timeout: Option<Duration>,
    request_timeout: Option<Duration>,
    max_response_bytes: Option<u64>,
    ca_file: Option<PathBuf>,
    max_batch: Option<u32>,
    atomic_batches: bool,
    ordered_replies: bool,
    idempotency_header: Option<HeaderName>,
    max_in_flight: Option<u32>,
    max_requests_per_second: Option<u32>,
    max_retry_age: Option<Duration>,
    max_await: Option<Duration>,
    allow_http: bool,
}

#[derive(Default)]
struct RawMapping {
    token: Option<Secret>,
    token_file: Option<PathBuf>,
}

const SERVER_RULES: &[Rule<RawServer>] = &[
    Rule { name: "url", take: |raw, value| base_url(value).map(|url| raw.base = Some(url)) },
    Rule {
        name: "connect_timeout_ms",
        take: |raw, value| milliseconds(value).map(|timeout| raw.connect_timeout = Some(timeout)),
    },
    Rule {
        name: "request_timeout_ms",
        take: |raw, value| milliseconds(value).map(|timeout| raw.request_timeout = Some(timeout)),
    },
    Rule {
        name: "max_response_bytes",
        // Postgres cannot store a larger reply: jsonb holds at most 256 MB, and palloc at most 1 GB.
        take: |raw, value| number(value, 1, 1 << 30).map(|bytes| raw.max_response_bytes = Some(bytes)),
    },
    Rule { name: "ca_file", take: |raw, value| absolute_path(value).map(|path| raw.ca_file = Some(path)) },
    Rule {
        name: "max_batch",
        take: |raw, value| number(value, 1, 10_000).map(|records| raw.max_batch = Some(records as u32)),
    },
    Rule { name: "atomic_batches", take: |raw, value| boolean(value).map(|yes| raw.atomic_batches = yes) },
    Rule { name: "ordered_replies", take: |raw, value| boolean(value).map(|yes| raw.ordered_replies = yes) },
    Rule {
        name: "idempotency_header",
        take: |raw, value| header_name(value).map(|name| raw.idempotency_header = Some(name)),
    },
    Rule {
        name: "max_in_flight",
        take: |raw, value| number(value, 1, 1_000).map(|requests| raw.max_in_flight = Some(requests as u32)),
    },
    Rule {
        name: "max_requests_per_second",
        take: |raw, value| {
            number(value, 1, 100_000).map(|requests| raw.max_requests_per_second = Some(requests as u32))
        },
    },
    Rule { name: "max_retry_age", take: |raw, value| span(value).map(|longest| raw.max_retry_age = Some(longest)) },
    Rule { name: "max_await_ms", take: |raw, value| milliseconds(value).map(|longest| raw.max_await = Some(longest)) },
    Rule { name: "allow_http", take: |raw, value| boolean(value).map(|yes| raw.allow_http = yes) },
];

const MAPPING_RULES: &[Rule<RawMapping>] = &[
    Rule {
        name: "token",
        take: |raw, value| {
            raw.token = Some(Secret::new(value).map_err(|error| error.to_string())?);
            Ok(())
        },
    },
    Rule { name: "token_file", take: |raw, value| relative_path(value).map(|path| raw.token_file = Some(path)) },
];

/// The options that name files on the database host. A role that may set them can make Postgres read those files.
pub const FILE_OPTIONS: &[&str] = &["ca_file", "token_file"];

/// Reads the options of a server object, as name and value.
pub fn read_server(options: &[(String, String)]) -> Result<ServerOptions, OptionError> {
    let raw = read(SERVER_RULES, options)?;
    let uri = raw.base.ok_or(OptionError::Missing("url"))?;
    if uri.scheme() == Some(&Scheme::HTTP) && !raw.allow_http && !is_loopback(&uri) {
        let reason = "it would send the token unencrypted; use https, or set the option \"allow_http\"".into();
        return Err(OptionError::Value { name: "url", reason });
    }
    Ok(ServerOptions {
        uri,
        // A connection that takes longer rarely succeeds.
        connect_timeout: raw.connect_timeout.unwrap_or(Duration::from_secs(5)),
        // The slowest provider needs up to half of this for a full batch.
        request_timeout: raw.request_timeout.unwrap_or(Duration::from_secs(60)),
        max_response_bytes: raw.max_response_bytes.unwrap_or(64 << 20),
        ca_file: raw.ca_file,
        // Salesforce accepts no larger batch. The reference lists the limits of other providers.
        max_batch: raw.max_batch.unwrap_or(200),
        atomic_batches: raw.atomic_batches,
        ordered_replies: raw.ordered_replies,
        idempotency_header: raw.idempotency_header,
        // Few APIs refuse so many at once.
        max_in_flight: raw.max_in_flight.unwrap_or(8),
        max_requests_per_second: raw.max_requests_per_second,
        // An outage that begins on a Friday is seen on Monday.
        max_retry_age: raw.max_retry_age.unwrap_or(Duration::from_secs(3 * 86_400)),
        max_await: raw.max_await.unwrap_or(Duration::from_secs(300)),
    })
}

/// Reads the options of a user mapping, as name and value.
pub fn read_user_mapping(options: &[(String, String)]) -> Result<TokenOption, OptionError> {
    match read(MAPPING_RULES, options)? {
        RawMapping { token: Some(secret), token_file: None } => Ok(TokenOption::Inline(secret)),
        RawMapping { token: None, token_file: Some(path) } => Ok(TokenOption::File(path)),
        _ => Err(OptionError::NotOneToken),
    }
}

/// Checks an object that takes no options, such as the foreign-data wrapper. Any option is an error.
pub fn reject_all(options: &[(String, String)]) -> Result<(), OptionError> {
    read::<()>(&[], options)
}

fn read<T: Default>(rules: &[Rule<T>], options: &[(String, String)]) -> Result<T, OptionError> {
    let mut raw = T::default();
    for (name, value) in options {
        let Some(rule) = rules.iter().find(|rule| rule.name == name) else {
            let valid = rules.iter().map(|rule| rule.name).collect();
            return Err(OptionError::Unknown { name: name.clone(), valid });
        };
        (rule.take)(&mut raw, value).map_err(|reason| OptionError::Value { name: rule.name, reason })?;
    }
    Ok(raw)
}

/// The address of the mutation endpoint for the option `url`.
fn base_url(value: &str) -> Result<Uri, String> {
    // The parser accepts other characters in a path, and they would reach the request line.
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it must be printable ASCII, with other characters as %XX".into());
    }
    let uri: Uri = value.parse().map_err(|error| format!("it is not a URL ({error})"))?;
    let scheme = uri.scheme().ok_or("it must begin with https:// or http://")?;
    if *scheme != Scheme::HTTPS && *scheme != Scheme::HTTP {
        return Err("it must begin with https:// or http://".into());
    }
    let authority = uri.authority().ok_or("it names no host")?;
    if authority.as_str().contains('@') {
        return Err("it must not contain a user or a password".into());
    }
    if authority.host().is_empty() {
        return Err("it names no host".into());
    }
    // Other URL parsers remove the brackets and resolve the rest as a name.
    if authority.host().starts_with('[') && ipv6_literal(authority.host()).is_none() {
        return Err("only an IPv6 address can be in brackets".into());
    }
    // The parser ignores a port that is not a number, and the token would then go to the default port.
    let port = &authority.as_str()[authority.host().len()..];
    if !port.is_empty() && authority.port_u16().is_none_or(|number| number == 0 || port != format!(":{number}")) {
        return Err("its port must be a number from 1 to 65535".into());
    }
    if uri.query().is_some() || value.contains('#') {
        return Err("it must not have a query or a fragment".into());
    }
    let whole = format!("{scheme}://{authority}{}{MUTATION_PATH}", uri.path().trim_end_matches('/'));
    whole.parse().map_err(|error| format!("it is not a URL ({error})"))
}

/// The address of a host that is written as `[::1]`.
fn ipv6_literal(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Whether `uri` leads to the database host itself. It does not resolve names, since a resolver could be spoofed.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || ipv6_literal(host).is_some_and(|address| address.is_loopback())
}

fn number(value: &str, least: u64, most: u64) -> Result<u64, String> {
    let range = least..=most;
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("it must be a whole number from {least} to {most}")),
    }
}

/// A time limit from one millisecond to one day.
fn milliseconds(value: &str) -> Result<Duration, String> {
    number(value, 1, 86_400_000).map(Duration::from_millis)
}

/// A time from one second to ten years: a number of seconds, or a number with a unit as Postgres' settings have it.
fn span(value: &str) -> Result<Duration, String> {
    const UNITS: &[(&[&str], u64)] = &[
        (&["", "s", "second", "seconds"], 1),
        (&["min", "minute", "minutes"], 60),
        (&["h", "hour", "hours"], 3_600),
        (&["d", "day", "days"], 86_400),
    ];
    const MOST: u64 = 10 * 366 * 86_400;
    let value = value.trim();
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = value.split_at(digits);
    let unit = UNITS.iter().find(|(names, _)| names.contains(&unit.trim_start()));
    let seconds = number.parse::<u64>().ok().zip(unit).and_then(|(number, (_, factor))| number.checked_mul(*factor));
    match seconds {
        Some(seconds) if (1..=MOST).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err("it must be a time from 1 s to 3660 d, such as 90 s, 30 min, 12 h or 3 d".into()),
    }
}

/// A boolean, in the words that Postgres accepts.
fn boolean(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err("it must be true or false".into()),
    }
}

fn absolute_path(value: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(value);
    if path.is_absolute() { Ok(path) } else { Err("it must be an absolute path".into()) }
}

/// A path that stays below the directory it is joined to.
fn relative_path(value: &str) -> Result<PathBuf, String> {
    use std::path::Component;
    let path = PathBuf::from(value);
    let stays = path.components().all(|part| matches!(part, Component::Normal(_)));
    if stays && !value.is_empty() {
        Ok(path)
    } else {
        Err("it must be the path of a file below sequin.secrets_directory".into())
    }
}

/// A request header that the extension does not set for another purpose.
fn header_name(value: &str) -> Result<HeaderName, String> {
    const RESERVED: &[HeaderName] = &[
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::HOST,
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::USER_AGENT,
        header::EXPECT,
        header::UPGRADE,
        header::TE,
    ];
    let name: HeaderName = value.parse().map_err(|_| "it is not a header name")?;
    if RESERVED.contains(&name) { Err("the extension uses that header for another purpose".into()) } else { Ok(name) }
}

#[cfg(test)]
mod tests;
