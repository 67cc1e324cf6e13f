//! The one HTTP client: a request leaves at most once, and the caller learns whether it can have left.
//!
//! It is hyper's client and no library above it, because the difference between "not sent" and "lost" is the gateway's
//! most important fact. hyper tells when it has given a request to a connection. Before that moment nothing was sent.
//! It follows no redirect, reads no proxy from the environment, asks for no compression and repeats nothing. The one
//! exception: hyper moves a request to another connection if its first one was closed before it took the request.

mod tls;

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::providers::ProviderReply;

pub use tls::{TlsError, Trust};

/// A connection that has been idle for longer is not used again. It is below the 5 s of Node.js, the shortest usual
/// limit of servers: a request that meets a server's own close is lost, and no one can say whether it was read.
const IDLE: Duration = Duration::from_secs(4);

/// Between the signs of life on a connection whose reply takes long.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// For every request to one account. Clones share the connections.
#[derive(Clone)]
pub struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    limits: Limits,
}

/// How long a request may take, and how much may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection is there, with DNS and TLS.
    pub connect: Duration,
    /// The whole exchange.
    pub request: Duration,
    /// Bytes in a reply's body.
    pub reply: usize,
}

/// What became of one request.
#[derive(Debug)]
pub enum Sent {
    /// A whole reply. A redirect is one too.
    Reply(ProviderReply),
    /// No byte of the request has left.
    NotSent(Reason),
    /// It may have been carried out.
    Lost(Reason),
}

/// Why there is no reply, in words for a person: no header, no body and no address with a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub String);

impl Client {
    /// # Errors
    /// The authorities cannot be read.
    pub fn new(limits: Limits, trust: &Trust) -> Result<Client, TlsError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEP_ALIVE));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(trust)?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .build(connector);
        Ok(Client { http, limits })
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Sends a request once and reads the whole reply.
    pub async fn send(&self, method: Method, uri: Uri, headers: HeaderMap, body: Bytes, deadline: Instant) -> Sent {
        let now = Instant::now();
        let deadline = deadline.min(now + self.limits.request);
        if deadline <= now {
            return Sent::NotSent(Reason("no time is left".into()));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let agent = HeaderValue::from_static(concat!("sequin-gateway/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(USER_AGENT).or_insert(agent);

        let mut captured = capture_connection(&mut request);
        let mut exchange = self.http.request(request);
        let connected_by = deadline.min(now + self.limits.connect);
        let early = tokio::select! {
            biased;
            reply = &mut exchange => Some(reply),
            _ = captured.wait_for_connection_metadata() => None,
            () = sleep_until(connected_by) => return Sent::NotSent(Reason("no connection in time".into())),
        };
        let reply = match early {
            Some(reply) => Ok(reply),
            None => timeout_at(deadline, exchange).await,
        };
        match reply {
            Ok(Ok(reply)) => self.read(reply, deadline).await,
            // The request found no connection, or none after those that were closed before they took it. One that failed
            // before it was ready for a request has not taken it either.
            Ok(Err(error)) if error.is_connect() || captured.connection_metadata().is_none() => {
                Sent::NotSent(reason(&error))
            }
            Ok(Err(error)) => Sent::Lost(reason(&error)),
            Err(_) => Sent::Lost(Reason("no reply in time".into())),
        }
    }

    async fn read(&self, reply: http::Response<hyper::body::Incoming>, deadline: Instant) -> Sent {
        let (head, mut body) = reply.into_parts();
        let mut whole = BytesMut::new();
        loop {
            match timeout_at(deadline, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let Some(data) = frame.data_ref() else { continue };
                    if whole.len() + data.len() > self.limits.reply {
                        return Sent::Lost(Reason(format!("the reply has more than {} bytes", self.limits.reply)));
                    }
                    whole.extend_from_slice(data);
                }
                Ok(Some(Err(error))) => return Sent::Lost(reason(&error)),
                Ok(None) => break,
                Err(_) => return Sent::Lost(Reason("the reply did not end in time".into())),
            }
        }
        Sent::Reply(ProviderReply { status: head.status.as_u16(), headers: head.headers, body: whole.freeze() })
    }
}

/// The last cause, which is the one that helps: `connection refused` under three layers of `client error`.
fn reason(error: &(dyn Error + 'static)) -> Reason {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Reason(cause.to_string())
}
