//! What the engine keeps for each sync: where its requests go, at what pace, and as whom.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Uri};
use tokio::time::Instant;

use super::keys::Identity;
use super::pace::Pace;
use crate::auth::{self, CredentialError, Credentials, Denied};
use crate::client::{Client, Limits, Sent, TlsError, Trust};
use crate::config::{self, Auth, HttpBackend, Sync};
use crate::providers::Provider;

/// One sync.
pub struct Account {
    /// How long a mutation may take.
    pub timeout: Duration,
    pub backend: Backend,
}

pub enum Backend {
    Memory,
    Http(Box<HttpAccount>),
}

/// A sync whose provider is reached over HTTP.
pub struct HttpAccount {
    pub sync_id: Arc<str>,
    pub provider: Arc<dyn Provider>,
    pub headers: HeaderMap,
    pub client: Client,
    pub credentials: Arc<Credentials>,
    pub pace: Arc<Pace>,
    pub identity: Identity,
    /// Without a slash at its end.
    base_url: String,
    /// As it was configured, to see whether a reload changes it.
    auth: Auth,
    limits: Limits,
    trust: Trust,
}

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl Account {
    /// `earlier` is the account of the same sync before a reload. Its pace stays, and its tokens if they are the same
    /// client's.
    ///
    /// # Errors
    /// The authorities, the secret or the private key cannot be used.
    pub fn new(sync_id: &str, sync: &Sync, earlier: Option<&Account>) -> Result<Account, AccountError> {
        let backend = match &sync.backend {
            config::Backend::Memory => Backend::Memory,
            config::Backend::Http(http) => {
                let earlier = earlier.and_then(Account::http);
                Backend::Http(Box::new(HttpAccount::new(sync_id, http, sync.limit, earlier)?))
            }
        };
        Ok(Account { timeout: sync.timeout, backend })
    }

    fn http(&self) -> Option<&HttpAccount> {
        match &self.backend {
            Backend::Memory => None,
            Backend::Http(http) => Some(http),
        }
    }

    /// Tries the credential with a read.
    ///
    /// # Errors
    /// Why it does not work, in words for a person.
    pub async fn check(&self) -> Result<(), String> {
        match self.http() {
            Some(http) => http.check(Instant::now() + self.timeout).await,
            None => Ok(()),
        }
    }
}

impl HttpAccount {
    fn new(
        sync_id: &str,
        http: &HttpBackend,
        limit: config::Limit,
        earlier: Option<&HttpAccount>,
    ) -> Result<HttpAccount, AccountError> {
        let HttpBackend { provider, base_url, auth, headers, ca_file, connect_timeout, request_timeout, max_reply } =
            http;
        let headers: HeaderMap = headers.iter().cloned().collect();
        let limits = Limits { connect: *connect_timeout, request: *request_timeout, reply: *max_reply };
        let trust = match ca_file {
            Some(path) => Trust::File(path.clone()),
            None if base_url.scheme() == "https" || auth.token_url().is_some_and(|url| url.scheme() == "https") => {
                Trust::Machine
            }
            None => Trust::None,
        };
        let base_url = base_url.as_str().trim_end_matches('/').to_owned();
        // A pace is that of an account at a provider: another address is another account.
        let earlier = earlier.filter(|earlier| earlier.base_url == base_url);
        let same_client = earlier.filter(|earlier| earlier.limits == limits && earlier.trust == trust);
        let client = match same_client {
            Some(earlier) => earlier.client.clone(),
            None => Client::new(limits, &trust)?,
        };
        let same_auth = earlier.filter(|earlier| auth::same(&earlier.auth, auth));
        let credentials = match same_auth.filter(|_| same_client.is_some()) {
            Some(earlier) => earlier.credentials.clone(),
            None => Arc::new(Credentials::new(sync_id, auth, client.clone())?),
        };
        let pace = match earlier {
            Some(earlier) => earlier.pace.with_limit(limit),
            None => Arc::new(Pace::new(limit)),
        };
        // Headers can name an account within an account.
        let same_account = same_auth.filter(|earlier| earlier.headers == headers);
        Ok(HttpAccount {
            sync_id: sync_id.into(),
            provider: provider.clone(),
            headers,
            client,
            credentials,
            pace,
            identity: same_account.map_or_else(Identity::default, |earlier| earlier.identity.clone()),
            base_url,
            auth: auth.clone(),
            limits,
            trust,
        })
    }

    /// The address of a path of the provider. None: it is not one.
    pub fn address(&self, path: &str) -> Option<Uri> {
        if !path.starts_with('/') {
            return None;
        }
        format!("{}{path}", self.base_url).parse().ok()
    }

    async fn check(&self, deadline: Instant) -> Result<(), String> {
        let name = self.provider.name();
        let mut headers = HeaderMap::new();
        let probe = self.provider.probe();
        let path = match &probe {
            Some(probe) => {
                headers = probe.headers.clone();
                &*probe.path
            }
            None => "/",
        };
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        let uri = self.address(path).ok_or("the base URL is not a valid address")?;
        match self.credentials.authorise(&mut headers, deadline).await {
            Ok(_) => {}
            Err(Denied::Refused(why)) => return Err(format!("the token endpoint refuses: {why}")),
            Err(Denied::Unavailable { why, .. }) => return Err(why),
        }
        match self.client.send(Method::GET, uri, headers, bytes::Bytes::new(), deadline).await {
            Sent::Reply(reply) => match reply.status {
                401 => Err(format!("{name} answered 401 to GET {path}: it does not know this credential")),
                403 if probe.is_some() => {
                    Err(format!("{name} answered 403 to GET {path}: this credential has no right to that"))
                }
                500.. => Err(format!("{name} answered {} to GET {path}", reply.status)),
                // Of a path that need not exist, any other reply shows that the credential passed.
                _ => Ok(()),
            },
            Sent::NotSent(why) | Sent::Lost(why) => Err(format!("{name} cannot be reached: {}", why.0)),
        }
    }
}
