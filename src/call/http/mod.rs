//! One HTTP exchange on a kept connection, which Postgres can interrupt at any moment.
//!
//! The protocol is ureq's; the socket, the waits and the look-up are ours ([`transport`], [`connector`], [`resolver`]),
//! because ureq's own cannot be cancelled. A request is sent once: nothing here repeats one, ureq never does, and
//! redirects are not followed. What comes back is an observation, not a verdict: `mutation::outcome` judges.

mod ca_roots;
mod connector;
mod progress;
mod resolver;
mod tls_records;
mod transport;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ureq::http::{Response, Uri};
use ureq::tls::{TlsConfig, TlsProvider};
use ureq::unversioned::transport::{Connector, RustlsConnector};
use ureq::{Agent, Body};

use crate::pg::interrupt::{self, Interrupted};
use crate::pg::wait::Unready;

use connector::{LatchConnector, ReadyConnector};

/// Servers commonly close an idle connection after 5 seconds (Node) to 75 (nginx), firewalls forget it later and say
/// nothing. Each reuse is preceded by a look at the socket; one that is older than this is not even looked at.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// No API needs more; ten thousand header lines from a broken one shall not fill the memory.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// How a step below ureq failed.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("timed out")]
    TimedOut,
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<Unready> for TransportError {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::TimedOut => TransportError::TimedOut,
            Unready::Interrupted(interrupted) => TransportError::Interrupted(interrupted),
        }
    }
}

/// Where requests go and how long they may take.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The whole address of the operation, `https://host[:port]/path`.
    pub uri: Uri,
    /// For look-up, connecting and TLS handshake together.
    pub connect_timeout: Duration,
    /// For everything, to which the caller adds what it asked the API to wait.
    pub request_timeout: Duration,
    pub max_response_bytes: u64,
    /// Certificates of authorities in PEM, instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// What was seen of one exchange.
pub enum Exchange {
    /// Not one byte of the request has left.
    NotSent(String),
    /// Bytes of the request have left; then the connection failed, or what came was not HTTP.
    Cut(String),
    /// Bytes of the request have left; then no reply came within this time.
    TimedOut(Duration),
    /// A status came, and a body, or part of one.
    Reply { status: u16, headers: ReplyHeaders, body: ReplyBody },
}

/// The headers of a reply that say something, as they came.
#[derive(Default)]
pub struct ReplyHeaders {
    pub retry_after: Option<String>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
}

impl ReplyHeaders {
    fn of(map: &HeaderMap) -> Self {
        let text = |name| map.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        ReplyHeaders {
            retry_after: text(header::RETRY_AFTER),
            content_type: text(header::CONTENT_TYPE),
            content_encoding: text(header::CONTENT_ENCODING),
        }
    }
}

impl Exchange {
    /// The reply's status, if there was a reply.
    pub fn status(&self) -> Option<u16> {
        match self {
            Exchange::Reply { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// What was read of a reply's body.
pub enum ReplyBody {
    Whole(Vec<u8>),
    /// It ended early.
    Truncated {
        beginning: Vec<u8>,
        cause: String,
    },
    /// Nothing of it was read if its length was announced.
    TooLarge {
        beginning: Vec<u8>,
    },
    /// It was not looked at, because the headers before it are not HTTP.
    Unread {
        cause: String,
    },
}

/// A request header of the caller's.
pub type Header = (HeaderName, HeaderValue);

/// What each request says. ureq would write it anew for each, the host from the parts of the address.
fn own_headers(uri: &Uri) -> Vec<Header> {
    let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = match (uri.authority(), uri.port_u16()) {
        (Some(authority), Some(port)) if port != default_port => authority.as_str(),
        _ => uri.host().unwrap_or_default(),
    };
    vec![
        (header::HOST, HeaderValue::from_str(host).expect("an address is printable ASCII")),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::USER_AGENT, HeaderValue::from_static(concat!("sequin_mutations/", env!("CARGO_PKG_VERSION")))),
        (header::ACCEPT, HeaderValue::from_static("application/json")),
        (header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
    ]
}

/// A client for one endpoint, with its own connections, which close when it is dropped.
pub struct Client {
    agent: Agent,
    endpoint: Endpoint,
    headers: Vec<Header>,
}

impl Client {
    /// Fails, in words, if the certificates cannot be read.
    pub fn new(endpoint: Endpoint) -> Result<Self, String> {
        let ciphers = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = TlsConfig::builder().provider(TlsProvider::Rustls).unversioned_rustls_crypto_provider(ciphers);
        if endpoint.uri.scheme_str() == Some("https") {
            tls = tls.root_certs(ca_roots::load(endpoint.ca_file.as_deref())?);
        }
        let config = Agent::config_builder()
            // The error body says what the API objects to.
            .http_status_as_error(false)
            // The address comes from the server object and from nowhere else.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls.build())
            .max_response_header_size(MAX_HEADER_BYTES)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(MAX_IDLE)
            .build();
        let connector = ().chain(LatchConnector).chain(RustlsConnector::default()).chain(ReadyConnector);
        let agent = Agent::with_parts(config, connector, resolver::NoopResolver);
        let headers = own_headers(&endpoint.uri);
        Ok(Client { agent, endpoint, headers })
    }

    /// Sends `body` once, as JSON, and reads the reply. `patience` is added to the endpoint's request timeout.
    ///
    /// An interrupt of Postgres ends this call as that interrupt, with nothing of ureq left on the stack.
    pub fn post(&self, headers: impl IntoIterator<Item = Header>, body: &[u8], patience: Duration) -> Exchange {
        let endpoint = &self.endpoint;
        let timeout = endpoint.request_timeout.saturating_add(patience);
        interrupt::forget();
        progress::begin(endpoint.connect_timeout, timeout);
        let exchange = self.exchange(headers, body, timeout);
        interrupt::resume();
        exchange
    }

    fn exchange(&self, headers: impl IntoIterator<Item = Header>, body: &[u8], timeout: Duration) -> Exchange {
        // A cancel that came while the arguments were read shall not cost a request.
        if interrupt::check().is_err() {
            return Exchange::NotSent(Interrupted.to_string());
        }
        let mut request = self.agent.post(&self.endpoint.uri);
        // All at once, because each step of a builder moves the whole request. There is no map if ureq objects to the
        // address, which `send` then says.
        if let Some(map) = request.headers_mut() {
            map.extend(self.headers.iter().cloned());
            map.extend(headers);
        }
        match request.send(body) {
            Ok(reply) => self.read(reply),
            Err(error) if is_about_headers(&error) && progress::status().is_some() => Exchange::Reply {
                status: progress::status().unwrap_or_default(),
                headers: ReplyHeaders::default(),
                body: ReplyBody::Unread { cause: describe(&error) },
            },
            Err(ureq::Error::Timeout(_)) if progress::was_sent() => Exchange::TimedOut(timeout),
            Err(error) if progress::was_sent() => Exchange::Cut(describe(&error)),
            Err(error) => Exchange::NotSent(describe(&error)),
        }
    }

    fn read(&self, mut reply: Response<Body>) -> Exchange {
        let status = reply.status().as_u16();
        let headers = ReplyHeaders::of(reply.headers());
        Exchange::Reply { status, headers, body: self.read_body(reply.body_mut()) }
    }

    fn read_body(&self, body: &mut Body) -> ReplyBody {
        let limit = self.endpoint.max_response_bytes;
        let announced = body.content_length().unwrap_or(0);
        if announced > limit {
            return ReplyBody::TooLarge { beginning: Vec::new() };
        }
        // What is announced is taken at its word only up to a size that does no harm if it was a lie.
        const TRUSTED_BYTES: u64 = 16 << 20;
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(announced.min(TRUSTED_BYTES) as usize).is_err() {
            return ReplyBody::Truncated { beginning: Vec::new(), cause: "out of memory".to_owned() };
        }
        // One more than allowed, to tell a body of just that size from a larger one.
        let mut reader = body.as_reader().take(limit.saturating_add(1));
        match reader.read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > limit => ReplyBody::TooLarge { beginning: bytes },
            Ok(_) => ReplyBody::Whole(bytes),
            Err(error) => ReplyBody::Truncated { beginning: bytes, cause: describe(&ureq::Error::from(error)) },
        }
    }
}

/// Whether ureq has refused what came instead of a reply's headers.
fn is_about_headers(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::Protocol(_) | ureq::Error::Http(_) | ureq::Error::LargeResponseHeader(..))
}

/// An error of ureq in the words of someone who looks at a network.
fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "timed out".to_owned(),
        // Without ureq's "other error: " in front.
        ureq::Error::Other(inner) => inner.to_string(),
        ureq::Error::Io(inner) => inner.to_string(),
        other => other.to_string(),
    }
}
