//! Requests that the provider refuses.

use crate::case::{Case, Stop};
use crate::exchange::{Exchange, Sent};
use crate::session::filled;

pub fn invalid_data(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let Some(invalid) = &session.options.invalid_data else {
        return Err(Stop::Skipped("no --invalid-data"));
    };
    let data = filled(invalid, &session.marker());
    let exchange = session.send(Sent::mutation(session.create(&[data]))).expect_error(&[400])?;
    note_form(case, &exchange);
    Ok(())
}

pub fn unknown_id(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    // The id of a record that was deleted has the provider's form, and names no other record.
    let known = case.new_record()?;
    session.send(Sent::mutation(session.delete(&[&known.id]))).expect(&[200])?;
    let update = session.update(&[(&known.id, session.change(&session.marker()))]);
    let exchange = session.send(Sent::mutation(update)).expect_error(&[400])?;
    note_form(case, &exchange);
    Ok(())
}

/// The documentation's errors start with `Error: `. It does not promise that all do.
fn note_form(case: &mut Case, exchange: &Exchange) {
    #[derive(serde::Deserialize)]
    struct Body {
        error: String,
    }
    let has_form = serde_json::from_slice(exchange.body()).is_ok_and(|body: Body| body.error.starts_with("Error: "));
    if !has_form {
        case.note(r#"the text of "error" does not start with "Error: ""#);
    }
}
