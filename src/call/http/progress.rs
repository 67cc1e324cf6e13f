//! What is known of the call under way: its deadlines, and whether a byte of the request has left.
//!
//! ureq gives a transport no way to pass facts to the caller, and its own timeouts would cost more than the exchange
//! (a thread for each look-up, a clock reading for each step). A backend makes one call at a time, so the facts are
//! kept in one place for all connections.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::pg::context;

/// The call that this backend is making, or made last.
pub struct Progress {
    /// The end of look-up, connecting and TLS handshake together.
    pub connect_by: Instant,
    /// The end of everything.
    pub reply_by: Instant,
    /// While a new connection is being made, what is written is the handshake and not the request.
    connecting: bool,
    request_bytes_sent: u64,
    /// Of the last status line that came.
    status: Option<u16>,
}

static CURRENT: Mutex<Option<Progress>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Progress>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the clock of a new call.
pub fn begin(connect_timeout: Duration, request_timeout: Duration) {
    let now = Instant::now();
    context::now_known(context::NOT_SENT);
    *lock() = Some(Progress {
        connect_by: now + connect_timeout.min(request_timeout),
        reply_by: now + request_timeout,
        connecting: false,
        request_bytes_sent: 0,
        status: None,
    });
}

/// A connection is being made: until [`connected`] nothing that is written belongs to the request.
pub fn connecting() {
    if let Some(call) = lock().as_mut() {
        call.connecting = true;
    }
}

/// The connection is there, its TLS handshake included.
pub fn connected() {
    if let Some(call) = lock().as_mut() {
        call.connecting = false;
    }
}

/// The kernel has accepted `bytes` of what a transport had to send.
pub fn sent(bytes: usize) {
    if let Some(call) = lock().as_mut()
        && !call.connecting
    {
        if call.request_bytes_sent == 0 {
            context::now_known(c"the request had been sent, whether it was applied is unknown");
        }
        call.request_bytes_sent += bytes as u64;
    }
}

/// Something of the reply has come. `input` is what ureq has not taken yet: at first it begins with a status line.
pub fn came(input: &[u8]) {
    if let Some(call) = lock().as_mut()
        && call.status.is_none_or(|status| status < 200)
        && let Some(status) = status_of(input)
    {
        call.status = Some(status);
    }
}

/// The status of a line that has come whole up to it.
fn status_of(input: &[u8]) -> Option<u16> {
    let rest = input.strip_prefix(b"HTTP/1.")?.get(1..)?.strip_prefix(b" ")?;
    let is_whole = rest.get(3).is_some_and(|byte| !byte.is_ascii_digit());
    let status: u16 = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
    (is_whole && (100..600).contains(&status)).then_some(status)
}

/// The status of the reply, where ureq could not read the headers that follow it.
pub fn status() -> Option<u16> {
    lock().as_ref().and_then(|call| call.status).filter(|status| *status >= 200)
}

/// Whether a byte of the request has left. If none has, nothing can have been applied.
pub fn was_sent() -> bool {
    lock().as_ref().is_some_and(|call| call.request_bytes_sent > 0)
}

/// When the step under way must have ended.
pub fn deadline() -> Instant {
    match lock().as_ref() {
        Some(call) if call.connecting => call.connect_by,
        Some(call) => call.reply_by,
        None => Instant::now(),
    }
}
