//! Faults on demand: a list of rules. Each request takes the first rule that matches.
//!
//! Some rules act before the body is read. They are looked up with the head, when the body cannot be matched yet. The
//! order of the list still holds: a rule that depends on the body hides all later rules until the body has arrived.

mod rule;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

pub use rule::{Peek, Rule, Stall};

#[derive(Default)]
pub struct Faults {
    list: Mutex<Vec<Pending>>,
    /// Saves a request without a rule the lock.
    any: AtomicBool,
    /// How often the rules were cleared.
    generation: watch::Sender<u64>,
}

struct Pending {
    rule: Arc<Rule>,
    /// None: for ever.
    times: Option<u64>,
    source: Value,
}

/// The facts that a rule's `match` compares.
pub struct Target<'a> {
    pub path: &'a str,
    pub body: &'a [u8],
}

impl Faults {
    pub fn push(&self, source: Value) -> Result<(), String> {
        let mut rule = Rule::parse(&source)?;
        let times = rule.times;
        let mut list = self.list();
        rule.generation = *self.generation.borrow();
        list.push(Pending { rule: Arc::new(rule), times, source });
        self.any.store(true, Relaxed);
        Ok(())
    }

    /// Drops the rules, and ends their stalls and holds.
    pub fn clear(&self) {
        let mut list = self.list();
        list.clear();
        self.any.store(false, Relaxed);
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// The remaining rules, each with its remaining `times`.
    pub fn left(&self) -> Vec<Value> {
        let left = |pending: &Pending| {
            let mut source = pending.source.clone();
            source["times"] = pending.times.into();
            source
        };
        self.list().iter().map(left).collect()
    }

    /// Ends when `rule` and the others are cleared, or at once if they were cleared since a request took it.
    pub fn cleared(&self, rule: &Rule) -> impl Future<Output = ()> + Send + 'static {
        let mut generation = self.generation.subscribe();
        let its = rule.generation;
        async move {
            let _ = generation.wait_for(|now| *now != its).await;
        }
    }

    /// The rule that the head alone selects.
    pub fn at_head(&self, path: &str) -> Option<Arc<Rule>> {
        if !self.any.load(Relaxed) {
            return None;
        }
        let mut list = self.list();
        let first = list.iter().position(|pending| pending.rule.wanted.path_is(path))?;
        if list[first].rule.wanted.needs_body() {
            return None;
        }
        Some(take(&mut list, first))
    }

    pub fn after_body(&self, target: &Target) -> Option<Arc<Rule>> {
        if !self.any.load(Relaxed) {
            return None;
        }
        let mut list = self.list();
        let first = list.iter().position(|pending| !pending.rule.is_early() && pending.rule.wanted.holds(target))?;
        Some(take(&mut list, first))
    }

    fn list(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(list: &mut Vec<Pending>, at: usize) -> Arc<Rule> {
    let rule = list[at].rule.clone();
    if let Some(times) = &mut list[at].times {
        *times -= 1;
        if *times == 0 {
            list.remove(at);
        }
    }
    rule
}
