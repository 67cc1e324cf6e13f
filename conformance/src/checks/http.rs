//! Tokens, paths, methods and headers.

use serde::Deserialize;

use crate::case::{Case, Stop};
use crate::exchange::{Authorization, Exchange, Failure, MUTATIONS, Sent};
use crate::session::filled;

pub fn token(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let right = &session.options.token;
    for (name, authorization) in [
        ("no token", Authorization::Missing),
        ("a token with a letter more", Authorization::Other(format!("Bearer {right}x"))),
        ("a token with a letter less", Authorization::Other(format!("Bearer {}", &right[..right.len() - 1]))),
        ("an empty token", Authorization::Other("Bearer ".into())),
        ("another scheme", Authorization::Other(format!("Basic {right}"))),
    ] {
        let update = session.update(&[(&known.id, session.change(&session.marker()))]);
        let exchange = session.send(Sent { authorization, ..Sent::mutation(update) });
        // The token must not be in the report.
        let answer = hidden(exchange, right).expect(&[401]);
        if let Some(exchange) = case.collect_as(name, answer) {
            note_body(case, exchange);
        }
    }
    case.expect_untouched(&known)?;
    Ok(())
}

/// The exchange with `$TOKEN` for the token in its own header.
fn hidden(mut exchange: Exchange, token: &str) -> Exchange {
    if let Authorization::Other(value) = &mut exchange.sent.authorization
        && let Some((scheme, _)) = value.split_once(' ')
        && value.contains(&token[..token.len() - 1])
        && token.len() > 1
    {
        *value = format!("{scheme} $TOKEN, changed");
    }
    exchange
}

pub fn path(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    for path in ["/v1/mutation/run", "/v1/mutations", "/v1/mutations/run/x", "/v2/mutations/run"] {
        let update = session.update(&[(&known.id, session.change(&session.marker()))]);
        let answer = session.send(Sent::post(path, update)).expect(&[404]);
        if let Some(exchange) = case.collect_as(path, answer) {
            note_body(case, exchange);
        }
    }
    case.expect_untouched(&known)?;
    Ok(())
}

pub fn method(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
        let update = session.update(&[(&known.id, session.change(&session.marker()))]);
        let sent = match method {
            "GET" | "HEAD" => Sent { method, ..Sent::get(MUTATIONS) },
            method => Sent { method, ..Sent::mutation(update) },
        };
        let answer = session.send(sent).expect(&[405]);
        if let Some(exchange) = case.collect_as(method, answer) {
            if !exchange.has_header("allow") {
                case.note("a 405 has no header Allow, which HTTP demands");
            }
            if method != "HEAD" {
                note_body(case, exchange);
            }
        }
    }
    case.expect_untouched(&known)?;
    Ok(())
}

/// The contract shows no body for 401, 404 and 405, so that another form is no failure.
fn note_body(case: &mut Case, exchange: Exchange) {
    let status = exchange.status();
    if exchange.expect_error(&[status]).is_err() {
        case.note(format!(r#"the body of a {status} is not {{"error": "Error: ..."}}"#));
    }
}

pub fn headers(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    for (name, value) in [
        ("idempotency-key", session.marker()),
        ("accept", "application/json".into()),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        ("x-conformance", "1".into()),
    ] {
        let create = session.create(&[session.data(&session.marker())]);
        let answer = session.send(Sent::mutation(create).header(name, &value)).expect_record();
        case.collect_as(name, answer);
    }
    Ok(())
}

#[derive(Deserialize)]
struct PerRecord {
    outcomes: Option<Vec<Outcome>>,
}

#[derive(Deserialize)]
struct Outcome {
    index: usize,
    outcome: String,
}

pub fn prefer(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let create = session.create(&[session.data(&session.marker())]);
    let exchange = session.send(Sent::mutation(create).header("prefer", "per-record"));
    let exchange = expect_either(exchange, "applied", 200)?;
    case.note(match exchange.has_header("preference-applied") {
        true => "Prefer: per-record is confirmed",
        false => "Prefer: per-record is not confirmed, and replies are strict",
    });
    if let Some(invalid) = &session.options.invalid_data {
        let create = session.create(&[filled(invalid, &session.marker())]);
        let exchange = session.send(Sent::mutation(create).header("prefer", "per-record"));
        expect_either(exchange, "rejected", 400)?;
    }
    Ok(())
}

/// A confirmation and one outcome, or neither and the status of a strict reply.
fn expect_either(exchange: Exchange, outcome: &str, status: u16) -> Result<Exchange, Failure> {
    let outcomes = serde_json::from_slice(exchange.body()).ok().and_then(|body: PerRecord| body.outcomes);
    let is_confirmed = exchange.header("preference-applied").is_some_and(|value| value.contains("per-record"));
    match (is_confirmed, outcomes.as_deref()) {
        (true, Some([only])) if only.index == 0 && only.outcome == outcome => exchange.expect(&[200]),
        (true, _) => {
            let one = format!(r#"[{{"index": 0, "outcome": "{outcome}", ...}}]"#);
            Err(exchange.fails(format!(r#""outcomes": {one}, as Preference-Applied: per-record says"#)))
        }
        (false, Some(_)) => Err(exchange.fails(r#"no "outcomes" without the header Preference-Applied: per-record"#)),
        (false, None) => exchange.expect(&[status]),
    }
}
