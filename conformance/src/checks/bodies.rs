//! How a body comes, and what it must be.

use super::mutations::failed;
use crate::case::{Case, Stop};
use crate::exchange::{Pace, Sent};

pub fn not_json(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let update = session.update(&[(&known.id, session.change(&session.marker()))]);
    let mut not_utf8 = update.clone().into_bytes();
    if let Some(at) = update.find(r#""data":{"#) {
        not_utf8.splice(at + 8..at + 8, *b"\"\xff\xfe\":1,");
    }
    for (name, body) in [
        ("an empty body", Vec::new()),
        ("a text", b"kind=update".to_vec()),
        ("null", b"null".to_vec()),
        ("an array around the request", format!("[{update}]").into_bytes()),
        ("a request without its end", update.as_bytes()[..update.len() - 1].to_vec()),
        ("a request with more behind it", format!("{update}}}").into_bytes()),
        ("two requests", format!("{update}{update}").into_bytes()),
        ("a trailing comma", update.replace("]}", "],}").into_bytes()),
        ("bytes that are not UTF-8", not_utf8),
    ] {
        let answer = session.send(Sent::mutation(body)).expect_error(&[422]);
        case.collect_as(name, answer);
    }
    case.expect_untouched(&known)?;
    Ok(())
}

pub fn content_type(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let update = || Sent::mutation(session.update(&[(&known.id, session.change(&session.marker()))]));
    for (name, wrong) in [
        ("a form", update().header("content-type", "application/x-www-form-urlencoded")),
        ("a text", update().header("content-type", "text/plain")),
        ("no content type", Sent { headers: Vec::new(), ..update() }),
    ] {
        let answer = session.send(wrong).expect_error(&[415, 422]);
        case.collect_as(name, answer);
    }
    let untouched = case.expect_untouched(&known);
    case.collect(untouched);
    for right in ["application/json; charset=utf-8", "Application/JSON"] {
        let answer = session.send(update().header("content-type", right)).expect_record();
        case.collect_as(right, answer);
    }
    Ok(())
}

pub fn slow(case: &mut Case) -> Result<(), Stop> {
    at_pace(case, &[Pace::Slow])
}

pub fn chunked(case: &mut Case) -> Result<(), Stop> {
    at_pace(case, &[Pace::Chunked, Pace::SlowChunked])
}

/// Creates a record and updates it, to see that the whole body arrived.
fn at_pace(case: &mut Case, paces: &[Pace]) -> Result<(), Stop> {
    let session = case.session;
    for pace in paces {
        let marker = session.marker();
        let create = session.create(&[session.data(&marker)]);
        let (exchange, record) = session.send(Sent { pace: *pace, ..Sent::mutation(create) }).expect_record()?;
        if record.data().is_some() && !record.contains(&marker) {
            return Err(exchange.fails("the record that was sent").into());
        }
    }
    Ok(())
}

/// Servers have limits, but not below this. In bytes.
const TAKEN_BY_ALL: usize = 256 << 10;

pub fn large(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    for size in [TAKEN_BY_ALL.min(session.options.large), session.options.large] {
        let marker = session.marker();
        let update = session.update(&[(&known.id, session.change(&marker))]);
        // Spaces between fields: no provider sees them, and none has a limit for them.
        let Some(rest) = update.strip_prefix('{') else {
            return Err(failed("a request that is an object"));
        };
        let padding = " ".repeat(size.saturating_sub(update.len()));
        let exchange = session.send(Sent::mutation(format!("{{{padding}{rest}")));
        if size > TAKEN_BY_ALL && exchange.status() == 413 {
            exchange.expect_error(&[413])?;
            case.note(format!("a body of {size} bytes is refused with 413"));
            continue;
        }
        let (exchange, record) = exchange.expect_record()?;
        if record.data().is_some() && !record.contains(&marker) {
            return Err(exchange.fails("the change that stands behind the spaces").into());
        }
    }
    Ok(())
}
