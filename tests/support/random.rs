//! Random choices that another run can repeat: `SEQUIN_SOAK_SEED` is the seed, `SEQUIN_SOAK_ROUNDS` how long it goes on.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator of numbers; how good they are does not matter.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Dice {
        // Neighbouring seeds must not give neighbouring numbers, and 0 would give nothing but 0.
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 up, below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Puts `cards` into another order.
    pub fn shuffle<T>(&mut self, cards: &mut [T]) {
        for last in (1..cards.len()).rev() {
            cards.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// The seed and the number of rounds that were asked for, else one of the clock's and `rounds`. Both are printed.
pub fn seed_and_rounds(rounds: u64) -> (u64, u64) {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let seed = variable("SEQUIN_SOAK_SEED").unwrap_or_else(clock);
    let rounds = variable("SEQUIN_SOAK_ROUNDS").unwrap_or(rounds);
    eprintln!("SEQUIN_SOAK_SEED={seed} SEQUIN_SOAK_ROUNDS={rounds}");
    (seed, rounds)
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}
