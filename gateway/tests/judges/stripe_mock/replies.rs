//! What stripe-stateful-mock answers to the requests of the gateway's provider `stripe`.

use super::{StripeMock, TOKEN};
use crate::support::replies::Replies;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The id in the request, without which the reply could not be compared.
const CUSTOMER: &str = "id=cus_1&email=a%40b.example&metadata[k]=v&preferred_locales[0]=en&address[city]=X";

#[test]
fn the_replies_are_as_they_were() {
    let mock = StripeMock::start();
    let passing = &["created", "invoice_prefix", "charge"];
    let mut replies = Replies::of("stripe-stateful-mock", mock.url(), &format!("Bearer {TOKEN}"), passing);
    let key = |key| [FORM, ("idempotency-key", key)];
    let mut post = |name, path: &str, headers: &[_], body| replies.ask(name, "POST", path, headers, Some(body));
    post("create", "/v1/customers", &key("1"), CUSTOMER);
    post("the same with its key", "/v1/customers", &key("1"), CUSTOMER);
    post("another request with its key", "/v1/customers", &key("1"), "email=c%40b.example");
    post("the same with another key", "/v1/customers", &key("2"), CUSTOMER);
    post("update", "/v1/customers/cus_1", &key("3"), "name=A&metadata[k]=");
    post("update of an unknown record", "/v1/customers/cus_2", &key("4"), "name=A");
    let declined = "amount=100&currency=usd&source=tok_chargeDeclined";
    post("a declined card", "/v1/charges", &key("5"), declined);
    post("a declined card again", "/v1/charges", &key("5"), declined);
    let broken = "amount=100&currency=usd&source=tok_500";
    post("a server that fails", "/v1/charges", &key("6"), broken);
    post("the same failure with its key", "/v1/charges", &key("6"), broken);
    post("a limit", "/v1/charges", &key("7"), "amount=100&currency=usd&source=tok_429");
    replies.ask("read", "GET", "/v1/customers/cus_1", &[], None);
    replies.ask("read of an unknown record", "GET", "/v1/customers/cus_2", &[], None);
    replies.ask("a delete, which it does not have", "DELETE", "/v1/customers/cus_1", &[], None);
    replies.authorize("Bearer another_key");
    replies.ask("a wrong token", "POST", "/v1/customers", &[FORM], Some("email=a%40b.example"));
    replies.are_as_kept();
}
