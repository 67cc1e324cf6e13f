//! Requests with several records of which one is refused. A client that reads 400 repeats or drops all of them.

use serde::Deserialize;

use super::mutations::needs_several;
use super::pull::Stream;
use crate::case::{Case, Stop};
use crate::exchange::{Failure, Sent};
use crate::session::filled;

pub fn refused(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    needs_several(session)?;
    let [good, gone] = &case.new_records(2)?[..] else {
        return Ok(());
    };
    session.send(Sent::mutation(session.delete(&[&gone.id]))).expect(&[200])?;

    let changes = [good, gone].map(|known| (known.id.as_str(), session.change(&session.marker())));
    let update = session.send(Sent::mutation(session.update(&changes))).expect_error(&[400]);
    case.collect_as("update of a record that is there and one that is gone", update);
    let untouched = case.expect_untouched(good);
    case.collect_as("update of a record that is there and one that is gone", untouched);

    // A server may count a delete of a record that is gone as done.
    let what = "delete of a record that is there and one that is gone";
    let delete = session.send(Sent::mutation(session.delete(&[&good.id, &gone.id]))).expect(&[200, 400]);
    if let Some(exchange) = case.collect_as(what, delete) {
        match exchange.status() {
            400 => {
                let untouched = case.expect_untouched(good);
                case.collect_as(what, untouched);
            }
            _ => {
                let records = exchange.expect_records();
                if let Some((exchange, records)) = case.collect_as(what, records)
                    && records.len() != 2
                {
                    case.fail(exchange.fails(format!("{what}: two records, or a 400")));
                }
            }
        }
    }
    creates(case)
}

fn creates(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let Some(invalid) = &session.options.invalid_data else {
        case.note("without --invalid-data no create is refused");
        return Ok(());
    };
    let mut stream = Stream::of(session)?;
    let what = "create of a record that is accepted and one that is refused";
    let (accepted, refused) = (session.marker(), session.marker());
    let data = [session.data(&accepted), filled(invalid, &refused)];
    case.collect_as(what, session.send(Sent::mutation(session.create(&data))).expect_error(&[400]));
    match &mut stream {
        None => case.note("without --pull-consumer nothing shows whether a refused create has left a record"),
        Some(stream) => {
            let left = stream.expect_none_of(&[&accepted, &refused]);
            case.collect_as(what, left);
        }
    }
    Ok(())
}

pub fn limit(case: &mut Case) -> Result<(), Stop> {
    #[derive(Deserialize)]
    struct Body {
        docs: Docs,
    }
    #[derive(Deserialize)]
    struct Docs {
        max_records: u64,
    }
    let session = case.session;
    if session.options.atomic {
        return Err(Stop::Skipped("the server takes several records (--atomic yes)"));
    }
    let known = case.new_records(2)?;
    let changes: Vec<_> = known.iter().map(|known| (known.id.as_str(), session.change(&session.marker()))).collect();
    let mut exchange = session.send(Sent::mutation(session.update(&changes)));
    let mut sent = changes.len();
    // Its limit may be more than two.
    while exchange.status() == 200 && sent < 10_000 {
        sent *= 10;
        let data: Vec<_> = (0..sent).map(|_| session.data(&session.marker())).collect();
        exchange = session.send(Sent::mutation(session.create(&data)));
    }
    let exchange = exchange.expect_error(&[422])?;
    let max = match serde_json::from_slice::<Body>(exchange.body()) {
        Ok(body) => body.docs.max_records,
        Err(_) => return Err(exchange.fails(r#"a body with "docs": {"max_records": n}"#).into()),
    };
    if max == 0 || max >= sent as u64 {
        return Err(exchange.fails(format!("a max_records from 1 to {}", sent - 1)).into());
    }
    if sent == changes.len() {
        for known in &known {
            case.expect_untouched(known)?;
        }
    }
    let data: Vec<_> = (0..max).map(|_| session.data(&session.marker())).collect();
    let (exchange, created) = session.send(Sent::mutation(session.create(&data))).expect_records()?;
    match created.len() as u64 == max {
        true => Ok(()),
        false => Err(Stop::Failed(Failure { ..exchange.fails(format!("{max} records, which max_records allows")) })),
    }
}
