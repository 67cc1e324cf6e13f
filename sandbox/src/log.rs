//! The log of what arrived: the judge of "sent once". It therefore starts at the head of a request, before anything is
//! checked, and is filled in as more arrives; what a client cut off stays in it as far as it came.
//!
//! A connection counts unless control requests are all that it ever carried, so that reading the log does not change it.
//! One on which nothing was sent counts: a client that connects and gives up is worth seeing. `DELETE` starts the count
//! anew; numbers of connections are never given twice.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use hyper::Method;
use hyper::http::request::Parts;

pub struct Log {
    start: Instant,
    pub keep_bodies: bool,
    pub open: AtomicU64,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    requests: Vec<Arc<Entry>>,
    connections: u64,
    /// Rises when the log is emptied: a connection that was counted before must not be taken off the count after.
    epoch: u64,
    last_number: u64,
}

pub struct Entry {
    pub connection: u64,
    pub method: Method,
    head: Box<[u8]>,
    pub at_us: u64,
    /// Bytes of the body that were read.
    pub arrived: AtomicU64,
    pub complete: AtomicBool,
    pub body: Mutex<Body>,
    /// 0 until a reply is on its way.
    pub status: AtomicU16,
}

pub enum Body {
    Arriving(Vec<u8>),
    Whole(Bytes),
}

impl Log {
    pub fn new(keep_bodies: bool) -> Log {
        Log { start: Instant::now(), keep_bodies, open: AtomicU64::new(0), books: Mutex::default() }
    }

    /// The head of a request has arrived on `ticket`'s connection.
    pub fn begin(&self, ticket: &Ticket, parts: &Parts) -> Arc<Entry> {
        let at_us = self.start.elapsed().as_micros() as u64;
        let head = pack(parts);
        let mut books = self.books();
        let entry = Arc::new(Entry {
            connection: ticket.number(&mut books),
            method: parts.method.clone(),
            head,
            at_us,
            arrived: AtomicU64::new(0),
            complete: AtomicBool::new(false),
            body: Mutex::new(Body::Arriving(Vec::new())),
            status: AtomicU16::new(0),
        });
        books.requests.push(entry.clone());
        entry
    }

    pub fn connections(&self) -> u64 {
        self.books().connections
    }

    pub fn requests(&self) -> Vec<Arc<Entry>> {
        self.books().requests.clone()
    }

    pub fn clear(&self) {
        let mut books = self.books();
        books.connections = 0;
        books.epoch += 1;
        let requests = std::mem::take(&mut books.requests);
        drop(books);
        drop(requests);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The path with its query, and the headers in the order in which they came.
    pub fn head(&self) -> (Cow<'_, str>, impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)>) {
        let mut lines = self.head.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
        let path = lines.next().unwrap_or_default();
        let mut headers = lines.collect::<Vec<_>>().into_iter();
        (path, std::iter::from_fn(move || Some((headers.next()?, headers.next()?))))
    }

    pub fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Path, names and values in one allocation, a line each; none can hold a line's end. hyper's own values are slices of
/// the buffer that it reads into: keeping them would keep some 8 kB for each request.
fn pack(parts: &Parts) -> Box<[u8]> {
    let mut head = Vec::with_capacity(256);
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    head.extend_from_slice(path.as_bytes());
    for (name, value) in &parts.headers {
        head.push(b'\n');
        head.extend_from_slice(name.as_str().as_bytes());
        head.push(b'\n');
        head.extend_from_slice(value.as_bytes());
    }
    head.into_boxed_slice()
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

    /// A control request came: if it is the first, the connection was not worth counting.
    pub fn control(&self) {
        let mut books = self.log.books();
        let mut role = self.role();
        if *role == Role::Silent {
            *role = Role::Control;
            if books.epoch == self.counted {
                books.connections -= 1;
            }
            self.log.open.fetch_sub(1, Relaxed);
        }
    }

    fn number(&self, books: &mut Books) -> u64 {
        let mut role = self.role();
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

    fn role(&self) -> MutexGuard<'_, Role> {
        self.role.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if *self.role() != Role::Control {
            self.log.open.fetch_sub(1, Relaxed);
        }
    }
}
