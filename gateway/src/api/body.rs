//! Reads a request's body: not more than the limit, not for longer than a client on a slow line needs, and only while
//! the gateway has room for it.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use mutation_api::reply::Reply;
use tokio::time::{Instant, timeout_at};

use crate::engine::{NoRoom, Place, Room, not_now};

/// For the whole body.
const TIME: Duration = Duration::from_secs(30);

/// # Errors
/// The reply: 413, 408, 400 or 429.
pub async fn read(room: &Room, headers: &HeaderMap, mut body: Body, most: usize) -> Result<(Bytes, Place), Reply> {
    let deadline = Instant::now() + TIME;
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let length = length.unwrap_or_default();
    if length > most {
        return Err(too_large(most));
    }
    let mut place = room.place().map_err(busy)?;
    room.grow(&mut place, length).map_err(busy)?;
    let mut whole = BytesMut::with_capacity(length);
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok((whole.freeze(), place)),
            Ok(Some(Err(_))) => return Err(Reply::error(StatusCode::BAD_REQUEST, "The body cannot be read")),
            Err(_) => return Err(Reply::error(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time")),
        };
        let Some(data) = frame.data_ref() else { continue };
        if whole.len() + data.len() > most {
            return Err(too_large(most));
        }
        room.grow(&mut place, whole.len() + data.len()).map_err(busy)?;
        whole.extend_from_slice(data);
    }
}

fn too_large(most: usize) -> Reply {
    Reply::error(StatusCode::PAYLOAD_TOO_LARGE, &format!("The body has more than {most} bytes"))
}

fn busy(_: NoRoom) -> Reply {
    not_now("The gateway is busy")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// A body of which no more will come.
    struct Silent;

    impl http_body::Body for Silent {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }

    async fn status(room: &Room, length: Option<&'static str>, body: Body) -> Option<StatusCode> {
        let headers = length.map(|length| (CONTENT_LENGTH, HeaderValue::from_static(length)));
        let read = read(room, &headers.into_iter().collect(), body, 1 << 20).await;
        read.err().map(|reply| reply.status)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let room = Room::default();
        assert_eq!(status(&room, None, Body::new(Silent)).await, Some(StatusCode::REQUEST_TIMEOUT));
        assert_eq!(status(&room, Some("5"), Body::from("small")).await, None);
    }

    #[tokio::test]
    async fn a_large_body_is_refused_by_its_length_and_a_full_gateway_says_so() {
        let room = Room::default();
        assert_eq!(status(&room, Some("1048577"), Body::new(Silent)).await, Some(StatusCode::PAYLOAD_TOO_LARGE));
        let mut places = Vec::new();
        while let Ok(mut place) = room.place() {
            if room.grow(&mut place, 1 << 20).is_err() {
                break;
            }
            places.push(place);
        }
        let large = || Body::from("x".repeat(1 << 20));
        assert_eq!(status(&room, None, large()).await, Some(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(status(&room, Some("1048576"), large()).await, Some(StatusCode::TOO_MANY_REQUESTS));
        places.clear();
        assert_eq!(status(&room, Some("1048576"), large()).await, None);
    }
}
