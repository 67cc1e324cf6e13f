//! Generated documents pass digit for digit and key for key, in every direction.
//!
//! They differ in each run: `SEQUIN_SOAK_SEED` repeats those of another run, `SEQUIN_SOAK_ROUNDS` makes more of them. A
//! document that fails is shrunk as far as possible.

mod choices;
mod document;
mod ways;

use crate::support::World;
use crate::support::random::{SeedableRng, SmallRng, seed_and_rounds};
use choices::Choices;
use ways::Way;

/// Few enough for `make test`.
const ROUNDS: u64 = 3;

const DOCUMENTS: usize = 40;

fn all_pass(make: fn(&mut Choices) -> String, way: Way) {
    let mut world = World::with_options("atomic_batches 'true'");
    let (seed, rounds) = seed_and_rounds(ROUNDS);
    for round in 0..rounds {
        let mut documents = Vec::new();
        let mut all_choices = Vec::new();
        for n in 0..DOCUMENTS as u64 {
            let mut choices = Choices::by(SmallRng::seed_from_u64(seed.wrapping_add(round << 16 | n)));
            documents.push(make(&mut choices));
            all_choices.push(choices);
        }
        let Err(mut reason) = way(&mut world, &documents) else { continue };
        eprintln!("round {round}: {reason:.3000}");
        let mut fails = |document: &str| match way(&mut world, &[document.to_owned()]) {
            Ok(()) => false,
            Err(why) => {
                reason = why;
                true
            }
        };
        for (choices, document) in all_choices.into_iter().zip(&documents) {
            if fails(document) {
                let simplest = choices.simplest(make, &mut fails);
                panic!("seed {seed}: {simplest:.2000} does not pass: {reason:.3000}");
            }
        }
        panic!("seed {seed}, round {round}: each passes by itself, but not together: {reason:.3000}");
    }
}

#[test]
fn by_a_call() {
    all_pass(document::object, ways::call);
}

#[test]
fn by_the_outbox() {
    all_pass(document::object, ways::outbox);
}

#[test]
fn merged_by_the_outbox() {
    all_pass(document::object, ways::merged);
}

#[test]
fn by_a_table_attached_inline() {
    all_pass(document::row, ways::table);
}

#[test]
fn by_a_table_attached_to_the_outbox() {
    all_pass(document::row, ways::late_table);
}
