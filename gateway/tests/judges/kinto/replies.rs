//! What Kinto answers to the requests that a description of it makes.

use super::{Kinto, PASSWORD, USER};
use crate::support::http::basic;
use crate::support::replies::Replies;

const RECORDS: &str = "/buckets/app/collections/contacts/records";
const JSON: (&str, &str) = ("content-type", "application/json");
const NEW: (&str, &str) = ("if-none-match", "*");

#[test]
fn the_replies_are_as_they_were() {
    let kinto = Kinto::start();
    let mut replies = Replies::of("kinto", kinto.url(), &basic(USER, PASSWORD), &["last_modified"]);
    let one = format!("{RECORDS}/11111111-1111-4111-8111-111111111111");
    let two = format!("{RECORDS}/22222222-2222-4222-8222-222222222222");
    let mut ask = |name, method, path: &str, headers: &[_], body| replies.ask(name, method, path, headers, body);
    ask("create", "PUT", &one, &[JSON, NEW], Some(r#"{"data":{"email":"a@b.example","n":12}}"#));
    ask("create again", "PUT", &one, &[JSON, NEW], Some(r#"{"data":{"email":"a@b.example","n":12}}"#));
    ask("update", "PATCH", &one, &[JSON], Some(r#"{"data":{"name":"A"}}"#));
    ask("read", "GET", &one, &[], None);
    ask("update of an unknown record", "PATCH", &two, &[JSON], Some(r#"{"data":{"name":"A"}}"#));
    ask("read of an unknown record", "GET", &two, &[], None);
    ask("delete", "DELETE", &one, &[], None);
    ask("delete again", "DELETE", &one, &[], None);
    ask("data that are no object", "PUT", &two, &[JSON, NEW], Some(r#"{"data":7}"#));
    ask("a wrong body", "PUT", &two, &[JSON, NEW], Some(r#"{"date":{}}"#));
    ask("no JSON", "PUT", &two, &[JSON, NEW], Some(r#"{"data":"#));
    ask("another type of body", "PUT", &two, &[("content-type", "text/csv"), NEW], Some("a;b"));
    ask("another id in the data", "PUT", &two, &[JSON, NEW], Some(r#"{"data":{"id":"another"}}"#));
    ask("an id that it does not allow", "PUT", &format!("{RECORDS}/a%20b"), &[JSON, NEW], Some(r#"{"data":{}}"#));
    ask("an unknown address", "PUT", "/nowhere", &[JSON], Some("{}"));
    replies.authorize(&basic(USER, "wrong"));
    replies.ask("a wrong password", "PUT", &two, &[JSON, NEW], Some(r#"{"data":{}}"#));
    replies.are_as_kept();
}
