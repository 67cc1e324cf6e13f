//! Creates, updates and deletes that a provider accepts.

use std::collections::BTreeSet;

use crate::case::{Case, Stop};
use crate::exchange::{Failure, Sent};
use crate::reply::{Record, first_difference};
use crate::session::{Session, object};

/// The records of a request with several.
pub const SEVERAL: usize = 3;

pub fn create(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let data = session.data(&session.marker());
    let exchange = session.send(Sent::mutation(session.create(std::slice::from_ref(&data))));
    let (exchange, record) = exchange.expect_record()?;
    if record.upstream_id().is_none_or(|id| id.is_empty()) {
        case.fail(exchange.fails("a record with its upstream_id, which is not empty"));
        return Ok(());
    }
    if record.deleted() == Some(true) {
        case.fail(exchange.fails("a new record that is not deleted"));
        return Ok(());
    }
    let Some(shown) = record.data() else {
        case.note("the reply to a create shows no data");
        return Ok(());
    };
    if let Some((name, found)) = first_difference(&object(&data), &shown) {
        case.fail(exchange.fails(format!("data with the field {name:?} as it was sent, and not {found}")));
    }
    Ok(())
}

pub fn update(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let change = session.change(&session.marker());
    let exchange = session.send(Sent::mutation(session.update(&[(&known.id, change.clone())])));
    let (exchange, record) = exchange.expect_record()?;
    if record.upstream_id().as_ref() != Some(&known.id) {
        return Err(exchange.fails("the record that was updated, by its upstream_id").into());
    }
    match record.data() {
        None => case.note("the reply to an update shows no data"),
        Some(shown) => {
            if let Some((name, found)) = first_difference(&object(&change), &shown) {
                return Err(exchange.fails(format!("the field {name:?} as it was sent, and not {found}")).into());
            }
        }
    }
    Ok(())
}

pub fn patch(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let change = session.change(&session.marker());
    session.send(Sent::mutation(session.update(&[(&known.id, change.clone())]))).expect_record()?;
    // The look is a second update, which names another field.
    let (exchange, shown) = session.look_at(&known)?;
    let Some(shown) = shown else {
        case.note("replies show no data, so that the kept fields cannot be seen");
        return Ok(());
    };
    let mut wanted = known.sent;
    wanted.extend(object(&change));
    if let Some((name, found)) = first_difference(&wanted, &shown) {
        case.fail(
            exchange.fails(format!("{name:?} has kept its value over an update of other fields, and is not {found}")),
        );
    }
    Ok(())
}

pub fn delete(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let exchange = session.send(Sent::mutation(session.delete(&[&known.id])));
    let (exchange, record) = exchange.expect_record()?;
    if record.deleted() == Some(false) {
        return Err(exchange.fails(r#"a record with "deleted": true"#).into());
    }
    if record.upstream_id().as_ref() != Some(&known.id) {
        return Err(exchange.fails("the record that was deleted, by its upstream_id").into());
    }
    let exchange = session.send(Sent::mutation(session.look(&known)));
    if exchange.status() == 200 {
        return Err(exchange.fails("no 200 for an update of a record that was deleted").into());
    }
    Ok(())
}

pub fn delete_twice(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let delete = session.delete(&[&known.id]);
    session.send(Sent::mutation(delete.clone())).expect_record()?;
    let again = session.send(Sent::mutation(delete)).expect(&[200, 400])?;
    match again.status() {
        200 => {
            let (exchange, record) = again.expect_record()?;
            if record.deleted() == Some(false) {
                return Err(exchange.fails(r#"a record with "deleted": true"#).into());
            }
            case.note("a second delete answers 200");
        }
        _ => {
            again.expect_error(&[400])?;
            case.note("a second delete answers 400");
        }
    }
    Ok(())
}

pub fn version(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let create = session.create(&[session.data(&session.marker())]);
    let (exchange, created) = session.send(Sent::mutation(create)).expect_record()?;
    let id = created.upstream_id().ok_or_else(|| Stop::Blocked(exchange.fails("an upstream_id")))?;
    let mut before = created.updated_idx();
    if before.is_none() {
        case.note("records show no updated_idx");
    }
    let update = session.update(&[(&id, session.change(&session.marker()))]);
    for body in [update, session.delete(&[&id])] {
        let (exchange, record) = session.send(Sent::mutation(body)).expect_record()?;
        let after = record.updated_idx();
        if after.is_some() && after <= before {
            return Err(exchange
                .fails(format!("an updated_idx above the earlier {}", before.unwrap_or_default()))
                .into());
        }
        before = after.or(before);
    }
    Ok(())
}

pub fn several(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let markers = needs_several(session)?;
    let data: Vec<_> = markers.iter().map(|marker| session.data(marker)).collect();
    let (exchange, created) = session.send(Sent::mutation(session.create(&data))).expect_records()?;
    let ids = distinct_ids(&created);
    if created.len() != SEVERAL || ids.len() != SEVERAL {
        return Err(exchange.fails(format!("{SEVERAL} records with different upstream_ids")).into());
    }
    let changes: Vec<_> = ids.iter().map(|id| (id.as_str(), session.change(&session.marker()))).collect();
    let (exchange, updated) = session.send(Sent::mutation(session.update(&changes))).expect_records()?;
    if updated.len() != SEVERAL || distinct_ids(&updated) != ids {
        return Err(exchange.fails(format!("the {SEVERAL} records that were updated")).into());
    }
    for (id, change) in &changes {
        let is_it = |record: &&Record| record.upstream_id().as_deref() == Some(*id);
        let shown = updated.iter().find(is_it).and_then(Record::data);
        if let Some((name, found)) = shown.and_then(|shown| owned(first_difference(&object(change), &shown))) {
            let expected = format!("{name:?} of {id:?} is what was sent for this record, and not {found}");
            return Err(exchange.fails(expected).into());
        }
    }
    let refs: Vec<_> = ids.iter().map(String::as_str).collect();
    let (exchange, deleted) = session.send(Sent::mutation(session.delete(&refs))).expect_records()?;
    if deleted.len() != SEVERAL || distinct_ids(&deleted) != ids {
        return Err(exchange.fails(format!("the {SEVERAL} records that were deleted")).into());
    }
    Ok(())
}

pub fn order(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let markers = needs_several(session)?;
    let data: Vec<_> = markers.iter().map(|marker| session.data(marker)).collect();
    let (_, created) = session.send(Sent::mutation(session.create(&data))).expect_records()?;
    let in_order =
        created.len() == SEVERAL && created.iter().zip(&markers).all(|(record, marker)| record.contains(marker));
    case.note(match in_order {
        true => "records come in the order of the request",
        false => "records do not come in the order of the request, or do not show their data",
    });
    Ok(())
}

/// The markers of several records, unless the server takes one at a time.
pub fn needs_several(session: &Session) -> Result<Vec<String>, Stop> {
    match session.options.atomic {
        true => Ok((0..SEVERAL).map(|_| session.marker()).collect()),
        false => Err(Stop::Skipped("the server takes no several records (--atomic no)")),
    }
}

fn distinct_ids(records: &[Record]) -> BTreeSet<String> {
    records.iter().filter_map(Record::upstream_id).collect()
}

fn owned(difference: Option<(&str, String)>) -> Option<(String, String)> {
    difference.map(|(name, found)| (name.to_owned(), found))
}

/// A failure that no single exchange shows.
pub fn failed(expected: impl Into<String>) -> Stop {
    Stop::Failed(Failure::new(expected))
}
