//! A peer that stalls a call in one phase.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use postgres::Client;
use sequin_harness::raw::{self, FullBacklog};
use sequin_harness::tls::Kind;
use sequin_harness::{RawServer, Server, Tls};

use crate::support::network::{create_of, open_connections, release, serve, threads, waits};

/// The phase of a call when it is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    LookUp,
    Connect,
    Handshake,
    Send,
    Reply,
    Body,
    /// The same three through TLS.
    TlsSend,
    TlsReply,
    TlsBody,
}

impl Phase {
    pub const ALL: [Phase; 9] = [
        Phase::LookUp,
        Phase::Connect,
        Phase::Handshake,
        Phase::Send,
        Phase::Reply,
        Phase::Body,
        Phase::TlsSend,
        Phase::TlsReply,
        Phase::TlsBody,
    ];

    /// The effect that the CONTEXT must give for this phase.
    pub fn known(self) -> &'static str {
        match self {
            Phase::LookUp | Phase::Connect | Phase::Handshake => "the request was not sent, nothing was applied",
            // A status of 200 says it only with a body that is the API's.
            Phase::Send | Phase::Reply | Phase::Body | Phase::TlsSend | Phase::TlsReply | Phase::TlsBody => {
                "the request had been sent, whether it was applied is unknown"
            }
        }
    }
}

/// More than the kernel keeps for a connection, in both directions together.
const MORE_THAN_BUFFERS: usize = 16 << 20;

/// Stalls the first connection, or look-up, and serves the later ones.
pub struct Stalling {
    phase: Phase,
    pub options: String,
    pub url: String,
    reached: Arc<AtomicBool>,
    // Opened before the server is dropped, which waits for its connections.
    _gate: Opener,
    raw: Option<RawServer>,
    backlog: Option<FullBacklog>,
}

impl Stalling {
    pub fn start(phase: Phase, server: &Server) -> Stalling {
        let reached = Arc::new(AtomicBool::new(false));
        let gate = Arc::new(Gate::default());
        let mut stalling = Stalling {
            phase,
            // The longest timeout: no phase must end by itself before the interrupt.
            options: ", connect_timeout_ms '60000'".into(),
            url: String::new(),
            reached: reached.clone(),
            _gate: Opener(gate.clone()),
            raw: None,
            backlog: None,
        };
        match phase {
            Phase::LookUp => {
                let raw = RawServer::start(serve);
                stalling.url = format!("http://{}.stall.test:{}", unique("host"), raw.address().port());
                stalling.options += ", allow_http 'true'";
                stalling.raw = Some(raw);
            }
            Phase::Connect => {
                let backlog = FullBacklog::start();
                stalling.url = format!("http://{}", backlog.address());
                stalling.backlog = Some(backlog);
            }
            Phase::Handshake | Phase::TlsSend | Phase::TlsReply | Phase::TlsBody => {
                let tls = Tls::in_directory(&server.scratch(&unique("certificates")));
                let raw = RawServer::tls(tls.server(Kind::Valid), move |stream| match phase {
                    _ if !is_first(&reached) => serve(stream),
                    Phase::Handshake => {
                        let _ = stream.sock.read(&mut [0]);
                        reached.store(true, Ordering::SeqCst);
                        raw::hold(&mut stream.sock);
                    }
                    _ => stall(phase, stream, &reached, &gate),
                });
                stalling.url = raw.https_url("localhost");
                stalling.options += &format!(", ca_file '{}'", tls.ca_file().display());
                stalling.raw = Some(raw);
            }
            Phase::Send | Phase::Reply | Phase::Body => {
                let raw = RawServer::start(move |stream| match is_first(&reached) {
                    true => stall(phase, stream, &reached, &gate),
                    false => serve(stream),
                });
                stalling.url = raw.url();
                stalling.raw = Some(raw);
            }
        }
        stalling
    }

    /// The statement that stalls, through the server object `server`.
    pub fn statement(&self, server: &str) -> String {
        create_of(server, if matches!(self.phase, Phase::Send | Phase::TlsSend) { MORE_THAN_BUFFERS } else { 1 })
    }

    /// Whether the call of backend `pid` has come to the phase, and waits.
    pub fn holds(&self, admin: &mut Client, pid: i32) -> bool {
        let reached = match self.phase {
            Phase::LookUp => threads(pid) > 1,
            Phase::Connect => true,
            _ => self.reached.load(Ordering::SeqCst),
        };
        reached && waits(admin, pid)
    }

    /// Lets the next call through.
    pub fn relent(&mut self) {
        if self.phase == Phase::LookUp {
            let host = self.url.trim_start_matches("http://");
            release(host.split('.').next().unwrap());
        }
        if let Some(backlog) = self.backlog.take() {
            self.raw = Some(backlog.relent(serve));
        }
    }

    /// Whether [`relent`](Self::relent) does nothing.
    pub fn relents_by_itself(&self) -> bool {
        !matches!(self.phase, Phase::LookUp | Phase::Connect)
    }

    /// How many connections of clients are open.
    pub fn open(&self) -> usize {
        self.raw.as_ref().map_or(0, |raw| open_connections(raw.address().port()))
    }
}

/// A name that no other test of this process has.
fn unique(prefix: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The first connection comes before any has reached the phase: there is one client, and it makes one at a time.
fn is_first(reached: &AtomicBool) -> bool {
    !reached.load(Ordering::SeqCst)
}

fn stall(phase: Phase, stream: &mut (impl Read + Write), reached: &AtomicBool, gate: &Gate) {
    if matches!(phase, Phase::Send | Phase::TlsSend) {
        let mut head = [0; 64];
        let _ = stream.read_exact(&mut head);
    } else {
        let _ = raw::read_request(stream);
    }
    if matches!(phase, Phase::Body | Phase::TlsBody) {
        // So much fits into no buffer: when it is written, the client has read the head.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60000000\r\n\r\n{\"records\":[");
        let _ = stream.write_all(&vec![b' '; MORE_THAN_BUFFERS]);
    }
    reached.store(true, Ordering::SeqCst);
    gate.wait();
}

/// Holds connections that must neither be read nor closed.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn wait(&self) {
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
    }
}

struct Opener(Arc<Gate>);

impl Drop for Opener {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }
}
