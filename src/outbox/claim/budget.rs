//! How much a round claims, and how the servers share it.

use contract::batching::plan::Planned;

/// How much a transaction may still claim.
#[derive(Clone, Copy)]
pub struct Budget {
    /// The records and requests of a round. More of them would keep the results of requests waiting.
    pub records: usize,
    pub requests: usize,
    /// The requests that the process has free descriptors for.
    pub slots: usize,
    /// The free memory for the data of requests in flight.
    pub bytes: usize,
}

impl Budget {
    /// Whether this round has claimed enough. The next one may claim more.
    pub fn is_spent(&self) -> bool {
        self.records == 0 || self.requests == 0
    }

    /// The part of the budget for a server that has so many requests, of so many bytes, in flight. None if it has its
    /// share already.
    ///
    /// What a server takes of the process is at most four times what it leaves. So a server that never answers leaves slots
    /// and memory for every other one, however large its window is.
    pub fn share(&self, requests: usize, bytes: usize) -> Option<Budget> {
        let part = |free: usize, taken: usize| (4 * free).saturating_sub(taken) / 5;
        // One request is always possible.
        let least = usize::from(requests == 0);
        let share = Budget {
            requests: part(self.slots, requests).max(least).min(self.requests),
            bytes: part(self.bytes, bytes).max(least),
            ..*self
        };
        (share.requests > 0 && share.bytes > 0).then_some(share)
    }

    /// Takes what has been spent of a share.
    pub fn subtract(&mut self, share: &Budget, left: &Budget) {
        self.records -= share.records - left.records;
        self.requests -= share.requests - left.requests;
        self.slots = self.slots.saturating_sub(share.requests - left.requests);
        self.bytes = self.bytes.saturating_sub(share.bytes - left.bytes);
    }

    /// Keeps as many of the first requests as there is room for, but one at least.
    pub fn spend(&mut self, requests: &mut Vec<Planned>) {
        let mut kept = 0;
        while kept < requests.len() && !self.is_spent() && self.bytes > 0 {
            let planned = &requests[kept];
            self.records = self.records.saturating_sub(planned.ids().count());
            self.bytes = self.bytes.saturating_sub(planned.bytes());
            self.requests -= 1;
            kept += 1;
        }
        requests.truncate(kept);
    }
}
