//! The header `Idempotency-Key`, for a server that claims to know it.

use std::collections::BTreeSet;
use std::thread;

use super::pull::Stream;
use crate::case::{Case, Stop};
use crate::client::Client;
use crate::exchange::{Failure, Sent};
use crate::session::{Session, filled};

/// The requests at once under one key.
const CLIENTS: usize = 4;

fn needs_keys(session: &Session) -> Result<(), Stop> {
    if session.options.keys { Ok(()) } else { Err(Stop::Skipped("no --keys")) }
}

fn with_key(body: String, key: &str) -> Sent {
    Sent::mutation(body).header("idempotency-key", key)
}

pub fn repeated(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    needs_keys(session)?;
    let mut stream = Stream::of(session)?;
    let (key, marker) = (session.marker(), session.marker());
    let create = session.create(&[session.data(&marker)]);
    let (_, first) = session.send(with_key(create.clone(), &key)).expect_record()?;
    let (exchange, second) = session.send(with_key(create, &key)).expect_record()?;
    let id = first.upstream_id();
    if id != second.upstream_id() {
        return Err(exchange.fails(format!("the record of the first answer, {}", id.unwrap_or_default())).into());
    }
    if let Some(stream) = &mut stream {
        let effects = stream.drain()?.iter().filter(|record| record.contains(&marker)).count();
        if effects != 1 {
            return Err(Failure::new(format!("one record in the stream, and not {effects}")).into());
        }
    }
    let id = id.unwrap_or_default();
    let (key, update) = (session.marker(), session.update(&[(&id, session.change(&session.marker()))]));
    let (_, first) = session.send(with_key(update.clone(), &key)).expect_record()?;
    // The value must not come back over a later update.
    let later = session.marker();
    session.send(Sent::mutation(session.update(&[(&id, session.change(&later))]))).expect_record()?;
    let (exchange, second) = session.send(with_key(update, &key)).expect_record()?;
    if first.updated_idx() != second.updated_idx() {
        return Err(exchange.fails("the stored answer, with its updated_idx").into());
    }
    let steady = session.look_at(&crate::session::Known { id, marker, sent: Default::default() })?;
    if let (exchange, Some(shown)) = steady
        && !shown.values().any(|value| value.get().contains(&later))
    {
        return Err(exchange.fails("the change of the later update, which the repeated one has not undone").into());
    }
    if let Some(invalid) = &session.options.invalid_data {
        let (key, create) = (session.marker(), session.create(&[filled(invalid, &session.marker())]));
        for _ in 0..2 {
            session.send(with_key(create.clone(), &key)).expect_error(&[400])?;
        }
    }
    Ok(())
}

pub fn other_body(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    needs_keys(session)?;
    let known = case.new_record()?;
    let key = session.marker();
    let create = session.create(&[session.data(&session.marker())]);
    session.send(with_key(create, &key)).expect_record()?;
    let update = session.update(&[(&known.id, session.change(&session.marker()))]);
    let answer = session.send(with_key(update, &key)).expect_error(&[422]);
    case.collect(answer);
    case.expect_untouched(&known)?;
    Ok(())
}

pub fn at_once(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    needs_keys(session)?;
    let key = session.marker();
    let create = session.create(&[session.data(&session.marker())]);
    let send = || {
        let client = Client::new(&session.options);
        session.send_by(&client, with_key(create.clone(), &key)).expect_record()
    };
    let results: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(send)).collect();
        let joined = clients.into_iter().map(|client| client.join());
        joined.map(|result| result.unwrap_or_else(|_| Err(Failure::new("a client that does not panic")))).collect()
    });
    let mut ids = BTreeSet::new();
    for result in results {
        if let Some((_, record)) = case.collect(result) {
            ids.extend(record.upstream_id());
        }
    }
    if ids.len() > 1 {
        case.fail(Failure::new(format!("one record for {CLIENTS} requests under one key, and not {ids:?}")));
    }
    Ok(())
}
