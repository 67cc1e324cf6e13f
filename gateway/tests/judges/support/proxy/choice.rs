//! Which fault a request meets: by the seed, by what the request is about, and by how often that has been tried. So the
//! faults of one mutation do not depend on what else runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::super::marker;
use super::wire::Asked;

/// What happens to a request or its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection ends before the product gets the request.
    CutBefore,
    /// It ends after the product has answered, before the gateway gets any of it.
    CutAfter,
    /// It ends amid the reply.
    CutInReply,
    /// There is no reply until the gateway gives up, and the product never gets the request.
    StallBefore,
    /// The same, and the product has answered.
    StallAfter,
    /// The proxy answers 429 with a `retry-after` of so many seconds.
    Limited(u32),
    /// The proxy answers with this status, and the product never gets the request.
    FailBefore(u16),
    /// The same, and the product has answered.
    FailAfter(u16),
}

impl Fault {
    /// Whether the product gets the request.
    pub fn reaches(self) -> bool {
        match self {
            Fault::None | Fault::CutAfter | Fault::CutInReply | Fault::StallAfter | Fault::FailAfter(_) => true,
            Fault::CutBefore | Fault::StallBefore | Fault::Limited(_) | Fault::FailBefore(_) => false,
        }
    }
}

/// How much harm is done.
#[derive(Clone, Debug)]
pub enum Rate {
    Never,
    /// This many of a hundred requests.
    Percent(u32),
    /// The same, but each fault is before the product gets the request.
    PercentBefore(u32),
    /// The same fault each time.
    Always(Fault),
    /// These faults in this order, for all requests but reads, and none after them.
    InOrder(Vec<Fault>),
}

/// Chooses the faults of one proxy.
pub struct Choice {
    seed: u64,
    rate: Rate,
    has_relented: AtomicBool,
    /// Texts in the path or the body of requests that meet no fault any more.
    spared: Mutex<Vec<String>>,
    /// How often each subject has been tried.
    tries: Mutex<HashMap<String, usize>>,
}

impl Choice {
    pub fn new(seed: u64, rate: Rate) -> Choice {
        Choice { seed, rate, has_relented: AtomicBool::new(false), spared: Mutex::default(), tries: Mutex::default() }
    }

    /// No faults.
    pub fn none() -> Choice {
        Choice::new(0, Rate::Never)
    }

    pub fn relent(&self) {
        self.has_relented.store(true, Ordering::SeqCst);
    }

    /// Does no harm to requests with this text in their path or body.
    pub fn spare(&self, text: &str) {
        self.spared.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
    }

    fn spares(&self, asked: &Asked) -> bool {
        let spared = self.spared.lock().unwrap_or_else(PoisonError::into_inner);
        spared.iter().any(|text| asked.body.contains(text) || asked.path.contains(text))
    }

    /// How often this has been asked before.
    fn tries_of(&self, subject: &str) -> usize {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = tries.entry(subject.to_owned()).or_default();
        *tries += 1;
        *tries - 1
    }

    pub fn of(&self, asked: &Asked) -> Fault {
        if self.has_relented.load(Ordering::SeqCst) || self.spares(asked) {
            return Fault::None;
        }
        let percent = match &self.rate {
            Rate::Never => return Fault::None,
            Rate::Always(fault) => return *fault,
            Rate::InOrder(_) if asked.method == "GET" => return Fault::None,
            Rate::InOrder(faults) => return faults.get(self.tries_of("")).copied().unwrap_or(Fault::None),
            Rate::Percent(percent) | Rate::PercentBefore(percent) => *percent,
        };
        let subject = marker::within(&asked.body).unwrap_or(&asked.path).to_owned();
        let tries = self.tries_of(&format!("{} {subject}", asked.method)) as u64;
        let mut rng = SmallRng::seed_from_u64(self.seed ^ hash(&subject) ^ (tries << 48));
        if rng.random_range(0..100) >= percent {
            return Fault::None;
        }
        let status = [500, 502, 503, 504][rng.random_range(0..4)];
        let kinds = if matches!(self.rate, Rate::PercentBefore(_)) { 10 } else { 20 };
        match rng.random_range(0..kinds) {
            0..5 => Fault::CutBefore,
            5..8 => Fault::FailBefore(status),
            8 => Fault::StallBefore,
            9 => Fault::Limited(1),
            10..14 => Fault::CutAfter,
            14..17 => Fault::CutInReply,
            17..19 => Fault::FailAfter(status),
            _ => Fault::StallAfter,
        }
    }
}

/// FNV-1a. The hashes of std may differ between its releases, and a seed should outlive them.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
