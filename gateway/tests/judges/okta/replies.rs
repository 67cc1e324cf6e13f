//! What the token endpoint answers.

use super::{CLIENT, Okta, SECRET};
use crate::support::http::basic;
use crate::support::replies::Replies;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const TOKEN: &str = "/oauth2/default/v1/token";

#[test]
fn the_replies_are_as_they_were() {
    let okta = Okta::start();
    let mut replies = Replies::of("okta", okta.url(), &basic(CLIENT, SECRET), &["access_token", "exp", "iat", "iss"]);
    let grant = "grant_type=client_credentials&scope=write";
    let token = replies.ask("a token", "POST", TOKEN, &[FORM], Some(grant));
    let token = format!("token={}", token.at("/access_token").as_str().expect("a token"));
    replies.ask("another grant", "POST", TOKEN, &[FORM], Some("grant_type=nothing"));
    replies.ask(
        "a refresh token that it does not know",
        "POST",
        TOKEN,
        &[FORM],
        Some("grant_type=refresh_token&refresh_token=nothing"),
    );
    let told =
        |replies: &mut Replies, name| replies.ask(name, "POST", "/oauth2/default/v1/introspect", &[FORM], Some(&token));
    told(&mut replies, "a token that is good");
    replies.ask("the end of a token", "POST", "/oauth2/default/v1/revoke", &[FORM], Some(&token));
    told(&mut replies, "a token that is not good any more");
    replies.authorize(&basic(CLIENT, "wrong"));
    replies.ask("a wrong secret", "POST", TOKEN, &[FORM], Some(grant));
    replies.authorize(&basic("another", SECRET));
    replies.ask("an unknown client", "POST", TOKEN, &[FORM], Some(grant));
    replies.are_as_kept();
}
