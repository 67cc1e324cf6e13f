//! Finds the foreign server of a call, with the token of the current role.
//!
//! The session caches options, connections and tokens until Postgres reports a change of a foreign server, wrapper or
//! user mapping. An altered address or a dropped mapping takes effect with the next call, on a new connection. Postgres
//! may also report that anything may have changed, which happens often on a busy server. Then the versions of the
//! catalog rows decide. The rights of the role are checked on each call: memberships change without a report.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pgrx::pg_sys::Oid;
use ureq::http::HeaderValue;
use ureq::http::header;

use crate::call::http::{Client, Endpoint, Header};
use crate::call::stats;
use crate::pg::catalog::{ChangeCount, Version};
use crate::pg::{catalog, session};
use crate::settings;

use super::error::ServerError;
use super::token_file::TokenFile;
use contract::options::{self, ServerOptions, TokenOption};
use contract::secret::Secret;

/// A foreign server as one role sees it.
#[derive(Clone)]
pub struct Server {
    pub name: String,
    pub oid: Oid,
    shared: Arc<SharedServer>,
    token: Arc<TokenSource>,
    versions: Versions,
}

/// The versions of the catalog rows that a server was loaded from: server and wrapper, and user mapping.
type Versions = (Option<(Version, Version)>, Option<Version>);

/// The part of a server that all roles share. The token is sent with each request.
struct SharedServer {
    options: ServerOptions,
    client: Client,
    /// For the requests of a worker's threads.
    threads_client: OnceLock<Arc<Client>>,
}

enum TokenSource {
    Inline(Secret),
    File(TokenFile),
}

impl Server {
    pub fn options(&self) -> &ServerOptions {
        &self.shared.options
    }

    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// The client for requests that are sent on threads.
    pub fn threads_client(&self) -> Arc<Client> {
        let SharedServer { options, client, threads_client } = &*self.shared;
        Arc::clone(threads_client.get_or_init(|| Arc::new(client.for_threads(options.max_in_flight as usize))))
    }

    /// The [`fingerprint`] of the version that was loaded.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(self.versions)
    }

    /// The current token of the role.
    pub fn token(&self) -> Result<Secret, ServerError> {
        match &*self.token {
            TokenSource::Inline(secret) => Ok(secret.clone()),
            TokenSource::File(file) => file
                .token(settings::secrets_directory())
                .map_err(|problem| ServerError::TokenFile { name: self.name.clone(), problem }),
        }
    }
}

/// The request header that carries `token`.
pub fn authorization(token: &Secret) -> Header {
    // HeaderValue takes a string without spare capacity over, and copies any other.
    let mut value = HeaderValue::try_from(["Bearer ", token.expose()].concat())
        .expect("a Secret is printable ASCII, which a header value may hold");
    value.set_sensitive(true);
    (header::AUTHORIZATION, value)
}

/// How many servers, and how many tokens, a session caches. Each server has a socket and its buffers. A session that
/// alternates between more of them connects more often.
const MAX_ENTRIES: usize = 16;

/// Values from the catalogs, valid as of `as_of`, the oldest first.
struct Cache {
    as_of: ChangeCount,
    servers: Vec<Entry<Oid, (Version, Version), SharedServer>>,
    /// By role and server.
    tokens: Vec<Entry<(Oid, Oid), Version, TokenSource>>,
}

struct Entry<K, V, T> {
    key: K,
    /// Read before the value: a value may be newer than its version, never older.
    version: Option<V>,
    value: Arc<T>,
}

static CACHE: Mutex<Cache> = Mutex::new(Cache::empty(ChangeCount::NONE));

impl Cache {
    const fn empty(as_of: ChangeCount) -> Cache {
        Cache { as_of, servers: Vec::new(), tokens: Vec::new() }
    }

    /// Drops all entries if one of them may be outdated.
    fn invalidate(&mut self, as_of: ChangeCount) {
        if self.as_of.changes != as_of.changes || !self.is_current() {
            *self = Cache::empty(as_of);
        }
        self.as_of = as_of;
    }

    fn is_current(&self) -> bool {
        let is_current_server =
            |entry: &Entry<Oid, _, _>| entry.version.is_some() && entry.version == catalog::server_versions(entry.key);
        let is_current_token = |entry: &Entry<(Oid, Oid), _, _>| {
            let (role, server) = entry.key;
            entry.version.is_some() && entry.version == catalog::mapping_version(role, server)
        };
        self.servers.iter().all(is_current_server) && self.tokens.iter().all(is_current_token)
    }
}

/// The server `name`, or else the one in `sequin.server`, for the current role.
pub fn find(name: Option<&str>) -> Result<Server, ServerError> {
    let name = name.map_or_else(settings::default_server, str::to_owned);
    let role = session::current_role();
    let oid = catalog::server_oid(&name).ok_or_else(|| ServerError::NoServer(name.clone()))?;
    if !catalog::may_use(oid, role) {
        return Err(ServerError::NoUsage(name));
    }
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let as_of = catalog::change_count();
        if cache.as_of != as_of {
            cache.invalidate(as_of);
        }
        let (server, shared) =
            get_or_load(&mut cache.servers, oid, || Ok((catalog::server_versions(oid), load_server(&name, oid)?)))?;
        let (mapping, token) = get_or_load(&mut cache.tokens, (role, oid), || {
            Ok((catalog::mapping_version(role, oid), load_token(&name, oid, role)?))
        })?;
        // Loading may bring the report of a change. An old address must not be used with a new token.
        if catalog::change_count() == as_of {
            return Ok(Server { name, oid, shared, token, versions: (server, mapping) });
        }
    }
}

/// The same, for a caller that stores the name: locks the server until the end of the transaction, so that no other
/// transaction renames or drops it.
pub fn find_and_lock(name: Option<&str>) -> Result<Server, ServerError> {
    let name = name.map_or_else(settings::default_server, str::to_owned);
    loop {
        let server = find(Some(&name))?;
        let Some(oid) = catalog::server_oid(&name) else { continue };
        catalog::keep_server(oid);
        // While this transaction waited for the lock, another one may have renamed the server.
        if catalog::server_oid(&name) == Some(oid) {
            return Ok(server);
        }
    }
}

/// The current versions of a server and of the user mapping that `role` uses: the `oid` and `xmin` of each. Empty if the
/// server does not exist.
pub fn fingerprint(name: &str, role: Oid) -> String {
    let versions = |oid| (catalog::server_versions(oid), catalog::mapping_version(role, oid));
    catalog::server_oid(name).map_or_else(String::new, |oid| fingerprint_of(versions(oid)))
}

fn fingerprint_of((server, mapping): Versions) -> String {
    let server = server.map(|(server, _)| server);
    let parts: Vec<String> = server.into_iter().chain(mapping).map(|version| version.to_string()).collect();
    parts.join(" ")
}

/// The options of the server `name`, without a check of rights.
pub fn options(name: &str) -> Result<ServerOptions, ServerError> {
    let oid = catalog::server_oid(name).ok_or_else(|| ServerError::NoServer(name.to_owned()))?;
    load_options(name, oid)
}

fn load_options(name: &str, oid: Oid) -> Result<ServerOptions, ServerError> {
    let object = catalog::server_object(oid);
    if object.wrapper != catalog::WRAPPER {
        return Err(ServerError::OtherWrapper { name: name.to_owned(), wrapper: object.wrapper });
    }
    options::read_server(&object.options).map_err(|problem| ServerError::Options { name: name.to_owned(), problem })
}

fn get_or_load<K: PartialEq, V: Copy, T>(
    entries: &mut Vec<Entry<K, V, T>>,
    key: K,
    load: impl FnOnce() -> Result<(Option<V>, T), ServerError>,
) -> Result<(Option<V>, Arc<T>), ServerError> {
    if let Some(entry) = entries.iter().find(|entry| entry.key == key) {
        return Ok((entry.version, Arc::clone(&entry.value)));
    }
    let (version, value) = load()?;
    let value = Arc::new(value);
    if entries.len() >= MAX_ENTRIES {
        entries.remove(0);
    }
    entries.push(Entry { key, version, value: Arc::clone(&value) });
    Ok((version, value))
}

fn load_server(name: &str, oid: Oid) -> Result<SharedServer, ServerError> {
    let options = load_options(name, oid)?;
    stats::prepare();
    let endpoint = Endpoint {
        uri: options.uri.clone(),
        connect_timeout: options.connect_timeout,
        request_timeout: options.request_timeout,
        max_response_bytes: options.max_response_bytes,
        ca_file: options.ca_file.clone(),
    };
    let client =
        Client::new(endpoint).map_err(|problem| ServerError::Certificates { name: name.to_owned(), problem })?;
    Ok(SharedServer { options, client, threads_client: OnceLock::new() })
}

fn load_token(name: &str, oid: Oid, role: Oid) -> Result<TokenSource, ServerError> {
    let mapping = catalog::mapping_options(role, oid).ok_or_else(|| ServerError::NoMapping(name.to_owned()))?;
    match options::read_user_mapping(&mapping) {
        Ok(TokenOption::Inline(secret)) => Ok(TokenSource::Inline(secret)),
        Ok(TokenOption::File(path)) => Ok(TokenSource::File(TokenFile::new(path))),
        Err(problem) => Err(ServerError::Options { name: name.to_owned(), problem }),
    }
}
