//! The progress of the current request: its deadlines, and whether a byte of it was sent.
//!
//! ureq gives a transport no way to pass facts to the caller, and its own timeouts cost more than the exchange: a thread
//! for each lookup, a clock reading for each step. A thread makes one request at a time, so one place for each thread
//! serves all connections.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::call::error_context::{self, Known};

use super::wait::WaitKind;

/// The progress of the current request, or of the last one.
#[derive(Clone, Copy)]
struct Progress {
    /// Only a session has a CONTEXT, which says whether the request was sent.
    has_context: bool,
    /// The deadline for lookup, connecting and TLS handshake together.
    connect_by: Instant,
    /// The deadline for the whole exchange.
    reply_by: Instant,
    /// A connection is being opened: bytes that are written belong to the TLS handshake, not to the request.
    is_connecting: bool,
    request_bytes_sent: u64,
    reply_bytes_received: u64,
    connections_opened: u32,
    /// The status of the last status line that was received.
    status: Option<u16>,
}

thread_local! {
    static CURRENT: Cell<Option<Progress>> = const { Cell::new(None) };
}

/// Changes the progress of the request on this thread.
fn change(f: impl FnOnce(&mut Progress)) {
    if let Some(mut progress) = CURRENT.get() {
        f(&mut progress);
        CURRENT.set(Some(progress));
    }
}

fn current() -> Option<Progress> {
    CURRENT.get()
}

/// Begins a request.
pub fn begin(wait_kind: WaitKind, connect_timeout: Duration, request_timeout: Duration) {
    let now = Instant::now();
    let has_context = wait_kind == WaitKind::Latch;
    if has_context {
        error_context::set_known(Known::NotSent);
    }
    CURRENT.set(Some(Progress {
        has_context,
        connect_by: now + connect_timeout.min(request_timeout),
        reply_by: now + request_timeout,
        is_connecting: false,
        request_bytes_sent: 0,
        reply_bytes_received: 0,
        connections_opened: 0,
        status: None,
    }));
}

/// A connection is being opened.
pub fn note_connecting() {
    change(|progress| progress.is_connecting = true);
}

/// The connection is open, and its TLS handshake is done.
pub fn note_connected() {
    change(|progress| {
        progress.is_connecting = false;
        progress.connections_opened += 1;
    });
}

/// The kernel has accepted `bytes`.
pub fn note_sent(bytes: usize) {
    change(|progress| {
        if progress.is_connecting {
            return;
        }
        if progress.request_bytes_sent == 0 && progress.has_context {
            error_context::set_known(Known::Sent);
        }
        progress.request_bytes_sent += bytes as u64;
    });
}

/// The socket has given `bytes`.
pub fn note_bytes_received(bytes: usize) {
    change(|progress| {
        if !progress.is_connecting {
            progress.reply_bytes_received += bytes as u64;
        }
    });
}

/// A part of the reply was received. `input` is what ureq has not consumed yet; at first it begins with a status line.
pub fn note_received(input: &[u8]) {
    change(|progress| {
        if progress.status.is_none_or(|status| status < 200)
            && let Some(status) = status_of(input)
        {
            progress.status = Some(status);
        }
    });
}

/// The status in a status line that was received at least as far as the byte after the status.
fn status_of(input: &[u8]) -> Option<u16> {
    let rest = input.strip_prefix(b"HTTP/1.")?.get(1..)?.strip_prefix(b" ")?;
    let is_complete = rest.get(3).is_some_and(|byte| !byte.is_ascii_digit());
    let status: u16 = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
    (is_complete && (100..600).contains(&status)).then_some(status)
}

/// The final status of the reply. ureq's error about invalid headers does not contain it.
pub fn status() -> Option<u16> {
    current().and_then(|progress| progress.status).filter(|status| *status >= 200)
}

/// Whether a byte of the request was sent. If not, the API cannot have applied anything.
pub fn was_sent() -> bool {
    current().is_some_and(|progress| progress.request_bytes_sent > 0)
}

/// The traffic of a request: bytes on its connection, without those that opened it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub connections_opened: u32,
}

/// The traffic of the current request, or of the last one.
pub fn traffic() -> Traffic {
    current().map_or_else(Traffic::default, |progress| Traffic {
        bytes_sent: progress.request_bytes_sent,
        bytes_received: progress.reply_bytes_received,
        connections_opened: progress.connections_opened,
    })
}

/// The deadline of the current step.
pub fn deadline() -> Instant {
    match current() {
        Some(progress) if progress.is_connecting => progress.connect_by,
        Some(progress) => progress.reply_by,
        None => Instant::now(),
    }
}
