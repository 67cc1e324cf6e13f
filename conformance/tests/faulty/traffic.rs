//! Faults that only many requests show.

use std::sync::{Barrier, Mutex};

use super::{each_is_found, is_of_kind};
use crate::proxy::Fault;

#[test]
fn of_many_requests_on_a_connection_are_found() {
    let late = Mutex::new(None);
    each_is_found(
        vec![(
            "the reply to a wrong path comes twice",
            Fault::new(move |request, upstream| {
                let again = late.lock().unwrap().take();
                let reply = upstream.pass(&request);
                match again {
                    Some(again) if request.header("content-type") == Some("text/plain") => again,
                    _ => {
                        if reply.status == 404 {
                            *late.lock().unwrap() = Some(reply.clone());
                        }
                        reply
                    }
                }
            }),
            &["keep-alive"],
        )],
        &[],
    );
}

#[test]
fn of_many_requests_at_once_are_found() {
    const CLIENTS: usize = 6;
    let (all_are_here, replies) = (Barrier::new(CLIENTS), Mutex::new(Vec::new()));
    let mixed_up = Fault::some(move |request, upstream| {
        is_of_kind(request, "update").then_some(())?;
        let reply = upstream.pass(request);
        let mut before = replies.lock().unwrap();
        let at = before.len();
        before.push(reply.clone());
        drop(before);
        // The first reply to each client is the one to the client before it.
        if at >= CLIENTS {
            return Some(reply);
        }
        all_are_here.wait();
        let others = replies.lock().unwrap()[(at + 1) % CLIENTS].clone();
        Some(others)
    });
    each_is_found(vec![("replies are mixed up", mixed_up, &["at-once"])], &["--only", "at-once"]);
}
