//! From a server's name to something that can be called, with the rights checked on every call.
//!
//! What the catalogs say is read once and kept, with its connection, until Postgres tells of a change: then all of it is
//! dropped, so an altered address or a dropped mapping takes effect with the next call, on a fresh connection. A session
//! that has not listened for long is told that anything may have changed, which on a busy server is often: then it looks.
//! Whether the role may use the server is asked each time, because memberships change without a change to either object.

use std::sync::{Arc, Mutex, PoisonError};

use pgrx::pg_sys::Oid;
use ureq::http::HeaderValue;
use ureq::http::header;

use crate::call::http::{Client, Endpoint, Header};
use crate::pg::catalog::{News, Version};
use crate::pg::{catalog, session};
use crate::settings;

use super::error::ServerError;
use super::token_file::TokenFile;
use contract::options::{self, ServerOptions, TokenOption};
use contract::secret::Secret;

/// A server as one role sees it.
#[derive(Clone)]
pub struct Server {
    pub name: String,
    shared: Arc<SharedServer>,
    token: Arc<TokenSource>,
    versions: Versions,
}

/// What a server was read from: the server object with its wrapper, and the mapping.
type Versions = (Option<(Version, Version)>, Option<Version>);

/// What all roles share of a server: its options and its connection. The token goes with each request.
struct SharedServer {
    options: ServerOptions,
    client: Client,
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

    /// What it was read from, as [`fingerprint`] has it.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(self.versions)
    }

    /// The token of this role, as it is now.
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
    // A string with no spare room becomes a header value as it is, without a copy.
    let mut value = HeaderValue::try_from(["Bearer ", token.expose()].concat())
        .expect("a Secret is printable ASCII, which a header value may hold");
    value.set_sensitive(true);
    (header::AUTHORIZATION, value)
}

/// The most servers, and the most roles of servers, that a session keeps: each server has a socket and its buffers. A
/// session that uses more in turns only loses time.
const MAX_ENTRIES: usize = 16;

/// What was read from the catalogs and holds as of `news`, the oldest first.
struct Cache {
    news: News,
    servers: Vec<Entry<Oid, (Version, Version), SharedServer>>,
    /// By role and server.
    tokens: Vec<Entry<(Oid, Oid), Version, TokenSource>>,
}

/// What was read of an object, and which version of it was there just before.
struct Entry<K, V, T> {
    key: K,
    version: Option<V>,
    value: Arc<T>,
}

static CACHE: Mutex<Cache> = Mutex::new(Cache::empty(News::NONE));

impl Cache {
    const fn empty(news: News) -> Cache {
        Cache { news, servers: Vec::new(), tokens: Vec::new() }
    }

    /// Drops what need not hold any more.
    fn invalidate(&mut self, news: News) {
        if self.news.changes != news.changes || !self.is_current() {
            *self = Cache::empty(news);
        }
        self.news = news;
    }

    /// Whether the catalogs have still the versions that all this was read from.
    fn is_current(&self) -> bool {
        self.servers.iter().all(|kept| kept.version.is_some() && kept.version == catalog::server_versions(kept.key))
            && self.tokens.iter().all(|kept| {
                let (role, server) = kept.key;
                kept.version.is_some() && kept.version == catalog::mapping_version(role, server)
            })
    }
}

/// The server `name`, or else the one that `sequin.server` names, as the current role may use it.
pub fn find(name: Option<&str>) -> Result<Server, ServerError> {
    let name = name.map_or_else(settings::default_server, str::to_owned);
    let role = session::current_role();
    let oid = catalog::server_oid(&name).ok_or_else(|| ServerError::NoServer(name.clone()))?;
    if !catalog::may_use(oid, role) {
        return Err(ServerError::NoUsage(name));
    }
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        // Reading the catalogs may bring the news of a change: an old address with a new token must not be used.
        let news = catalog::news();
        if cache.news != news {
            cache.invalidate(news);
        }
        // The version first: if it is another one by the time of the reading, that is read again.
        let (server, shared) =
            get_or_load(&mut cache.servers, oid, || Ok((catalog::server_versions(oid), load_server(&name, oid)?)))?;
        let (mapping, token) = get_or_load(&mut cache.tokens, (role, oid), || {
            Ok((catalog::mapping_version(role, oid), load_token(&name, oid, role)?))
        })?;
        if catalog::news() == news {
            return Ok(Server { name, shared, token, versions: (server, mapping) });
        }
    }
}

/// The same, and until the transaction ends no other one renames or drops the server: its name is about to be written down.
pub fn find_and_keep(name: Option<&str>) -> Result<Server, ServerError> {
    let name = name.map_or_else(settings::default_server, str::to_owned);
    loop {
        let server = find(Some(&name))?;
        let Some(oid) = catalog::server_oid(&name) else { continue };
        catalog::keep_server(oid);
        // While another transaction was waited for, the name may have become that of another server, or of none.
        if catalog::server_oid(&name) == Some(oid) {
            return Ok(server);
        }
    }
}

/// The server and the mapping that a role uses, as they are: the `oid` and `xmin` of each, in one text. Empty if there is
/// no such server.
pub fn fingerprint(name: &str, role: Oid) -> String {
    let versions = |oid| (catalog::server_versions(oid), catalog::mapping_version(role, oid));
    catalog::server_oid(name).map_or_else(String::new, |oid| fingerprint_of(versions(oid)))
}

fn fingerprint_of((server, mapping): Versions) -> String {
    let parts: Vec<String> =
        server.map(|(server, _)| server).into_iter().chain(mapping).map(|v| v.to_string()).collect();
    parts.join(" ")
}

/// The options of the server `name`, whoever asks.
pub fn options(name: &str) -> Result<ServerOptions, ServerError> {
    let oid = catalog::server_oid(name).ok_or_else(|| ServerError::NoServer(name.to_owned()))?;
    options_of(name, oid)
}

fn options_of(name: &str, oid: Oid) -> Result<ServerOptions, ServerError> {
    let object = catalog::server_object(oid);
    if object.wrapper != catalog::WRAPPER {
        return Err(ServerError::OtherWrapper { name: name.to_owned(), wrapper: object.wrapper });
    }
    options::read_server(&object.options).map_err(|problem| ServerError::Options { name: name.to_owned(), problem })
}

/// What is kept under `key` with its version, or else what `read` gives, which is then kept.
fn get_or_load<K: PartialEq, V: Copy, T>(
    all: &mut Vec<Entry<K, V, T>>,
    key: K,
    read: impl FnOnce() -> Result<(Option<V>, T), ServerError>,
) -> Result<(Option<V>, Arc<T>), ServerError> {
    if let Some(kept) = all.iter().find(|kept| kept.key == key) {
        return Ok((kept.version, Arc::clone(&kept.value)));
    }
    let (version, value) = read()?;
    let value = Arc::new(value);
    if all.len() >= MAX_ENTRIES {
        all.remove(0);
    }
    all.push(Entry { key, version, value: Arc::clone(&value) });
    Ok((version, value))
}

fn load_server(name: &str, oid: Oid) -> Result<SharedServer, ServerError> {
    let options = options_of(name, oid)?;
    let endpoint = Endpoint {
        uri: options.uri.clone(),
        connect_timeout: options.connect_timeout,
        request_timeout: options.request_timeout,
        max_response_bytes: options.max_response_bytes,
        ca_file: options.ca_file.clone(),
    };
    let client =
        Client::new(endpoint).map_err(|problem| ServerError::Certificates { name: name.to_owned(), problem })?;
    Ok(SharedServer { options, client })
}

fn load_token(name: &str, oid: Oid, role: Oid) -> Result<TokenSource, ServerError> {
    let mapping = catalog::mapping_options(role, oid).ok_or_else(|| ServerError::NoMapping(name.to_owned()))?;
    match options::read_user_mapping(&mapping) {
        Ok(TokenOption::Inline(secret)) => Ok(TokenSource::Inline(secret)),
        Ok(TokenOption::File(path)) => Ok(TokenSource::File(TokenFile::new(path))),
        Err(problem) => Err(ServerError::Options { name: name.to_owned(), problem }),
    }
}
