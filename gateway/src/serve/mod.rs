//! Sockets: who may connect, for how long, and how it ends.
//!
//! `connection` has one connection: TLS, HTTP/1 or HTTP/2, and the times that a client may take.
//!
//! axum's own server knows no times, no limit and no TLS. Without them a few clients that do nothing keep all others
//! out.

mod connection;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::config::Clients;

/// What may change while the server runs. New connections see the change.
#[derive(Clone)]
pub struct Settings {
    /// None: plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    pub clients: Clients,
}

/// A bound port.
pub struct Listener(TcpListener);

impl Listener {
    /// # Errors
    /// The address is in use, or not of this machine, or the port needs a privilege.
    pub async fn bind(address: SocketAddr) -> io::Result<Listener> {
        TcpListener::bind(address).await.map(Listener)
    }

    /// # Errors
    /// As the operating system has them.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// The connections of one port.
#[derive(Clone)]
pub struct Connections {
    tracker: TaskTracker,
    closing: CancellationToken,
}

impl Connections {
    pub fn new() -> Connections {
        Connections { tracker: TaskTracker::new(), closing: CancellationToken::new() }
    }

    /// Accepts until [`Connections::close`]. At most `most` connections exist at once: others stay in the queue of
    /// the operating system.
    pub async fn accept(self, listener: Listener, router: Router, settings: watch::Receiver<Settings>, most: usize) {
        let slots = Arc::new(Semaphore::new(most));
        while let Some((stream, slot)) = self.next(&listener, &slots).await {
            let settings = settings.borrow().clone();
            let (router, closing) = (router.clone(), self.closing.clone());
            self.tracker.spawn(async move {
                let _slot = slot;
                connection::serve(stream, settings, router, closing).await;
            });
        }
    }

    async fn next(
        &self,
        listener: &Listener,
        slots: &Arc<Semaphore>,
    ) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        let next = async {
            // The semaphore is never closed.
            let slot = Arc::clone(slots).acquire_owned().await.ok()?;
            Some((accepted(&listener.0).await, slot))
        };
        tokio::select! {
            () = self.closing.cancelled() => None,
            next = next => next,
        }
    }

    /// Waits until the clients have ended their connections, for at most this time. Accepts meanwhile.
    pub async fn linger(&self, most: Duration) {
        self.tracker.close();
        // Those that are left are idle.
        let _ = timeout(most, self.tracker.wait()).await;
    }

    /// Accepts no more, lets each connection finish what it is doing, and waits for them.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Default for Connections {
    fn default() -> Connections {
        Connections::new()
    }
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Too many open files: it passes when connections end, and comes back at once until then.
                warn!(%error, "cannot accept connections");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// The client left before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
