//! From a server's name to something that can be called, with the rights checked on every call.
//!
//! What the catalogs say is read once and kept, with its connection, until Postgres tells of a change: then all of it is
//! dropped, so an altered address or a dropped mapping takes effect with the next call, on a fresh connection. Whether
//! the role may use the server is asked each time, because memberships change without a change to either object.

use std::sync::{Arc, Mutex, PoisonError};

use pgrx::pg_sys::Oid;
use ureq::http::HeaderValue;
use ureq::http::header;

use crate::http::{Client, Endpoint, Header};
use crate::pg::{catalog, session, settings, text};

use super::options::{self, BadOption, ServerOptions, Token};
use super::secret::Secret;
use super::token_file::{BadTokenFile, TokenFile};

/// A server as one role sees it.
pub struct Server {
    pub name: String,
    pub options: ServerOptions,
    pub client: Client,
    token: TokenSource,
}

enum TokenSource {
    Inline(Secret),
    File(TokenFile),
}

/// Why a server cannot be used; nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("server \"{0}\" does not exist")]
    NoServer(String),
    #[error("server \"{name}\" belongs to the foreign-data wrapper \"{wrapper}\", not to \"{}\"", catalog::WRAPPER)]
    OtherWrapper { name: String, wrapper: String },
    #[error("permission denied for foreign server \"{0}\"")]
    NoUsage(String),
    #[error("server \"{0}\" has no user mapping for the current role")]
    NoMapping(String),
    #[error("server \"{name}\": {problem}")]
    Options { name: String, problem: BadOption },
    #[error("server \"{name}\": {problem}")]
    TokenFile { name: String, problem: BadTokenFile },
    #[error("server \"{name}\": {problem}")]
    Certificates { name: String, problem: String },
}

impl Unusable {
    /// What to do about it, with the statements to type.
    pub fn hint(&self) -> String {
        match self {
            Unusable::NoServer(name) | Unusable::OtherWrapper { name, .. } => {
                let server = text::quoted(name);
                format!(
                    "CREATE SERVER {server} FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url \
                     'https://api.example.com'); CREATE USER MAPPING FOR PUBLIC SERVER {server} OPTIONS (token \
                     '...'); GRANT USAGE ON FOREIGN SERVER {server} TO the roles that shall use it."
                )
            }
            Unusable::NoUsage(name) => {
                format!("Its owner can GRANT USAGE ON FOREIGN SERVER {} TO the role.", text::quoted(name))
            }
            Unusable::NoMapping(name) => format!(
                "CREATE USER MAPPING FOR PUBLIC SERVER {} OPTIONS (token '...'), or one for the role alone.",
                text::quoted(name)
            ),
            Unusable::Options { name, problem } => {
                let fix = format!("ALTER SERVER {} or its user mapping.", text::quoted(name));
                problem.hint().map_or(fix.clone(), |hint| format!("{hint} {fix}"))
            }
            Unusable::TokenFile { problem, .. } => problem.hint(),
            Unusable::Certificates { .. } => {
                "Install the system's certificates (ca-certificates), or set the server option ca_file.".into()
            }
        }
    }
}

impl Server {
    /// The token of this role, as it is now.
    pub fn token(&self) -> Result<Secret, Unusable> {
        match &self.token {
            TokenSource::Inline(secret) => Ok(secret.clone()),
            TokenSource::File(file) => file
                .token(settings::secrets_directory())
                .map_err(|problem| Unusable::TokenFile { name: self.name.clone(), problem }),
        }
    }
}

/// The request header that carries `token`.
pub fn authorization(token: &Secret) -> Header {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .expect("a Secret is printable ASCII, which a header value may hold");
    value.set_sensitive(true);
    (header::AUTHORIZATION, value)
}

/// What was read from the catalogs, for one role and server each.
struct Known {
    generation: u64,
    servers: Vec<(Oid, Oid, Arc<Server>)>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { generation: 0, servers: Vec::new() });

/// The server `name`, or else the one that `sequin.server` names, as the current role may use it.
pub fn find(name: Option<&str>) -> Result<Arc<Server>, Unusable> {
    let name = name.map_or_else(settings::default_server, str::to_owned);
    let role = session::current_role();
    let oid = catalog::server_oid(&name).ok_or_else(|| Unusable::NoServer(name.clone()))?;
    if !catalog::may_use(oid, role) {
        return Err(Unusable::NoUsage(name));
    }

    let generation = catalog::generation();
    if let Some(server) = recall(generation, role, oid) {
        return Ok(server);
    }
    let server = Arc::new(read(name, oid, role)?);
    remember(generation, role, oid, &server);
    Ok(server)
}

/// What is known under this generation; what an older one knew is dropped, connections included.
fn recall(generation: u64, role: Oid, oid: Oid) -> Option<Arc<Server>> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.generation != generation {
        known.generation = generation;
        known.servers.clear();
    }
    let found = known.servers.iter().find(|entry| (entry.0, entry.1) == (role, oid));
    found.map(|entry| Arc::clone(&entry.2))
}

/// Keeps what was read, unless something changed while it was read.
fn remember(generation: u64, role: Oid, oid: Oid, server: &Arc<Server>) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.generation == generation && catalog::generation() == generation {
        known.servers.push((role, oid, Arc::clone(server)));
    }
}

fn read(name: String, oid: Oid, role: Oid) -> Result<Server, Unusable> {
    let object = catalog::server_object(oid);
    if object.wrapper != catalog::WRAPPER {
        return Err(Unusable::OtherWrapper { name, wrapper: object.wrapper });
    }
    let bad_option = |problem| Unusable::Options { name: name.clone(), problem };
    let options = options::server(&object.options).map_err(bad_option)?;
    let mapping = catalog::mapping_options(role, oid).ok_or_else(|| Unusable::NoMapping(name.clone()))?;
    let token = match options::user_mapping(&mapping).map_err(bad_option)? {
        Token::Inline(secret) => TokenSource::Inline(secret),
        Token::File(path) => TokenSource::File(TokenFile::new(path)),
    };
    let endpoint = Endpoint {
        uri: options.uri.clone(),
        connect_timeout: options.connect_timeout,
        request_timeout: options.request_timeout,
        max_response_bytes: options.max_response_bytes,
        ca_file: options.ca_file.clone(),
    };
    let client = Client::new(endpoint).map_err(|problem| Unusable::Certificates { name: name.clone(), problem })?;
    Ok(Server { name, options, client, token })
}
