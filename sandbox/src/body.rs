//! The body of a reply on its way to the client, with the faults that a body can have.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::Response;
use mutation_api::reply::Reply;

use crate::wire::{Hangup, Silence};

/// A body that may stop in silence, and may hide its length.
pub struct Body {
    pub data: Bytes,
    /// The value of `content-length`. Without it the body is sent in chunks.
    pub length: Option<u64>,
    pub silence: Option<Silence>,
}

impl Body {
    pub fn whole(data: Bytes) -> Body {
        Body { length: Some(data.len() as u64), data, silence: None }
    }
}

/// A reply without a fault in its body.
pub fn respond(reply: Reply) -> Response<Body> {
    reply.into_response().map(Body::whole)
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Hangup;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Option<Result<Frame<Bytes>, Hangup>>> {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &mut self.silence {
            Some(silence) => silence.as_mut().poll(cx).map(|()| Some(Err(Hangup))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.silence.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
