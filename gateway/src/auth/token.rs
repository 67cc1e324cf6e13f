//! A token that was fetched, and when the next one is due.

use std::time::Duration;

use http::HeaderValue;
use secrecy::SecretString;
use tokio::time::Instant;

/// The life of a token whose endpoint does not tell it. A refusal ends it earlier.
const UNTOLD_LIFE: Duration = Duration::from_secs(30 * 60);
/// A life beyond this is taken for this one: an account of years is as likely a mistake.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The next token is fetched this much before the end, or a tenth of the life if that is less.
const MARGIN: Duration = Duration::from_secs(60);

/// A good reply of a token endpoint.
pub struct Grant {
    /// `Bearer TOKEN`, marked as sensitive.
    pub header: HeaderValue,
    /// None: the endpoint did not tell a life that can be one.
    pub life: Option<Duration>,
    /// The one that replaces the refresh token in use.
    pub refresh_token: Option<SecretString>,
    /// When the request for it began.
    pub asked_at: Instant,
}

pub struct Token {
    pub header: HeaderValue,
    pub generation: u64,
    pub fetched_at: Instant,
    pub renew_at: Instant,
    /// It was fetched because the provider had refused the one before it.
    pub follows_refusal: bool,
}

impl Token {
    pub fn new(grant: &Grant, generation: u64, follows_refusal: bool) -> Token {
        let life = grant.life.unwrap_or(UNTOLD_LIFE).min(LONGEST_LIFE);
        Token {
            header: grant.header.clone(),
            generation,
            fetched_at: Instant::now(),
            renew_at: grant.asked_at + (life - MARGIN.min(life / 10)),
            follows_refusal,
        }
    }
}
