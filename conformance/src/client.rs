//! HTTP as a client of the API speaks it: no redirects, no repeats, no proxy from the environment.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use rustls::crypto::ring;
use ureq::http::{HeaderName, Request};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, RustlsConnector, TcpConnector, Transport};
use ureq::{Agent, SendBody};

use crate::args::Options;
use crate::exchange::{Authorization, Exchange, Got, Pace, Sent};

/// The most bytes of a reply that are read.
const REPLY_LIMIT: u64 = 256 << 20;
/// The parts of a body that comes slowly.
const SLOW_PARTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(100);

/// A client with a pool of connections of its own.
pub struct Client {
    agent: Agent,
    url: String,
    token: String,
    connections: Arc<AtomicUsize>,
}

impl Client {
    pub fn new(options: &Options) -> Client {
        // The authorities that the system trusts; SSL_CERT_FILE names others.
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(options.timeout))
            .user_agent("sequin-conformance")
            .tls_config(tls.build())
            .build();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Count { connections: connections.clone() };
        let connector = ().chain(TcpConnector::default()).chain(RustlsConnector::default()).chain(count);
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Client { agent, url: options.url.clone(), token: options.token.clone(), connections }
    }

    /// How many connections it has opened.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Sends a request, and reads its reply to the end.
    pub fn send(&self, sent: Sent) -> Exchange {
        let got = self.exchange(&sent);
        Exchange { url: self.url.clone(), sent, got }
    }

    fn exchange(&self, sent: &Sent) -> Result<Got, String> {
        let mut request = Request::builder().method(sent.method).uri(format!("{}{}", self.url, sent.path));
        for (name, value) in &sent.headers {
            request = request.header(*name, value);
        }
        let authorization = match &sent.authorization {
            Authorization::Token => Some(format!("Bearer {}", self.token)),
            Authorization::Missing => None,
            Authorization::Other(value) => Some(value.clone()),
        };
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let answered = match &sent.body {
            None => {
                let request = request.body(()).map_err(|e| e.to_string())?;
                self.agent.run(request)
            }
            Some(body) => {
                if matches!(sent.pace, Pace::Whole | Pace::Slow) {
                    request = request.header(HeaderName::from_static("content-length"), body.len());
                }
                let mut parts = Parts::of(body, sent.pace);
                let request = request.body(SendBody::from_reader(&mut parts)).map_err(|e| e.to_string())?;
                let request = self.agent.configure_request(request).allow_non_standard_methods(true).build();
                self.agent.run(request)
            }
        };
        let mut answered = answered.map_err(|e| e.to_string())?;
        let body = answered.body_mut().with_config().limit(REPLY_LIMIT).read_to_vec().map_err(|e| e.to_string())?;
        Ok(Got { status: answered.status().as_u16(), headers: answered.headers().clone(), body })
    }
}

/// A body that is read in parts, with pauses between them if it is slow.
struct Parts<'a> {
    left: &'a [u8],
    /// The size of a part.
    size: usize,
    pause: Option<Duration>,
    is_first: bool,
}

impl<'a> Parts<'a> {
    fn of(body: &'a [u8], pace: Pace) -> Parts<'a> {
        let (parts, pause) = match pace {
            Pace::Whole => (1, None),
            Pace::Chunked => (SLOW_PARTS, None),
            Pace::Slow | Pace::SlowChunked => (SLOW_PARTS, Some(PAUSE)),
        };
        Parts { left: body, size: body.len().div_ceil(parts).max(1), pause, is_first: true }
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let (Some(pause), false) = (self.pause, self.is_first) {
            thread::sleep(pause);
        }
        self.is_first = false;
        let read = self.left.len().min(self.size).min(buffer.len());
        let (part, left) = self.left.split_at(read);
        buffer[..read].copy_from_slice(part);
        self.left = left;
        Ok(read)
    }
}

/// Counts the connections that are made, and passes them on.
#[derive(Debug)]
struct Count {
    connections: Arc<AtomicUsize>,
}

impl<T: Transport> Connector<T> for Count {
    type Out = T;

    fn connect(&self, _: &ConnectionDetails, connected: Option<T>) -> Result<Option<T>, ureq::Error> {
        self.connections.fetch_add(1, Relaxed);
        Ok(connected)
    }
}
