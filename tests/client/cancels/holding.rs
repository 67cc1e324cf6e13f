//! What a backend holds, and whether that grows.

/// What a backend holds at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    pub descriptors: usize,
    /// In Postgres' memory contexts, with what is free in them.
    pub context_bytes: i64,
    /// Of the process, Rust's own memory with it.
    pub private_kib: i64,
}

/// By how much a backend's contexts may grow without having lost memory.
const SLACK_BYTES: i64 = 64 << 10;

/// Whether a backend that held `held`, round by round, holds now what it did `window` rounds ago, within `slack_kib` of
/// memory.
pub fn is_level(held: &[Holding], window: usize, slack_kib: i64) -> bool {
    let [.., last] = held else { return false };
    let Some(before) = held.iter().rev().nth(window) else { return false };
    last.descriptors == before.descriptors
        && last.context_bytes - before.context_bytes < SLACK_BYTES
        && last.private_kib - before.private_kib < slack_kib
}
