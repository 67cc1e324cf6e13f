//! The shape of requests: wrong ones are refused before anything happens, and right ones are accepted.
//!
//! A server that ignores what it does not know applies less than was asked for, and answers 200.

use serde_json::json;

use super::pull::Stream;
use crate::case::{Case, Stop};
use crate::exchange::Sent;
use crate::session::{Known, Session};

pub fn wrong(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let mut stream = Stream::of(session)?;
    let mut markers = Vec::new();
    for (name, body) in wrong_bodies(session, &known, &mut markers) {
        let answer = session.send(Sent::mutation(body)).expect_error(&[422]);
        case.collect_as(name, answer);
    }
    let untouched = case.expect_untouched(&known);
    case.collect(untouched);
    if let Some(stream) = &mut stream {
        let markers: Vec<_> = markers.iter().map(String::as_str).collect();
        let left = stream.expect_none_of(&markers);
        case.collect(left);
    }
    Ok(())
}

/// Each has one error. Without it, it would change or delete the record, or create one with a text of `markers`.
fn wrong_bodies(session: &Session, known: &Known, markers: &mut Vec<String>) -> Vec<(&'static str, String)> {
    let mut marker = || {
        let marker = session.marker();
        markers.push(marker.clone());
        marker
    };
    let (change, new) = (session.change(&marker()), session.data(&marker()));
    let id = json!(known.id);
    let (sync, collection) = (json!(session.options.sync), json!(session.options.collection));
    let to = session.target();
    let updated = format!(r#"{{"upstream_id":{id},"data":{change}}}"#);
    let update = |element: &str| format!(r#"{{"kind":"update",{to},"records":[{element}]}}"#);
    let create = |element: &str| format!(r#"{{"kind":"create",{to},"records":[{element}]}}"#);
    let list = format!(r#""records":[{updated}]"#);
    let with = |more: &str| format!(r#"{{"kind":"update",{to},{list},{more}}}"#);
    vec![
        ("no kind", format!("{{{to},{list}}}")),
        ("an unknown kind", format!(r#"{{"kind":"upsert",{to},{list}}}"#)),
        ("a kind in capitals", format!(r#"{{"kind":"UPDATE",{to},{list}}}"#)),
        ("a kind that is null", format!(r#"{{"kind":null,{to},{list}}}"#)),
        ("no sync_id", format!(r#"{{"kind":"update","collection_id":{collection},{list}}}"#)),
        (
            "a sync_id that is a number",
            format!(r#"{{"kind":"update","sync_id":7,"collection_id":{collection},{list}}}"#),
        ),
        ("an empty sync_id", format!(r#"{{"kind":"update","sync_id":"","collection_id":{collection},{list}}}"#)),
        ("no collection_id", format!(r#"{{"kind":"update","sync_id":{sync},{list}}}"#)),
        (
            "a collection_id that is null",
            format!(r#"{{"kind":"update","sync_id":{sync},"collection_id":null,{list}}}"#),
        ),
        ("an empty collection_id", format!(r#"{{"kind":"update","sync_id":{sync},"collection_id":"",{list}}}"#)),
        ("a create without records", format!(r#"{{"kind":"create",{to}}}"#)),
        ("a create of no record", create("")),
        ("records that are an object", format!(r#"{{"kind":"create",{to},"records":{{"data":{new}}}}}"#)),
        ("records under the name data", format!(r#"{{"kind":"create",{to},"data":[{{"data":{new}}}]}}"#)),
        ("a record that is a text", create(r#""x""#)),
        ("a record without data", create("{}")),
        ("a record whose fields are not in data", create(&new)),
        ("data that is null", create(r#"{"data":null}"#)),
        ("data that is an array", create(&format!(r#"{{"data":[{new}]}}"#))),
        ("data that is a text", create(&format!(r#"{{"data":{}}}"#, json!(new)))),
        ("a create with an upstream_id", create(&format!(r#"{{"upstream_id":{id},"data":{new}}}"#))),
        ("a new record with a surplus field", create(&format!(r#"{{"data":{new},"nonsense":1}}"#))),
        ("a wrong record behind a right one", create(&format!(r#"{{"data":{new}}},{{"data":7}}"#))),
        (
            "a create with upstream_ids beside records",
            format!(r#"{{"kind":"create",{to},"records":[{{"data":{new}}}],"upstream_ids":[{id}]}}"#),
        ),
        ("an update without records", format!(r#"{{"kind":"update",{to}}}"#)),
        ("an update of no record", update("")),
        ("an update without upstream_id", update(&format!(r#"{{"data":{change}}}"#))),
        ("an upstream_id that is a number", update(&format!(r#"{{"upstream_id":7,"data":{change}}}"#))),
        ("an upstream_id that is null", update(&format!(r#"{{"upstream_id":null,"data":{change}}}"#))),
        ("an update without data", update(&format!(r#"{{"upstream_id":{id}}}"#))),
        ("an update with a surplus field", update(&format!(r#"{{"upstream_id":{id},"data":{change},"nonsense":1}}"#))),
        ("a wrong update behind a right one", update(&format!(r#"{updated},{{"upstream_id":{id}}}"#))),
        ("an update with upstream_ids beside records", with(&format!(r#""upstream_ids":[{id}]"#))),
        ("a delete without upstream_ids", format!(r#"{{"kind":"delete",{to}}}"#)),
        ("a delete of no record", format!(r#"{{"kind":"delete",{to},"upstream_ids":[]}}"#)),
        ("a delete with records", format!(r#"{{"kind":"delete",{to},"records":[{{"upstream_id":{id}}}]}}"#)),
        (
            "a delete with records beside upstream_ids",
            format!(r#"{{"kind":"delete",{to},"upstream_ids":[{id}],"records":[{updated}]}}"#),
        ),
        ("upstream_ids that are a text", format!(r#"{{"kind":"delete",{to},"upstream_ids":{id}}}"#)),
        ("upstream_ids with a number behind a text", format!(r#"{{"kind":"delete",{to},"upstream_ids":[{id},7]}}"#)),
        ("upstream_ids of objects", format!(r#"{{"kind":"delete",{to},"upstream_ids":[{{"upstream_id":{id}}}]}}"#)),
        ("a surplus field", with(r#""nonsense":1"#)),
        ("await_consumer_ids that are a text", with(r#""await_consumer_ids":"x""#)),
        ("await_consumer_ids with a number", with(r#""await_consumer_ids":[7]"#)),
        ("an await_consumers_timeout that is a text", with(r#""await_consumers_timeout":"1000""#)),
        ("a negative await_consumers_timeout", with(r#""await_consumers_timeout":-1"#)),
        ("an await_consumers_timeout with a fraction", with(r#""await_consumers_timeout":1.5"#)),
    ]
}

pub fn right(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let (to, id) = (session.target(), json!(known.id));
    let change = || session.change(&session.marker());
    let update = |more: &str| {
        format!(r#"{{"kind":"update",{to},"records":[{{"upstream_id":{id},"data":{}}}]{more}}}"#, change())
    };
    let (open, close) = ("\r\n{ \"records\" :\t[ { \"data\" : ", "} ],\n");
    for (name, body) in [
        ("no consumer to wait for", update(r#","await_consumer_ids":[]"#)),
        ("a timeout without consumers", update(r#","await_consumers_timeout":1000"#)),
        (
            "fields in another order, with spaces and lines between them",
            format!("{open}{}, \"upstream_id\" : {id} {close}{to},\n\"kind\" : \"update\" }}\n", change()),
        ),
        ("names and texts with escapes", update("").replace(r#""kind":"update""#, r#""k\u0069nd":"upd\u0061te""#)),
    ] {
        let answer = session.send(Sent::mutation(body)).expect_record();
        case.collect_as(name, answer);
    }
    Ok(())
}

pub fn repeated(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let (to, id) = (session.target(), json!(known.id));
    let change = session.change(&session.marker());
    let body =
        format!(r#"{{"kind":"update","kind":"update",{to},"records":[{{"upstream_id":{id},"data":{change}}}]}}"#);
    let exchange = session.send(Sent::mutation(body)).expect(&[200, 422])?;
    case.note(match exchange.status() {
        200 => "a field that is sent twice is accepted",
        _ => "a field that is sent twice is refused",
    });
    Ok(())
}
