//! Peers that stall a request, each in another phase, and report when a request has reached it.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sequin_harness::raw::{self, FullBacklog};
use sequin_harness::tls::Kind;
use sequin_harness::{Database, RawServer, Server, Tls, identifier, literal};

use crate::Result;

/// More than the kernel's buffers on both sides hold while the peer does not read.
const LARGE_BYTES: usize = 12 << 20;

/// Records of the reply from which rows are made.
const RECORDS: usize = 10_000;

/// One phase of a request, which does not end by itself unless it is busy.
pub struct Phase {
    pub name: &'static str,
    /// A call that stalls in the phase.
    pub sql: String,
    /// Long enough for a call to reach the phase before it ends.
    pub timeout: Duration,
    /// The session works in this phase, or alternates between work and waits, and may finish.
    pub is_busy: bool,
    url: String,
    options: String,
    /// Statements that the call needs, after its server object exists.
    setup: String,
    progress: Arc<Progress>,
    /// Whether the peer can see a request arrive.
    seen_by_peer: bool,
    _peer: Peer,
}

/// The state shared by the peer's threads and the measurement.
#[derive(Default)]
struct Progress {
    reached: AtomicUsize,
    ended: AtomicUsize,
}

#[expect(dead_code, reason = "they are held, not used")]
enum Peer {
    Nobody,
    Silent(FullBacklog),
    Stuck(RawServer),
}

/// A connection, with or without TLS.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Stalls a connection.
type Serve = fn(&mut dyn Stream, &Progress) -> io::Result<()>;

impl Phase {
    /// All phases, for a server with controlled look-ups.
    pub fn all(server: &Server) -> Result<Vec<Phase>> {
        let tls = Tls::in_directory(&server.scratch("bench"));
        let mut look_up = Phase::new("look-up", Peer::Nobody, "http://bench.stall.test");
        look_up.options = ", allow_http 'true'".into();

        let backlog = FullBacklog::start();
        let url = format!("http://{}", backlog.address());
        let connect = Phase::new("connect", Peer::Silent(backlog), &url);

        let mut handshake = Phase::stuck("TLS handshake", |mut stream, progress| {
            stream.read_exact(&mut [0])?;
            progress.reach();
            raw::hold(&mut stream);
            Ok(())
        });
        handshake.url = handshake.url.replace("http://", "https://");
        handshake.options = ca_file(&tls);

        let mut phases = vec![look_up, connect, handshake];
        phases.extend([Phase::stuck("send", send), Phase::over_tls("send, TLS", &tls, send)].map(|mut phase| {
            let data = format!("jsonb_build_object('Note', repeat('x', {LARGE_BYTES}))");
            phase.sql = call(&format!("jsonb_build_object('data', {data})"));
            phase.timeout = Duration::from_millis(500);
            phase
        }));
        phases.extend([Phase::stuck("wait", wait), Phase::over_tls("wait, TLS", &tls, wait)]);
        phases.extend([Phase::stuck("slow body", drip), Phase::over_tls("slow body, TLS", &tls, drip)]);

        let mut rows = Phase::stuck("making rows", many);
        rows.is_busy = true;
        rows.timeout = Duration::from_millis(150);

        let mut between = Phase::stuck("calls in a loop", one_by_one);
        between.sql = format!(
            "DO $$ DECLARE r record; BEGIN
                 FOR i IN 1..1000000 LOOP {}; PERFORM count(*) FROM generate_series(1, 1000); END LOOP;
             END $$",
            small_call().replace("count(*)", "* INTO r")
        );
        between.is_busy = true;

        let mut block = Phase::stuck("subtransaction", wait);
        block.sql = format!(
            "DO $$ DECLARE r record; BEGIN
                 BEGIN {}; EXCEPTION WHEN unique_violation THEN NULL; END;
             END $$",
            small_call().replace("count(*)", "* INTO r")
        );

        let mut trigger = Phase::stuck("inline trigger", wait);
        trigger.setup = "CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, sf text);
            SELECT sequin_attach('people', 'bench', 'salesforce:contact', 'sf', '{\"name\": \"Name\"}', 'inline',
                server => 'inline trigger')"
            .into();
        trigger.sql = "INSERT INTO people (name) VALUES ('Paul')".into();

        // No API is called: the queue is paused.
        let mut delivery = Phase::new("await delivery", Peer::Nobody, "http://127.0.0.1:1");
        delivery.setup = "SELECT sequin_pause('await delivery');
            SELECT sequin_enqueue('create', 'bench', 'salesforce:contact', '{\"data\": {}}', server => 'await delivery')"
            .into();
        delivery.sql = "SELECT sequin_await_delivery(ARRAY(SELECT id FROM sequin.outbox), 86400000)".into();

        phases.extend([rows, between, block, trigger, delivery]);
        Ok(phases)
    }

    fn new(name: &'static str, peer: Peer, url: &str) -> Phase {
        Phase {
            name,
            sql: small_call(),
            timeout: Duration::from_millis(60),
            is_busy: false,
            url: url.to_owned(),
            options: String::new(),
            setup: String::new(),
            progress: Arc::default(),
            seen_by_peer: matches!(peer, Peer::Stuck(_)),
            _peer: peer,
        }
    }

    /// A phase in which `serve` stalls a connection.
    fn stuck(name: &'static str, serve: Serve) -> Phase {
        let progress = Arc::new(Progress::default());
        let server = RawServer::start({
            let progress = progress.clone();
            move |stream| {
                // The session has ended, as ordered.
                let _ = serve(stream, &progress);
            }
        });
        let url = server.url();
        let mut phase = Phase::new(name, Peer::Stuck(server), &url);
        phase.progress = progress;
        phase
    }

    /// The same with TLS.
    fn over_tls(name: &'static str, tls: &Tls, serve: Serve) -> Phase {
        let progress = Arc::new(Progress::default());
        let server = RawServer::tls(tls.server(Kind::Valid), {
            let progress = progress.clone();
            move |stream| {
                let _ = serve(stream, &progress);
            }
        });
        let url = server.https_url("localhost");
        let mut phase = Phase::new(name, Peer::Stuck(server), &url);
        phase.options = ca_file(tls);
        phase.progress = progress;
        phase
    }

    /// The server object for the peer, without time limits that could come first.
    pub fn create_server(&self, database: &Database) {
        let (name, url, options) = (identifier(self.name), literal(&self.url), &self.options);
        database.execute(&format!(
            "CREATE SERVER {name} FOREIGN DATA WRAPPER sequin_mutations
                 OPTIONS (url {url}, connect_timeout_ms '86400000', request_timeout_ms '86400000'{options});
             CREATE USER MAPPING FOR PUBLIC SERVER {name} OPTIONS (token 'bench')"
        ));
        database.execute(&self.setup);
    }

    /// How many requests have reached the phase; zero if the peer cannot see it.
    pub fn reached(&self) -> Option<usize> {
        self.seen_by_peer.then(|| self.progress.reached.load(Ordering::SeqCst))
    }

    /// The session has given up the current request.
    pub fn next(&self) {
        self.progress.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        // The next step waits for the peer's threads.
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

/// Reads the beginning and no more.
fn send(stream: &mut dyn Stream, progress: &Progress) -> io::Result<()> {
    stream.read_exact(&mut [0])?;
    progress.hold();
    Ok(())
}

/// Never answers.
fn wait(mut stream: &mut dyn Stream, progress: &Progress) -> io::Result<()> {
    raw::read_request(&mut stream)?;
    progress.reach();
    raw::hold(&mut stream);
    Ok(())
}

/// Answers a little at a time.
fn drip(mut stream: &mut dyn Stream, progress: &Progress) -> io::Result<()> {
    raw::read_request(&mut stream)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999999\r\n\r\n")?;
    stream.flush()?;
    progress.reach();
    loop {
        stream.write_all(b" ")?;
        thread::sleep(Duration::from_millis(5));
    }
}

/// Answers at once, with much.
fn many(mut stream: &mut dyn Stream, progress: &Progress) -> io::Result<()> {
    let data = r#"{"Email":"paul@arrakis.org","Name":"Paul","Tags":["a","b","c"],"Numbers":[1,2,3,4,5,6,7,8]}"#;
    let record = format!(r#"{{"upstream_id":"003","data":{{"first":{data},"second":{data},"third":{data}}}}}"#);
    let reply = raw::reply(200, &format!(r#"{{"records":[{}]}}"#, vec![record; RECORDS].join(",")));
    loop {
        raw::read_request(&mut stream)?;
        stream.write_all(&reply)?;
        progress.reach();
    }
}

/// Answers each request at once.
fn one_by_one(mut stream: &mut dyn Stream, progress: &Progress) -> io::Result<()> {
    let reply = raw::reply(200, r#"{"records":[{"upstream_id":"003","data":{}}]}"#);
    loop {
        raw::read_request(&mut stream)?;
        progress.reach();
        stream.write_all(&reply)?;
    }
}

fn ca_file(tls: &Tls) -> String {
    format!(", ca_file {}", literal(&tls.ca_file().display().to_string()))
}

fn small_call() -> String {
    call(r#"'{"data": {"Email": "paul@arrakis.org"}}'"#)
}

fn call(records: &str) -> String {
    format!("SELECT count(*) FROM sequin_mutate('create', 'bench', 'salesforce:contact', {records})")
}
