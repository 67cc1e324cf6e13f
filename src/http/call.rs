//! What is known of the call under way: its deadlines, and whether a byte of the request has left.
//!
//! ureq gives a transport no way to pass facts to the caller, and its own timeouts would cost more than the exchange
//! (a thread for each look-up, a clock reading for each step). A backend makes one call at a time, so the facts are
//! kept in one place for all connections.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::pg::context;

/// The call that this backend is making, or made last.
pub struct Call {
    /// The end of look-up, connecting and TLS handshake together.
    pub connect_by: Instant,
    /// The end of everything.
    pub reply_by: Instant,
    /// While a new connection is being made, what is written is the handshake and not the request.
    connecting: bool,
    request_bytes_sent: u64,
}

static CURRENT: Mutex<Option<Call>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Call>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the clock of a new call.
pub fn begin(connect_timeout: Duration, request_timeout: Duration) {
    let now = Instant::now();
    context::now_known(context::NOT_SENT);
    *lock() = Some(Call {
        connect_by: now + connect_timeout.min(request_timeout),
        reply_by: now + request_timeout,
        connecting: false,
        request_bytes_sent: 0,
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

/// The reply's status has come. Its body may still be on the way.
pub fn answered(status: u16) {
    if (200..300).contains(&status) {
        context::now_known(c"it was applied");
    }
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
