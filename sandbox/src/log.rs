//! The log of received requests, by which tests check "sent once". An entry starts with the head of a request, before
//! any check, and grows as more arrives. An incomplete request stays in it as far as it arrived.
//!
//! A connection counts unless it carried only control requests, so that reading the log does not change it. A
//! connection without any request counts too: a client that connects and gives up is worth seeing. `DELETE` restarts
//! the count; numbers of connections are never reused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::http::request::Parts;
use serde::{Serialize, Serializer};

pub struct Log {
    start: Instant,
    keep_bodies: bool,
    open: AtomicU64,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    requests: Vec<Arc<Entry>>,
    connections: u64,
    /// Rises when the log is emptied: an earlier connection must not be subtracted from the new count.
    epoch: u64,
    last_number: u64,
}

/// A request.
#[derive(Serialize)]
pub struct Entry {
    #[serde(skip)]
    start: Instant,
    connection: u64,
    method: String,
    /// With its query.
    path: String,
    headers: BTreeMap<String, String>,
    at_us: u64,
    #[serde(flatten)]
    progress: Mutex<Progress>,
}

#[derive(Serialize, Default)]
struct Progress {
    #[serde(serialize_with = "as_text")]
    body: Vec<u8>,
    body_bytes: u64,
    complete: bool,
    /// None until a reply is sent.
    status: Option<u16>,
    /// When the reply was sent. The next request of its client may begin then, and no earlier.
    answered_us: Option<u64>,
}

fn as_text<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

impl Log {
    pub fn new(keep_bodies: bool) -> Log {
        Log { start: Instant::now(), keep_bodies, open: AtomicU64::new(0), books: Mutex::default() }
    }

    /// The head of a request has arrived on `ticket`'s connection.
    pub fn begin(&self, ticket: &Ticket, parts: &Parts) -> Arc<Entry> {
        let at_us = self.start.elapsed().as_micros() as u64;
        let mut headers = BTreeMap::<_, String>::new();
        for (name, value) in &parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            // HTTP's own rule for a header that is sent twice.
            let joined = |earlier: &mut String| *earlier = format!("{earlier}, {value}");
            headers.entry(name.to_string()).and_modify(joined).or_insert_with(|| value.to_string());
        }
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let mut books = self.books();
        let entry = Arc::new(Entry {
            start: self.start,
            connection: ticket.number(&mut books),
            method: parts.method.to_string(),
            path: path.to_owned(),
            headers,
            at_us,
            progress: Mutex::default(),
        });
        books.requests.push(entry.clone());
        entry
    }

    /// More of the request's body.
    pub fn arrived(&self, entry: &Entry, bytes: &[u8]) {
        let mut progress = lock(&entry.progress);
        progress.body_bytes += bytes.len() as u64;
        if self.keep_bodies {
            progress.body.extend_from_slice(bytes);
        }
    }

    pub fn connections(&self) -> u64 {
        self.books().connections
    }

    /// The number of open connections.
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    pub fn requests(&self) -> Vec<Arc<Entry>> {
        self.books().requests.clone()
    }

    pub fn clear(&self) {
        let mut books = self.books();
        books.connections = 0;
        books.epoch += 1;
        books.requests.clear();
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

impl Entry {
    /// The whole body has arrived.
    pub fn complete(&self) {
        lock(&self.progress).complete = true;
    }

    pub fn answered(&self, status: u16) {
        let mut progress = lock(&self.progress);
        progress.status = Some(status);
        progress.answered_us = Some(self.start.elapsed().as_micros() as u64);
    }
}

/// A connection's place in the log, from accept to close.
pub struct Ticket {
    log: Arc<Log>,
    /// The epoch in which it was counted.
    counted: u64,
    role: Mutex<Role>,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Silent,
    Control,
    Client { number: u64 },
}

impl Ticket {
    pub fn new(log: Arc<Log>) -> Ticket {
        let mut books = log.books();
        books.connections += 1;
        let counted = books.epoch;
        drop(books);
        log.open.fetch_add(1, Relaxed);
        Ticket { log, counted, role: Mutex::new(Role::Silent) }
    }

    /// A control request arrived: if it is the first, the connection no longer counts.
    pub fn control(&self) {
        let mut books = self.log.books();
        let mut role = lock(&self.role);
        if *role == Role::Silent {
            *role = Role::Control;
            if books.epoch == self.counted {
                books.connections -= 1;
            }
            self.log.open.fetch_sub(1, Relaxed);
        }
    }

    fn number(&self, books: &mut Books) -> u64 {
        let mut role = lock(&self.role);
        if let Role::Client { number } = *role {
            return number;
        }
        if *role == Role::Control {
            books.connections += 1;
            self.log.open.fetch_add(1, Relaxed);
        }
        books.last_number += 1;
        *role = Role::Client { number: books.last_number };
        books.last_number
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if *lock(&self.role) != Role::Control {
            self.log.open.fetch_sub(1, Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
