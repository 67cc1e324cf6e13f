//! One HTTP exchange, on a connection that is kept for the next one.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ureq::http::{Response, Uri};
use ureq::tls::{TlsConfig, TlsProvider};
use ureq::unversioned::transport::{Connector, RustlsConnector};
use ureq::{Agent, Body as ReplyBody};

use crate::pg::interrupt;
use crate::pg::session;
use contract::outcome::{Body, ContentHeaders, Observation};
use contract::retry_after;

use super::connector::{ReadyConnector, SocketConnector};
use super::error::describe;
use super::wait::WaitKind;
use super::{ca_roots, progress, resolver};

/// Servers commonly close idle connections after 5 seconds (Node) to 75 (nginx). Firewalls forget them later, without a
/// sign. ureq checks the socket before each reuse; it does not reuse a connection that was idle for longer than this.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// More than any API needs. A broken one must not fill the memory with header lines.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Room is reserved for the announced length of a body up to this size. A larger body grows as it arrives: the
/// announcement may be wrong.
const MAX_RESERVED_BYTES: u64 = 16 << 20;

/// Where requests go, and their limits.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The address of the operation, `https://host[:port]/path`.
    pub uri: Uri,
    /// For lookup, connecting and TLS handshake together.
    pub connect_timeout: Duration,
    /// For the whole exchange, without the time that the API waits for consumers.
    pub request_timeout: Duration,
    pub max_response_bytes: u64,
    /// Certificates of authorities in PEM, instead of the system's.
    pub ca_file: Option<PathBuf>,
}

pub type Header = (HeaderName, HeaderValue);

/// The input and output buffers of a connection of a thread, of which there are many.
const THREAD_BUFFER_BYTES: usize = 16 * 1024;

/// The client of one endpoint, with its own connections, which close when the client is dropped.
pub struct Client {
    agent: Agent,
    tls: TlsConfig,
    wait_kind: WaitKind,
    endpoint: Endpoint,
    /// The headers of each request. ureq would format its own again for each one.
    headers: Vec<Header>,
}

impl Client {
    /// Fails if the certificates cannot be read.
    pub fn new(endpoint: Endpoint) -> Result<Self, String> {
        let ciphers = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = TlsConfig::builder().provider(TlsProvider::Rustls).unversioned_rustls_crypto_provider(ciphers);
        if endpoint.uri.scheme_str() == Some("https") {
            tls = tls.root_certs(ca_roots::load(endpoint.ca_file.as_deref())?);
        }
        let tls = tls.build();
        let headers = fixed_headers(&endpoint.uri);
        Ok(Client { agent: agent(&tls, WaitKind::Latch, 1), tls, wait_kind: WaitKind::Latch, endpoint, headers })
    }

    /// A client of the same endpoint for requests that are sent on threads, up to `connections` at once.
    pub fn for_threads(&self, connections: usize) -> Client {
        let wait_kind = WaitKind::Poll;
        Client {
            agent: agent(&self.tls, wait_kind, connections),
            tls: self.tls.clone(),
            wait_kind,
            endpoint: self.endpoint.clone(),
            headers: self.headers.clone(),
        }
    }

    /// Sends `body` once, as JSON, and reads the reply. The timeout is the endpoint's plus `consumer_wait`.
    ///
    /// An interrupt is raised when the exchange is over, with no frame of ureq left on the stack.
    pub fn post(&self, headers: impl IntoIterator<Item = Header>, body: &[u8], consumer_wait: Duration) -> Observation {
        let endpoint = &self.endpoint;
        let timeout = endpoint.request_timeout.saturating_add(consumer_wait);
        progress::begin(self.wait_kind, endpoint.connect_timeout, timeout);
        if self.wait_kind == WaitKind::Poll {
            return self.exchange(headers, body, timeout);
        }
        interrupt::forget();
        let observation = self.exchange(headers, body, timeout);
        interrupt::resume();
        observation
    }

    fn exchange(&self, headers: impl IntoIterator<Item = Header>, body: &[u8], timeout: Duration) -> Observation {
        // A cancel that arrived earlier must not cost a request.
        if let Err(error) = self.wait_kind.check() {
            return Observation::NotSent { cause: error.to_string() };
        }
        let mut request = self.agent.post(&self.endpoint.uri);
        // One extend, because each step of ureq's builder moves the whole request. There is no map if ureq rejects the
        // address; `send` then returns that error.
        if let Some(map) = request.headers_mut() {
            map.extend(self.headers.iter().cloned());
            map.extend(headers);
        }
        match request.send(body) {
            Ok(reply) => self.read(reply),
            Err(error) => failed(&error, timeout),
        }
    }

    fn read(&self, mut reply: Response<ReplyBody>) -> Observation {
        let text =
            |map: &HeaderMap, name| map.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let headers = reply.headers();
        let content = ContentHeaders {
            media_type: text(headers, header::CONTENT_TYPE),
            encoding: text(headers, header::CONTENT_ENCODING),
        };
        let retry_after = text(headers, header::RETRY_AFTER);
        Observation::Reply {
            status: reply.status().as_u16(),
            retry_after: retry_after.and_then(|header| retry_after::parse(&header, session::unix_now())),
            content,
            body: self.read_body(reply.body_mut()),
        }
    }

    fn read_body(&self, body: &mut ReplyBody) -> Body {
        let limit = self.endpoint.max_response_bytes;
        let announced = body.content_length().unwrap_or(0);
        if announced > limit {
            return Body::TooLarge { beginning: Vec::new(), limit };
        }
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(announced.min(MAX_RESERVED_BYTES) as usize).is_err() {
            return Body::Truncated { beginning: Vec::new(), cause: "out of memory".to_owned() };
        }
        // One byte more, to detect a body that is longer than the limit.
        let mut reader = body.as_reader().take(limit.saturating_add(1));
        match reader.read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > limit => Body::TooLarge { beginning: bytes, limit },
            Ok(_) => Body::Whole(bytes),
            Err(error) => Body::Truncated { beginning: bytes, cause: describe(&ureq::Error::from(error)) },
        }
    }
}

/// `connections` may be idle at once.
fn agent(tls: &TlsConfig, wait_kind: WaitKind, connections: usize) -> Agent {
    let config = Agent::config_builder()
        // The body of an error says what the API rejects.
        .http_status_as_error(false)
        // Only the foreign server says where requests go: no proxy from the environment, no redirects.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .tls_config(tls.clone())
        .max_response_header_size(MAX_HEADER_BYTES)
        .max_idle_connections(connections)
        .max_idle_connections_per_host(connections)
        .max_idle_age(MAX_IDLE);
    let config = match wait_kind {
        WaitKind::Latch => config,
        WaitKind::Poll => config.input_buffer_size(THREAD_BUFFER_BYTES).output_buffer_size(THREAD_BUFFER_BYTES),
    };
    let connector = ().chain(SocketConnector { wait_kind }).chain(RustlsConnector::default()).chain(ReadyConnector);
    Agent::with_parts(config.build(), connector, resolver::NoopResolver)
}

/// The observation of an exchange in which ureq returned `error`.
fn failed(error: &ureq::Error, timeout: Duration) -> Observation {
    let is_about_headers =
        matches!(error, ureq::Error::Protocol(_) | ureq::Error::Http(_) | ureq::Error::LargeResponseHeader(..));
    match (error, progress::status()) {
        (_, Some(status)) if is_about_headers => Observation::Reply {
            status,
            retry_after: None,
            content: ContentHeaders::default(),
            body: Body::InvalidHeaders { cause: describe(error) },
        },
        (ureq::Error::Timeout(_), _) if progress::was_sent() => Observation::TimedOut { after: timeout },
        _ if progress::was_sent() => Observation::ConnectionLost { cause: describe(error) },
        _ => Observation::NotSent { cause: describe(error) },
    }
}

fn fixed_headers(uri: &Uri) -> Vec<Header> {
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
