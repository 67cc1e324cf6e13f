//! How a request proves that it may act for the account: a secret from the configuration, or a token that is fetched.
//!
//! Tokens are fetched one at a time for an account, and each has a generation. When a provider refuses a token, only
//! the first request that used this generation causes a new fetch; the others find the newer token.

mod jwt;
mod oauth;
mod refresh_file;
mod same;
mod token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use metrics::{counter, gauge};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::config::Auth;
use crate::metrics::{CREDENTIAL_FETCHES, CREDENTIAL_TIMESTAMP};

pub use same::same;
use token::{Grant, Token};

/// A token endpoint that failed is not asked again for this long: many requests may be waiting for it.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A token that was fetched because its predecessor was refused stays for this long even if it is refused as well:
/// then the account lacks a right, and no token would help.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// The credential of one account.
pub struct Credentials(Kind);

enum Kind {
    None,
    Fixed { name: HeaderName, value: HeaderValue },
    Fetched(Arc<Fetched>),
}

struct Fetched {
    /// For metrics.
    sync_id: String,
    auth: Auth,
    client: Client,
    state: Mutex<State>,
    /// Held while a token is fetched.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    generation: u64,
    /// Why the last fetch failed, and until when this answer stands.
    failure: Option<(Denied, Instant)>,
    /// The provider has refused the last token.
    is_refused: bool,
    /// A new refresh token that could not be written to its file yet.
    unsaved: Option<Grant>,
}

/// Which token a request carried. 0: one that is not fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

/// Why there is no credential. Nothing was sent to the provider. The texts hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The token endpoint refuses this client or its grant: a person must act.
    Refused(String),
    /// The token endpoint cannot be reached, or answers nonsense.
    Unavailable { why: String, wait: Duration },
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("the secret cannot be the value of a header")]
    Header,
    #[error("the private key does not fit the algorithm {algorithm:?}: {cause}")]
    Key { algorithm: jsonwebtoken::Algorithm, cause: jsonwebtoken::errors::Error },
}

impl Credentials {
    /// # Errors
    /// The secret has characters that no header can carry, or the private key cannot be read.
    pub fn new(sync_id: &str, auth: &Auth, client: Client) -> Result<Credentials, CredentialError> {
        let kind = match auth {
            Auth::None => Kind::None,
            Auth::Bearer { token } => Kind::Fixed { name: AUTHORIZATION, value: bearer(token)? },
            Auth::Basic { user, password } => Kind::Fixed { name: AUTHORIZATION, value: basic(user, password)? },
            Auth::Header { name, value } => Kind::Fixed { name: name.clone(), value: secret(value.expose_secret())? },
            Auth::ClientCredentials { .. } | Auth::JwtBearer { .. } | Auth::RefreshToken { .. } => {
                if let Auth::JwtBearer { jwt, .. } = auth {
                    jwt::check(jwt)?;
                }
                let (sync_id, state, turn) = (sync_id.to_owned(), Mutex::default(), tokio::sync::Mutex::default());
                Kind::Fetched(Arc::new(Fetched { sync_id, auth: auth.clone(), client, state, turn }))
            }
        };
        Ok(Credentials(kind))
    }

    /// Adds the credential to a request's headers. Fetches a token if there is none that can be used.
    ///
    /// # Errors
    /// There is none before `deadline`.
    pub async fn authorise(&self, headers: &mut HeaderMap, deadline: Instant) -> Result<Generation, Denied> {
        match &self.0 {
            Kind::None => Ok(Generation(0)),
            Kind::Fixed { name, value } => {
                headers.insert(name, value.clone());
                Ok(Generation(0))
            }
            Kind::Fetched(fetched) => {
                let token = fetched.token(deadline).await?;
                headers.insert(AUTHORIZATION, token.header.clone());
                Ok(Generation(token.generation))
            }
        }
    }

    /// The provider has refused the credential of this generation. True: another attempt can have another one.
    pub fn refused(&self, generation: Generation) -> bool {
        match &self.0 {
            Kind::None | Kind::Fixed { .. } => false,
            Kind::Fetched(fetched) => fetched.refused(generation.0),
        }
    }
}

impl Fetched {
    async fn token(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Token>, Denied> {
        if let Some(known) = self.known() {
            return known;
        }
        // In a task of its own: a request that has no time left must not lose a new refresh token.
        let fetched = self.clone();
        let fetch = tokio::spawn(async move {
            let _turn = fetched.turn.lock().await;
            match fetched.known() {
                Some(known) => known,
                None => fetched.fetch().await,
            }
        });
        match timeout_at(deadline, fetch).await {
            Ok(Ok(token)) => token,
            Ok(Err(_)) => Err(Denied::unavailable("the fetch of the token failed")),
            Err(_) => Err(Denied::unavailable("no token in time")),
        }
    }

    /// What is known without a fetch.
    fn known(&self) -> Option<Result<Arc<Token>, Denied>> {
        let state = self.lock();
        let now = Instant::now();
        if let Some(token) = state.token.as_ref().filter(|token| now < token.renew_at) {
            return Some(Ok(token.clone()));
        }
        let (denied, until) = state.failure.as_ref()?;
        (now < *until).then(|| Err(denied.clone()))
    }

    async fn fetch(&self) -> Result<Arc<Token>, Denied> {
        let fetched = self.grant().await;
        let result = if fetched.is_ok() { "fetched" } else { "failed" };
        counter!(CREDENTIAL_FETCHES, "sync" => self.sync_id.clone(), "result" => result).increment(1);
        let mut state = self.lock();
        match fetched {
            Ok(grant) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                gauge!(CREDENTIAL_TIMESTAMP, "sync" => self.sync_id.clone()).set(now.as_secs_f64());
                state.generation += 1;
                let token = Arc::new(Token::new(&grant, state.generation, std::mem::take(&mut state.is_refused)));
                state.failure = None;
                state.token = Some(token.clone());
                Ok(token)
            }
            Err(denied) => {
                let wait = match &denied {
                    Denied::Refused(_) => AFTER_FAILURE,
                    Denied::Unavailable { wait, .. } => *wait,
                };
                state.failure = Some((denied.clone(), Instant::now() + wait));
                Err(denied)
            }
        }
    }

    /// A new access token, whose refresh token, if it came with one, is in its file.
    async fn grant(&self) -> Result<Grant, Denied> {
        let Auth::RefreshToken { client, refresh_token_file } = &self.auth else {
            return match &self.auth {
                Auth::ClientCredentials { client } => oauth::client_credentials(&self.client, client).await,
                Auth::JwtBearer { client, jwt } => oauth::jwt_bearer(&self.client, client, jwt).await,
                _ => Err(Denied::Refused("this kind of credential is not fetched".into())),
            };
        };
        let unsaved = self.lock().unsaved.take();
        let grant = match unsaved {
            Some(grant) => grant,
            None => oauth::refresh(&self.client, client, refresh_token_file).await?,
        };
        if let Some(next) = grant.refresh_token.clone() {
            // Before the access token is used: the old refresh token may be void already.
            if let Err(error) = refresh_file::replace(refresh_token_file.clone(), next).await {
                self.lock().unsaved = Some(grant);
                let path = refresh_token_file.display();
                return Err(Denied::unavailable(format!("the new refresh token cannot be written to {path}: {error}")));
            }
        }
        Ok(grant)
    }

    fn refused(&self, generation: u64) -> bool {
        let mut state = self.lock();
        let Some(token) = &state.token else { return true };
        if token.generation != generation {
            return true;
        }
        if token.follows_refusal && token.fetched_at.elapsed() < AFTER_REFUSAL {
            return false;
        }
        state.token = None;
        state.is_refused = true;
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Denied {
    fn unavailable(why: impl Into<String>) -> Denied {
        Denied::Unavailable { why: why.into(), wait: AFTER_FAILURE }
    }
}

fn secret(text: &str) -> Result<HeaderValue, CredentialError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| CredentialError::Header)?;
    value.set_sensitive(true);
    Ok(value)
}

fn bearer(token: &SecretString) -> Result<HeaderValue, CredentialError> {
    secret(&format!("Bearer {}", token.expose_secret()))
}

fn basic(user: &str, password: &SecretString) -> Result<HeaderValue, CredentialError> {
    secret(&format!("Basic {}", base64(format!("{user}:{}", password.expose_secret()).as_bytes())))
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
