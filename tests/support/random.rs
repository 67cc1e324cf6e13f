//! Random choices that another run can repeat: `SEQUIN_SOAK_SEED` is the seed, `SEQUIN_SOAK_ROUNDS` how long it goes on.

pub use rand::rngs::SmallRng;
pub use rand::seq::SliceRandom;
pub use rand::{RngExt, SeedableRng};

/// The seed and the number of rounds that were asked for, else a new seed and `rounds`. Both are printed.
pub fn seed_and_rounds(rounds: u64) -> (u64, u64) {
    let seed = variable("SEQUIN_SOAK_SEED").unwrap_or_else(rand::random);
    let rounds = variable("SEQUIN_SOAK_ROUNDS").unwrap_or(rounds);
    eprintln!("SEQUIN_SOAK_SEED={seed} SEQUIN_SOAK_ROUNDS={rounds}");
    (seed, rounds)
}

/// The number in a variable of the environment.
pub fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}
