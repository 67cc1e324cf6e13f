//! `auth` of a sync: how a provider knows the account.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey};
use secrecy::{ExposeSecret, SecretString};

use super::secret::{self, Form, secret_keys};
use super::section::{At, Section};
use super::surroundings::Surroundings;
use super::{Auth, ClientStyle, Jwt, OauthClient, value};

#[derive(Clone, Copy)]
enum Kind {
    None,
    Bearer,
    Basic,
    Header,
    ClientCredentials,
    JwtBearer,
    RefreshToken,
}

const KINDS: [(&str, Kind); 7] = [
    ("none", Kind::None),
    ("bearer", Kind::Bearer),
    ("basic", Kind::Basic),
    ("header", Kind::Header),
    ("client_credentials", Kind::ClientCredentials),
    ("jwt_bearer", Kind::JwtBearer),
    ("refresh_token", Kind::RefreshToken),
];

/// Signatures that a provider can check without the private key.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Providers accept assertions for three to ten minutes; Salesforce is the strictest.
const JWT_LIFETIME: Duration = Duration::from_secs(120);

/// None: there is a fault, which is noted.
pub fn read(mut section: Section<'_, '_>, allow_http: bool, around: &dyn Surroundings) -> Option<Auth> {
    // Without a kind, no other key can be judged.
    let kind = section.required("kind", |section| section.choice("kind", &KINDS))?;
    let auth = match kind {
        Kind::None => Some(Auth::None),
        Kind::Bearer => secret::required(&mut section, &secret_keys!("token"), Form::Token, around)
            .map(|token| Auth::Bearer { token: token.value }),
        Kind::Basic => basic(&mut section, around),
        Kind::Header => header(&mut section, around),
        Kind::ClientCredentials => {
            let client =
                client(&mut section, allow_http, ClientStyle::Basic, &Needs { id: true, secret: true }, around);
            client.map(|client| Auth::ClientCredentials { client })
        }
        Kind::JwtBearer => {
            let client =
                client(&mut section, allow_http, ClientStyle::Form, &Needs { id: false, secret: false }, around);
            let jwt = jwt(&mut section, around);
            client.zip(jwt).map(|(client, jwt)| Auth::JwtBearer { client, jwt })
        }
        Kind::RefreshToken => {
            let client =
                client(&mut section, allow_http, ClientStyle::Form, &Needs { id: true, secret: false }, around);
            let read = |section: &mut Section<'_, '_>| secret::rewritten_file(section, "refresh_token_file", around);
            let file = section.required("refresh_token_file", read);
            client.zip(file).map(|(client, refresh_token_file)| Auth::RefreshToken { client, refresh_token_file })
        }
    };
    section.finish();
    auth
}

fn basic(section: &mut Section<'_, '_>, around: &dyn Surroundings) -> Option<Auth> {
    let user = required_text(section, &secret_keys!("user"), around);
    // Some providers take a key as the user, with an empty password.
    let keys = secret_keys!("password");
    let is_there = [keys.name, keys.file, keys.env, keys.credential].iter().any(|key| section.has(key));
    let password = secret::optional(section, &keys, Form::Line, around).map(|at| at.value);
    let password = if is_there { password } else { Some(SecretString::default()) };
    let user = user?;
    if user.value.contains(':') {
        section.fault("user", &user.span, "must not hold a colon, which separates it from the password");
        return None;
    }
    Some(Auth::Basic { user: user.value, password: password? })
}

fn header(section: &mut Section<'_, '_>, around: &dyn Surroundings) -> Option<Auth> {
    let name = section.required("name", |section| section.parsed("name", value::header_name));
    let value = secret::required(section, &secret_keys!("value"), Form::Line, around);
    let At { value, span } = value?;
    if let Err(message) = value::header_value(value.expose_secret()) {
        section.fault("value", &span, message);
        return None;
    }
    Some(Auth::Header { name: name?.value, value })
}

/// What a grant asks of its client.
struct Needs {
    id: bool,
    secret: bool,
}

fn client(
    section: &mut Section<'_, '_>,
    allow_http: bool,
    style: ClientStyle,
    needs: &Needs,
    around: &dyn Surroundings,
) -> Option<OauthClient> {
    let token_url =
        section.required("token_url", |section| section.parsed("token_url", |text| value::web_url(text, allow_http)));
    let (id_keys, secret_keys) = (secret_keys!("client_id"), secret_keys!("client_secret"));
    let client_id = if needs.id {
        required_text(section, &id_keys, around).map(|at| at.value)
    } else {
        Some(secret::text(section, &id_keys, around).map(|at| at.value).unwrap_or_default())
    };
    let client_secret = if needs.secret {
        secret::required(section, &secret_keys, Form::Line, around)
    } else {
        secret::optional(section, &secret_keys, Form::Line, around)
    };
    let scope = section.string("scope").map(|at| at.value);
    let styles = [("basic", ClientStyle::Basic), ("form", ClientStyle::Form)];
    let style = section.choice("style", &styles).unwrap_or(style);
    Some(OauthClient {
        token_url: token_url?.value,
        client_id: client_id?,
        client_secret: client_secret.map(|at| at.value),
        scope,
        style,
    })
}

fn jwt(section: &mut Section<'_, '_>, around: &dyn Surroundings) -> Option<Jwt> {
    let issuer = required_text(section, &secret_keys!("issuer"), around);
    let subject = section.string("subject").map(|at| at.value);
    let audience = section.required("audience", |section| section.string("audience"));
    let is_given = section.has("algorithm");
    let algorithm = section.choice("algorithm", &ALGORITHMS);
    let algorithm = if is_given { algorithm } else { Some(Algorithm::RS256) };
    let private_key = secret::required(section, &secret_keys!("private_key"), Form::Lines, around);
    let key_id = section.string("key_id").map(|at| at.value);
    let lifetime = section.parsed("lifetime", value::duration).map_or(JWT_LIFETIME, |at| at.value);
    let (private_key, algorithm) = (private_key?, algorithm?);
    if !is_key_for(algorithm, private_key.value.expose_secret().as_bytes()) {
        section.fault("private_key", &private_key.span, format_args!("is no private key in PEM for {algorithm:?}"));
        return None;
    }
    Some(Jwt {
        issuer: issuer?.value,
        subject,
        audience: audience?.value,
        algorithm,
        private_key: private_key.value,
        key_id,
        lifetime,
    })
}

fn is_key_for(algorithm: Algorithm, pem: &[u8]) -> bool {
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
        _ => EncodingKey::from_rsa_pem(pem),
    };
    key.is_ok()
}

fn required_text(
    section: &mut Section<'_, '_>,
    keys: &secret::SecretKeys,
    around: &dyn Surroundings,
) -> Option<At<String>> {
    if ![keys.name, keys.file, keys.env, keys.credential].iter().any(|key| section.has(key)) {
        let secret::SecretKeys { name, file, env, credential } = keys;
        section.fault_here(name, format_args!("missing: {name}, or one of {file}, {env} and {credential}"));
    }
    secret::text(section, keys, around)
}
