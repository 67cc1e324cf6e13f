//! The APIs for the calls of all phases: sandboxes, and small peers where a sandbox cannot stall a call. All of them
//! log their requests.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sequin_harness::raw::{self, FullBacklog};
use sequin_harness::tls::Kind;
use sequin_harness::{Database, RawServer, Sandbox, Server, TOKEN, Tls, literal};
use serde_json::json;

use super::phases::{LARGE_BYTES, TRIGGER_BATCH};
use crate::support::network::{eventually, foreign_server, open_connections};

/// For so long a call is held up in its phase.
const STALL_MS: u64 = 25;

/// Records of a reply that takes a while to become rows: jsonb that is dense in small values.
const RECORDS: usize = 6;

/// The requests under one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Requests that name it, whole or not.
    pub requests: i64,
    /// How many times it was applied.
    pub applied: i64,
}

type Book = HashMap<String, Arrived>;

/// See the module.
pub struct Apis {
    sandbox: Sandbox,
    secure: Sandbox,
    raws: Vec<(&'static str, RawServer)>,
    backlog: Mutex<Option<FullBacklog>>,
    ca_file: String,
    book: Arc<Mutex<Book>>,
}

impl Apis {
    pub fn start(server: &Server) -> Apis {
        let tls = Tls::in_directory(&server.scratch("certificates"));
        let (certificate, key) = tls.files(Kind::Valid);
        let sandbox = Sandbox::start();
        let secure = Sandbox::builder().tls(&certificate, &key).start().unwrap();
        for sandbox in [&sandbox, &secure] {
            let on = |tag: &str, fault| {
                let mut rule = json!({"times": null, "match": {"body_contains": tag}});
                rule.as_object_mut().unwrap().extend::<serde_json::Map<_, _>>(fault);
                sandbox.fault(rule);
            };
            let object = |fault: serde_json::Value| fault.as_object().unwrap().clone();
            on("pause-", object(json!({"delay_ms": STALL_MS})));
            on("drip-", object(json!({"drip": {"bytes": 200, "every_ms": 3}})));
            on("trigger-", object(json!({"delay_ms": 4})));
            on("queued-", object(json!({"delay_ms": 10})));
            // The next call makes a connection of its own, and a look-up with it.
            on("lookup-", object(json!({"headers": {"connection": "close"}})));
        }
        let book = Arc::new(Mutex::new(Book::new()));
        let raw = |f: fn(&mut dyn Stream, &Mutex<Book>)| {
            let book = book.clone();
            RawServer::start(move |stream| f(stream, &book))
        };
        let send = raw(|stream, book| answer(stream, book, true));
        let rows = raw(|stream, book| answer(stream, book, true));
        let tls_send = RawServer::tls(tls.server(Kind::Valid), {
            let book = book.clone();
            move |stream| answer(stream, &book, true)
        });
        let handshake = RawServer::tls(tls.server(Kind::Valid), {
            let book = book.clone();
            move |stream| {
                thread::sleep(Duration::from_millis(STALL_MS));
                answer(stream, &book, false);
            }
        });
        Apis {
            sandbox,
            secure,
            raws: vec![("send", send), ("rows", rows), ("tls_send", tls_send), ("handshake", handshake)],
            backlog: Mutex::new(Some(FullBacklog::start())),
            ca_file: tls.ca_file().display().to_string(),
            book,
        }
    }

    /// The server objects that [`Phase::server`](super::phases::Phase::server) names.
    pub fn create_servers(&self, database: &Database) {
        let ca_file = format!(", ca_file {}", literal(&self.ca_file));
        let create = |name: &str, url: &str, options: &str| {
            foreign_server(database, name, url, options);
            database.execute(&format!("ALTER USER MAPPING FOR PUBLIC SERVER {name} OPTIONS (SET token '{TOKEN}')"));
        };
        create("api", self.sandbox.url(), "");
        create("batches", self.sandbox.url(), &format!(", max_batch '{TRIGGER_BATCH}'"));
        let named = format!("http://name.{STALL_MS}.slow.test:{}", port_of(self.sandbox.url()));
        create("look_up", &named, ", allow_http 'true'");
        create("tls_api", self.secure.url(), &ca_file);
        let backlog = self.backlog.lock().unwrap();
        create("connect", &format!("http://{}", backlog.as_ref().unwrap().address()), "");
        for (name, raw) in &self.raws {
            match *name {
                "tls_send" | "handshake" => create(name, &raw.https_url("localhost"), &ca_file),
                _ => create(name, &raw.url(), ""),
            }
        }
    }

    /// Lets the listener with the full queue accept connections. Abandoned ones are not among them.
    pub fn relent(&mut self) {
        let backlog = self.backlog.get_mut().unwrap().take().unwrap();
        let book = self.book.clone();
        self.raws.push(("connect", backlog.relent(move |stream| answer(stream, &book, true))));
    }

    /// All requests so far, at all APIs.
    pub fn arrived(&self) -> Book {
        let mut arrived = self.book.lock().unwrap().clone();
        for sandbox in [&self.sandbox, &self.secure] {
            for request in sandbox.log().mutations() {
                for name in names(&request.body) {
                    arrived.entry(name).or_default().requests += 1;
                }
            }
            for record in sandbox.records("salesforce:contact") {
                let name = record["data"]["Name"].as_str().unwrap_or_else(|| panic!("no name: {record}")).to_owned();
                arrived.entry(name).or_default().applied += 1;
            }
        }
        arrived
    }

    /// Each side sees at most this many connections, one for each session.
    pub fn assert_connections(&self, sessions: usize, when: &str) {
        for (name, raw) in &self.raws {
            // Its threads notice a closed connection a little later than the client.
            eventually(&format!("{when}: {name} has at most {sessions} connections"), || raw.open() <= sessions);
            assert!(open_connections(raw.address().port()) <= sessions, "{when}: {name}");
        }
        for (name, sandbox) in [("sandbox", &self.sandbox), ("secure", &self.secure)] {
            // Two server objects lead to it.
            let most = 2 * sessions;
            eventually(&format!("{when}: {name} has at most {most} connections"), || sandbox.log().open <= most as u64);
        }
    }
}

fn port_of(url: &str) -> u16 {
    url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_else(|| panic!("no port: {url}"))
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Answers every request with the record that it sends, until the client closes. A large one is not read at once, and one
/// for rows gets many.
fn answer(mut stream: &mut dyn Stream, book: &Mutex<Book>, keeps: bool) {
    while let Ok((_, length)) = raw::read_head(&mut stream) {
        if length >= LARGE_BYTES {
            // Longer than the others: to make such a request takes its time too.
            thread::sleep(Duration::from_millis(2 * STALL_MS));
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let name = names(&String::from_utf8_lossy(&body[..length.min(512)])).pop().unwrap_or_default();
        let mut book = book.lock().unwrap();
        let arrived = book.entry(name.clone()).or_default();
        arrived.requests += 1;
        arrived.applied += 1;
        drop(book);
        let records = if name.starts_with("rows-") {
            let dense = format!("[{}0]", "[1,2],".repeat(6_000));
            let record = format!(r#"{{"upstream_id":"003","data":{{"Name":"{name}","dense":{dense}}}}}"#);
            vec![record; RECORDS].join(",")
        } else {
            format!(r#"{{"upstream_id":"003","data":{{"Name":"{name}"}}}}"#)
        };
        let mut reply = raw::reply(200, &format!(r#"{{"records":[{records}]}}"#));
        if !keeps {
            let head = b"HTTP/1.1 200 X\r\n";
            reply.splice(..head.len(), *b"HTTP/1.1 200 X\r\nconnection: close\r\n");
        }
        if stream.write_all(&reply).is_err() || !keeps {
            return;
        }
    }
}

/// The names of the records in a request, also in one that was cut off. They need no escapes.
fn names(body: &str) -> Vec<String> {
    let mut parts = body.split(r#""Name":""#);
    parts.next();
    parts.filter_map(|rest| rest.split_once('"')).map(|(name, _)| name.to_owned()).collect()
}
