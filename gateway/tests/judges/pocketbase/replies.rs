//! What PocketBase answers to the requests that a description of it makes.

use super::PocketBase;
use crate::support::replies::Replies;

const RECORDS: &str = "/collections/contacts/records";
const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn the_replies_are_as_they_were() {
    let pocketbase = PocketBase::start();
    let passing = &["created", "updated", "collectionId"];
    let mut replies = Replies::of("pocketbase", pocketbase.url(), &format!("Bearer {}", pocketbase.token()), passing);
    let one = format!("{RECORDS}/aaaaaaaaaaaaaaa");
    let two = format!("{RECORDS}/bbbbbbbbbbbbbbb");
    let mut ask = |name, method, path: &str, body| replies.ask(name, method, path, &[JSON], body);
    ask("create", "POST", RECORDS, Some(r#"{"id":"aaaaaaaaaaaaaaa","email":"a@b.example","n":12.5}"#));
    ask("create again", "POST", RECORDS, Some(r#"{"id":"aaaaaaaaaaaaaaa","email":"a@b.example"}"#));
    ask("a field that it refuses", "POST", RECORDS, Some(r#"{"email":"no address"}"#));
    ask("two fields that it refuses", "POST", RECORDS, Some(r#"{"id":"A","email":"no address"}"#));
    ask(
        "a field that it does not have",
        "POST",
        RECORDS,
        Some(r#"{"id":"ccccccccccccccc","email":"c@b.example","x":1}"#),
    );
    ask("no JSON", "POST", RECORDS, Some(r#"{"email":"#));
    ask("a list", "POST", RECORDS, Some("[1]"));
    ask("update", "PATCH", &one, Some(r#"{"name":"A"}"#));
    ask("read", "GET", &one, None);
    ask("an update that it refuses", "PATCH", &one, Some(r#"{"email":""}"#));
    ask("update of an unknown record", "PATCH", &two, Some(r#"{"name":"A"}"#));
    ask("read of an unknown record", "GET", &two, None);
    ask("delete", "DELETE", &one, None);
    ask("delete again", "DELETE", &one, None);
    ask("an unknown collection", "POST", "/collections/nothing/records", Some("{}"));
    replies.authorize("Bearer nothing");
    replies.ask("a wrong token", "POST", RECORDS, &[JSON], Some(r#"{"email":"a@b.example"}"#));
    replies.are_as_kept();
}
