//! Servers with one fault each. The program must find each, by the check that is for it, and by no check that is not.

mod bodies;
mod effects;
mod http;
mod keys;
mod pull;
mod refusals;
mod shapes;
mod traffic;
mod values;
mod waiting;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::thread;

use sequin_harness::Sandbox;

use crate::kit::judge;
use crate::proxy::{Fault, Proxy, Request};

/// What is wrong, how, and the checks that fail.
pub type Row = (&'static str, Fault, &'static [&'static str]);

/// Judges the servers, some at once, each by a collection of its own in one sandbox.
pub fn each_is_found(rows: Vec<Row>, more: &[&str]) {
    let sandbox = Sandbox::start();
    let numbered: VecDeque<_> = rows.into_iter().enumerate().collect();
    let (left, wrong) = (Mutex::new(numbered), Mutex::new(Vec::new()));
    let work = || {
        while let Some((at, (what, fault, checks))) = { left.lock().unwrap().pop_front() } {
            let proxy = Proxy::start(&sandbox, fault);
            let arguments = [&["--timeout", "10"], more].concat();
            let verdict = judge(&sandbox, proxy.url(), &format!("salesforce:c{at}"), &arguments);
            let checks: BTreeSet<_> = checks.iter().map(|check| (*check).to_owned()).collect();
            if verdict.status != Some(1) || verdict.failed != checks {
                let failed = &verdict.failed;
                wrong.lock().unwrap().push(format!("{what}: {failed:?} failed, not {checks:?}\n{}", verdict.output));
            }
        }
    };
    thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(work)));
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

pub fn is_mutation(request: &Request) -> bool {
    request.path == "/v1/mutations/run" && request.method == "POST"
}

/// A mutation that the sandbox takes, as far as its shape goes.
pub fn is_of_kind(request: &Request, kind: &str) -> bool {
    is_mutation(request) && request.kind() == kind && request.header("authorization").is_some()
}

/// Without one field at the top.
pub fn without(request: &Request, fields: &[&str]) -> Request {
    let mut body = request.json();
    if let Some(object) = body.as_object_mut() {
        fields.iter().for_each(|field| drop(object.remove(*field)));
        return request.with_body(body.to_string());
    }
    request.clone()
}
