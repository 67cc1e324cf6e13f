//! An API that replies like the real one, with each record that it received, and does nothing else.
//!
//! The outbox pairs a reply's records with its request, so the constant reply of [`crate::api`] does not work here. The
//! sandbox parses and keeps everything: it would use more of the two cores than the code under measurement.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sequin_harness::RawServer;

use crate::wire;

/// An echoing API. Each connection has a thread.
pub struct EchoApi {
    server: RawServer,
    seen: Arc<Seen>,
}

/// Closed at first.
#[derive(Default)]
pub struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_open {
            is_open = self.opened.wait(is_open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[derive(Default)]
struct Seen {
    arrived: AtomicUsize,
    requests: AtomicUsize,
    records: AtomicUsize,
    last: Mutex<Vec<u8>>,
}

impl EchoApi {
    pub fn start() -> EchoApi {
        EchoApi::with(|_| (), || ())
    }

    /// Reports when the first byte of each request was read.
    pub fn telling(arrived: impl Fn(Instant) + Send + Sync + 'static) -> EchoApi {
        EchoApi::with(arrived, || ())
    }

    /// Waits this long before each reply, as a provider does.
    pub fn slow(pause: Duration) -> EchoApi {
        EchoApi::with(|_| (), move || thread::sleep(pause))
    }

    /// Gives no reply before the gate is open.
    pub fn behind(gate: &Arc<Gate>) -> EchoApi {
        let gate = gate.clone();
        EchoApi::with(|_| (), move || gate.pass())
    }

    fn with(arrived: impl Fn(Instant) + Send + Sync + 'static, wait: impl Fn() + Send + Sync + 'static) -> EchoApi {
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        let server = RawServer::start(move |stream| {
            // The peer has closed the connection.
            let _ = serve(stream, &shared, &arrived, &wait);
        });
        EchoApi { server, seen }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    /// The requests that have arrived whole, answered or not.
    pub fn arrived(&self) -> usize {
        self.seen.arrived.load(Ordering::Relaxed)
    }

    /// The answered requests.
    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// The bytes of the last request, which a control repeats.
    pub fn last_request(&self) -> Vec<u8> {
        let last = self.seen.last.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!last.is_empty(), "no request has come yet");
        last.clone()
    }
}

impl Seen {
    /// Keeps the request, unless the last one is as long and so of the same kind.
    fn keep(&self, request: &[u8]) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() != request.len() {
            request.clone_into(&mut last);
        }
    }
}

fn serve(stream: &mut TcpStream, seen: &Seen, arrived: &impl Fn(Instant), wait: &impl Fn()) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut reply = Vec::new();
    loop {
        let mut filled = 0;
        let (head, whole) = loop {
            match stream.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                read => {
                    if filled == 0 {
                        arrived(Instant::now());
                    }
                    filled += read;
                }
            }
            if let Some(head) = wire::head(&buffer[..filled]) {
                break (head.bytes, head.bytes + head.content_length);
            }
        };
        buffer.resize(buffer.len().max(whole), 0);
        stream.read_exact(&mut buffer[filled..whole])?;
        seen.keep(&buffer[..whole]);
        let before = seen.records.load(Ordering::Relaxed);
        let records = write_reply(&buffer[head..whole], before, &mut reply);
        seen.arrived.fetch_add(1, Ordering::Relaxed);
        wait();
        seen.requests.fetch_add(1, Ordering::Relaxed);
        seen.records.fetch_add(records, Ordering::Relaxed);
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", reply.len()).as_bytes())?;
        stream.write_all(&reply)?;
    }
}

/// The reply to `body`, some 300 bytes a record besides its data. Returns the number of records; `before` records came
/// earlier: a create's upstream id is its number.
fn write_reply(body: &[u8], before: usize, reply: &mut Vec<u8>) -> usize {
    const RECORDS: &[u8] = b"\"records\":[";
    reply.clear();
    reply.extend_from_slice(b"{\"records\":[");
    let mut at =
        body.windows(RECORDS.len()).position(|part| part == RECORDS).map_or(body.len(), |at| at + RECORDS.len());
    let mut records = 0;
    while let Some(b'{' | b'"') = body.get(at) {
        let element = &body[at..end(body, at)];
        at += element.len() + 1;
        let id = match element[0] {
            b'"' => Some(element),
            _ => value(element, b"\"upstream_id\""),
        };
        let number = before + records;
        if records > 0 {
            reply.push(b',');
        }
        reply.extend_from_slice(
            format!("{{\"id\":\"70a313f8-7c94-43d4-8d0c-{number:012}\",\"updated_idx\":{number},\"upstream_id\":")
                .as_bytes(),
        );
        match id {
            Some(id) => reply.extend_from_slice(id),
            None => reply.extend_from_slice(format!("\"003{number:015}\"").as_bytes()),
        }
        reply.extend_from_slice(
            b",\"sync_id\":\"bench\",\"collection_id\":\"salesforce:contact\",\
              \"upstream_created_at\":\"2024-11-10T18:39:00.070453Z\",\"upstream_updated_at\":\"2024-11-10T18:39:00.070453Z\",\
              \"inserted_at\":\"2024-11-10T18:39:01.123456Z\",\"deleted\":false,\"data\":",
        );
        reply.extend_from_slice(value(element, b"\"data\"").unwrap_or(b"{}"));
        reply.push(b'}');
        records += 1;
    }
    reply.extend_from_slice(b"]}");
    records
}

/// The value of `name`, given in quotes, in an object of strings and objects.
fn value<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut at = 1;
    while object.get(at) == Some(&b'"') {
        let colon = end(object, at);
        let rest = colon + 1;
        let comma = end(object, rest);
        if &object[at..colon] == name {
            return Some(&object[rest..comma]);
        }
        at = comma + 1;
    }
    None
}

/// The end of the string or object that begins at `at`.
fn end(json: &[u8], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < json.len() {
        match json[i] {
            b'"' => {
                i += 1;
                while i < json.len() && json[i] != b'"' {
                    i += if json[i] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        i += 1;
        if depth == 0 {
            return i;
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply_to(body: &str, before: usize) -> (usize, String) {
        let mut reply = Vec::new();
        let records = write_reply(body.as_bytes(), before, &mut reply);
        (records, String::from_utf8(reply).expect("UTF-8"))
    }

    #[test]
    fn records_come_back() {
        let (records, reply) = reply_to(
            r#"{"kind":"update","records":[{"upstream_id":"a\"}","data":{"b": [{"c": "}"}]}},{"data":{}}]}"#,
            7,
        );
        assert_eq!(records, 2);
        assert!(
            reply.contains(r#""upstream_id":"a\"}","#) && reply.contains(r#""data":{"b": [{"c": "}"}]}}"#),
            "{reply}"
        );
        assert!(reply.contains(r#""upstream_id":"003000000000000008","#), "{reply}");
        assert_eq!(reply_to(r#"{"kind":"delete","records":["a","b"]}"#, 0).0, 2);
        assert_eq!(reply_to("{}", 0), (0, r#"{"records":[]}"#.into()));
    }
}
