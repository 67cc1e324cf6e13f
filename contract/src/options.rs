//! The options of servers and user mappings: one table for each, which validates, lists and reads them.
//!
//! The same rule runs when a server is created and when it is used, so a value that was accepted can be used, and one
//! that a newer or older version wrote is refused in the same words.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::header::{self, HeaderName};
use http::uri::Scheme;

use super::secret::Secret;

/// The path of the operation below the server's url.
const OPERATION: &str = "/v1/mutations/run";

/// What a server object says, with the defaults of what it leaves out.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// The whole address of the operation.
    pub uri: Uri,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
    pub max_response_bytes: u64,
    pub ca_file: Option<PathBuf>,
    /// The most records that the outbox and table triggers put into one request.
    pub max_batch: u32,
    /// Whether a refusal of a batch applies nothing of it.
    pub atomic_batches: bool,
    /// Whether a reply has its records in the order of the request.
    pub ordered_replies: bool,
    /// The request header that carries a key for each request.
    pub idempotency_header: Option<HeaderName>,
}

impl ServerOptions {
    /// The most creates that one request may have. The contract promises no order, and an id in another row's place
    /// sends that row's changes to the wrong record.
    pub fn creates_per_request(&self) -> u32 {
        if self.ordered_replies { self.max_batch } else { 1 }
    }
}

/// Where the token of a user mapping is.
#[derive(Clone)]
pub enum Token {
    Inline(Secret),
    /// A file below `sequin.secrets_directory`.
    File(PathBuf),
}

/// What is wrong with the options of an object. It never holds a token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOption {
    #[error("invalid option \"{name}\"")]
    Unknown { name: String, valid: Vec<&'static str> },
    #[error("invalid value for option \"{name}\": {reason}")]
    Value { name: &'static str, reason: String },
    #[error("option \"{0}\" is required")]
    Missing(&'static str),
    #[error("a user mapping needs exactly one of the options \"token\" and \"token_file\"")]
    NotOneToken,
}

impl BadOption {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            BadOption::Unknown { valid, .. } if valid.is_empty() => {
                Some("There are no valid options in this context.".into())
            }
            BadOption::Unknown { valid, .. } => {
                Some(format!("Valid options in this context are: {}.", valid.join(", ")))
            }
            BadOption::Value { name: "url", .. } => {
                Some("Write it as url 'https://api.example.com'; /v1/mutations/run is added to it.".into())
            }
            BadOption::Missing("url") => Some("Add OPTIONS (url 'https://api.example.com').".into()),
            BadOption::NotOneToken => {
                Some("Write OPTIONS (token_file 'prod'), or OPTIONS (token '...') if dumps may hold it.".into())
            }
            _ => None,
        }
    }
}

/// One option: its name, and how its value is taken into the raw options `T`.
struct Rule<T> {
    name: &'static str,
    take: fn(&mut T, &str) -> Result<(), String>,
}

/// The server's options as they are given, before the ones that depend on each other are brought together.
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
        // A jsonb value ends at 256 MB, a palloc at 1 GB; a larger reply could not be stored anyway.
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

/// The options that name files of the server's machine. Who may set them may make Postgres read those files.
pub const FILE_OPTIONS: &[&str] = &["ca_file", "token_file"];

/// Reads the options of a server object.
pub fn server(options: &[(String, String)]) -> Result<ServerOptions, BadOption> {
    let raw = read(SERVER_RULES, options)?;
    let uri = raw.base.ok_or(BadOption::Missing("url"))?;
    if uri.scheme() == Some(&Scheme::HTTP) && !raw.allow_http && !is_loopback(&uri) {
        let reason = "the token would travel unencrypted; use https, or set the option \"allow_http\"".into();
        return Err(BadOption::Value { name: "url", reason });
    }
    Ok(ServerOptions {
        uri,
        // A connection that takes longer does not come.
        connect_timeout: raw.connect_timeout.unwrap_or(Duration::from_secs(5)),
        // Twice what the slowest provider takes for a full batch.
        request_timeout: raw.request_timeout.unwrap_or(Duration::from_secs(60)),
        max_response_bytes: raw.max_response_bytes.unwrap_or(64 << 20),
        ca_file: raw.ca_file,
        // The most that Salesforce takes; see the contract for the others.
        max_batch: raw.max_batch.unwrap_or(200),
        atomic_batches: raw.atomic_batches,
        ordered_replies: raw.ordered_replies,
        idempotency_header: raw.idempotency_header,
    })
}

/// Reads the options of a user mapping.
pub fn user_mapping(options: &[(String, String)]) -> Result<Token, BadOption> {
    match read(MAPPING_RULES, options)? {
        RawMapping { token: Some(secret), token_file: None } => Ok(Token::Inline(secret)),
        RawMapping { token: None, token_file: Some(path) } => Ok(Token::File(path)),
        _ => Err(BadOption::NotOneToken),
    }
}

/// Checks the options of an object that takes none.
pub fn none(options: &[(String, String)]) -> Result<(), BadOption> {
    read::<()>(&[], options)
}

fn read<T: Default>(rules: &[Rule<T>], options: &[(String, String)]) -> Result<T, BadOption> {
    let mut raw = T::default();
    for (name, value) in options {
        let Some(rule) = rules.iter().find(|rule| rule.name == name) else {
            let valid = rules.iter().map(|rule| rule.name).collect();
            return Err(BadOption::Unknown { name: name.clone(), valid });
        };
        (rule.take)(&mut raw, value).map_err(|reason| BadOption::Value { name: rule.name, reason })?;
    }
    Ok(raw)
}

/// The operation's address below the url that the user wrote.
fn base_url(value: &str) -> Result<Uri, String> {
    // The parser lets other characters through in a path, and they would stand in the request's first line.
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it must be printable ASCII, with anything else as %XX".into());
    }
    let uri: Uri = value.parse().map_err(|error| format!("it is not a url ({error})"))?;
    let scheme = uri.scheme().ok_or("it must begin with https:// or http://")?;
    if *scheme != Scheme::HTTPS && *scheme != Scheme::HTTP {
        return Err("it must begin with https:// or http://".into());
    }
    let authority = uri.authority().ok_or("it names no host")?;
    if authority.as_str().contains('@') {
        return Err("it must not hold a user or a password".into());
    }
    if authority.host().is_empty() {
        return Err("it names no host".into());
    }
    // Other readers of urls take the brackets away and look a name up.
    if authority.host().starts_with('[') && ipv6_literal(authority.host()).is_none() {
        return Err("only an IPv6 address can stand in brackets".into());
    }
    // To the parser a port that is no number is none, and the token would go to another port than the one that is meant.
    let port = &authority.as_str()[authority.host().len()..];
    if !port.is_empty() && authority.port_u16().is_none_or(|number| number == 0 || port != format!(":{number}")) {
        return Err("its port must be a number from 1 to 65535".into());
    }
    if uri.query().is_some() || value.contains('#') {
        return Err("it must not have a query or a fragment".into());
    }
    let whole = format!("{scheme}://{authority}{}{OPERATION}", uri.path().trim_end_matches('/'));
    whole.parse().map_err(|error| format!("it is not a url ({error})"))
}

/// The address of a host that is written as `[::1]`.
fn ipv6_literal(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Whether a request to `uri` stays on this machine, without asking a name server, which could lie.
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

/// From one millisecond to a day.
fn milliseconds(value: &str) -> Result<Duration, String> {
    number(value, 1, 86_400_000).map(Duration::from_millis)
}

/// The words that Postgres takes for a boolean.
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
        Err("it must be the name of a file within sequin.secrets_directory".into())
    }
}

/// A header that the extension does not send itself.
fn header_name(value: &str) -> Result<HeaderName, String> {
    const OURS: &[HeaderName] = &[
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
    let name: HeaderName = value.parse().map_err(|_| "it is not the name of a header")?;
    if OURS.contains(&name) { Err("that header has a meaning of its own".into()) } else { Ok(name) }
}

#[cfg(test)]
mod tests;
