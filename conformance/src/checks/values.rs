//! Data that a careless server changes on its way: numbers and texts.

use serde_json::json;

use crate::case::{Case, Stop};
use crate::exchange::Sent;
use crate::reply::first_difference;
use crate::session::{filled, object};

pub fn numbers(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let Some(numbers) = &session.options.numbers else {
        return Err(Stop::Skipped("no --numbers"));
    };
    let known = case.new_record()?;
    let change = filled(numbers, &session.marker());
    // The reply may echo the request. The stored value shows in the look.
    session.send(Sent::mutation(session.update(&[(&known.id, change.clone())]))).expect_record()?;
    let (exchange, shown) = session.look_at(&known)?;
    match shown {
        None => case.note("replies show no data, so that numbers cannot be compared"),
        Some(shown) => {
            if let Some((name, found)) = first_difference(&object(&change), &shown) {
                let sent = object(&change).remove(name).map_or_else(String::new, |sent| sent.get().to_owned());
                case.fail(exchange.fails(format!("{name:?} is {sent}, as it was sent, and not {found}")));
            }
        }
    }
    Ok(())
}

/// The characters that go wrong: quotes and escapes, other scripts, a surrogate pair, spaces at both ends.
const TEXT: &str = " \"q\" \\ / é 漢 😀 \u{2028} a\u{301} ";

pub fn text(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    // Into the template's own text, so that a provider has a field for it.
    let marker = format!("{}{TEXT}", session.marker());
    let inner = json!(marker).to_string();
    let change = session.change(&inner[1..inner.len() - 1]);
    session.send(Sent::mutation(session.update(&[(&known.id, change.clone())]))).expect_record()?;
    let (exchange, shown) = session.look_at(&known)?;
    match shown {
        None => case.note("replies show no data, so that texts cannot be compared"),
        Some(shown) => {
            if let Some((name, found)) = first_difference(&object(&change), &shown) {
                case.fail(exchange.fails(format!("{name:?} as it was sent in this update: {change}; not {found}")));
            }
        }
    }
    Ok(())
}
