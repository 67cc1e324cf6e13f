//! A TCP proxy that harms what passes, at a byte of one's choice.
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

    /// Where it listens.
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

    /// How many connections came.
    pub fn connections(&self) -> usize {
        self.front.accepted()
    }

    /// How many bytes came in this direction since the start.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.state().traffic[direction as usize].bytes
    }

    /// The bytes that came since the last `arm` or `watch`, before any harm.
    pub fn came(&self, direction: Direction) -> Vec<u8> {
        self.shared.state().traffic[direction as usize].came.clone()
    }

    /// The bytes that were passed on since then, after all harm.
    pub fn went(&self, direction: Direction) -> Vec<u8> {
        self.shared.state().traffic[direction as usize].went.clone()
    }

    /// Does this once. Bytes are counted from now on.
    pub fn arm(&self, fault: Fault) {
        self.shared.state().arm(Some(fault));
    }

    /// Starts to count anew, and does no harm.
    pub fn watch(&self) {
        self.shared.state().arm(None);
    }

    /// Whether the fault that was armed last has been done.
    pub fn has_struck(&self) -> bool {
        self.shared.state().struck
    }

    /// Waits for that. False when it has not happened within `patience`.
    pub fn await_strike(&self, patience: Duration) -> bool {
        self.shared.await_strike(patience)
    }

    /// Passes on what is held back, and everything else as it comes. A fault that is still to come is forgotten.
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
