//! The worker's messages, requests and stored records.

use super::super::echoing_api::{self, EchoingApi};
use super::super::marked_token::MarkedToken;
use super::super::server::{LoudServer, OPTIONS};
use crate::support::Session;

/// Has the worker send a create and an update for each of some answers. A server object for each, because some of them
/// pause it and others make it rest.
pub fn drive(stage: &mut LoudServer, api: &EchoingApi, files: &[String], in_mappings: &[MarkedToken]) {
    let mut all = Vec::new();
    let mut names = |kind: &str, ways: Vec<usize>| -> Vec<String> {
        let names: Vec<String> = ways.iter().map(|way| format!("outbox_{kind}_{way}")).collect();
        all.extend(ways.into_iter().zip(names.clone()));
        names
    };
    let few = || echoing_api::some().into_iter().step_by(5).collect();
    let (odd, long) = (names("file", echoing_api::some()), names("long_file", few()));
    stage.servers_with_file(&odd, &api.raw.url(), OPTIONS, &files[0]);
    stage.servers_with_file(&long, &api.raw.url(), OPTIONS, &files[1]);
    let (odd, long) = (names("mapped", echoing_api::some()), names("long_mapped", few()));
    stage.servers_with_token(&odd, &api.raw.url(), OPTIONS, &in_mappings[0].token);
    stage.servers_with_token(&long, &api.raw.url(), OPTIONS, &in_mappings[1].token);

    let before = api.requests();
    let enqueue = |(way, server): &(usize, String)| {
        let target = format!("'way-{way}', 'salesforce:contact'");
        [
            format!("SELECT sequin_enqueue('create', {target}, '{{\"data\":{{}}}}', server => '{server}')"),
            format!(
                "SELECT sequin_enqueue('update', {target}, '{{\"upstream_id\":\"1\",\"data\":{{}}}}', server => '{server}')"
            ),
        ]
    };
    let statements: Vec<String> = all.iter().flat_map(enqueue).collect();
    stage.psql("app", &statements);
    // Every server has been heard of: it says what is wrong with it, or has no record left that waits for a first attempt.
    stage.observer.until(
        "SELECT NOT EXISTS (
           SELECT FROM sequin.outbox o JOIN sequin.status s USING (server)
           WHERE o.state IN ('pending', 'sending') AND o.error IS NULL AND s.last_error IS NULL)",
    );
    assert!(api.requests() >= before + all.len(), "each server was sent something");
    let told =
        "SELECT string_agg(concat(error, last_error), ' ') FROM sequin.outbox FULL JOIN sequin.status USING (server)";
    let told: String = stage.observer.one(told);
    assert!(told.matches("[redacted]").count() > 20, "the token was echoed, and taken out: {told}");
}
