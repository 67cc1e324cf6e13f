//! The memory of a backend, and whether it grows.

/// The memory of a backend at a moment.
#[derive(Clone, Copy, Debug)]
pub struct MemoryUse {
    pub descriptors: usize,
    /// In Postgres' memory contexts, without their free space.
    pub context_bytes: i64,
    /// Of the process, Rust's own memory with it.
    pub private_kib: i64,
}

/// By how much a backend may grow in each half of its rounds without having lost memory.
#[derive(Clone, Copy, Debug)]
pub struct Slack {
    pub context_bytes: i64,
    pub private_kib: i64,
}

/// Whether a backend that held `held`, round by round, has lost nothing since the first half of its `rounds`. It may have
/// gone through more: then by the average of all since that half, to which a growth that comes once gives less and less,
/// and a leak as much as before.
pub fn is_level(held: &[MemoryUse], rounds: usize, slack: Slack) -> bool {
    let half = rounds / 2;
    let [_, .., last] = held else { return false };
    let (Some(warm), true) = (held.get(half - 1), held.len() >= rounds) else { return false };
    let since = (held.len() - half) as i64;
    let is_within = |growth: i64, slack: i64| growth * (half as i64) < slack * since;
    last.descriptors == warm.descriptors
        && is_within(last.context_bytes - warm.context_bytes, slack.context_bytes)
        && is_within(last.private_kib - warm.private_kib, slack.private_kib)
}

#[test]
fn what_grows_once_is_level_in_the_end_and_what_goes_on_is_not() {
    let slack = Slack { context_bytes: 1 << 20, private_kib: 120 };
    let of = |private_kib: &dyn Fn(usize) -> i64, rounds: usize| -> Vec<MemoryUse> {
        let holding = |n| MemoryUse { descriptors: 9, context_bytes: 0, private_kib: private_kib(n) };
        (1..=rounds).map(holding).collect()
    };
    let once = |n: usize| if n > 6 { 256 } else { 0 };
    assert!(!is_level(&of(&once, 8), 8, slack));
    assert!(is_level(&of(&once, 16), 8, slack));
    let always = |n: usize| 40 * n as i64;
    let in_leaps = |n: usize| 40 * (n / 4 * 4) as i64;
    for rounds in 8..=24 {
        assert!(is_level(&of(&|_| 7, rounds), 8, slack), "{rounds}");
        assert!(!is_level(&of(&always, rounds), 8, slack), "{rounds}");
    }
    assert!(!is_level(&of(&in_leaps, 24), 8, slack));
    assert!(!is_level(&of(&|_| 7, 7), 8, slack), "too early to say");
    let mut descriptor = of(&|_| 7, 24);
    descriptor[23].descriptors += 1;
    assert!(!is_level(&descriptor, 8, slack));
}
