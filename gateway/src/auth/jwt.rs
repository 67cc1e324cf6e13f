//! Assertions for the grant `urn:ietf:params:oauth:grant-type:jwt-bearer` (RFC 7523).

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::CredentialError;
use crate::config::Jwt;

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    aud: &'a str,
    /// Seconds since 1970.
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    /// Some endpoints take an assertion only once.
    jti: String,
}

/// Whether assertions can be made.
///
/// # Errors
/// The private key is not one of the algorithm.
pub fn check(jwt: &Jwt) -> Result<(), CredentialError> {
    assertion(jwt, None).map(drop)
}

/// # Errors
/// The private key is not one of the algorithm.
pub fn assertion(jwt: &Jwt, scope: Option<&str>) -> Result<SecretString, CredentialError> {
    let failed = |cause| CredentialError::Key { algorithm: jwt.algorithm, cause };
    let iat = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = Claims {
        iss: &jwt.issuer,
        sub: jwt.subject.as_deref(),
        aud: &jwt.audience,
        iat,
        exp: iat + jwt.lifetime.as_secs(),
        scope,
        jti: uuid::Uuid::new_v4().to_string(),
    };
    let header = Header { kid: jwt.key_id.clone(), ..Header::new(jwt.algorithm) };
    let text = jsonwebtoken::encode(&header, &claims, &key(jwt).map_err(failed)?).map_err(failed)?;
    Ok(text.into())
}

fn key(jwt: &Jwt) -> Result<EncodingKey, jsonwebtoken::errors::Error> {
    let pem = jwt.private_key.expose_secret().as_bytes();
    match jwt.algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => EncodingKey::from_secret(pem),
        _ => EncodingKey::from_rsa_pem(pem),
    }
}
