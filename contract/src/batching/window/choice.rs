//! The choice of the requests that may begin now.

use std::collections::HashMap;
use std::time::Instant;

use super::{Caller, Scope, Window, attempts, caller};
use crate::batching::plan::Planned;
use crate::kind::Kind;

impl Window {
    /// Chooses the requests that may begin now.
    ///
    /// Requests with records that have failed before take turns with the others, and at most half of the window. A probe
    /// is an update or a delete if there is one, and has records that have failed least: the oldest, or each second time
    /// the newest. So a row of records that fail does not hide the others.
    pub fn choose(&self, planned: Vec<Planned>, now: Instant) -> Vec<Planned> {
        let is_probe = self.is_probing(now);
        let (fresh, retries): (Vec<Planned>, Vec<Planned>) =
            planned.into_iter().partition(|planned| attempts(planned) == 0);
        let mut admission = Admission::new(self, !fresh.is_empty(), now);
        let in_order = if is_probe {
            let mut all: Vec<Planned> = fresh.into_iter().chain(retries).collect();
            if self.backoffs.attempts(&Scope::Server).is_multiple_of(2) {
                all.reverse();
            }
            all.sort_by_key(|planned| {
                (planned.kind == Kind::Create, attempts(planned), self.is_long(&planned.batch_key))
            });
            all
        } else {
            take_turns(fresh, retries, self.was_retry)
        };
        let mut chosen = Vec::new();
        for mut planned in in_order {
            if admission.take(&planned) {
                if planned.kind == Kind::Create && (is_probe || self.backoffs.since(&Scope::Creates).is_some()) {
                    planned.operations.truncate(1);
                }
                chosen.push(planned);
            }
        }
        chosen
    }
}

/// The room that is left while requests are chosen.
struct Admission<'a> {
    window: &'a Window,
    now: Instant,
    all: usize,
    long: usize,
    retries: usize,
    creates: usize,
    callers: HashMap<Caller, usize>,
}

impl<'a> Admission<'a> {
    fn new(window: &'a Window, has_fresh: bool, now: Instant) -> Admission<'a> {
        let half = (window.size as usize / 2).max(1);
        let retries = half.saturating_sub(window.count(|_, flight| flight.is_retry));
        Admission {
            window,
            now,
            all: window.room(now),
            long: half.saturating_sub(window.count(|_, flight| flight.is_long)),
            retries: if has_fresh { retries } else { usize::MAX },
            creates: window.room_of(&Scope::Creates, now, |flight| flight.kind == Kind::Create),
            callers: HashMap::new(),
        }
    }

    /// Takes the room for a request. Returns false if there is none.
    fn take(&mut self, planned: &Planned) -> bool {
        let (window, now) = (self.window, self.now);
        let caller = caller(&planned.batch_key);
        let of_caller = self.callers.entry(caller).or_insert_with_key(|caller| {
            window.room_of(&Scope::Caller(caller.clone()), now, |flight| flight.caller == *caller)
        });
        let mut rooms = vec![&mut self.all, of_caller];
        if window.is_long(&planned.batch_key) {
            rooms.push(&mut self.long);
        }
        if attempts(planned) > 0 {
            rooms.push(&mut self.retries);
        }
        if planned.kind == Kind::Create {
            rooms.push(&mut self.creates);
        }
        let is_free = rooms.iter().all(|room| **room > 0);
        if is_free {
            rooms.into_iter().for_each(|room| *room -= 1);
        }
        is_free
    }
}

/// One of each in turn, then what is left of the longer list.
fn take_turns(fresh: Vec<Planned>, retries: Vec<Planned>, was_retry: bool) -> Vec<Planned> {
    let (first, second) = if was_retry { (fresh, retries) } else { (retries, fresh) };
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::with_capacity(first.len() + second.len());
    while first.len() + second.len() > 0 {
        all.extend(first.next());
        all.extend(second.next());
    }
    all
}
