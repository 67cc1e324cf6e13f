//! Peers that hold a request up, each in another phase, and tell when one has come so far.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sequin_harness::raw::{self, FullBacklog};
use sequin_harness::{Database, RawServer, Server, Tls, identifier, literal};

use crate::Result;

/// More than the kernel's buffers on both sides take when nobody reads.
const LARGE_BYTES: usize = 12 << 20;

/// One phase of a request that does not end by itself.
pub struct Phase {
    pub name: &'static str,
    /// A call that gets stuck there.
    pub sql: String,
    /// Long enough for a call to get there before it ends.
    pub timeout: Duration,
    url: String,
    ca_file: Option<String>,
    progress: Arc<Progress>,
    /// Whether the peer can see a request come.
    seen_by_peer: bool,
    _peer: Peer,
}

/// What the peer's threads and the measurement tell each other.
#[derive(Default)]
struct Progress {
    reached: AtomicUsize,
    ended: AtomicUsize,
}

#[expect(dead_code, reason = "they are held, not used")]
enum Peer {
    Silent(FullBacklog),
    Stuck(RawServer),
}

impl Phase {
    pub fn all(server: &Server) -> Result<Vec<Phase>> {
        let tls = Tls::in_directory(&server.scratch("bench"));
        let backlog = FullBacklog::start();
        let mut connect = Phase::new("connect", |_, _| Ok(()));
        connect.url = format!("http://{}", backlog.address());
        connect._peer = Peer::Silent(backlog);
        connect.seen_by_peer = false;

        let mut handshake = Phase::new("TLS handshake", |stream, progress| {
            stream.read_exact(&mut [0])?;
            progress.reach();
            raw::hold(stream);
            Ok(())
        });
        handshake.url = handshake.url.replace("http://", "https://");
        handshake.ca_file = Some(tls.ca_file().display().to_string());

        let mut send = Phase::new("send", |stream, progress| {
            stream.read_exact(&mut [0])?;
            progress.hold();
            Ok(())
        });
        send.sql = call(&format!("jsonb_build_object('data', jsonb_build_object('Note', repeat('x', {LARGE_BYTES})))"));
        send.timeout = Duration::from_millis(500);

        let wait = Phase::new("wait", |stream, progress| {
            raw::read_request(stream)?;
            progress.reach();
            raw::hold(stream);
            Ok(())
        });
        let body = Phase::new("slow body", |stream, progress| {
            raw::read_request(stream)?;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999999\r\n\r\n")?;
            progress.reach();
            loop {
                stream.write_all(b" ")?;
                thread::sleep(Duration::from_millis(5));
            }
        });
        Ok(vec![connect, handshake, send, wait, body])
    }

    /// A phase in which `serve` holds a connection up.
    fn new(
        name: &'static str,
        serve: impl Fn(&mut TcpStream, &Progress) -> io::Result<()> + Send + Sync + 'static,
    ) -> Phase {
        let progress = Arc::new(Progress::default());
        let server = RawServer::start({
            let progress = progress.clone();
            move |stream| {
                // The session has gone, which is what it was told to do.
                let _ = serve(stream, &progress);
            }
        });
        Phase {
            name,
            sql: call(r#"'{"data": {"Email": "paul@arrakis.org"}}'"#),
            timeout: Duration::from_millis(60),
            url: server.url(),
            ca_file: None,
            progress,
            seen_by_peer: true,
            _peer: Peer::Stuck(server),
        }
    }

    /// The server object that leads there, with no time limits of its own that could come first.
    pub fn create_server(&self, database: &Database<'_>) {
        database.create_server_named(self.name, &self.url, "bench");
        let ca_file = self.ca_file.as_ref().map_or(String::new(), |file| format!(", ADD ca_file {}", literal(file)));
        database.execute(&format!(
            "ALTER SERVER {} OPTIONS (ADD connect_timeout_ms '86400000', ADD request_timeout_ms '86400000'{ca_file})",
            identifier(self.name)
        ));
    }

    /// How many requests have come so far as the peer can tell; none where it cannot.
    pub fn reached(&self) -> Option<usize> {
        self.seen_by_peer.then(|| self.progress.reached.load(Ordering::SeqCst))
    }

    /// The request under way has been given up.
    pub fn next(&self) {
        self.progress.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        // The peer's threads are waited for next.
        self.next();
    }
}

impl Progress {
    fn reach(&self) {
        self.reached.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits for the end of this request without reading: a socket that is full shows no end.
    fn hold(&self) {
        let mine = self.ended.load(Ordering::SeqCst);
        self.reach();
        while self.ended.load(Ordering::SeqCst) == mine {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn call(records: &str) -> String {
    format!("SELECT count(*) FROM sequin_mutate('create', 'bench', 'salesforce:contact', {records})")
}
