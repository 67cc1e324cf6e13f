//! Many requests: on one connection, and at once. Each must get its own reply.

use std::thread;

use crate::case::{Case, Stop};
use crate::client::Client;
use crate::exchange::{Authorization, Failure, Sent};
use crate::session::{Known, Session};

/// The requests on one connection.
const ROUNDS: usize = 8;
/// The connections at once.
const CLIENTS: usize = 6;

pub fn keep_alive(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let client = Client::new(&session.options);
    for _ in 0..ROUNDS {
        update_by(session, &client, &known)?;
        // A server that refuses before it has read the body may take the rest for the next request.
        let update = || Sent::mutation(session.update(&[(&known.id, session.change(&session.marker()))]));
        let without_token = Sent { authorization: Authorization::Missing, ..update() };
        session.send_by(&client, without_token).expect(&[401])?;
        session.send_by(&client, Sent { path: "/v1/mutation/run".into(), ..update() }).expect(&[404])?;
        session.send_by(&client, update().header("content-type", "text/plain")).expect(&[415, 422])?;
    }
    case.note(format!("{} requests needed {} connection(s)", ROUNDS * 4, client.connections()));
    Ok(())
}

pub fn at_once(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_records(CLIENTS)?;
    let results: Vec<Result<(), Failure>> = thread::scope(|scope| {
        let clients: Vec<_> = known.iter().map(|known| scope.spawn(|| one_of_many(session, known))).collect();
        let joined = clients.into_iter().map(|client| client.join());
        joined.map(|result| result.unwrap_or_else(|_| Err(Failure::new("a client that does not panic")))).collect()
    });
    for result in results {
        case.collect(result);
    }
    Ok(())
}

fn one_of_many(session: &Session, known: &Known) -> Result<(), Failure> {
    let client = Client::new(&session.options);
    (0..ROUNDS).try_for_each(|_| update_by(session, &client, known))
}

/// An update whose reply shows the same record with this very change.
fn update_by(session: &Session, client: &Client, known: &Known) -> Result<(), Failure> {
    let marker = session.marker();
    let update = session.update(&[(&known.id, session.change(&marker))]);
    let (exchange, record) = session.send_by(client, Sent::mutation(update)).expect_record()?;
    let is_own =
        record.upstream_id().as_ref() == Some(&known.id) && (record.data().is_none() || record.contains(&marker));
    if is_own { Ok(()) } else { Err(exchange.fails("the reply to this request, and not to another one")) }
}
