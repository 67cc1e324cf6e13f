//! The checks, in the order in which they run. Each makes its own records, so that any of them can run alone.

mod all_or_nothing;
mod awaiting;
mod bodies;
mod http;
mod keys;
mod mutations;
mod pull;
mod refusals;
mod shapes;
mod traffic;
mod values;

use crate::case::{Case, Findings, Stop};
use crate::session::Session;

pub struct Check {
    pub name: &'static str,
    /// What a server does that passes.
    pub about: &'static str,
    run: fn(&mut Case) -> Result<(), Stop>,
}

impl Check {
    pub fn run(&self, session: &Session) -> Findings {
        Case::run(session, self.run)
    }
}

const fn check(name: &'static str, about: &'static str, run: fn(&mut Case) -> Result<(), Stop>) -> Check {
    Check { name, about, run }
}

pub fn all() -> Vec<Check> {
    vec![
        check("create", "a create answers 200 with the record, its upstream_id and its data", mutations::create),
        check("update", "an update answers 200 with the same record, changed", mutations::update),
        check("patch", "an update keeps the fields that it does not name", mutations::patch),
        check("delete", "a delete answers 200, and the record is gone", mutations::delete),
        check("delete-twice", "a second delete answers 200 or 400, and never 404", mutations::delete_twice),
        check("version", "updated_idx, where it is shown, rises with each change of a record", mutations::version),
        check("several", "a request with several records answers with as many, each with its own", mutations::several),
        check(
            "order",
            "whether records come in the order of the request; the contract leaves it open",
            mutations::order,
        ),
        check("numbers", "numbers come back digit for digit", values::numbers),
        check("text", "texts come back as they were sent, whatever their characters", values::text),
        check("invalid-data", "data that the provider refuses is a 400 with the error", refusals::invalid_data),
        check("unknown-id", "an update of a record that is gone is a 400, and not a 404", refusals::unknown_id),
        check("all-or-nothing", "a refused request with several records has applied none", all_or_nothing::refused),
        check(
            "max-records",
            "too many records are a 422 that says how many are taken (--atomic no)",
            all_or_nothing::limit,
        ),
        check("wrong-shapes", "a missing, surplus or wrong field is a 422, and nothing is applied", shapes::wrong),
        check("right-shapes", "optional fields, and any order of fields, are accepted", shapes::right),
        check(
            "repeated-field",
            "whether a field that is sent twice is refused; the contract is silent",
            shapes::repeated,
        ),
        check("not-json", "a body that is not a JSON object is a 422", bodies::not_json),
        check("content-type", "another content type than JSON is a 415 or 422", bodies::content_type),
        check("slow-body", "a body may come slowly", bodies::slow),
        check("chunked-body", "a body may come in chunks, without a length", bodies::chunked),
        check("large-body", "a large body is taken (--large)", bodies::large),
        check("token", "without the right token the reply is a 401, and nothing is applied", http::token),
        check("path", "a wrong path is a 404", http::path),
        check("method", "another method than POST is a 405", http::method),
        check("headers", "headers that a server does not know change nothing", http::headers),
        check("prefer", "Prefer: per-record is confirmed and followed, or neither", http::prefer),
        check(
            "keep-alive",
            "many requests on one connection, refused ones among them, each get their own reply",
            traffic::keep_alive,
        ),
        check("at-once", "requests on several connections at once each get their own reply", traffic::at_once),
        check("unknown-consumer", "an unknown consumer is a 422, and nothing is applied", awaiting::unknown),
        check(
            "await-timeout",
            "a wait that ends too late is the documented 500, and the mutation is applied",
            awaiting::timeout,
        ),
        check(
            "await-acknowledged",
            "a reply waits until the consumer has acknowledged the record",
            awaiting::acknowledged,
        ),
        check("pull", "a pull consumer gets each record, and not again once it is acknowledged", pull::acknowledge),
        check("pull-again", "a record that is given back comes again, under a new token", pull::give_back),
        check("pull-refusals", "wrong requests to a pull consumer are a 401, 404, 405 or 422", pull::refusals),
        check(
            "key-repeated",
            "the same request under the same key has one effect and one answer (--keys)",
            keys::repeated,
        ),
        check("key-other-body", "another request under the same key is a 422 (--keys)", keys::other_body),
        check(
            "key-at-once",
            "the same request under one key, several times at once, has one effect (--keys)",
            keys::at_once,
        ),
    ]
}

/// The checks of these names, or all. The error is an unknown name.
pub fn chosen(names: &[String]) -> Result<Vec<Check>, &str> {
    let mut checks = all();
    if let Some(unknown) = names.iter().find(|name| checks.iter().all(|check| check.name != **name)) {
        return Err(unknown);
    }
    checks.retain(|check| names.is_empty() || names.iter().any(|name| name == check.name));
    Ok(checks)
}
