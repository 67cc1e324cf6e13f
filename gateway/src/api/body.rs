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

use crate::engine::{NoRoom, Place, Room, later};

/// For the whole body.
const TIME: Duration = Duration::from_secs(30);

/// # Errors
/// The reply: 413, 408, 400 or 503.
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
    let text = "The gateway is busy; nothing was sent";
    later(Reply::error(StatusCode::SERVICE_UNAVAILABLE, text), Duration::from_secs(1))
}
