//! Calls at once, over plain HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sequin_harness::proxy::{Direction, Fault, Harm};

use super::answers::{self, ERRORS, GOOD};
use super::session::FaultSession;
use super::{Case, HARMS, KINDS, Place, assert_ran, expected, places};
use crate::support::random::{RngExt, SeedableRng, SmallRng, seed_and_rounds};

/// How many places of each kind of call are random.
const AT_RANDOM: u64 = 20;

/// The digit of a status, and bits of it, so that it says 300, 400, 500, 210, 201, or nothing at all.
const STATUSES: [(usize, u8); 6] = [(0, 0x01), (0, 0x06), (0, 0x07), (1, 0x01), (2, 0x01), (1, 0x40)];

fn case(kind: &'static str, answer: &'static answers::Answer, (place, direction, at): Place, harm: Harm) -> Case {
    Case {
        kind,
        answer,
        kept: false,
        fault: Fault { direction, at, harm },
        place,
        // A call that ends by itself takes its time.
        cancelled: harm == Harm::Stall && !matches!(place, "the token" | "the status" | "the body"),
    }
}

/// Every other case is over a kept connection.
fn by_turns(mut cases: Vec<Case>) -> Vec<Case> {
    for (turn, case) in cases.iter_mut().enumerate() {
        case.kept = turn % 2 == 1;
    }
    cases
}

/// Each harm at each place, and then some at random places.
fn sample(session: &mut FaultSession, kind: &'static str, rng: &mut SmallRng, at_random: u64) -> Vec<Case> {
    let (request, reply) = session.measure(kind, &GOOD, false);
    let mut cases = Vec::new();
    for place in places::of_request(&request).into_iter().chain(places::of_reply(&reply)) {
        cases.extend(HARMS.map(|harm| case(kind, &GOOD, place, harm)));
    }
    for (digit, bits) in STATUSES {
        let place = ("the status", Direction::ToClient, expected::STATUS.start() + digit);
        cases.push(case(kind, &GOOD, place, Harm::Corrupt(bits)));
    }
    for _ in 0..at_random {
        let harm = match HARMS[rng.random_range(0..HARMS.len() as u64) as usize] {
            Harm::Corrupt(_) => Harm::Corrupt(1 << rng.random_range(0..8)),
            harm => harm,
        };
        cases.push(case(kind, &GOOD, places::at_random(rng, request.len(), reply.len()), harm));
    }
    by_turns(cases)
}

#[test]
fn each_fault_is_reported_as_it_is() {
    let (seed, at_random) = seed_and_rounds(AT_RANDOM);
    let mut rng = SmallRng::seed_from_u64(seed);
    let ran = &AtomicUsize::new(0);
    thread::scope(|scope| {
        for kind in KINDS {
            let rng = SmallRng::seed_from_u64(rng.random());
            let name = thread::current().name().unwrap_or_default().to_owned();
            // Most of the time is that of the stalls, which pass as well side by side.
            for half in 0..2 {
                let mut rng = rng.clone();
                let work = move || {
                    let mut session = FaultSession::new();
                    let cases = sample(&mut session, kind, &mut rng, at_random);
                    // By twos: one over a new connection, and one over a kept one.
                    let cases: Vec<Case> = cases.chunks(2).skip(half).step_by(2).flatten().copied().collect();
                    ran.fetch_add(session.run(&cases), Ordering::Relaxed);
                };
                thread::Builder::new().name(format!("{name}, {kind}, {half}")).spawn_scoped(scope, work).unwrap();
            }
        }
    });
    assert_ran(ran.load(Ordering::Relaxed));
}

/// The statuses and bodies that the API may answer with, each broken in some way. A status says what it says with half a
/// body as well, but for the one 500 whose text makes the difference.
#[test]
fn each_answer_is_reported_as_far_as_it_came() {
    let mut session = FaultSession::new();
    let mut cases = Vec::new();
    for (turn, answer) in ERRORS.iter().enumerate() {
        let kind = KINDS[turn % KINDS.len()];
        let (_, reply) = session.measure(kind, answer, false);
        // A wrong length takes until the time for the request is up, whatever the answer is.
        for place in places::of_reply(&reply).into_iter().filter(|(name, ..)| *name != "the length") {
            let others = [Harm::Reset, Harm::Drip, Harm::DuplicateByte, Harm::DuplicateRest, Harm::Corrupt(0x01)];
            for harm in [Harm::Cut, others[cases.len() % others.len()]] {
                cases.push(case(kind, answer, place, harm));
            }
            if place.0 == "the body" {
                let stall = Case { cancelled: true, ..case(kind, answer, place, Harm::Stall) };
                cases.extend([stall, Case { cancelled: turn % 4 != 0, ..stall }]);
            }
        }
    }
    assert_ran(session.run(&by_turns(cases)));
}
