//! What localstripe answers to the requests of the gateway's provider `stripe`.

use super::{LocalStripe, TOKEN};
use crate::support::replies::Replies;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[test]
fn the_replies_are_as_they_were() {
    let stripe = LocalStripe::start();
    // `url` holds the id.
    let passing = &["created", "id", "url"];
    let mut replies = Replies::of("localstripe", stripe.url(), &format!("Bearer {TOKEN}"), passing);
    let body = "email=a%40b.example&metadata[k]=v&preferred_locales[0]=en&address[city]=X";
    let made = replies.ask("create", "POST", "/v1/customers", &[FORM], Some(body));
    let path = format!("/v1/customers/{}", made.at("/id").as_str().expect("an id"));
    replies.ask("update", "POST", &path, &[FORM], Some("name=A&metadata[b]=c"));
    replies.ask("read", "GET", &path, &[], None);
    replies.ask("delete", "DELETE", &path, &[], None);
    replies.ask("delete again", "DELETE", &path, &[], None);
    replies.ask("read of a deleted record", "GET", &path, &[], None);
    replies.ask("update of an unknown record", "POST", "/v1/customers/cus_x", &[FORM], Some("name=A"));
    replies.ask("a field that it does not have", "POST", "/v1/customers", &[FORM], Some("nothing=1"));
    replies.ask("a value that it refuses", "POST", "/v1/products", &[FORM], Some("name=P&type=wrong"));
    replies.are_as_kept();
}
