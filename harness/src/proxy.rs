//! A TCP proxy that harms the stream at a chosen byte.
//!
//! ```no_run
//! use sequin_harness::proxy::{Direction, Fault, Harm, Proxy};
//!
//! # let sandbox = sequin_harness::Sandbox::start();
//! let proxy = Proxy::before(&sandbox);
//! proxy.arm(Fault { direction: Direction::ToClient, at: 40, harm: Harm::Reset });
//! // A call through proxy.url() is reset after 40 bytes of its reply; all that follow are left alone.
//! ```

mod carry;
mod fault;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::{RawServer, Sandbox};
use carry::Shared;
pub use fault::{Direction, Fault, Harm};

/// The proxy. Dropping it closes its port and every connection on both sides, and waits for its threads.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    front: RawServer,
}

impl Proxy {
    /// On a free port of 127.0.0.1, for a sandbox.
    pub fn before(sandbox: &Sandbox) -> Proxy {
        let address = sandbox.url().rsplit('/').next().and_then(|address| address.parse().ok());
        Proxy::to(address.unwrap_or_else(|| panic!("no address: {}", sandbox.url())))
    }

    /// On a free port of 127.0.0.1, for the API at `address`.
    pub fn to(address: SocketAddr) -> Proxy {
        let shared = Arc::new(Shared::default());
        let front = RawServer::start({
            let shared = shared.clone();
            move |client| {
                if let Some(link) = shared.link(client, address) {
                    shared.carry(&link);
                }
            }
        });
        Proxy { shared, front }
    }

    /// The listening address.
    pub fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        self.front.url()
    }

    /// `https://` with the given host name and the port.
    pub fn https_url(&self, host: &str) -> String {
        self.front.https_url(host)
    }

    /// The number of accepted connections.
    pub fn connections(&self) -> usize {
        self.front.accepted()
    }

    /// The number of bytes received in this direction since the start.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.state().traffic[direction as usize].bytes
    }

    /// The bytes received since the last `arm` or `watch`, before any harm.
    pub fn came(&self, direction: Direction) -> Vec<u8> {
        self.shared.state().traffic[direction as usize].came.clone()
    }

    /// The bytes passed on since then, after all harm.
    pub fn went(&self, direction: Direction) -> Vec<u8> {
        self.shared.state().traffic[direction as usize].went.clone()
    }

    /// Arms the fault once. Bytes are counted from now on.
    pub fn arm(&self, fault: Fault) {
        self.shared.state().arm(Some(fault));
    }

    /// Restarts the counts, and does no harm.
    pub fn watch(&self) {
        self.shared.state().arm(None);
    }

    /// Whether the fault that was armed last has happened.
    pub fn has_struck(&self) -> bool {
        self.shared.state().struck
    }

    /// Waits until the fault has happened. False if it has not within `patience`.
    pub fn await_strike(&self, patience: Duration) -> bool {
        self.shared.await_strike(patience)
    }

    /// Passes on all held and later bytes. A fault that has not happened yet is dropped.
    pub fn relent(&self) {
        self.shared.relent();
    }

    /// Closes every connection in good order.
    pub fn hang_up(&self) {
        self.shared.hang_up();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop();
    }
}
