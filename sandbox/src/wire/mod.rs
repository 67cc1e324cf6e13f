//! The stream under hyper, on which a reply's raw bytes are cut, dripped, replaced or held back, exactly.
//!
//! It ends a connection by failing a write: hyper then drops everything, and the socket closes with its last descriptor.

mod conn;
mod plan;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

pub use conn::{Conn, Hangup};
pub use plan::{Drip, End, Plan, Silence};

pub struct Wire<S> {
    stream: S,
    conn: Arc<Conn>,
    act: Option<Act>,
}

/// A plan in progress.
struct Act {
    left: u64,
    drip: Option<Dripping>,
    raw: Option<Bytes>,
    end: End,
}

struct Dripping {
    bytes: usize,
    every: Duration,
    credit: usize,
    next: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S, conn: Arc<Conn>) -> Wire<S> {
        Wire { stream, conn, act: None }
    }

    fn pick_up_plan(&mut self) {
        if let Some(plan) = self.conn.new_plan() {
            self.act = plan.map(Act::new);
        }
    }

    /// Writes as much of `buf` as the plan allows now.
    fn write_planned(&mut self, cx: &mut Context, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.act.as_ref().is_some_and(|act| act.raw.is_some()) {
            return self.write_raw(cx);
        }
        let allowed = ready!(self.poll_allowed(cx))?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &buf[..buf.len().min(allowed)]))?;
        self.spend(written);
        Poll::Ready(Ok(written))
    }

    /// hyper's own bytes are never accepted: it waits until the replacement is out and the connection ends.
    fn write_raw(&mut self, cx: &mut Context) -> Poll<io::Result<usize>> {
        loop {
            let allowed = ready!(self.poll_allowed(cx))?;
            let Some(raw) = self.act.as_mut().and_then(|act| act.raw.as_mut()) else {
                return Poll::Pending;
            };
            if raw.is_empty() {
                return self.poll_end(cx).map(|never| never.map(|()| 0));
            }
            let piece = &raw[..raw.len().min(allowed)];
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, piece))?;
            raw.advance(written);
            self.spend(written);
        }
    }

    /// How many bytes may be sent now: at least one.
    fn poll_allowed(&mut self, cx: &mut Context) -> Poll<io::Result<usize>> {
        let Some(act) = &mut self.act else {
            return Poll::Ready(Ok(usize::MAX));
        };
        let left = act.left.try_into().unwrap_or(usize::MAX);
        if left == 0 {
            return self.poll_end(cx).map(|never| never.map(|()| 0));
        }
        let Some(drip) = &mut act.drip else {
            return Poll::Ready(Ok(left));
        };
        if drip.credit == 0 {
            // The last drop must be sent before the pause.
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            ready!(drip.next.as_mut().poll(cx));
            drip.credit = drip.bytes;
            drip.next.as_mut().reset(Instant::now() + drip.every);
        }
        Poll::Ready(Ok(left.min(drip.credit)))
    }

    fn spend(&mut self, written: usize) {
        if let Some(act) = &mut self.act {
            act.left -= written as u64;
            if let Some(drip) = &mut act.drip {
                drip.credit -= written;
            }
        }
    }

    /// All allowed bytes are written: ends the connection, as planned.
    fn poll_end(&mut self, cx: &mut Context) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        match self.act.as_mut().map(|act| &mut act.end) {
            Some(End::Silence(silence)) => ready!(silence.as_mut().poll(cx)),
            Some(End::Reset) => self.conn.reset_on_close(),
            _ => {}
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl Act {
    fn new(plan: Plan) -> Act {
        let dripping = |drip: Drip| Dripping {
            bytes: drip.bytes,
            every: Duration::from_millis(drip.every_ms),
            credit: 0,
            next: Box::pin(sleep(Duration::ZERO)),
        };
        Act { left: plan.cut_after.unwrap_or(u64::MAX), drip: plan.drip.map(dripping), raw: plan.raw, end: plan.end }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.pick_up_plan();
        match self.act {
            None => Pin::new(&mut self.stream).poll_write(cx, buf),
            Some(_) => self.write_planned(cx, buf),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context, bufs: &[IoSlice]) -> Poll<io::Result<usize>> {
        self.pick_up_plan();
        match self.act {
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
            Some(_) => {
                let first = bufs.iter().find(|buf| !buf.is_empty());
                self.write_planned(cx, first.map_or(&[], |buf| buf))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        // A cut at the reply's last byte is also a cut.
        if self.act.as_ref().is_some_and(|act| act.left == 0) {
            return self.poll_end(cx);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}
