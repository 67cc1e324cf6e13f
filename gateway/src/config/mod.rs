//! The configuration, checked: what the rest of the gateway reads.
//!
//! - `file`         the file as a whole, its tokens and its listeners
//! - `sync`         one account: `auth`, `provider`, limits
//! - `secret`       keys that lead to a secret
//! - `tls`          certificates
//! - `section`      one table of the file, key by key
//! - `value`        durations, sizes, addresses, URLs
//! - `surroundings` the files and variables that the file names
//! - `fault`        what is wrong, and where

mod auth;
mod fault;
mod file;
mod provider;
mod secret;
mod section;
mod surroundings;
mod sync;
mod tls;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use url::Url;

use crate::providers::Provider;

pub use fault::{Fault, Faults};
pub use file::{load, parse};
pub use surroundings::{Machine, Surroundings};

/// A whole configuration. Every secret in it has been read.
pub struct Config {
    /// Where the Mutation API listens. Port 0: the system chooses one.
    pub listen: SocketAddr,
    /// None: plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Where `/live`, `/ready` and `/metrics` listen. None: nowhere.
    pub admin: Option<SocketAddr>,
    /// Bytes in a request's body.
    pub max_body: usize,
    /// How long requests in flight may take after SIGTERM.
    pub grace: Duration,
    pub clients: Clients,
    /// A directive of tracing's `EnvFilter`: `info`.
    pub log: String,
    pub tokens: Vec<Token>,
    /// By sync_id.
    pub syncs: BTreeMap<String, Sync>,
    pub consumers: Vec<Consumer>,
}

/// A table that gets a copy of the records of one collection.
#[derive(Clone)]
pub struct Consumer {
    /// The name in `await_consumer_ids`.
    pub id: String,
    /// The collection_id.
    pub collection: String,
    pub database: tokio_postgres::Config,
    /// Is created if it does not exist.
    pub table: String,
}

/// What clients may ask of the listener, so that a few slow ones do not keep others out.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    /// From accepting a connection to the whole head of its first request, the TLS handshake included.
    pub head_timeout: Duration,
    /// How long the client may leave a part of a reply unread.
    pub write_timeout: Duration,
    /// From a reply to the whole head of the next request. Longer than clients keep their connections, so that the
    /// client ends them: a request that crosses the server's end has an unknown outcome.
    pub idle_timeout: Duration,
    /// Connections at once. Others wait to be accepted.
    pub max_connections: usize,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients {
            head_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            max_connections: 2_000,
        }
    }
}

/// A client's token, and the syncs that it may see.
#[derive(Clone)]
pub struct Token {
    /// Its name in the file, for logs and metrics.
    pub name: String,
    pub secret: SecretString,
    pub syncs: BTreeSet<String>,
}

/// One sync: one account at one provider.
#[derive(Clone)]
pub struct Sync {
    pub backend: Backend,
    pub limit: Limit,
    /// How long a mutation may take, waits and repetitions included.
    pub timeout: Duration,
}

#[derive(Clone)]
pub enum Backend {
    /// Records in this process, for a first look and for tests.
    Memory,
    Http(Box<HttpBackend>),
}

/// A provider that is reached over HTTP.
#[derive(Clone)]
pub struct HttpBackend {
    pub provider: Arc<dyn Provider>,
    /// Without a slash at its end.
    pub base_url: Url,
    pub auth: Auth,
    /// Headers of every request, such as the version of the provider's API.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long one request to the provider may take.
    pub request_timeout: Duration,
    /// Bytes in a provider's reply.
    pub max_reply: usize,
}

/// The gateway's own limits for one account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit {
    /// Requests that begin in a second. None: no limit.
    pub per_second: Option<f64>,
    /// Requests at once. None: no limit.
    pub concurrent: Option<usize>,
}

/// How a provider knows the account.
#[derive(Clone)]
pub enum Auth {
    None,
    /// `authorization: Bearer TOKEN`.
    Bearer {
        token: SecretString,
    },
    /// `authorization: Basic base64(user:password)`.
    Basic {
        user: String,
        password: SecretString,
    },
    /// A header with the secret as its value.
    Header {
        name: HeaderName,
        value: SecretString,
    },
    /// OAuth 2 client credentials (RFC 6749, 4.4).
    ClientCredentials {
        client: OauthClient,
    },
    /// OAuth 2 JWT bearer (RFC 7523).
    JwtBearer {
        client: OauthClient,
        jwt: Jwt,
    },
    /// OAuth 2 refresh token (RFC 6749, 6). The file is rewritten with each new refresh token, before it is used.
    RefreshToken {
        client: OauthClient,
        refresh_token_file: PathBuf,
    },
}

impl Auth {
    /// Where tokens are fetched. None: the credential is not fetched.
    pub fn token_url(&self) -> Option<&Url> {
        match self {
            Auth::ClientCredentials { client } | Auth::JwtBearer { client, .. } | Auth::RefreshToken { client, .. } => {
                Some(&client.token_url)
            }
            Auth::None | Auth::Bearer { .. } | Auth::Basic { .. } | Auth::Header { .. } => None,
        }
    }
}

/// What a token endpoint wants to know of its client.
#[derive(Clone)]
pub struct OauthClient {
    pub token_url: Url,
    /// Empty for a JWT bearer that needs none.
    pub client_id: String,
    pub client_secret: Option<SecretString>,
    pub scope: Option<String>,
    /// In the header `authorization: Basic`, or in the form.
    pub style: ClientStyle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientStyle {
    Basic,
    Form,
}

/// The claims and the key of an assertion.
#[derive(Clone)]
pub struct Jwt {
    pub issuer: String,
    pub subject: Option<String>,
    pub audience: String,
    /// `RS256`, `ES256`, ...
    pub algorithm: jsonwebtoken::Algorithm,
    /// PEM.
    pub private_key: SecretString,
    pub key_id: Option<String>,
    /// From now to `exp`.
    pub lifetime: Duration,
}
