//! Token endpoints (RFC 6749): the three grants, and what their replies mean.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::Instant;

use super::token::Grant;
use super::{Denied, base64, jwt, refresh_file, secret};
use crate::client::{Client, Sent};
use crate::config::{ClientStyle, Jwt, OauthClient};
use crate::providers::{ProviderReply, retry_after};

/// RFC 6749, 5.2, and what large providers send beside it. After these words a repetition is of no use.
const NEEDS_A_PERSON: [&str; 6] = [
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "access_denied",
];

pub async fn client_credentials(http: &Client, client: &OauthClient) -> Result<Grant, Denied> {
    ask(http, client, &[("grant_type", "client_credentials")]).await
}

pub async fn jwt_bearer(http: &Client, client: &OauthClient, jwt: &Jwt) -> Result<Grant, Denied> {
    let assertion = jwt::assertion(jwt, client.scope.as_deref()).map_err(|error| Denied::Refused(error.to_string()))?;
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    ask(http, client, &[("grant_type", grant), ("assertion", assertion.expose_secret())]).await
}

/// Reads the refresh token anew each time: a person may have put another one into the file.
pub async fn refresh(http: &Client, client: &OauthClient, file: &Path) -> Result<Grant, Denied> {
    let first = read(file).await?;
    let refused = match ask_with(http, client, &first).await {
        Err(denied @ Denied::Refused(_)) => denied,
        granted => return granted,
    };
    let second = read(file).await?;
    match first.expose_secret() == second.expose_secret() {
        true => Err(refused),
        false => ask_with(http, client, &second).await,
    }
}

async fn ask_with(http: &Client, client: &OauthClient, refresh_token: &SecretString) -> Result<Grant, Denied> {
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
    ask(http, client, &fields).await
}

async fn read(file: &Path) -> Result<SecretString, Denied> {
    let token = refresh_file::read(file.to_owned()).await;
    token.map_err(|error| Denied::Refused(format!("no refresh token in {}: {error}", file.display())))
}

async fn ask(http: &Client, client: &OauthClient, fields: &[(&str, &str)]) -> Result<Grant, Denied> {
    let uri: Uri = client.token_url.as_str().parse().map_err(|_| Denied::Refused("the token URL is no URL".into()))?;
    let (headers, body) = request(client, fields)?;
    let asked_at = Instant::now();
    let deadline = asked_at + http.limits().request;
    match http.send(Method::POST, uri, headers, body, deadline).await {
        Sent::Reply(reply) => understand(&reply, asked_at),
        Sent::NotSent(why) | Sent::Lost(why) => {
            Err(Denied::unavailable(format!("the token endpoint cannot be reached: {}", why.0)))
        }
    }
}

fn request(client: &OauthClient, fields: &[(&str, &str)]) -> Result<(HeaderMap, Bytes), Denied> {
    let mut form = Serializer::new(String::new());
    form.extend_pairs(fields);
    if let Some(scope) = &client.scope {
        form.append_pair("scope", scope);
    }
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let client_secret = client.client_secret.as_ref().map(ExposeSecret::expose_secret);
    match (client.style, client_secret) {
        (ClientStyle::Basic, Some(client_secret)) => {
            // RFC 6749, 2.3.1: both are encoded as in a form before they are joined.
            let [id, key] = [&*client.client_id, client_secret]
                .map(|part| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>());
            let value = secret(&format!("Basic {}", base64(format!("{id}:{key}").as_bytes())));
            headers.insert(AUTHORIZATION, value.map_err(|error| Denied::Refused(error.to_string()))?);
        }
        (_, client_secret) => {
            if !client.client_id.is_empty() {
                form.append_pair("client_id", &client.client_id);
            }
            if let Some(client_secret) = client_secret {
                form.append_pair("client_secret", client_secret);
            }
        }
    }
    Ok((headers, Bytes::from(form.finish())))
}

/// Both forms of replies. Every field may be missing, and a life may be a number, a text or a lie.
#[derive(Deserialize)]
struct TokenReply {
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<serde_json::Value>,
    error: Option<serde_json::Value>,
}

fn understand(reply: &ProviderReply, asked_at: Instant) -> Result<Grant, Denied> {
    let status = reply.status;
    let said: Option<TokenReply> = serde_json::from_slice(&reply.body).ok();
    if let (200..=299, Some(TokenReply { access_token: Some(token), refresh_token, expires_in, .. })) = (status, &said)
        && !token.is_empty()
        && let Ok(header) = secret(&format!("Bearer {token}"))
    {
        let life = expires_in.as_ref().and_then(seconds);
        let refresh_token = refresh_token.as_deref().filter(|text| !text.trim().is_empty()).map(SecretString::from);
        return Ok(Grant { header, life, refresh_token, asked_at });
    }
    let error = said.and_then(|said| said.error).and_then(|error| error.as_str().map(str::to_owned));
    if let Some(known) = NEEDS_A_PERSON.into_iter().find(|known| error.as_deref() == Some(known)) {
        return Err(Denied::Refused(known.into()));
    }
    let wait = retry_after::wait(&reply.headers).unwrap_or_default();
    let wait = wait.clamp(super::AFTER_FAILURE, Duration::from_secs(60));
    let why = match status {
        200..=299 => "the reply of the token endpoint holds no token".into(),
        _ => format!("the token endpoint answered {status}"),
    };
    Err(Denied::Unavailable { why, wait })
}

/// None: not a time that a token can live.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(seconds).ok().filter(|life| life.as_secs() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Result<Grant, Denied> {
        let reply = ProviderReply { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) };
        understand(&reply, Instant::now())
    }

    #[test]
    fn a_life_that_cannot_be_one_is_untold() {
        for (told, life) in [
            ("3600", Some(3600)),
            (r#""1800""#, Some(1800)),
            ("1799.5", Some(1799)),
            ("-5", None),
            ("0", None),
            ("1e400", None),
            ("1e300", None),
            (r#""soon""#, None),
            ("null", None),
            ("[1]", None),
        ] {
            let granted = reply(200, &format!(r#"{{"access_token":"t","expires_in":{told}}}"#));
            let life_told = granted.map(|grant| grant.life.map(|life| life.as_secs()));
            // serde_json refuses a number that no f64 can hold, and with it the reply.
            match told {
                "1e400" => assert!(life_told.is_err()),
                _ => assert_eq!(life_told, Ok(life), "{told}"),
            }
        }
    }

    #[test]
    fn only_words_that_need_a_person_are_refusals() {
        for (status, body, refused) in [
            (400, r#"{"error":"invalid_grant","error_description":"secret words"}"#, true),
            (401, r#"{"error":"invalid_client"}"#, true),
            (200, r#"{"error":"invalid_grant"}"#, true),
            (400, r#"{"error":"slow_down"}"#, false),
            (400, r#"{"error":{"message":"no"}}"#, false),
            (503, r#"{"error":"temporarily_unavailable"}"#, false),
            (200, "<html>please log in</html>", false),
            (200, "{}", false),
            (200, r#"{"access_token":""}"#, false),
            (200, "{\"access_token\":\"a\\nb\"}", false),
            (200, r#"{"access_token":7}"#, false),
            (302, "", false),
        ] {
            match reply(status, body) {
                Ok(_) => panic!("{body} is a token"),
                Err(Denied::Refused(why)) => assert!(refused && !why.contains("secret"), "{body}"),
                Err(Denied::Unavailable { .. }) => assert!(!refused, "{body}"),
            }
        }
    }
}
