//! Faults in a TLS stream. The record boundaries alone show which bytes belong to the request and the reply.

use sequin_harness::proxy::Direction::{ToApi, ToClient};
use sequin_harness::proxy::{Fault, Harm, Proxy};
use sequin_harness::tls::Kind;
use sequin_harness::{Sandbox, Tls};

use super::answers::GOOD;
use super::reported::{Reported, reported};
use super::session::FaultSession;
use super::{Case, HARMS, KINDS, Place, assert_ran};
use crate::support::server::shared;

fn session() -> FaultSession {
    let certificates = Tls::in_directory(&shared().scratch("faults"));
    let (certificate, key) = certificates.files(Kind::Valid);
    let sandbox = Sandbox::builder().tls(&certificate, &key).start().unwrap();
    let proxy = Proxy::before(&sandbox);
    let url = proxy.https_url("localhost");
    FaultSession::of(sandbox, proxy, &url, &format!("ca_file '{}'", certificates.ca_file().display()), right)
}

/// Where each record of the stream begins, and its end.
fn records(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut records) = (0, Vec::new());
    while let Some(&[_, _, _, high, low]) = bytes.get(at..at + 5) {
        let end = at + 5 + usize::from(u16::from_be_bytes([high, low]));
        records.push((at, end));
        at = end;
    }
    assert_eq!(at, bytes.len(), "the stream ends within a record");
    records
}

/// In each flight of the handshake, and in the last records of each side, which are the request and its reply. Over a kept
/// connection there are these alone.
fn places(request: &[u8], reply: &[u8], kept: bool) -> Vec<Place> {
    let (ours, theirs) = (records(request), records(reply));
    let middle = |(from, to): (usize, usize)| (from + to) / 2;
    // The client: hello, change of cipher, finished, head, body. The server: hello, change, its flight, tickets, reply.
    let shape = if kept { (2, 1) } else { (5, 5) };
    assert_eq!((ours.len(), theirs.len()), shape, "another order of records than expected: {ours:?} {theirs:?}");
    let (question, answer) = ((ours[ours.len() - 2].0, request.len()), theirs[theirs.len() - 1]);
    // A signature of the server's is some bytes longer or shorter each time: before the end is in the record all the same.
    let slack = if kept { 0 } else { 8 };
    let mut places = vec![
        ("request's type", ToApi, question.0),
        ("request", ToApi, middle(question)),
        ("request's end", ToApi, question.1 - 1),
        ("reply's type", ToClient, answer.0),
        ("reply", ToClient, middle(answer)),
        (if kept { "reply's end" } else { "reply" }, ToClient, answer.1 - 1 - slack),
    ];
    if !kept {
        places.extend([
            ("hello", ToApi, 0),
            ("hello", ToApi, middle(ours[0])),
            ("finished", ToApi, middle(ours[2])),
            ("handshake", ToClient, 0),
            ("handshake", ToClient, middle(theirs[0])),
            ("handshake", ToClient, middle(theirs[2])),
            ("tickets", ToClient, middle(theirs[theirs.len() - 2])),
        ]);
    }
    places
}

/// Nothing within TLS is changed on its way: it comes as it was, or the connection is broken.
fn right(case: &Case, _: &[u8], _: &[u8]) -> Vec<Reported> {
    let cancelled = |applied| reported(Some("57014"), "cancelled", applied);
    let not_sent = if case.cancelled { cancelled("none") } else { reported(Some("HV00N"), "not_sent", "none") };
    let unknown = if case.cancelled { cancelled("unknown") } else { reported(Some("HV00K"), "unknown", "unknown") };
    let applied = reported(None, "applied", "all");
    match (case.fault.harm, case.place) {
        (Harm::Drip, _) => vec![applied],
        // The outer type of a record says nothing in TLS 1.3, and rustls takes some others for it.
        (Harm::Corrupt(_), "request's type" | "reply's type") => vec![unknown, applied],
        // The record is whole, and the next byte is random: mostly no type of a record, and detected at once.
        (Harm::DuplicateByte, "request's end" | "reply's end") => vec![unknown, applied],
        // Until the server has shown that it heard the hello right, the client sends nothing.
        (Harm::Cut | Harm::Reset | Harm::Stall, "hello" | "handshake") => vec![not_sent],
        (Harm::Corrupt(_) | Harm::DuplicateByte, "handshake") => vec![not_sent],
        // The server may detect a fault after a good hello only when the client has continued.
        (_, "hello" | "handshake") => vec![not_sent, unknown],
        (Harm::Cut | Harm::Reset | Harm::Stall | Harm::Corrupt(_) | Harm::DuplicateByte, _) => vec![unknown],
        // A fault after a good record may be detected before or after the record is used.
        (Harm::DuplicateRest, _) => vec![unknown, applied],
    }
}

#[test]
fn each_fault_within_tls_is_reported_as_it_is() {
    let mut session = session();
    let mut cases = Vec::new();
    for kept in [false, true] {
        for (turn, kind) in KINDS.into_iter().enumerate() {
            let (request, reply) = session.measure(kind, &GOOD, kept);
            for (number, (place, direction, at)) in places(&request, &reply, kept).into_iter().enumerate() {
                for (harm, of_kind) in HARMS.into_iter().zip((0..KINDS.len()).cycle()) {
                    // Each harm at each place once, the kinds by turns.
                    if (of_kind + number) % KINDS.len() == turn {
                        let fault = Fault { direction, at, harm };
                        // Most stalls are cancelled: the time for a handshake, or a request, has to pass for the others.
                        let cancelled = harm == Harm::Stall && number % 4 != 1;
                        cases.push(Case { kind, answer: &GOOD, kept, fault, place, cancelled });
                    }
                }
            }
        }
    }
    assert_ran(session.run(&cases));
}
