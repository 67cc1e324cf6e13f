//! Whether two configurations mean the same credential: then a reload keeps the tokens that were fetched.

use secrecy::{ExposeSecret, SecretString};

use crate::config::{Auth, Jwt, OauthClient};

/// All fields equal, secrets too.
pub fn same(one: &Auth, other: &Auth) -> bool {
    match (one, other) {
        (Auth::None, Auth::None) => true,
        (Auth::Bearer { token: a }, Auth::Bearer { token: b }) => same_secret(a, b),
        (Auth::Basic { user: a, password: s }, Auth::Basic { user: b, password: t }) => a == b && same_secret(s, t),
        (Auth::Header { name: a, value: s }, Auth::Header { name: b, value: t }) => a == b && same_secret(s, t),
        (Auth::ClientCredentials { client: a }, Auth::ClientCredentials { client: b }) => same_client(a, b),
        (Auth::JwtBearer { client: a, jwt: j }, Auth::JwtBearer { client: b, jwt: k }) => {
            same_client(a, b) && same_jwt(j, k)
        }
        (
            Auth::RefreshToken { client: a, refresh_token_file: f },
            Auth::RefreshToken { client: b, refresh_token_file: g },
        ) => same_client(a, b) && f == g,
        _ => false,
    }
}

fn same_client(one: &OauthClient, other: &OauthClient) -> bool {
    let OauthClient { token_url, client_id, client_secret, scope, style } = one;
    let same_secrets = match (client_secret, &other.client_secret) {
        (Some(a), Some(b)) => same_secret(a, b),
        (a, b) => a.is_none() && b.is_none(),
    };
    same_secrets
        && (token_url, client_id, scope, style) == (&other.token_url, &other.client_id, &other.scope, &other.style)
}

fn same_jwt(one: &Jwt, other: &Jwt) -> bool {
    let Jwt { issuer, subject, audience, algorithm, private_key, key_id, lifetime } = one;
    same_secret(private_key, &other.private_key)
        && (issuer, subject, audience, algorithm, key_id, lifetime)
            == (&other.issuer, &other.subject, &other.audience, &other.algorithm, &other.key_id, &other.lifetime)
}

fn same_secret(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
