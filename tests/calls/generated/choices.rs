//! A generator's choices, stored so that a failing document can be repeated and shrunk.
//!
//! The simplest choice is 0, and choices after the end of the stored ones are 0. So omitting or lowering a choice still
//! gives a document, and a simpler one.

use crate::support::random::{RngExt, SeedableRng, SmallRng};

/// How often a smaller document is tried.
const TRIALS: usize = 3_000;

/// Choices that are made at random, or read.
#[derive(Debug)]
pub struct Choices {
    rng: Option<SmallRng>,
    made: Vec<u64>,
    read: usize,
}

impl Choices {
    pub fn by(rng: SmallRng) -> Choices {
        Choices { rng: Some(rng), made: Vec::new(), read: 0 }
    }

    fn from(made: &[u64]) -> Choices {
        Choices { rng: None, made: made.to_vec(), read: 0 }
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = limit as u64;
        if let Some(rng) = &mut self.rng {
            self.made.push(rng.random_range(0..limit));
        }
        let choice = self.made.get(self.read).copied().unwrap_or(0) % limit;
        self.read += 1;
        choice as usize
    }

    /// True once in `times` calls.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Whether one more element comes, of about `count` in all. Asked before each element, so that shrinking can omit
    /// any of them.
    pub fn has_more(&mut self, count: usize) -> bool {
        self.below(count + 1) > 0
    }

    /// The simplest document that `make` makes of fewer or lower choices and that `fails` still.
    pub fn simplest(self, make: fn(&mut Choices) -> String, mut fails: impl FnMut(&str) -> bool) -> String {
        let mut best = self.made;
        let mut trials = TRIALS;
        let mut fails = |made: &[u64]| fails(&make(&mut Choices::from(made)));
        loop {
            let before = best.clone();
            // From halves to a sixty-fourth: when so much is gone that one is a single choice, it ends there.
            let least = best.len() / 64;
            let mut size = best.len() / 2;
            while size > least {
                let mut at = best.len();
                while at > 0 {
                    at = at.saturating_sub(size).min(best.len());
                    let mut fewer = best.clone();
                    fewer.drain(at..(at + size).min(best.len()));
                    keep(&mut best, fewer, &mut trials, &mut fails);
                }
                size /= 2;
            }
            for at in 0..best.len() {
                for lower in [0, best[at] / 2, best[at].saturating_sub(1)] {
                    let mut lowered = best.clone();
                    lowered[at] = lower;
                    keep(&mut best, lowered, &mut trials, &mut fails);
                }
                // Of many, the first say most; the others have their turn when there are fewer.
                if best.len() > 500 && at > 100 {
                    break;
                }
            }
            if best == before || trials == 0 {
                return make(&mut Choices::from(&best));
            }
        }
    }
}

/// Takes `other` for `best` if it is another and fails.
fn keep(best: &mut Vec<u64>, other: Vec<u64>, trials: &mut usize, fails: &mut impl FnMut(&[u64]) -> bool) {
    if *trials > 0 && other != *best {
        *trials -= 1;
        if fails(&other) {
            *best = other;
        }
    }
}

#[test]
fn what_fails_is_made_smaller() {
    let fails = |text: &str| text.contains("🪐") && text.contains("1.10");
    let mut sizes = Vec::new();
    for seed in 0..200 {
        let mut choices = Choices::by(SmallRng::seed_from_u64(seed));
        let text = super::document::object(&mut choices);
        if fails(&text) {
            let simplest = choices.simplest(super::document::object, fails);
            assert!(fails(&simplest), "{simplest}");
            sizes.push(simplest.len());
        }
    }
    sizes.sort_unstable();
    assert!(sizes.len() >= 10 && sizes[sizes.len() / 2] < 40, "{sizes:?}");
}
