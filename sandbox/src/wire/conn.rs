//! A request's control over its connection. hyper owns the stream, so this holds a second descriptor of the same
//! socket.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Socket, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::plan::Plan;
use crate::log::{Log, Ticket};

pub struct Conn {
    pub ticket: Ticket,
    socket: Socket,
    plan: Mutex<Option<Plan>>,
    /// A new plan exists, or the old one is over. Saves most replies the lock.
    replanned: AtomicBool,
    ever_planned: AtomicBool,
}

impl Conn {
    pub fn new(tcp: &TcpStream, log: Arc<Log>) -> io::Result<Conn> {
        let ticket = Ticket::new(log);
        tcp.set_nodelay(true)?;
        let socket = Socket::from(tcp.as_fd().try_clone_to_owned()?);
        // Without it, a client that vanished while its request is stalled would stay for ever.
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(5)).with_interval(Duration::from_secs(1));
        socket.set_tcp_keepalive(&keepalive)?;
        Ok(Conn {
            ticket,
            socket,
            plan: Mutex::new(None),
            replanned: AtomicBool::new(false),
            ever_planned: AtomicBool::new(false),
        })
    }

    /// For the next reply.
    pub fn plan(&self, plan: Plan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
        self.ever_planned.store(true, Relaxed);
        self.replanned.store(true, Relaxed);
    }

    /// A plan is for one reply: the next request starts without.
    pub fn forget_plan(&self) {
        if self.ever_planned.load(Relaxed) {
            *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.replanned.store(true, Relaxed);
        }
    }

    /// Some when the plan has changed since the last call.
    pub fn new_plan(&self) -> Option<Option<Plan>> {
        // The reading task is the writer: no ordering needed.
        let changed = self.replanned.load(Relaxed) && self.replanned.swap(false, Relaxed);
        changed.then(|| self.plan.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    /// The close that follows is an RST.
    pub fn reset_on_close(&self) {
        // It fails only on a socket that has already ended.
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    /// Runs `wait` until the client closes. hyper does not watch for the close itself. Otherwise a request that arrives
    /// whole, together with the close, would be dropped before it is applied.
    pub async fn unless_closed<T>(&self, wait: impl Future<Output = T>) -> Result<T, Hangup> {
        tokio::select! {
            // An immediate result, as for most replies, skips the check.
            biased;
            done = wait => Ok(done),
            () = async { self.peer_closed().await } => Err(Hangup),
        }
    }

    /// Ends when the peer has closed, without reading: received bytes stay in the socket.
    ///
    /// A FIN is queued behind the bytes before it. If those fill the window, it cannot arrive. Then the end shows only
    /// after the peer's kernel has given up (about 100 s on Linux).
    pub fn peer_closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let socket = self.socket.try_clone();
        async move {
            let watched = socket.and_then(|socket| TcpStream::from_std(socket.into()));
            let Ok(watched) = watched else { return };
            while let Ok(ready) = watched.ready(Interest::READABLE).await {
                if ready.is_read_closed() || ready.is_error() {
                    return;
                }
                // More input has arrived: wait for the next event.
                let _ = watched.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            }
        }
    }
}

/// Ends the connection here, without a reply: hyper closes it when a service or a body fails.
#[derive(Debug)]
pub struct Hangup;

impl fmt::Display for Hangup {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the connection ends here")
    }
}

impl std::error::Error for Hangup {}
