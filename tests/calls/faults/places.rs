//! The places of a request and of its reply at which a fault may make a difference.

use sequin_harness::proxy::Direction::{ToApi, ToClient};

use super::{Place, expected};
use crate::support::random::{RngExt, SmallRng};

fn after(bytes: &[u8], text: &str) -> usize {
    let lower = bytes.to_ascii_lowercase();
    let at = lower.windows(text.len()).position(|window| window == text.as_bytes());
    at.unwrap_or_else(|| panic!("no {text:?} in {:?}", String::from_utf8_lossy(bytes))) + text.len()
}

pub fn of_request(bytes: &[u8]) -> Vec<Place> {
    let body = expected::head(bytes);
    [
        ("the first byte", 0),
        ("the request line", "POST /v1/mut".len()),
        ("the token", after(bytes, "authorization: bearer ") + 2),
        ("the length", after(bytes, "content-length: ")),
        ("the end of the head", body - 1),
        ("the first byte of the body", body),
        ("the body", (body + bytes.len()) / 2),
        ("the last byte", bytes.len() - 1),
    ]
    .map(|(name, at)| (name, ToApi, at))
    .to_vec()
}

pub fn of_reply(bytes: &[u8]) -> Vec<Place> {
    let body = expected::head(bytes);
    let mut places = vec![
        ("the first byte", 0),
        ("the status", *expected::STATUS.start() + 1),
        ("a header", after(bytes, "content-ty")),
        ("the length", after(bytes, "content-length: ")),
        ("the end of the head", body - 1),
    ];
    if body < bytes.len() {
        places.extend([
            ("the first byte of the body", body),
            ("the body", (body + bytes.len()) / 2),
            ("the last byte", bytes.len() - 1),
        ]);
    }
    places.into_iter().map(|(name, at)| (name, ToClient, at)).collect()
}

/// Anywhere in either.
pub fn at_random(rng: &mut SmallRng, request: usize, reply: usize) -> Place {
    let (direction, bytes) = if rng.random_range(0..2) == 0 { (ToApi, request) } else { (ToClient, reply) };
    ("at random", direction, rng.random_range(0..bytes as u64) as usize)
}
