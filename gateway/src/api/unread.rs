//! What is left of a body when a request is refused before it is read.
//!
//! A server that leaves it unread has to end the connection after the reply. A client may then lose the reply, or send
//! its next request over a connection that is about to end, and does not know what became of its mutation. So the rest
//! is read and thrown away, within limits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONNECTION;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Bytes to throw away. Clients that send more learn that the connection ends.
const MOST: usize = 16 << 20;
/// For all of them.
const TIME: Duration = Duration::from_secs(5);

/// Sends the reply when the request's body has arrived, or says in it that the connection ends.
pub async fn middleware(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let (back, left) = oneshot::channel();
    let lent = Lent { body: Some(body), back: Some(back) };
    let mut response = next.run(Request::from_parts(head, Body::new(lent))).await;
    let is_whole = match left.await {
        Ok(body) => timeout(TIME, discard(body)).await.unwrap_or(false),
        Err(_) => false,
    };
    if !is_whole {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the body ended within the limit.
async fn discard(mut body: Body) -> bool {
    let mut left = MOST;
    while let Some(frame) = body.frame().await {
        let length = frame.ok().and_then(|frame| Some(frame.data_ref()?.len()));
        match length.and_then(|length| left.checked_sub(length)) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}

/// A body that comes back when its reader drops it.
struct Lent {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // Without a receiver the client is gone.
            let _ = back.send(body);
        }
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}
