//! Idempotency keys, in memory: the same key again is the same effect, and gets the same reply.
//!
//! A reply is kept where something was applied, was refused for good, or may have been applied. Where nothing was sent,
//! the key is forgotten: its next request is a first attempt again. A restart forgets all keys. The keys that the
//! provider gets are made from the client's key, so they still protect what a provider can protect.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use metrics::gauge;
use mutation_api::reply::Reply;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::metrics::KEYS;

/// How long a key is remembered after its mutation has ended.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The same for a mutation that may have been applied: a person may repeat it, and take days.
const KEPT_UNKNOWN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Beyond these, the oldest keys with a certain end are forgotten first. Uncertain ones stay: a repetition could be a
/// second effect.
const MOST_KEYS: usize = 100_000;
const MOST_BYTES: usize = 64 << 20;

/// A client's key. Clients and syncs do not share keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The name of the client's token, not the token.
    pub token: Arc<str>,
    pub sync_id: Arc<str>,
    pub key: Arc<str>,
}

impl Name {
    /// The key of the mutation's element `index`, for the provider.
    pub fn of_element(&self, index: usize) -> Uuid {
        const ELEMENTS: Uuid = Uuid::from_u128(0xc2f7_6a4e_1d0b_4f6f_8e5d_93b1_7a20_4c18);
        let place = serde_json::json!([*self.token, *self.sync_id, *self.key, index]);
        Uuid::new_v5(&ELEMENTS, place.to_string().as_bytes())
    }
}

/// The keys of one gateway.
#[derive(Clone, Default)]
pub struct Keys(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    entries: HashMap<Name, Entry>,
    /// Those that are settled, the oldest first. An entry that has another serial by now was settled again.
    certain: VecDeque<(Instant, u64, Name)>,
    /// The same of mutations that may have been applied.
    unknown: VecDeque<(Instant, u64, Name)>,
    serial: u64,
    /// Of the kept replies.
    bytes: usize,
}

struct Entry {
    body: [u8; 32],
    serial: u64,
    state: State,
}

enum State {
    UnderWay(watch::Receiver<Option<Arc<Reply>>>),
    Settled { reply: Arc<Reply>, doubt: Option<Doubt> },
}

/// A mutation that may have been applied, and whose repetition may be safe.
#[derive(Clone, Debug)]
pub struct Doubt {
    /// When its first request left.
    pub since: Instant,
    /// The account that it went to. At another one, a repetition would be a second effect.
    pub account: Identity,
}

/// What an account has in common with itself after a reload, and with no other account.
#[derive(Clone, Debug, Default)]
pub struct Identity(Arc<()>);

impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What becomes of a key when its mutation has ended.
#[derive(Clone, Debug)]
pub enum Keep {
    Forget,
    Reply,
    /// The reply says that it may have been applied. With a doubt, a repetition may find out more.
    Unknown(Option<Doubt>),
}

/// What a request with a key meets.
pub enum Met {
    /// Go on, and settle the key.
    Free(Claim),
    /// The reply of the earlier request.
    Stored(Arc<Reply>),
    UnderWay(UnderWay),
    /// The key belongs to another request.
    OtherBody,
}

/// The earlier request, which has no reply yet.
pub struct UnderWay(watch::Receiver<Option<Arc<Reply>>>);

impl UnderWay {
    /// Its reply. None: not before the deadline.
    pub async fn reply(mut self, deadline: Instant) -> Option<Arc<Reply>> {
        let reply = timeout_at(deadline, self.0.wait_for(Option::is_some)).await;
        reply.ok()?.ok()?.clone()
    }
}

/// A key whose mutation is under way. Dropped before it is settled, it counts as unknown for good: the task that held
/// it has failed at a moment that no one knows.
pub struct Claim {
    keys: Keys,
    name: Name,
    done: watch::Sender<Option<Arc<Reply>>>,
    pub doubt: Option<Doubt>,
    is_settled: bool,
}

impl Keys {
    pub fn meet(&self, name: Name, body: &[u8]) -> Met {
        let body: [u8; 32] = Sha256::digest(body).into();
        let mut table = self.lock();
        table.expire(Instant::now());
        let mut doubt = None;
        if let Some(entry) = table.entries.get(&name) {
            if entry.body != body {
                return Met::OtherBody;
            }
            match &entry.state {
                State::UnderWay(done) => return Met::UnderWay(UnderWay(done.clone())),
                State::Settled { reply, doubt: None } => return Met::Stored(reply.clone()),
                State::Settled { doubt: earlier, .. } => doubt = earlier.clone(),
            }
        }
        let (done, waiting) = watch::channel(None);
        table.remove(&name);
        table.serial += 1;
        let entry = Entry { body, serial: table.serial, state: State::UnderWay(waiting) };
        table.entries.insert(name.clone(), entry);
        gauge!(KEYS).set(table.entries.len() as f64);
        Met::Free(Claim { keys: self.clone(), name, done, doubt, is_settled: false })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Ends the mutation, and answers those that wait for it.
    pub fn settle(mut self, reply: Arc<Reply>, keep: Keep) {
        self.end(reply, keep);
    }

    fn end(&mut self, reply: Arc<Reply>, keep: Keep) {
        self.is_settled = true;
        let mut table = self.keys.lock();
        match keep {
            Keep::Forget => table.remove(&self.name),
            Keep::Reply => table.settle(&self.name, reply.clone(), None, true),
            Keep::Unknown(doubt) => table.settle(&self.name, reply.clone(), doubt, false),
        }
        table.expire(Instant::now());
        gauge!(KEYS).set(table.entries.len() as f64);
        drop(table);
        self.done.send_replace(Some(reply));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_settled {
            let text = "The gateway failed, and the mutation may have been applied";
            self.end(Arc::new(Reply::error(StatusCode::GATEWAY_TIMEOUT, text)), Keep::Unknown(None));
        }
    }
}

impl Table {
    fn settle(&mut self, name: &Name, reply: Arc<Reply>, doubt: Option<Doubt>, is_certain: bool) {
        self.serial += 1;
        let serial = self.serial;
        let Some(entry) = self.entries.get_mut(name) else { return };
        self.bytes += reply.body.len();
        entry.serial = serial;
        entry.state = State::Settled { reply, doubt };
        let ages = if is_certain { &mut self.certain } else { &mut self.unknown };
        ages.push_back((Instant::now(), serial, name.clone()));
    }

    fn remove(&mut self, name: &Name) {
        if let Some(Entry { state: State::Settled { reply, .. }, .. }) = self.entries.remove(name) {
            self.bytes -= reply.body.len();
        }
    }

    fn expire(&mut self, now: Instant) {
        let mut certain = std::mem::take(&mut self.certain);
        while let Some((settled_at, serial, name)) = certain.front() {
            let is_over = self.entries.len() > MOST_KEYS || self.bytes > MOST_BYTES;
            if self.is_current(name, *serial) && !is_over && now.saturating_duration_since(*settled_at) < KEPT {
                break;
            }
            self.forget(certain.pop_front());
        }
        self.certain = certain;
        let mut unknown = std::mem::take(&mut self.unknown);
        while let Some((settled_at, serial, name)) = unknown.front() {
            if self.is_current(name, *serial) && now.saturating_duration_since(*settled_at) < KEPT_UNKNOWN {
                break;
            }
            self.forget(unknown.pop_front());
        }
        self.unknown = unknown;
    }

    /// Removes a key, unless it was settled again since.
    fn forget(&mut self, settled: Option<(Instant, u64, Name)>) {
        if let Some((_, serial, name)) = settled
            && self.is_current(&name, serial)
        {
            self.remove(&name);
        }
    }

    fn is_current(&self, name: &Name, serial: u64) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.serial == serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str) -> Name {
        Name { token: "app".into(), sync_id: "s".into(), key: key.into() }
    }

    fn reply(text: &str) -> Arc<Reply> {
        Arc::new(Reply::error(StatusCode::BAD_REQUEST, text))
    }

    fn claim(keys: &Keys, key: &str) -> Claim {
        match keys.meet(name(key), b"body") {
            Met::Free(claim) => claim,
            _ => panic!("{key} is not free"),
        }
    }

    fn stored(keys: &Keys, key: &str) -> Option<Arc<Reply>> {
        match keys.meet(name(key), b"body") {
            Met::Stored(reply) => Some(reply),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_key_is_one_effect() {
        let keys = Keys::default();
        let first = claim(&keys, "k");
        let Met::UnderWay(waiting) = keys.meet(name("k"), b"body") else { panic!("not under way") };
        assert!(matches!(keys.meet(name("k"), b"other"), Met::OtherBody));
        let other = Name { token: "other".into(), ..name("k") };
        assert!(matches!(keys.meet(other, b"other"), Met::Free(_)));
        first.settle(reply("x"), Keep::Reply);
        let soon = Instant::now() + Duration::from_secs(5);
        assert_eq!(waiting.reply(soon).await.unwrap().body, reply("x").body);
        assert_eq!(stored(&keys, "k").unwrap().body, reply("x").body);
        assert!(matches!(keys.meet(name("k"), b"other"), Met::OtherBody));
    }

    #[tokio::test]
    async fn what_was_not_sent_is_forgotten_but_told_to_those_that_waited() {
        let keys = Keys::default();
        let first = claim(&keys, "k");
        let Met::UnderWay(waiting) = keys.meet(name("k"), b"body") else { panic!("not under way") };
        first.settle(reply("limit"), Keep::Forget);
        assert!(waiting.reply(Instant::now() + Duration::from_secs(5)).await.is_some());
        assert!(matches!(keys.meet(name("k"), b"other"), Met::Free(_)));
    }

    #[tokio::test]
    async fn a_doubt_is_there_for_the_next_attempt_and_a_failed_task_leaves_none() {
        let keys = Keys::default();
        let doubt = Doubt { since: Instant::now(), account: Identity::default() };
        claim(&keys, "k").settle(reply("unknown"), Keep::Unknown(Some(doubt.clone())));
        let again = claim(&keys, "k");
        assert_eq!(again.doubt.as_ref().map(|doubt| doubt.since), Some(doubt.since));
        drop(again);
        assert_eq!(stored(&keys, "k").unwrap().status, StatusCode::GATEWAY_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_end_after_a_day_and_beyond_the_room_for_them() {
        let keys = Keys::default();
        claim(&keys, "old").settle(reply("x"), Keep::Reply);
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert!(stored(&keys, "old").is_some());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(stored(&keys, "old").is_none());

        let large = Arc::new(Reply::error(StatusCode::BAD_REQUEST, &"x".repeat(MOST_BYTES / 4)));
        for key in ["1", "2", "3", "4", "5"] {
            claim(&keys, key).settle(large.clone(), Keep::Reply);
        }
        let left: Vec<_> = ["1", "2", "3", "4", "5"].iter().filter(|key| stored(&keys, key).is_some()).collect();
        assert_eq!(left, [&"3", &"4", &"5"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_applied_outlives_the_room_and_a_weekend() {
        let keys = Keys::default();
        claim(&keys, "never").settle(reply("unknown"), Keep::Unknown(None));
        let doubt = Doubt { since: Instant::now(), account: Identity::default() };
        claim(&keys, "doubt").settle(reply("unknown"), Keep::Unknown(Some(doubt)));
        let large = "x".repeat(MOST_BYTES / 4);
        for n in 0..8 {
            claim(&keys, &n.to_string()).settle(reply(&large), Keep::Reply);
        }
        assert!(stored(&keys, "0").is_none(), "the room holds four");
        tokio::time::advance(3 * KEPT).await;
        assert!(stored(&keys, "7").is_none());
        assert!(stored(&keys, "never").is_some());
        let again = claim(&keys, "doubt");
        assert!(again.doubt.is_some());
        again.settle(reply("unknown"), Keep::Unknown(None));
        tokio::time::advance(KEPT_UNKNOWN - 2 * KEPT).await;
        assert!(stored(&keys, "never").is_none());
        assert!(stored(&keys, "doubt").is_some(), "its age counts from its last end");
    }
}
