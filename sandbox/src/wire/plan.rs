//! The plan for the bytes of one reply, including its head. With TLS they are counted before encryption.

use std::pin::Pin;

use bytes::Bytes;
use serde::Deserialize;

pub struct Plan {
    /// A reply that is shorter goes out whole, and its connection lives on.
    pub cut_after: Option<u64>,
    pub drip: Option<Drip>,
    /// Sent in place of the reply; the connection ends with it.
    pub raw: Option<Bytes>,
    /// After the cut, or after `raw`.
    pub end: End,
}

pub enum End {
    Close,
    Reset,
    /// Sends nothing more, until the client closes or the future ends.
    Silence(Silence),
}

pub type Silence = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub struct Drip {
    pub bytes: usize,
    pub every_ms: u64,
}
