//! A listener whose connections a test handles: garbage, early ends, silence.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The server's side of a TLS connection.
pub type TlsStream = StreamOwned<ServerConnection, TcpStream>;

/// The listener. Each connection has a thread, which runs the closure; the connection is closed when it returns.
/// Dropping this value closes the port and every connection, and waits for the threads. So a closure may block on its
/// connection for any time (see [`hold`]), but on nothing else.
#[derive(Debug)]
pub struct RawServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    accepted: AtomicUsize,
    /// A second handle of each open connection, to shut it down.
    open: Mutex<HashMap<usize, TcpStream>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<usize, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RawServer {
    /// On a free port of 127.0.0.1.
    pub fn start(serve: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> RawServer {
        RawServer::on("127.0.0.1:0", serve)
    }

    /// On `address`, for instance `[::1]:0`.
    pub fn on(address: &str, serve: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> RawServer {
        RawServer::over(TcpListener::bind(address).unwrap_or_else(|e| panic!("cannot listen on {address}: {e}")), serve)
    }

    fn over(listener: TcpListener, serve: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> RawServer {
        let address = listener.local_addr().unwrap_or_else(|e| panic!("no address: {e}"));
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared, &Arc::new(serve))
        });
        RawServer { address, shared, acceptor: Some(acceptor) }
    }

    /// With TLS, on a free port of 127.0.0.1. The handshake happens at the closure's first read or write, which returns
    /// its error.
    pub fn tls(config: Arc<ServerConfig>, serve: impl Fn(&mut TlsStream) + Send + Sync + 'static) -> RawServer {
        RawServer::start(move |tcp| {
            let (Ok(session), Ok(tcp)) = (ServerConnection::new(config.clone()), tcp.try_clone()) else {
                return;
            };
            let mut stream = StreamOwned::new(session, tcp);
            serve(&mut stream);
            stream.conn.send_close_notify();
            // Without complete_io, which would wait for the rest of a handshake. The peer may be gone long since.
            let _ = stream.conn.write_tls(&mut stream.sock);
        })
    }

    /// The listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `https://` with the given host name and the port.
    pub fn https_url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }

    /// How many connections are open on this side, which learns late that the peer has closed one.
    pub fn open(&self) -> usize {
        self.shared.open().len()
    }

    /// The number of accepted connections.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // accept() has no time limit: one more connection wakes it.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            // The only result is a panic, which the thread has printed.
            let _ = acceptor.join();
        }
    }
}

fn accept<F>(listener: &TcpListener, shared: &Arc<Shared>, serve: &Arc<F>)
where
    F: Fn(&mut TcpStream) + Send + Sync + 'static,
{
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        let Ok(mut stream) = stream else { continue };
        let Ok(second) = stream.try_clone() else {
            continue;
        };
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
        shared.open().insert(number, second);
        let (shared, serve) = (shared.clone(), serve.clone());
        threads.push(thread::spawn(move || {
            let _closed_at_the_end = Closed { shared: &shared, number };
            serve(&mut stream);
        }));
    }
    for stream in shared.open().values() {
        // A connection that the peer has closed is fine too.
        let _ = stream.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Drops the second handle, also when the closure panics: the peer sees the end only when both are gone.
struct Closed<'a> {
    shared: &'a Shared,
    number: usize,
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.shared.open().remove(&self.number);
    }
}

/// Sends nothing until the peer, or the drop of the server, ends the connection.
pub fn hold(stream: &mut impl Read) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer) {}
}

/// Reads one request: its head up to the empty line, and the body according to `content-length`.
pub fn read_request(stream: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let (head, length) = read_head(stream)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

/// Reads the head of a request up to the empty line. Returns it with the length of the body that follows.
pub fn read_head(stream: &mut impl Read) -> io::Result<(String, usize)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok()).flatten()
    });
    Ok((head, length.unwrap_or(0)))
}

/// A whole reply with `content-length`.
pub fn reply(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// An address that does not refuse and never answers: a listener whose queue of connections is full.
#[derive(Debug)]
pub struct FullBacklog {
    listener: TcpListener,
    queued: Vec<TcpStream>,
}

impl FullBacklog {
    /// On a free port of 127.0.0.1.
    pub fn start() -> FullBacklog {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("cannot listen: {e}"));
        let address = listener.local_addr().unwrap_or_else(|e| panic!("no address: {e}"));
        // The kernel drops connections that do not fit into the queue, so unanswered attempts show that it is full. A
        // single one may mean that this process was not scheduled.
        let (mut queued, mut unanswered) = (Vec::new(), 0);
        while unanswered < 3 {
            match TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
                Ok(stream) => {
                    queued.push(stream);
                    unanswered = 0;
                }
                Err(_) => unanswered += 1,
            }
        }
        FullBacklog { queued, listener }
    }

    /// Accepts connections at last. The connections that filled the queue come first, and have ended.
    pub fn relent(self, serve: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> RawServer {
        drop(self.queued);
        RawServer::over(self.listener, serve)
    }

    /// The listening address.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or_else(|e| panic!("no address: {e}"))
    }
}
